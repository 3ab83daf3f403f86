"""What may reach a terminal: control, escape and bidi characters are made visible.

Text from a corpus, a prompt, a file name or a model can hold anything, also sequences that
move the cursor, recolour the screen or reverse the reading direction. Pipes and files get the
exact text; what goes to a terminal passes through here.
"""

from __future__ import annotations

from typing import TextIO

# C0 has pictures of its own in Unicode (U+2400..); DEL too. Everything else is shown by its code.
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_PICTURES[0x7F] = "␡"
_CODES = [
    *range(0x80, 0xA0),  # C1 controls: 0x9B alone starts an escape sequence
    0x061C,  # Arabic letter mark
    *range(0x200E, 0x2010),  # left-to-right and right-to-left marks
    *range(0x2028, 0x202F),  # line and paragraph separators, bidi embeddings and overrides
    *range(0x2066, 0x206A),  # bidi isolates
    0xFEFF,  # byte order mark
    *range(0xD800, 0xE000),  # lone surrogates cannot be encoded at all
]
_ESCAPED = {code: f"\\u{code:04x}" for code in [0x7F, *_CODES]}  # JSON escapes C0 itself
_VISIBLE = {**_PICTURES, **{code: f"<U+{code:04X}>" for code in _CODES}}


def visible(text: str) -> str:
    """`text` with everything that could steer a terminal replaced by a visible form.

    Line feeds and tabs stay; CR LF becomes LF.
    """
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def escaped(text: str) -> str:
    """JSON with the same characters as escapes of its own: the value that is read is exact."""
    return text.translate(_ESCAPED)


def symbol_name(symbol: str) -> str:
    """One symbol for a message: ``'a' (U+0061)``."""
    shown = visible(symbol).replace("\n", "␊").replace("\t", "␉")
    return f"'{shown}' (U+{ord(symbol):04X})"


class TextWriter:
    """Writes pieces of text to a stream: exact to files and pipes, made visible on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._to_terminal = stream.isatty()
        self._held = ""  # a CR whose LF may come with the next piece
        self._at_line_start = True

    def write(self, piece: str) -> None:
        """Write `piece`; call `flush` to see it at once."""
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
        """Hand everything written so far to the operating system."""
        self._stream.flush()

    def finish(self) -> None:
        """End the text: a terminal's cursor goes to a new line, a file gets nothing added."""
        if self._to_terminal:
            self._stream.write(visible(self._held))
            if self._held or not self._at_line_start:
                self._stream.write("\n")
            self._held, self._at_line_start = "", True
        self.flush()
