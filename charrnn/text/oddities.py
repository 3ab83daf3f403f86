"""List what is odd about a text: signs that it is damaged, or not what someone wants to train on.

There is one list of them. Most follow from how often each character occurs, which is known once a
text was read; those are found for every training. `charrnn.inspection.profile` looks
for the others.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from charrnn.errors import counted
from charrnn.text.line_ends import CHARACTERS, NAMES
from charrnn.text.sources import Source
from charrnn.text.utf8 import count_characters

GIANT_LINE = 100_000  # characters; a printed page has some 3,000
BINARY_SHARE, WIDE_SHARE = 0.001, 0.3  # of NUL in binary data, and in text of a wider encoding
EXAMPLES = 3
FORM_FEED, SOFT_HYPHEN, REPLACEMENT, BYTE_ORDER_MARK = "\f", "\u00ad", "\ufffd", "\ufeff"
# Markup in a file that is read as plain text, by its first bytes.
_MARKUP = {
    "RTF": re.compile(rb"\s*\{\\rtf"),
    "HTML": re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE),
}


@dataclass(frozen=True)
class Issue:
    """Something suspicious.

    Attributes:
        kind: a word for programs.
        count: how many characters, lines or places it concerns.
        text: a sentence for people.
    """

    kind: str
    count: int
    text: str


def character_issues(
    counts: Mapping[str, int],
    line_ends: Mapping[str, int],
    longest_line: int,
    *,
    line: int | None = None,
    strict: bool = True,
    converted: bool = False,
) -> list[Issue]:
    """Return the issues that the counts of characters and lines show.

    Args:
        counts: how often each character occurs.
        line_ends: how many line ends of each kind there are; see `charrnn.text.line_ends`.
        longest_line: characters of the longest line.
        line: the number of that line, if it is known.
        strict: U+FFFD does not stand for bytes that were replaced while the text was read.
        converted: line ends were converted already; those left are escapes in pairs.
    """
    kinds: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for character, count in counts.items():
        kinds[_kind(character)][character] = count
    if not strict:
        kinds.pop("replacement", None)
    if binary := _binary(counts):
        kinds["control"].pop("\0")
    issues = [
        _newlines(line_ends, converted),
        _giant_line(longest_line, line),
        binary,
        _one_character(counts),
        *(_listed(kind, kinds[kind]) for kind in _NOUNS),
    ]
    return [issue for issue in issues if issue]


# The kinds of characters that are listed, and what they are: one, and several of them.
_NOUNS = {
    "control": ("control character", "control characters"),
    "form feed": ("form feed, a page break", "form feeds, which are page breaks"),
    "replacement": ("sign of text that was lost", "signs of text that was lost"),
    "byte order mark": ("byte order mark in the text", "byte order marks in the text"),
    "soft hyphen": (
        "soft hyphen, which cannot be seen",
        "soft hyphens, which cannot be seen and split words",
    ),
    "invisible": ("invisible format character", "invisible format characters"),
    "unassigned": ("character that Unicode lacks", "not characters of Unicode"),
    "private use": ("character without a common meaning", "characters without a common meaning"),
    "combining": ("accent apart from its letter", "accents apart from their letters"),
}


def _kind(character: str) -> str:
    """Return the kind of a character in `_NOUNS`; another word if it is not odd."""
    if character.isascii() and character.isprintable():
        return ""
    special = {
        FORM_FEED: "form feed",
        SOFT_HYPHEN: "soft hyphen",
        REPLACEMENT: "replacement",
        BYTE_ORDER_MARK: "byte order mark",
    }
    if character in special:
        return special[character]
    if character in CHARACTERS or character in "\t\u200c\u200d":  # scripts and emoji need joiners
        return ""
    if "\u0300" <= character <= "\u036f":  # with most letters, Unicode has one character for both
        return "combining"
    category = unicodedata.category(character)
    return {"Cc": "control", "Cf": "invisible", "Cn": "unassigned", "Co": "private use"}.get(
        category, ""
    )


def _newlines(line_ends: Mapping[str, int], converted: bool) -> Issue | None:
    """Return the issue of lines that end in different ways, or neither in LF nor in CR LF."""
    kinds = {kind: count for kind, count in line_ends.items() if count}
    odd = sum(kinds.values()) - max(kinds.values(), default=0)
    if len(kinds) > 1:
        counts = ", ".join(f"{count:,} {NAMES[kind]}" for kind, count in kinds.items())
        sentence = f"lines end in different ways: {counts}"
    elif kinds.keys() - {"lf", "crlf"}:
        ((kind, odd),) = kinds.items()
        verb = "ends" if odd == 1 else "end"
        sentence = f"{counted(odd, 'line')} {verb} in {NAMES[kind]}"
    else:
        return None
    advice = "" if converted else " (--newline lf turns all line ends into LF)"
    return Issue("newlines", odd, sentence + advice)


def _giant_line(length: int, number: int | None) -> Issue | None:
    if length < GIANT_LINE:
        return None
    which = "a line" if number is None else f"line {number:,}"
    return Issue("giant line", length, f"{which} has {length:,} characters")


def _binary(counts: Mapping[str, int]) -> Issue | None:
    nul, total = counts.get("\0", 0), sum(counts.values())
    if nul <= BINARY_SHARE * total:
        return None
    wide = " (UTF-16 without its mark? --encoding utf-16-le)" if nul > WIDE_SHARE * total else ""
    return Issue("binary", nul, f"{nul / total:.1%} of it is NUL: this is not text{wide}")


def _one_character(counts: Mapping[str, int]) -> Issue | None:
    if len(counts) != 1:
        return None
    return Issue(
        "one character",
        sum(counts.values()),
        "one character over and over: there is little to learn",
    )


def _listed(kind: str, counts: Mapping[str, int]) -> Issue | None:
    if not counts:
        return None
    total, noun = sum(counts.values()), _NOUNS[kind]
    sentence = f"{total:,} {noun[total > 1]}"
    if kind not in ("form feed", "soft hyphen"):
        often = sorted(counts.items(), key=lambda item: -item[1])
        sentence += ": " + ", ".join(f"{count:,} {_named(c)}" for c, count in often[:EXAMPLES])
        rest = len(often) - EXAMPLES
        sentence += f" and {counted(rest, 'more kind')}" if rest > 0 else ""
    return Issue(kind, total, sentence)


def _named(character: str) -> str:
    return f"U+{ord(character):04X} {unicode_name(character)}"


def unicode_name(character: str) -> str:
    """Return Unicode's name of a character, or a name for a control character."""
    if character == "\x7f":
        return "DELETE"
    if character < " ":
        return unicodedata.name(chr(0x2400 + ord(character))).removeprefix("SYMBOL FOR ")
    return unicodedata.name(character, f"({_category_name(character)})")


def _category_name(character: str) -> str:
    names = {"Cc": "control character", "Co": "private use", "Cn": "no character of Unicode"}
    return names.get(unicodedata.category(character), "no name")


def markup_kind(source: Source, start: bytes) -> str:
    """Return the markup in a file that is read as plain text, by its first bytes; mostly none."""
    if source.format != "text":
        return ""
    return next((kind for kind, pattern in _MARKUP.items() if pattern.match(start)), "")


def markup_issues(names: Mapping[str, Iterable[str]]) -> list[Issue]:
    """Return the issue of each kind of markup, given the names of the files that have it."""
    issues = []
    for kind, files in names.items():
        found = list(files)
        others = f" and {counted(len(found) - 1, 'more file')}" if len(found) > 1 else ""
        verb = "are" if others else "is"
        issues.append(
            Issue(
                "markup",
                len(found),
                f"{found[0]}{others} {verb} {kind}, and the markup would be learned, too: save it "
                f"as plain text, or with a name in .{kind.lower()}",
            )
        )
    return issues


class LongLines:
    """Measures giant lines in blocks of UTF-8, looking at a few bytes of each."""

    def __init__(self) -> None:
        self._longest = 0
        self._line = 0  # characters of the line that has not ended

    def add(self, block: bytes) -> None:
        """Look at the next block, which is shorter than two giant lines."""
        first = block.find(b"\n")
        if first < 0:
            self._line += count_characters(block)
            return
        self._note(self._line + count_characters(block[:first]))
        if len(block) > GIANT_LINE:  # a giant line in it covers its middle
            middle = len(block) // 2
            before, after = block.rfind(b"\n", 0, middle), block.find(b"\n", middle)
            self._note(count_characters(block[before + 1 : after]))
        self._line = count_characters(block[block.rfind(b"\n") + 1 :])

    def _note(self, length: int) -> None:
        self._longest = max(self._longest, length)

    @property
    def longest(self) -> int:
        """The characters of the longest line, if that is a giant one; else of some line.

        Only lines that end in LF are told apart.
        """
        return max(self._longest, self._line)
