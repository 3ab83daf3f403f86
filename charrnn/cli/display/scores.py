"""Show a score: as JSON fields, and as lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.errors import counted

if TYPE_CHECKING:
    from charrnn.scoring import Score


def score_fields(score: Score) -> dict[str, Any]:
    """Return a score as JSON fields."""
    return {
        "characters": score.characters,
        "bytes": score.num_bytes,
        "nats": score.nats,
        "bpc": score.bpc,
        "bits_per_byte": score.bits_per_byte,
    }


def score_lines(score: Score) -> tuple[str, str, str]:
    """Return a score as three lines: nats and bits per character, bits per byte."""
    return (
        f"{score.nats:.4f} nats per character ({counted(score.characters, 'character')})",
        f"{score.bpc:.4f} bits per character",
        f"{score.bits_per_byte:.4f} bits per byte ({counted(score.num_bytes, 'byte')})",
    )
