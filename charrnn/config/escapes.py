"""Escapes in texts that a user gives: line ends, tabs and any character, written in ASCII."""

from __future__ import annotations

import re

_HEX = r"[\da-fA-F]"
_ESCAPE = re.compile(
    rf"\\(?:([nrt\\])|x({_HEX}{{2}})|u({_HEX}{{4}})|U(00(?:0{_HEX}|10){_HEX}{{4}}))", re.ASCII
)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def unescape(text: str) -> str:
    r"""Return a text with the escapes \n, \r, \t, \\, \xHH, \uHHHH and \UHHHHHHHH replaced.

    Any other backslash stays as it is.
    """

    def replaced(match: re.Match[str]) -> str:
        letter, *codes = match.groups()
        return _ESCAPED[letter] if letter else chr(int(next(filter(None, codes)), 16))

    return _ESCAPE.sub(replaced, text)


def escape(text: str) -> str:
    """Return a text that `unescape` turns into `text`, on one line."""
    for letter, character in reversed(_ESCAPED.items()):
        text = text.replace(character, f"\\{letter}")
    return text


def has_unknown_escape(text: str) -> bool:
    """Return whether a text has a backslash that `unescape` leaves as it is."""
    return "\\" in _ESCAPE.sub("", text)
