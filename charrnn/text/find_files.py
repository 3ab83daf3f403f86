"""Find files: by name, in folders, by pattern, or standard input; what is not text is left out."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import io
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from charrnn.config import Reading
from charrnn.errors import CorpusError, counted, text_as_name
from charrnn.storage.files import endless, is_generated
from charrnn.text.extract import check_package
from charrnn.text.file_kinds import TEXT, kind_of, litter
from charrnn.text.manifest import is_dataset
from charrnn.text.notices import some
from charrnn.text.sources import Source, copied

STDIN = "-"
_RUN_FILES = ("config.json", "metrics.jsonl")
_DIGITS = re.compile("([0-9]+)")


@dataclass
class Found:
    """The files to read, in order, and what was left out of folders and patterns.

    Attributes:
        sources: the files to read.
        skipped: the other files and folders: what each of them is.
    """

    sources: list[Source] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)

    def notices(self) -> Iterator[str]:
        """Yield sentences about documents and about what was left out, if there are any."""
        documents = [Path(source.name).name for source in self.sources if source.format != TEXT]
        if documents:
            number, are = counted(len(documents), "document"), "are" if len(documents) > 1 else "is"
            yield f"{number} {are} read as text, a line for each paragraph: {some(documents)}"
        if self.skipped:
            what = _count(self.skipped)
            are = "are" if len(self.skipped) > 1 else "is"
            yield f"skipped {what} that {are} not text: {_names(self.skipped)}"


def find(paths: Iterable[str | Path], reading: Reading) -> Found:
    """Return all files in order; those of a folder or a pattern are in natural order of names.

    Args:
        paths: files, folders, patterns, or ``-`` for standard input.
        reading: its `include` and `exclude` select files of folders by patterns for the name, or
            the path in the folder. Hidden files are always left out.

    Raises:
        CorpusError: a path does not exist (the message suggests a similar name), has no text, or
            names a file that is not text.
    """
    found = Found()
    for path in paths:
        if str(path) == "":
            raise CorpusError("a file's name is empty: name a text file, or a folder of them")
        if str(path) == STDIN:
            # A closed standard input has nothing to read.
            stdin = sys.stdin.buffer if sys.stdin else io.BytesIO()
            _add(found, copied("standard input", stdin), reading)
        elif Path(path).is_dir():
            _add_folder(found, Path(path), reading)
        elif not os.path.lexists(path) and glob.has_magic(str(path)):
            _add_some(found, str(path), _matching(str(path)), reading)
        else:
            _add(found, _file(Path(path)), reading)
    return found


def natural_order(path: PurePath) -> tuple[list[str | int], ...]:
    """Return a sort key for which ``ch2`` comes before ``ch10``, folder by folder."""
    return tuple(
        [int(word) if index % 2 else word for index, word in enumerate(_DIGITS.split(part))]
        for part in path.parts
    )


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a training."""
    return all((folder / name).is_file() for name in _RUN_FILES)


def _add(found: Found, source: Source, reading: Reading) -> None:
    """Add a file that was named; it must be text.

    What only looks like binary data is read: the error about its bytes says more.
    """
    left = litter(PurePath(source.name).name)
    if left:
        raise CorpusError(f"{source.name} is not a text, but {left}")
    kind = kind_of(source, reading.encoding, reading.max_unpacked)
    if kind.what and kind.certain:
        raise kind.refusal(source.name)
    _append(found, replace(source, format=kind.format or TEXT))


def _append(found: Found, source: Source) -> None:
    check_package(source)
    found.sources.append(source)


def _add_folder(found: Found, folder: Path, reading: Reading) -> None:
    assert isinstance(reading.include, tuple)
    assert isinstance(reading.exclude, tuple)
    try:
        paths = list(_inside(folder, reading.include, reading.exclude))
    except OSError as error:
        raise CorpusError(
            f"{error.filename} cannot be read: {error.strerror} (--exclude leaves it out)"
        ) from error
    if not paths:
        selected = reading.include or reading.exclude
        reason = "has no such files" if selected else "is an empty folder"
        raise CorpusError(f"{folder} {reason}: name a text file, or a folder of them")
    _add_some(found, str(folder), paths, reading)


def _add_some(found: Found, where: str, paths: Iterable[Path], reading: Reading) -> None:
    """Add the files of a folder or a pattern that are text, and note the others."""
    skipped: dict[Path, str] = {}
    before = len(found.sources)
    for path in sorted(paths, key=natural_order):
        what = "made by charrnn" if path.is_dir() else litter(path.name)
        if not what:
            source = Source(str(path), path)
            kind = kind_of(source, reading.encoding, reading.max_unpacked)
            what = kind.what
        if what:
            skipped[path] = what
        else:
            _append(found, replace(source, format=kind.format))
    if len(found.sources) == before:
        raise CorpusError(f"{where} holds no text, only {_count(skipped)}: {_names(skipped)}")
    found.skipped |= skipped


def _count(skipped: Mapping[Path, str]) -> str:
    folders = sum(path.is_dir() for path in skipped)
    counts = {"file": len(skipped) - folders, "folder": folders}
    return " and ".join(counted(count, what) for what, count in counts.items() if count)


def _names(skipped: Mapping[Path, str]) -> str:
    """Name the first of what was left out, and say what it is."""
    # What other programs left behind matters least.
    paths = sorted(skipped, key=lambda path: bool(litter(path.name)))
    return some([f"{path.name} ({skipped[path]})" for path in paths])


def _file(path: Path) -> Source:
    try:
        once = not stat.S_ISREG(path.stat().st_mode) or is_generated(path)
    except FileNotFoundError:
        if "\n" in str(path):
            raise CorpusError(text_as_name(str(path))) from None
        raise CorpusError(
            f"{path} does not exist (looked in {Path.cwd()}): name a text file{_near(path)}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path} cannot be read: {why}") from error
    if what := endless(path):
        raise CorpusError(f"{path} is {what}: name a text file")
    if not once:
        return Source(str(path), path)
    try:
        with path.open("rb") as pipe:
            return copied(str(path), pipe)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from error


def _near(path: Path) -> str:
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _inside(folder: Path, include: Sequence[str], exclude: Sequence[str]) -> Iterator[Path]:
    """Yield the files of a folder and what was made by charrnn; without other hidden files."""

    def wanted(path: Path) -> bool:
        inside = path.relative_to(folder)
        return (not include or _matches(inside, include)) and not _matches(inside, exclude)

    def failed(error: OSError) -> None:
        inside = Path(error.filename).relative_to(folder)
        if not _matches(inside, exclude):
            raise error

    for place, folders, names in os.walk(folder, onerror=failed):
        here = Path(place)
        if is_run(here) or is_dataset(here):
            folders.clear()
            if wanted(here):
                yield here
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in map(here.joinpath, names):
            if path.name.startswith(".") and not litter(path.name):
                continue
            if wanted(path) and path.is_file():
                yield path


def _matches(path: Path, patterns: Sequence[str]) -> bool:
    names = path.name, path.as_posix(), f"{path.as_posix()}/"  # a folder
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _matching(pattern: str) -> list[Path]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - a pattern may be absolute
    files = [path for path in map(Path, found) if path.is_file()]
    if not files:
        raise CorpusError(
            f"{pattern} does not exist, and as a pattern it matches no file "
            f"(looked in {Path.cwd()})"
        )
    return files
