"""Every error that a user can cause, as a sentence: what, where, what to do.

CharRNNError            catch this one; ``exit_code`` is the exit code of the command
├── InputError          wrong use or bad input: nothing was started (exit code 2)
│   ├── OptionError     an invalid option value or combination of options
│   ├── CorpusError     a text that cannot be read or is too short
│   ├── PromptError     a prompt with characters that are not in the model's vocabulary
│   ├── ModelError      no model, or a file that is damaged, foreign or too new
│   ├── StateError      a saved state that is damaged, foreign or another model's
│   └── ArchiveError    an archive that is damaged, foreign, another model's or machine's
└── RunError            a failure while running (exit code 1)
    └── DivergedError   the loss is not a finite number, or worse than before the training

Messages name options as the command line spells them (``--hidden-size 4``), and the command line
prints them so. ``str(error)``, which a Python caller sees, spells them as Python does
(`hidden_size=4`). An error that quotes another one takes its ``message``.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

DISTRIBUTION = "charrnn-text"  # pip's name for it; the index has another project named charrnn
MAX_NAME, MAX_PATH = 255, 4095  # bytes of a file's name, and of a path
EXCERPT = 80  # characters at most that a message shows of something that a user gave
# A command, in quotes or after a colon at the end, is left alone; or an option, with its value if
# that is a number.
_FLAG = re.compile(
    r"'charrnn [^']*'|: charrnn .*\Z|"
    r"(?<![\w'\"-])--([a-z]+(?:-[a-z]+)*)(?![\w/-]|\.\w)(?: (-?\d+(?:\.\d+)?)(?!\w|[.,:]\d))?",
    re.DOTALL,
)
_SAFE = {  # words that a shell takes as they are
    "posix": re.compile(r"[\w@%+=:,./-]+", re.ASCII),
    "win32": re.compile(r"[\w+=:./\\-]+"),
}
_SWITCHES = ("force", "resume")  # options that messages advise, and that take no value


class CharRNNError(Exception):
    """The base of all errors that are shown to the user as they are.

    Attributes:
        exit_code: of the command.
        said: whether another process of the same training says it.
    """

    exit_code = 1
    said = False

    @property
    def message(self) -> str:
        """The sentence with options as the command line spells them."""
        return super().__str__()

    def __str__(self) -> str:
        return in_python(self.message)


class InputError(CharRNNError):
    """Wrong use or bad input; nothing was started."""

    exit_code = 2


class OptionError(InputError):
    """An invalid option value or combination of options."""


class CorpusError(InputError):
    """A text that cannot be read or is too short."""


class PromptError(InputError):
    """A text with characters that are not in the model's vocabulary."""


class ModelError(InputError):
    """No model, or a model file that is damaged, foreign or too new."""


class StateError(InputError):
    """No saved state, or one that is damaged, foreign or another model's."""


class ArchiveError(InputError):
    """No archive, or one that is damaged, foreign, another model's or another machine's."""


class RunError(CharRNNError):
    """A failure while running."""


class DivergedError(RunError):
    """The loss or a gradient is not a finite number, or the loss is worse than at the start."""


def in_python(sentence: str) -> str:
    """Return a sentence with its options spelled as Python's keyword arguments."""
    return _FLAG.sub(_argument, sentence)


def warn(sentence: str) -> None:
    """Warn about the line of the program that called this package, in words for Python."""
    package, level = str(Path(__file__).parent), 1
    frame = inspect.currentframe()
    while frame and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    warnings.warn(in_python(sentence), stacklevel=level)


def _argument(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    name, value = match[1].replace("-", "_"), match[2]
    if name in _SWITCHES:
        value = "True"
    return f"`{name}={value}`" if value else f"`{name}`"


def missing_package(purpose: str, package: str, extra: str) -> str:
    """Return the sentence about an optional package that is not installed, and how to install it.

    A copy that was installed from a folder or a repository gets its extras from there, because the
    package index may not have this version of charrnn.
    """
    from importlib import metadata  # slow to import, and seldom needed

    try:
        source = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        indexed = source is None
    except metadata.PackageNotFoundError:  # it runs without being installed
        indexed = False
    name = f"{DISTRIBUTION}[{extra}]" if indexed else f".[{extra}]"
    where = "" if indexed else " in a clone of charrnn"
    return f"{purpose} needs {package}: run {shell_command('pip', 'install', name)}{where}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known word, or all."""
    known = list(known)
    cutoff = 0.5 if len(known) > 2 else 0.7  # two names are soon listed
    close = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"


def counted(number: float, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 line``, ``2,000 lines``, ``1.5 minutes``."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {noun if shown == '1' else plural or noun + 's'}"


def excerpt(given: object, limit: int = EXCERPT) -> str:
    """Return what a user gave as a message shows it: a long text by its beginning and its end."""
    text, tail = str(given), limit // 4
    if len(text) <= limit:
        return text
    return " ".join(f"{text[: limit - tail - 5]} ... {text[-tail:]}".split())


def file_name(given: object, what: str, kind: type[InputError] = OptionError) -> str:
    """Return the name of a file or a folder, which need not exist.

    Args:
        given: what a user gave as its name.
        what: what it names, for the message: ``--out``, ``the model``.
        kind: the error to raise.

    Raises:
        InputError: it is not a string or a path, or is longer than any name: a text itself.
    """
    name = os.fspath(given) if isinstance(given, str | os.PathLike) else given
    if not isinstance(name, str):
        raise kind(f"{what} must be the name of a file, not {_with_article(given)}")
    if _is_too_long(name):
        where = "" if kind is CorpusError else f"{what}: "
        raise kind(where + text_as_name(name))
    return name


def text_as_name(text: str) -> str:
    """Return what to say about a name that is too long: it is a text, or many folders deep."""
    shown = " ".join(excerpt(text).split())
    if "/" in text and "\n" not in text and _longest_part(text) <= MAX_NAME:
        return (
            f"that path has {len(os.fsencode(text)):,} bytes, and the system takes {MAX_PATH:,}: "
            f"give a shorter one, from a folder nearer to it ('{shown}')"
        )
    return f"that is a text, not a file ('{shown}'): write it to a file, or pipe it in and name -"


def _is_too_long(name: str) -> bool:
    return _longest_part(name) > MAX_NAME or len(os.fsencode(name)) > MAX_PATH


def _longest_part(name: str) -> int:
    return max(len(os.fsencode(part)) for part in name.split("/"))


def _with_article(value: object) -> str:
    kind = type(value).__name__
    if value is None or kind == "bytes":
        return "None" if value is None else kind
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def shell_command(*words: str) -> str:
    """Return a command that a user can paste into a shell, with words quoted where they must be.

    On Windows, words are quoted so that both cmd.exe and PowerShell understand them. Elsewhere, a
    word with control characters or bytes that are not UTF-8 is written with escapes, which bash,
    zsh and ksh read, so that a command stays on one line and survives a terminal.
    """
    quote = _quote_windows if sys.platform == "win32" else _quote_posix
    return " ".join(map(quote, words))


def _quote_windows(word: str) -> str:
    if _SAFE["win32"].fullmatch(word):
        return word
    inside = word.replace('"', '""')
    last = len(inside.rstrip("\\"))  # backslashes at the end would escape the closing quote
    return f'"{inside}{inside[last:]}"'


def _quote_posix(word: str) -> str:
    if _SAFE["posix"].fullmatch(word):
        return word
    if word.isprintable():
        return "'" + word.replace("'", "'\"'\"'") + "'"
    escaped = "".join(map(_escaped, word))
    return f"$'{escaped}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
