"""What reads prompts and writes after them, with certain weights."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.decoding.generation import Writer
from charrnn.inference.prompt import PromptReader
from charrnn.inference.select import EngineSelector
from charrnn.model.model_file import Model
from charrnn.model.parameters import Parameters
from charrnn.text.notices import Notify


@dataclass(frozen=True)
class ReaderAndWriter:
    """What reads prompts and writes after them with certain weights; None: the model's own."""

    reader: PromptReader
    writer: Writer
    weights: Parameters | None

    @classmethod
    def of(
        cls,
        model: Model,
        selector: EngineSelector,
        notices: Notify,
        weights: Parameters | None = None,
    ) -> ReaderAndWriter:
        """Return what reads and writes with an engine.

        Args:
            model: the model.
            selector: has the engine.
            notices: gets a sentence about a prompt or texts.
            weights: the engine's, if they are not the model's own.
        """
        given = (selector, model.written, model.reading, model.config.start_token)
        reader = PromptReader(*given, notices, weights)
        return cls(reader, Writer(*given[:2], reader.known_separator, notices), weights)
