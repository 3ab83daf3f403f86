"""Make text safe for a terminal: show control, escape, bidi and invisible characters.

Text from a corpus, a prompt, a file name or a model can hold anything, including sequences that
move the cursor, recolor the screen, reverse the reading direction or hide text. Pipes and files get
the exact text; text for a terminal passes through here. Of the characters without width, only
combining marks and the two joiners stay, which scripts and emoji need.
"""

from __future__ import annotations

from functools import cache
from typing import TextIO

# Unicode has pictures of C0 controls (U+2400..) and of DEL. Everything else is shown as its code.
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_PICTURES[0x7F] = "␡"
_CODES = [
    *range(0x80, 0xA0),  # C1 controls: 0x9B starts an escape sequence by itself
    0xAD,  # soft hyphen
    0x034F,  # combining grapheme joiner
    0x061C,  # Arabic letter mark
    *range(0x115F, 0x1161),  # Hangul fillers
    *range(0x17B4, 0x17B6),  # invisible Khmer vowels
    *range(0x180B, 0x1810),  # Mongolian separator and selectors
    0x200B,  # zero-width space
    *range(0x200E, 0x2010),  # left-to-right and right-to-left marks
    *range(0x2028, 0x202F),  # line and paragraph separators, bidi embeddings and overrides
    *range(0x2060, 0x2070),  # word joiner, invisible operators, bidi isolates, old format controls
    0x3164,  # Hangul filler
    0xFEFF,  # byte order mark, once a zero-width no-break space
    0xFFA0,  # half-width Hangul filler
    *range(0xFFF0, 0xFFFC),  # interlinear annotations, and their unassigned neighbors
    *range(0x13430, 0x13440),  # hieroglyph format controls
    *range(0x1BCA0, 0x1BCA4),  # shorthand format controls
    *range(0x1D173, 0x1D17B),  # musical format controls
    *range(0xE0000, 0xE0100),  # tags: invisible text inside the text
    *range(0xE0100, 0xE01F0),  # variation selectors, which can spell invisible text, too
    *range(0xD800, 0xE000),  # lone surrogates cannot be encoded at all
]
# Marks for what `visible` leaves as it is. The font of pictures has these, but no U+2400 ...
LINE_END, TAB, SPACE = "↵", "→", "␣"
_ONE_LINE = {ord("\n"): LINE_END, ord("\t"): TAB}
_VISIBLE = {**_PICTURES, **{code: f"<U+{code:04X}>" for code in _CODES}}


def visible(text: str) -> str:
    """Replace everything in `text` that could control a terminal, or hide, by a visible form.

    Line feeds and tabs stay; CR LF becomes LF.
    """
    return text.replace("\r\n", "\n").translate(_VISIBLE)


@cache
def _json_escapes() -> dict[int, str]:
    units = {code: chr(code).encode("utf-16-be", "surrogatepass").hex() for code in (0x7F, *_CODES)}
    return {
        code: "".join(f"\\u{unit[start : start + 4]}" for start in range(0, len(unit), 4))
        for code, unit in units.items()
    }


def json_visible(text: str) -> str:
    """Escape what `visible` would replace in JSON; its values stay the same."""
    return text.translate(_json_escapes())


def one_line(text: str) -> str:
    """Return `visible(text)` on one line, with line feeds and tabs replaced by marks."""
    return visible(text).translate(_ONE_LINE)


def with_line_ends(text: str) -> str:
    """Return `visible(text)` with a mark before each line feed and in place of each tab."""
    return visible(text).replace("\n", f"{LINE_END}\n").replace("\t", TAB)


def symbol_mark(symbol: str) -> str:
    """Return a symbol for a table or a picture: `one_line`, and a space can be seen too."""
    return one_line(symbol).replace(" ", SPACE)


def character_name(character: str) -> str:
    """Return a character for a message: ``'a' (U+0061)``."""
    return f"'{one_line(character)}' (U+{ord(character):04X})"


class TextWriter:
    """Writes text to a stream, piece by piece: exact to files and pipes, visible on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._to_terminal = stream.isatty()
        self._held = ""  # a CR, whose LF may come with the next piece
        self._at_line_start = True

    def write(self, piece: str) -> None:
        """Write `piece`; call `flush` to show it at once."""
        if not piece:
            return
        if self._to_terminal:
            piece = self._held + piece
            self._held = "\r" if piece.endswith("\r") else ""
            piece = visible(piece[: len(piece) - len(self._held)])
        self._stream.write(piece)
        if piece:
            self._at_line_start = piece.endswith("\n")

    def flush(self) -> None:
        """Pass everything written so far to the operating system."""
        self._stream.flush()

    def finish(self) -> None:
        """End the text: move a terminal's cursor to a new line; add nothing to a file."""
        if self._to_terminal:
            self._stream.write(visible(self._held))
            if self._held or not self._at_line_start:
                self._stream.write("\n")
            self._held, self._at_line_start = "", True
        self.flush()
