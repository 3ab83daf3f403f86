"""Reads and writes with a model's own weights, or with weights that have followed a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from charrnn.arrays import Ids
from charrnn.config import EngineOptions
from charrnn.decoding.generation import Writer
from charrnn.decoding.reader_and_writer import ReaderAndWriter
from charrnn.errors import OptionError
from charrnn.inference.select import EngineSelector, compile_errors
from charrnn.model.model_file import Model
from charrnn.model.saved_state import Prompted
from charrnn.text.notices import Notify


class WeightSelector:
    """Makes what reads and writes with the weights that a prompt asks for.

    Attributes:
        own: reads and writes with the model's own weights.
    """

    def __init__(
        self,
        model: Model,
        options: EngineOptions,
        selector: EngineSelector,
        notify: Notify,
        notices: Notify,
    ) -> None:
        """Begin with the model's own weights.

        Args:
            model: the model.
            options: what runs it.
            selector: has the engine of its own weights.
            notify: gets a sentence when code is compiled.
            notices: gets a sentence about a prompt or texts.
        """
        self._model, self._options, self._selector = model, options, selector
        self._notify, self._notices = notify, notices
        self.own = ReaderAndWriter.of(model, selector, notices)
        self._followed = self.own  # the last ones that were asked for

    def after(self, prompt: str | Prompted | None) -> ReaderAndWriter:
        """Return what goes on after a prompt, with the weights that belong to it."""
        weights = prompt.weights if isinstance(prompt, Prompted) else None
        if weights is None:
            return self.own
        found = self._followed
        if found.weights is not weights:
            given = (self._model.config, weights, self._options, self._notify)
            selector = EngineSelector(*given, self._model.counts)
            found = self._followed = ReaderAndWriter.of(
                self._model, selector, self._notices, weights
            )
        return found

    def read(self, prompt: str | Prompted, unknown: str) -> tuple[Writer, Prompted]:
        """Read a prompt; return what writes after it, and the state.

        Args:
            prompt: a text, or what was read before.
            unknown: what happens to characters that the model does not know.
        """
        tools = self.after(prompt)
        return tools.writer, tools.reader.read_any(prompt, unknown)

    def follow(
        self, texts: Sequence[Ids], after: Prompted | None, progress: Callable[[int], object]
    ) -> Prompted:
        """Return the state before texts, with weights that have followed them.

        Args:
            texts: tokens (N,) of each.
            after: what was read before; the weights go on from its own. None: the start token.
            progress: called with the number of tokens read so far.

        Raises:
            OptionError: code cannot be compiled here.
        """
        model = self._model
        if after is not None and after.weights is not None:
            model = replace(model, values=after.weights)
        try:
            with self._selector.compiling():
                from charrnn.adaptive.network import followed

                weights = followed(model, texts, progress, threads=self._selector.threads)
        except compile_errors() as error:
            raise OptionError(
                f"--adapt needs compiled code, which is not available here: {error}"
            ) from error
        if after is not None:
            return replace(after, weights=weights)
        only_weights = Prompted(np.zeros(0), (), weights=weights)
        return self.after(only_weights).reader.start()
