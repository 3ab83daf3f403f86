"""The text of RTF, as striprtf reads it, in time that grows with its length only.

striprtf looks for links, fonts and pictures with searches that take quadratic time or more on some
texts, such as a damaged one of a single line. What they look for is taken out, or made plain,
before: an address of a link is left out, as in other documents.
"""

from __future__ import annotations

import re

_BINARY = re.compile(r"\\\\|\\bin([a-z]*)(-?\d{0,10}) ?")  # an escaped backslash, or bytes
_FONTS = re.compile(r"\{[^{}]*\\fonttbl")
_FONT = re.compile(r"\\f(charset)?(\d{1,10})")
_BRACE = re.compile(r"[{}]")
_FIELD = re.compile(r"(\{\\field)\{", re.IGNORECASE)


def plain(text: str, errors: str) -> str:
    """Return the text of RTF.

    Args:
        text: the markup; a byte beyond ASCII is a character of cp1252.
        errors: what to do with bytes that cannot be decoded, a name as of Python.

    Raises:
        ValueError, LookupError, TypeError, OverflowError: it is damaged.
    """
    from striprtf.striprtf import rtf_to_text

    prepared = _FIELD.sub(r"\1\n{", _with_plain_fonts(_without_binary(text)))
    extracted: str = rtf_to_text(prepared, errors=errors)  # type: ignore[no-untyped-call]
    # Characters beyond U+FFFF, such as emoji, are two halves there.
    return extracted.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _without_binary(text: str) -> str:
    r"""Leave out the bytes that ``\bin`` counts."""
    parts, place = [], 0
    while found := _BINARY.search(text, place):
        end = found.end()
        if found[0] == r"\\":
            parts.append(text[place:end])
        else:
            parts.append(text[place : found.start()] + "\n")  # which means nothing in RTF
            if not found[1] and found[2]:
                end += max(int(found[2]), 0)
        place = end
    return "".join([*parts, text[place:]])


def _with_plain_fonts(text: str) -> str:
    """Rewrite the table of fonts with what striprtf needs to know: the character set of each."""
    start = _FONTS.search(text)
    if not start:
        return text
    depth, end = 1, len(text)
    for brace in _BRACE.finditer(text, start.end()):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            end = brace.end()
            break
    fonts, number = [], None
    for found in _FONT.finditer(text, start.start(), end):
        if not found[1]:
            number = found[2]
        elif number is not None:
            fonts.append(rf"{{\f{number}\fcharset{found[2]} name;}}" + "\n")
            number = None
    return rf"{text[: start.start()]}{{\fonttbl{''.join(fonts)}}}{text[end:]}"
