"""How ``charrnn info`` shows what a model file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn.text.tokenizer import Tokenizer

MAX_SHOWN = 200  # characters of a vocabulary


def vocabulary_line(tokenizer: Tokenizer) -> str:
    """Return a vocabulary on one line, shortened if it is long."""
    from charrnn.text.tokenizer import CharTokenizer

    if isinstance(tokenizer, CharTokenizer):
        rest = " and all bytes" if tokenizer.byte_fallback else ""
        return _shortened(tokenizer.alphabet) + rest
    pieces = [piece.decode("utf-8", "replace") for piece in tokenizer.token_bytes[256:]]
    return f"{tokenizer.kind}, all bytes" + (
        f" and {_shortened(' | '.join(pieces))}" if pieces else ""
    )


def _shortened(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"


def flat(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Return nested fields in order, with dotted names."""
    rows: list[tuple[str, object]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            rows += flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows
