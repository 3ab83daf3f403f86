r"""Read lines of pairs as documents: a source, its target, the next source, and so on.

A line of a ``.jsonl`` file is an object with the texts ``source`` and ``target``. In any other file
a line is a source, a tab and a target, in which ``\t``, ``\n`` and ``\\`` stand for a tab, a line
end and a backslash; a line without a tab may be such an object there, too: a pipe has no name that
says so. Blank lines are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from charrnn.errors import CorpusError, excerpt
from charrnn.text.documents import Piece
from charrnn.text.reader import Reader

_PACKED = {".gz", ".bz2", ".xz", ".zst"}
_PAIR = "a pair is SOURCE<TAB>TARGET"
_EXPECTED = rf"{_PAIR}; \t stands for a tab in it"
_OTHER_MARKS = {b",": "comma", b";": "semicolon"}  # which spreadsheets write instead
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPED = {"t": "\t", "n": "\n", "\\": "\\"}


def split_pairs(reader: Reader) -> Iterator[Piece]:
    """Yield the source and the target of each pair, each a document of its own.

    Raises:
        CorpusError: a line is not a pair; the message names the file and the line.
    """
    first, second = (1, 0) if reader.reading.swap else (0, 1)
    for name, number, line in _lines(reader):
        if not line:
            continue
        try:
            pair = parser(name)(line)
        except ValueError as error:
            raise CorpusError(f"{name}, line {number:,}: {error}") from None
        yield Piece(True, pair[first])
        yield Piece(True, pair[second])


def _lines(reader: Reader) -> Iterator[tuple[str, int, bytes]]:
    """Yield each line without its end: the file's name, the line's number, its bytes."""
    held: list[bytes] = []  # parts of a line whose end has not come
    name, number = "", 0
    for piece in reader:
        if piece.begins:
            if any(held):
                yield name, number + 1, b"".join(held)
            held, name, number = [], reader.current, 0
        *whole, last = piece.data.split(b"\n")
        for line in whole:
            number += 1
            yield name, number, b"".join([*held, line])
            held = []
        held.append(last)
    if any(held):
        yield name, number + 1, b"".join(held)


def parser(name: str) -> Callable[[bytes], tuple[bytes, bytes]]:
    """Return what reads a line of a file of this name; it raises ValueError with the reason."""
    path = PurePath(name)
    if path.suffix.lower() in _PACKED:
        path = path.with_suffix("")
    return _from_json if path.suffix.lower() in (".jsonl", ".ndjson") else _from_tsv


def _from_tsv(line: bytes) -> tuple[bytes, bytes]:
    fields = line.split(b"\t")
    if len(fields) == 1 and line.startswith(b"{"):
        try:
            return _from_json(line)
        except ValueError as error:
            raise ValueError(f"no tab, and {error}: {_EXPECTED}") from None
    if len(fields) != 2:
        many = "no tab" if len(fields) == 1 else f"{len(fields) - 1} tabs"
        other = [name for mark, name in _OTHER_MARKS.items() if line.count(mark) == 1]
        expected = _EXPECTED
        if len(fields) == 1 and other:
            expected = f"{_PAIR}: write a tab in place of the {other[0]}"
        raise ValueError(f"{many} in '{_shown(line)}': {expected}")
    source, target = fields
    for side, text in (("source", source), ("target", target)):
        if not text:
            raise ValueError(f"the {side} is empty in '{_shown(line)}'")
    if b"\\" in line:
        source, target = (unescaped(text.decode()).encode() for text in fields)
    return source, target


def unescaped(text: str) -> str:
    """Return what a text of a line stands for.

    Raises:
        ValueError: a backslash is followed by something else than t, n or a backslash.
    """

    def replaced(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPED:
            raise ValueError(rf"'{match[0]}' is not an escape: write \t, \n, or \\ for a backslash")
        return _ESCAPED[match[1]]

    return _ESCAPE.sub(replaced, text)


def escaped(text: str) -> str:
    """Return a text as it is written in a line, so that `unescaped` gives it back."""
    for letter, character in reversed(_ESCAPED.items()):
        text = text.replace(character, f"\\{letter}")
    return text


def _from_json(line: bytes) -> tuple[bytes, bytes]:
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"'{_shown(line)}' is not JSON") from None
    texts = []
    for side in ("source", "target"):
        text = found.get(side) if isinstance(found, dict) else None
        if not isinstance(text, str):
            raise ValueError(f'no text "{side}" in the object {_shown(line)}')
        if not text:
            raise ValueError(f"the {side} is empty in '{_shown(line)}'")
        try:
            texts.append(text.encode())
        except UnicodeEncodeError:
            raise ValueError(f"the {side} has half a character (a lone surrogate)") from None
    return texts[0], texts[1]


def _shown(line: bytes) -> str:
    return excerpt(line.decode(errors="replace"))
