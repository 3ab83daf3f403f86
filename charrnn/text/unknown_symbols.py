"""What to do with symbols of a prompt that a model has never seen: refuse, leave out, or replace.

The nearest known writing of a symbol is looked for in this order: the same symbol in other code
points (Unicode's canonical forms), its compatible form (a ligature's letters, an ellipsis' dots),
the usual plain form of a quote, dash, space or letter, the letter without its marks, each of them
also in the other case. A symbol of which no form is known is left out.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from charrnn.terminal import symbol_name, visible

# What Unicode does not call compatible, and people write for one another.
_PLAIN = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u00b4\u0060\u02bc\u2039\u203a", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u301d\u301e\u301f", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\u00ad", "-"),
    **dict.fromkeys("\u2022\u00b7\u2219", "*"),
    **dict.fromkeys("\t\v\f\u200b", " "),
    **dict.fromkeys("\r\x85\u2028\u2029", "\n"),
    "\u2044": "/",
    "\u00d7": "x",
    "'": "\u2019",
    '"': "\u201d",
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


@dataclass
class Replaced:
    """A text that a model can read, and what was changed to make it so.

    Attributes:
        text: the text.
        changes: how often each symbol was replaced, and by what ("" left it out).
    """

    text: str
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        """The changes in words."""
        listed = [_describe(*change, count) for change, count in self.changes.most_common(8)]
        more = len(self.changes) - len(listed)
        return "; ".join(listed) + (f"; and {more} more" if more else "")


def _describe(symbol: str, replacement: str, count: int) -> str:
    done = f"-> {_name(replacement)}" if replacement else "left out"
    return f"{_name(symbol)} {done}" + (f" ({count} times)" if count > 1 else "")


def _name(symbols: str) -> str:
    return symbol_name(symbols) if len(symbols) == 1 else f"'{visible(symbols)}'"


def replace(text: str, knows: Callable[[str], bool], *, nearest: bool) -> Replaced:
    """`text` with every unknown symbol left out, or with its nearest known form in its place.

    Args:
        text: a prompt.
        knows: whether a model can read these symbols.
        nearest: look for a known form before leaving a symbol out.
    """
    unknown = {symbol for symbol in set(text) if not knows(symbol)}
    if not unknown:
        return Replaced(text)
    known_form = {symbol: _nearest(symbol, knows) if nearest else "" for symbol in unknown}
    pieces: list[str] = []
    changes: Counter[tuple[str, str]] = Counter()
    place = 0
    while place < len(text):
        written = text[place]
        form = known_form.get(written, written)
        if nearest:
            written, form = _composed(text, place, unknown, knows) or (written, form)
        if written != form:
            changes[written, form] += 1
        pieces.append(form)
        place += len(written)
    return Replaced("".join(pieces), changes)


def _composed(
    text: str, place: int, unknown: set[str], knows: Callable[[str], bool]
) -> tuple[str, str] | None:
    """A letter and unknown marks after it (or an unknown one before), and the letter they make."""
    end = place + 1
    while end < len(text) and unicodedata.combining(text[end]):
        end += 1
    for stop in range(end, place + 1, -1):
        written = text[place:stop]
        form = unicodedata.normalize("NFC", written)
        if not unknown.isdisjoint(written) and len(form) < len(written) and knows(form):
            return written, form
    return None


def _nearest(symbol: str, knows: Callable[[str], bool]) -> str:
    return next((form for form in _forms(symbol) if form and knows(form)), "")


def _forms(symbol: str) -> Iterator[str]:
    """Other ways to write a symbol, the nearest first."""
    for form in _same_case(symbol):
        yield form
    for form in _same_case(symbol):
        yield from (form.lower(), form.upper(), form.casefold())


def _same_case(symbol: str) -> Iterator[str]:
    for name in ("NFC", "NFD", "NFKC", "NFKD"):
        yield unicodedata.normalize(name, symbol)
    yield _PLAIN.get(symbol, "")
    if unicodedata.category(symbol) == "Zs":
        yield " "
    plain = unicodedata.normalize("NFKD", symbol)
    yield "".join(_PLAIN.get(part, part) for part in plain)
    yield "".join(part for part in plain if not unicodedata.combining(part))
    letter = unicodedata.name(symbol, "").split(" WITH ")[0]  # o with stroke -> o
    try:
        yield unicodedata.lookup(letter)
    except KeyError:
        return
