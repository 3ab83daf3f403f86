"""What ``sample``, ``greedy`` and ``beam`` begin with: a model, and a prompt or a state it read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.shared import note, watched
from charrnn.errors import OptionError, PromptError, nearest
from charrnn.text import unknown_symbols

if TYPE_CHECKING:
    from charrnn.generator import Generator, Sample
    from charrnn.model.saved_state import Prompted

POLICIES = ("error", "skip", "nearest")
LONG = 20_000  # characters: reading them takes long enough to be watched
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Opening:
    """Where the writing begins.

    Attributes:
        generator: the model.
        prompt: the text that the model has read, to be shown before what it writes.
        read: what it came to.
        save_state: where the state after a text is kept, if it is.
    """

    generator: Generator
    prompt: str
    read: Prompted
    save_state: Path | None

    def keep(self, written: Sample) -> None:
        """Keep the state after a text, if that was asked for."""
        if self.save_state is not None:
            after = self.generator.after(self.read, written)
            self.generator.save_state(self.save_state, after)


def open_text(
    generator: Generator,
    prompt: str,
    prompt_file: Path | None,
    unknown: str,
    load_state: Path | None,
    save_state: Path | None,
) -> Opening:
    """Let a model read the prompt, after the state if one is given."""
    from charrnn.model import saved_state

    check_unknown(unknown)
    if save_state is not None:
        saved_state.check_target(save_state)
    text = _text(prompt, prompt_file)
    after = None if load_state is None else generator.load_state(load_state)
    text = _readable(text, unknown, generator)
    with watched("reading the prompt", len(text), LONG) as progress:
        return Opening(generator, text, generator.read(text, after, progress), save_state)


def check_unknown(policy: str) -> None:
    """Refuse another way with symbols that the model has never seen."""
    if policy not in POLICIES:
        raise OptionError(f"--unknown '{policy}' is not known: {nearest(policy, POLICIES)}")


def _text(prompt: str, prompt_file: Path | None) -> str:
    if prompt_file is not None and prompt:
        raise OptionError("--prompt and --prompt-file are two prompts: give one of them")
    if "-" in (prompt, str(prompt_file)):
        if sys.stdin.isatty():
            note("type the prompt; Ctrl-D on a line of its own ends it")
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
    """The prompt in symbols that the model knows; stderr says what was changed."""
    if policy == "error":
        try:
            generator.tokenizer.encode(text)
        except PromptError as error:
            raise PromptError(
                f"{error.message}; --unknown nearest (or skip) does without"
            ) from None
        return text
    replaced = unknown_symbols.replace(text, generator.knows, nearest=policy == "nearest")
    if replaced.changes:
        note(f"unknown symbols: {replaced}")
    return replaced.text
