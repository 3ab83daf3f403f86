"""Issues of a text: what suggests that it was damaged before it came here."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from charrnn.text.profile.characters import CharacterStatistics, unicode_name

GIANT_LINE = 100_000  # characters; a printed page has some 3,000
BINARY_SHARE = 0.001  # of NUL in a text
EXAMPLES = 3


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


def character_issues(statistics: CharacterStatistics) -> list[Issue]:
    """Return the issues that the counts of characters and lines show."""
    counts = statistics.counts()
    issues = [
        _mixed_newlines(statistics),
        _giant_line(statistics),
        _binary(statistics),
        _listed("control", counts, _is_control, "control characters"),
        _listed("replacement", counts, "\ufffd".__eq__, "signs of text that was lost"),
        _listed("byte order mark", counts, "\ufeff".__eq__, "byte order marks in the text"),
        _listed("invisible", counts, _is_invisible, "invisible format characters"),
        _listed("unassigned", counts, _is_unassigned, "not characters of Unicode"),
        _listed("private use", counts, _is_private, "characters without a common meaning"),
        _listed("combining", counts, _is_accent, "accents apart from their letters"),
    ]
    return [issue for issue in issues if issue]


def _mixed_newlines(statistics: CharacterStatistics) -> Issue | None:
    kinds = {name: count for name, count in statistics.newlines().items() if count}
    if len(kinds) < 2:
        return None
    names = {"lf": "LF", "crlf": "CR LF", "cr": "CR alone"}
    counts = ", ".join(f"{count:,} {names[name]}" for name, count in kinds.items())
    return Issue("newlines", sum(kinds.values()) - max(kinds.values()), f"line ends: {counts}")


def _giant_line(statistics: CharacterStatistics) -> Issue | None:
    length, number = statistics.longest_line, statistics.longest_line_number
    if length < GIANT_LINE:
        return None
    return Issue("giant line", length, f"line {number:,} has {length:,} characters")


def _binary(statistics: CharacterStatistics) -> Issue | None:
    nul, total = statistics.count(0), statistics.characters
    if nul <= BINARY_SHARE * total:
        return None
    return Issue("binary", nul, f"{nul / total:.1%} of it is NUL: this is not text")


def _listed(
    kind: str, counts: dict[str, int], matches: Callable[[str], bool], what: str
) -> Issue | None:
    matching = {character: count for character, count in counts.items() if matches(character)}
    if not matching:
        return None
    some = list(matching.items())[:EXAMPLES]
    named = ", ".join(f"{count:,} {_named(character)}" for character, count in some)
    more = f" and {len(matching) - EXAMPLES} more kinds" if len(matching) > EXAMPLES else ""
    total = sum(matching.values())
    return Issue(kind, total, f"{total:,} {what}: {named}{more}")


def _named(character: str) -> str:
    return f"U+{ord(character):04X} {unicode_name(character)}"


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in "\n\r\t"


def _is_invisible(character: str) -> bool:
    """Match format characters, except the joiners of scripts and emoji and byte order marks."""
    return unicodedata.category(character) == "Cf" and character not in "\u200c\u200d\ufeff"


def _is_unassigned(character: str) -> bool:
    return unicodedata.category(character) == "Cn"


def _is_private(character: str) -> bool:
    return unicodedata.category(character) == "Co"


def _is_accent(character: str) -> bool:
    """Match accents: with most letters, Unicode has one character for both."""
    return "\u0300" <= character <= "\u036f"
