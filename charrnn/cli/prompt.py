"""What a model reads before it writes: a prompt, or a saved state; and a cache of such states."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.shared import note
from charrnn.config.fields import Options, choice, path, string
from charrnn.errors import OptionError, PromptError
from charrnn.text import unknown_symbols

if TYPE_CHECKING:
    from charrnn.decoding.output_text import Sample
    from charrnn.generator import Generator
    from charrnn.model.saved_state import Prompted

UnknownName = Literal["error", "skip", "nearest"]
_BOM = b"\xef\xbb\xbf"
_STEP = 4096  # characters read between two calls of `proceed`
_MAX_STATES = 64


@dataclass(frozen=True)
class PromptOptions(Options):
    """What a model reads before it writes."""

    prompt: str = string("", "Text to continue; - is standard input.", short="-p", shown="nothing")
    prompt_file: Path | None = path(
        "Continue the exact text of this file; - is standard input.", shown="none"
    )
    unknown: str = choice(
        UnknownName,
        "error",
        "What to do with characters that the model has never seen: error, skip, or nearest "
        "(replace: é by e).",
    )
    load_state: Path | None = path(
        "Continue from a saved state, with its random numbers unless --seed is given.",
        shown="none",
    )
    save_state: Path | None = path(
        "Save the state after the text, to continue from it later.", shown="none"
    )


@dataclass(frozen=True)
class Opening:
    """A model that has read its prompt.

    Attributes:
        generator: the model.
        prompt: the text that the model has read; shown before what it writes.
        read: the model's state after the prompt.
        save_state: where to save the state after the text, if anywhere.
    """

    generator: Generator
    prompt: str
    read: Prompted
    save_state: Path | None

    def save(self, written: Sample) -> None:
        """Save the state after a text, if that was asked for."""
        if self.save_state is not None:
            after = self.generator.after(self.read, written)
            self.generator.save_state(self.save_state, after)


def open_text(generator: Generator, options: PromptOptions) -> Opening:
    """Let a model read the prompt, starting from a saved state if one is given.

    Raises:
        OptionError: the options contradict each other, or the state cannot be saved there.
        PromptError: the prompt cannot be read, or has characters that the model does not know.
    """
    from charrnn.model import saved_state

    if options.save_state is not None:
        saved_state.check_target(options.save_state)
    text = _text(options.prompt, options.prompt_file)
    after = None if options.load_state is None else generator.load_state(options.load_state)
    text = _readable(text, options.unknown, generator)
    with ProgressBar(in_bytes=False) as bar:
        read = generator.read(text, after, bar.of("reading the prompt", len(text)))
    return Opening(generator, text, read, options.save_state)


class PromptCache:
    """The states after texts that a model has read, so that it reads only what is new."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._states: dict[str, Prompted] = {}  # the last used comes last

    def after(self, text: str, proceed: Callable[[], bool] = lambda: True) -> Prompted | None:
        """Return the state after `text`; None if `proceed` returned False while it was read.

        Raises:
            PromptError: the text has characters that the model does not know.
        """
        known = max(filter(text.startswith, self._states), key=len, default="")
        read = self._states.get(known) or self._generator.read("")
        self._save(known, read)
        end = len(known)
        while end < len(text) and proceed():
            read = self._generator.read(text[end : end + _STEP], read)
            end = min(end + _STEP, len(text))
        self._save(text[:end], read)
        return read if end == len(text) else None

    def _save(self, text: str, read: Prompted) -> None:
        self._states.pop(text, None)
        self._states[text] = read
        if len(self._states) > _MAX_STATES:
            del self._states[next(iter(self._states))]


def _text(prompt: str, prompt_file: Path | None) -> str:
    if prompt_file is not None and prompt:
        raise OptionError("--prompt and --prompt-file both give a prompt: use one of them")
    if "-" in (prompt, str(prompt_file)):
        if sys.stdin.isatty():
            note("reading the prompt from the terminal: Ctrl-D ends it")
        return _decoded("standard input", sys.stdin.buffer.read())
    if prompt_file is None:
        return prompt
    try:
        return _decoded(str(prompt_file), prompt_file.read_bytes())
    except OSError as error:
        raise PromptError(f"--prompt-file {prompt_file}: {error.strerror}") from None


def _decoded(name: str, data: bytes) -> str:
    if data.startswith(_BOM):
        note(f"{name}: a byte order mark at its start was dropped")
        data = data.removeprefix(_BOM)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{name} is not UTF-8: byte {data[error.start]:02x} at offset {error.start}: "
            "convert it, for instance 'iconv -f LATIN1 -t UTF-8'"
        ) from None


def _readable(text: str, policy: str, generator: Generator) -> str:
    """Return the prompt in characters that the model knows; report changes on stderr."""
    if policy == "error":
        try:
            generator.tokenizer.encode(text)
        except PromptError as error:
            raise PromptError(f"{error.message}, or use --unknown nearest or skip") from None
        return text
    replaced = unknown_symbols.replace(text, generator.knows, nearest=policy == "nearest")
    if replaced.changes:
        note(f"unknown characters: {replaced}")
    return replaced.text
