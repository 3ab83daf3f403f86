"""Read a prompt, or a saved state, before a model writes; and cache such states."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.shared import announce_waiting, note
from charrnn.config.fields import Options, path, string, switch
from charrnn.errors import CorpusError, OptionError, PromptError
from charrnn.storage.files import endless

if TYPE_CHECKING:
    from charrnn.config import ModelReading
    from charrnn.decoding.output_text import Sample
    from charrnn.generator import Generator
    from charrnn.model.saved_state import Prompted

STDIN_SECONDS = 3.0  # to wait for the first byte of a pipe that nobody may ever write to
_STEP = 4096  # characters read between two calls of `proceed`
_MAX_STATES = 64

PromptArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        help="Text to continue; the same as --prompt.",
        show_default="the text that is piped in, if any",
    ),
]


@dataclass(frozen=True)
class PromptOptions(Options):
    """What a model reads before it writes."""

    prompt: str | None = string(
        None,
        "Text to continue; - is standard input.",
        short="-p",
        shown="the text that is piped in, if any",
    )
    prompt_file: Path | None = path(
        "Continue the exact text of this file; - is standard input.", shown="none"
    )
    prompts: Path | None = path(
        "Continue each line of this file; - is standard input.", shown="none"
    )
    source: str | None = string(
        None,
        "Models of pairs: the source to answer; a prompt is the beginning of the answer.",
        shown="none",
    )
    source_file: Path | None = path(
        "Models of pairs: answer each line of this file, one answer per line; - is standard input.",
        shown="none",
    )
    adapt: Path | None = path(
        "First learn from this text, and read the prompt after it: what is written takes up its "
        "names and style. The model file stays as it is; - is standard input.",
        shown="none",
    )
    no_prompt: bool = switch("Leave the prompt out of the output.")
    load_state: Path | None = path(
        "Continue from a saved state, with its random numbers unless --seed is given.",
        shown="none",
    )
    save_state: Path | None = path(
        "Save the state after the text, to continue from it later.", shown="none"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.save_state is not None and self.prompts is not None:
            raise OptionError("--save-state saves the state after one text: leave out --prompts")

    @property
    def has_source(self) -> bool:
        """Whether a source is to be answered."""
        return self.source is not None or self.source_file is not None


@dataclass(frozen=True)
class Opening:
    """A prompt that the model has read.

    Attributes:
        prompt: the text.
        shown: what is shown of it before what the model writes.
        read: the model's state after it.
    """

    prompt: str
    shown: str
    read: Prompted


def check_prompt(argument: str | None, options: PromptOptions) -> None:
    """Refuse several prompts, and an argument that names a file or a model.

    Raises:
        OptionError: says what to use instead.
    """
    _check_argument(argument)
    sources = {
        "PROMPT": argument,
        "--prompt": options.prompt,
        "--prompt-file": options.prompt_file,
        "--prompts": options.prompts,
    }
    given = [name for name, value in sources.items() if value is not None]
    if str(options.adapt) == "-" and "-" in map(str, sources.values()):
        raise OptionError(f"{given[0]} - and --adapt - both read standard input: name a file")
    if len(given) > 1:
        raise OptionError(f"{given[0]} and {given[1]} both give a prompt: use one of them")


def prompts_of(argument: str | None, options: PromptOptions, model: ModelReading) -> list[str]:
    """Return the texts to continue: one, or the lines of ``--prompts``.

    Args:
        argument: the prompt that has no option of its own.
        options: the others.
        model: how the text of the model was read, and how that of a file is.

    Raises:
        PromptError: a file cannot be read.
    """
    if options.prompts is not None:
        return _prompts_in(options.prompts, model)
    if options.prompt_file is not None:
        return [content("--prompt-file", options.prompt_file, model)]
    prompt = options.prompt if argument is None else argument
    if prompt is None:
        return ["" if str(options.adapt) == "-" else _piped(model)]
    return [content("--prompt", Path("-"), model) if prompt == "-" else prompt]


def first_state(generator: Generator, options: PromptOptions, unknown: str) -> Prompted | None:
    """Return the state before the prompt, if one is named or a text is learnt from first.

    Checks where to save one, too.

    Raises:
        OptionError: a state cannot be saved there, or the model cannot learn.
        PromptError: the text to learn from cannot be read.
        StateError: the state cannot be read.
    """
    from charrnn.model import saved_state

    if options.save_state is not None:
        saved_state.check_target(options.save_state)
    state = None if options.load_state is None else generator.load_state(options.load_state)
    if options.adapt is None:
        return state
    text = generator.readable(content("--adapt", options.adapt, generator.reading), unknown)
    with ProgressBar(in_bytes=False) as bar:
        return generator.read(text, state, bar.of("learning", len(text)), adapt=True)


def save_state(
    generator: Generator,
    options: PromptOptions,
    written: Sequence[tuple[Opening, Sequence[Sample]]],
) -> None:
    """Save the state after the first text of the last prompt, if that was asked for."""
    opening, samples = written[-1]
    if options.save_state is not None and samples:
        generator.save_state(options.save_state, generator.after(opening.read, samples[0]))


def open_texts(
    generator: Generator,
    texts: Iterable[str],
    options: PromptOptions,
    unknown: str,
    after: Prompted | None,
) -> Iterator[Opening]:
    """Let a model read prompts one by one, each after the same state, if there is one.

    Raises:
        PromptError: a prompt has characters that the model does not know.
    """
    for given in texts:
        text = generator.readable(given, unknown)
        with ProgressBar(in_bytes=False) as bar:
            read = generator.read(text, after, bar.of("reading the prompt", len(text)))
        yield Opening(text, "" if options.no_prompt else text, read)


class PromptCache:
    """The states after texts that a model has read, so that it reads only what is new."""

    def __init__(self, generator: Generator, start: Prompted | None = None) -> None:
        """Read with a model after `start`, if given."""
        self._generator, self._start = generator, start
        self._states: dict[str, Prompted] = {}  # the last used comes last

    def after(self, text: str, proceed: Callable[[], bool] = lambda: True) -> Prompted | None:
        """Return the state after `text`; None if `proceed` returned False while it was read.

        Raises:
            PromptError: the text has characters that the model does not know.
        """
        known = max(filter(text.startswith, self._states), key=len, default="")
        read = self._states.get(known) or self._generator.read("", self._start)
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


def _check_argument(argument: str | None) -> None:
    """Refuse a file's name or a model in the place of a prompt."""
    from charrnn.run_dir import RunDir

    if not argument:
        return
    with contextlib.suppress(OSError, ValueError):  # it is too long for a name, or cannot be one
        file = Path(argument)
        if file.suffix == ".safetensors" or RunDir(file).model.is_file():
            what, option = "a model", "--model"
        elif file.is_file():
            what, option = "a file", "--prompt-file"
        else:
            return
        raise OptionError(
            f"{argument} is {what}, and this argument is the prompt itself: use {option} "
            f"{argument} (or --prompt {argument} to continue these words)"
        )


def _prompts_in(file: Path, model: ModelReading) -> list[str]:
    text = content("--prompts", file, model)
    if not text:
        raise PromptError(f"--prompts {file} is empty: write one prompt on each line")
    from charrnn.text import line_ends

    return [line_ends.without_end(line) for line in line_ends.split(text)]


def content(option: str, file: Path, model: ModelReading) -> str:
    """Return the exact text of a file; ``-`` is standard input."""
    announce_waiting([str(file)], "prompt")
    if str(file) == "-":
        return decoded("standard input", sys.stdin.buffer.read(), model)
    if what := endless(file):
        raise PromptError(f"{option} {file} is {what}: name a text file")
    try:
        return decoded(str(file), file.read_bytes(), model)
    except OSError as error:
        raise PromptError(f"{option} {file}: {error.strerror}") from None


def _piped(model: ModelReading) -> str:
    """Return the text that somebody pipes in; never wait long for what nobody writes.

    It is read from a pipe, a socket, or the start of a file; a file that something else has begun
    to read, as a shell reads its script, is left alone.
    """
    try:
        descriptor = sys.stdin.fileno()
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISREG(kind):
            taken = os.lseek(descriptor, 0, os.SEEK_CUR) == 0
            return decoded("standard input", sys.stdin.buffer.read(), model) if taken else ""
        if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
            return ""
        first = _first_bytes(descriptor)
        return decoded("standard input", first + sys.stdin.buffer.read(), model) if first else ""
    except (OSError, ValueError):  # a stream that is closed, or no file
        return ""


def _first_bytes(descriptor: int) -> bytes:
    """Return the first bytes of a pipe: none if it is empty, or if nobody writes to it."""
    found = [b""]

    def read() -> None:
        with contextlib.suppress(OSError):
            found.append(os.read(descriptor, 2**16))

    # Not select(), which knows no pipes on Windows.
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(STDIN_SECONDS)
    if reader.is_alive():
        note(
            f"nothing came on standard input in {STDIN_SECONDS:g} seconds, so there is no prompt: "
            "--prompt - waits for one, --prompt '' does not look for one"
        )
    return found[-1]


def decoded(
    name: str, data: bytes, model: ModelReading, notify: Callable[[str], object] = note
) -> str:
    """Return the text of bytes, read as the model's own text was.

    Args:
        name: for messages.
        data: the bytes.
        model: how its own text was read.
        notify: gets a sentence for each kind of change.

    Raises:
        PromptError: their encoding is not certain.
    """
    from charrnn.text import corpus, encoding_guess

    try:
        text, notices = corpus.text_of(name, data, model.options())
    except CorpusError:
        likely = next(iter(encoding_guess.candidates(data).items()), None)
        encoding, line = likely or (encoding_guess.WESTERN, "")
        reads = f', which reads "{line}"' if line else ""
        raise PromptError(
            f"{name} is not UTF-8, and its encoding is not certain: convert it, for instance "
            f"'iconv -f {encoding} -t UTF-8'{reads}"
        ) from None
    for notice in notices:
        notify(notice)
    return text
