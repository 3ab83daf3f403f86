"""The text of ``charrnn write``: a person edits it, and the network continues it in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition

from charrnn.cli.display.samples import FLUSH_SECONDS
from charrnn.cli.prompt import PromptCache
from charrnn.errors import PromptError
from charrnn.text import unknown_symbols
from charrnn.text.unknown_symbols import Replaced

if TYPE_CHECKING:
    from charrnn.config import SampleConfig
    from charrnn.generator import Generator
    from charrnn.model.saved_state import Prompted


@dataclass(frozen=True)
class Continuation:
    """A text that the network wrote: where it starts in the whole text, and its seed."""

    start: int
    seed: int


class Alphabet:
    """Knows which characters a model can read."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._unknown: dict[str, bool] = {}  # by character, of those looked up so far

    def lacks(self, character: str) -> bool:
        """Return whether the model has never seen a character."""
        if character not in self._unknown:
            try:
                self._generator.tokenizer.encode(character)
                self._unknown[character] = False
            except PromptError:
                self._unknown[character] = True
        return self._unknown[character]

    def unknown(self, text: str) -> list[str]:
        """Return the unknown characters of a text, each once."""
        return [character for character in dict.fromkeys(text) if self.lacks(character)]

    def without_unknown(self, text: str) -> str:
        """Return a text without its unknown characters."""
        return "".join(character for character in text if not self.lacks(character))


class Writing:
    """Writes one continuation; runs in a thread and can be stopped from another."""

    def __init__(
        self, generator: Generator, readings: PromptCache, before: str, config: SampleConfig
    ) -> None:
        self._generator, self._readings = generator, readings
        self._before, self._config = before, config
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the text here."""
        self._stopped.set()

    def run(self, show: Callable[[str], None]) -> None:
        """Read the text before, then write until the length is reached or `stop` is called.

        Args:
            show: called now and then, and at the end, with the whole text so far.
        """
        read = self._readings.after(self._before, lambda: not self._stopped.is_set())
        if read is None:
            return
        text, shown = self._before, 0.0
        for piece in self._generator.stream(read, self._config):
            text += piece
            now = time.perf_counter()
            if now - shown > FLUSH_SECONDS:
                show(text)
                shown = now
            if self._stopped.is_set():
                break
        show(text)


class Draft:
    """The text with its undo history, the last continuation and the unknown characters.

    Args:
        generator: writes.
        text: the beginning.
        refresh: called when the network has changed the text.
        start: what the model has read before the text.

    Attributes:
        buffer: holds the text.
        alphabet: of the model.
        continuation: ends the text and was not edited yet; it can be replaced by another.
        unknown: characters of the text that the model has never seen.
    """

    def __init__(
        self,
        generator: Generator,
        text: str,
        refresh: Callable[[], None],
        start: Prompted | None = None,
    ) -> None:
        self.alphabet = Alphabet(generator)
        self.continuation: Continuation | None = None
        self.unknown: list[str] = []
        self._generator, self._readings = generator, PromptCache(generator, start)
        self._refresh = refresh
        self._past: dict[str, Continuation] = {}  # by text, for when an undo restores the text
        self._writing: Writing | None = None
        self.buffer = Buffer(
            multiline=True,
            read_only=Condition(lambda: self.is_writing),
            on_text_changed=lambda buffer: self._changed(),
        )
        self.buffer.set_document(Document(text))

    @property
    def text(self) -> str:
        """The text as it is now."""
        return self.buffer.text

    @property
    def before_cursor(self) -> str:
        """The text before the cursor."""
        return self.text[: self.buffer.cursor_position]

    @property
    def is_writing(self) -> bool:
        """Whether the network is writing."""
        return self._writing is not None

    def remove_unknown(self) -> None:
        """Remove the characters that the model has never seen."""
        if self.unknown:
            before = self.alphabet.without_unknown(self.before_cursor)
            self.buffer.save_to_undo_stack()
            known = self.alphabet.without_unknown(self.text)
            self.buffer.set_document(Document(known, len(before)))

    def replaced(self, text: str, *, nearest: bool) -> Replaced:
        """Return a text without unknown characters, or with the nearest known ones in their place.

        The result says what was changed.
        """
        return unknown_symbols.replace(text, self._generator.knows, nearest=nearest)

    def begin(self, before: str, config: SampleConfig) -> None:
        """Replace all that follows `before` by a continuation, which `finish` waits for."""
        assert config.seed is not None
        self.buffer.save_to_undo_stack()
        self._writing = Writing(self._generator, self._readings, before, config)
        self.continuation = Continuation(len(before), config.seed)
        self._show(before)

    async def finish(self) -> None:
        """Show the text while the network writes it, until it ends.

        Raises:
            CharRNNError: the network could not read or write on.
        """
        loop, writing, continuation = asyncio.get_running_loop(), self._writing, self.continuation
        assert writing
        assert continuation

        def show(text: str) -> None:
            loop.call_soon_threadsafe(self._show, text)

        try:
            await loop.run_in_executor(None, writing.run, show)
        finally:
            self._writing = None
            self._past[self.text] = continuation
            self._changed()

    def stop(self) -> None:
        """Let the network write no further."""
        if self._writing:
            self._writing.stop()

    def _show(self, text: str) -> None:
        self.buffer.set_document(Document(text, len(text)), bypass_readonly=True)
        self._refresh()

    def _changed(self) -> None:
        if not self.is_writing:  # the network writes only characters that it knows
            self.unknown = self.alphabet.unknown(self.text)
            self.continuation = self._past.get(self.text)
