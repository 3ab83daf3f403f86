"""Replace characters of a prompt that are not in a model's vocabulary, or leave them out.

The replacement is the first of these that is in the vocabulary: the same character in other code
points (Unicode's canonical forms), its compatible form (a ligature's letters, an ellipsis' dots),
the usual plain form of a dash, space or letter, the letter without its marks; then each of them in
the other case. A quotation mark becomes the straight one, or else a mark that opens or closes as it
does; CR LF becomes LF. A character without a known replacement is left out.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from charrnn.terminal import character_name, visible
from charrnn.text.line_ends import CHARACTERS

# Replacements that people use and that Unicode does not call compatible.
_PLAIN = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\u2043\u00ad", "-"),
    **dict.fromkeys("\u2014\u2015", "--"),
    **dict.fromkeys("\u2022\u00b7\u2219", "*"),
    **dict.fromkeys("\t\v\f\u200b", " "),
    **dict.fromkeys(CHARACTERS.replace("\n", ""), "\n"),
    "\u2044": "/",
    "\u00d7": "x",
    "-": "\u2013",
    "\u00e6": "ae",
    "\u00c6": "AE",
    "\u0153": "oe",
    "\u0152": "OE",
    "\u00fe": "th",
    "\u00de": "Th",
    "\u00f0": "d",
    "\u00d0": "D",
    "\u0131": "i",
}
# Quotation marks: all of a kind, then what replaces one that opens and one that closes.
_QUOTES = (
    (
        "'\u2018\u2019\u201a\u201b\u2032\u2035\u00b4\u0060\u02bc\u2039\u203a",
        "'\u201a\u2018\u2039",
        "'\u2019\u2018\u203a",
    ),
    (
        '"\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u301d\u301e\u301f',
        '"\u201e\u201c\u00ab',
        '"\u201d\u201c\u00bb',
    ),
)
_OPENING = "\u2018\u201a\u201b\u2039\u201c\u201e\u201f\u00ab\u301d"
_BEFORE_OPENING = "([{-\u2013\u2014" + _OPENING


@dataclass
class Replaced:
    """A text that a model can read, and the changes that made it so.

    Attributes:
        text: the text.
        changes: how often each character was replaced, and by what ("" left it out).
    """

    text: str
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Describe the changes."""
        listed = [_describe(*change, count) for change, count in self.changes.most_common(8)]
        more = len(self.changes) - len(listed)
        return "; ".join(listed) + (f"; and {more} more" if more else "")


def _describe(character: str, replacement: str, count: int) -> str:
    done = f"-> {_name(replacement)}" if replacement else "left out"
    return f"{_name(character)} {done}" + (f" ({count} times)" if count > 1 else "")


def _name(characters: str) -> str:
    return character_name(characters) if len(characters) == 1 else f"'{visible(characters)}'"


def replace(text: str, knows: Callable[[str], bool], *, nearest: bool) -> Replaced:
    """Replace or leave out every unknown character of `text`.

    Args:
        text: a prompt.
        knows: whether a string of characters is in the vocabulary.
        nearest: whether to look for a known form before leaving a character out.
    """
    unknown = {character for character in set(text) if not knows(character)}
    if not unknown:
        return Replaced(text)
    known_form = {each: nearest_form(each, knows) if nearest else "" for each in unknown}
    pieces: list[str] = []
    changes: Counter[tuple[str, str]] = Counter()
    index = 0
    while index < len(text):
        written = text[index]
        form = known_form.get(written, written)
        if nearest and written in unknown:
            form = _quote(text, index, knows) or form
        if nearest:
            written, form = _composed(text, index, unknown, knows) or (written, form)
        if written != form:
            changes[written, form] += 1
        pieces.append(form)
        index += len(written)
    return Replaced("".join(pieces), changes)


def _quote(text: str, index: int, knows: Callable[[str], bool]) -> str:
    """Return a known quotation mark for the one at `index`; nothing if it is none."""
    mark, before = text[index], text[index - 1 : index]
    for marks, opening, closing in _QUOTES:
        if mark in marks:
            straight = mark in "'\"\u0060\u00b4"
            opens = not before or before.isspace() or before in _BEFORE_OPENING
            forms = opening if mark in _OPENING or (straight and opens) else closing
            return next(filter(knows, forms), "")
    return ""


def _composed(
    text: str, index: int, unknown: set[str], knows: Callable[[str], bool]
) -> tuple[str, str] | None:
    """Return characters that have one form together, of which one is unknown, and that form.

    They are a letter with combining marks, or a CR LF.
    """
    if text.startswith("\r\n", index) and "\r" in unknown and knows("\n"):
        return "\r\n", "\n"
    end = index + 1
    while end < len(text) and unicodedata.combining(text[end]):
        end += 1
    for stop in range(end, index + 1, -1):
        written = text[index:stop]
        form = unicodedata.normalize("NFC", written)
        if not unknown.isdisjoint(written) and len(form) < len(written) and knows(form):
            return written, form
    return None


def nearest_form(character: str, knows: Callable[[str], bool]) -> str:
    """Return the known form of a character that is nearest to it; "" if there is none."""
    return next((form for form in _forms(character) if form and knows(form)), "")


def _forms(character: str) -> Iterator[str]:
    """Yield other ways to write a character, the nearest first."""
    for form in _same_case(character):
        yield form
    for form in _same_case(character):
        yield from (form.lower(), form.upper(), form.casefold())


def _same_case(character: str) -> Iterator[str]:
    for name in ("NFC", "NFD", "NFKC", "NFKD"):
        yield unicodedata.normalize(name, character)
    yield _PLAIN.get(character, "")
    if unicodedata.category(character) == "Zs":
        yield " "
    plain = unicodedata.normalize("NFKD", character)
    yield "".join(_PLAIN.get(part, part) for part in plain)
    yield "".join(part for part in plain if not unicodedata.combining(part))
    letter = unicodedata.name(character, "").split(" WITH ")[0]  # o with stroke -> o
    try:
        yield unicodedata.lookup(letter)
    except KeyError:
        return
