"""The page of ``charrnn inspect cells --html``: a text colored by the unit that its reader picks.

The page needs no other file. It holds the activations, a byte for each unit and token.
"""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.cli.display.activation_text import color
from charrnn.cli.display.templates import fill
from charrnn.cli.shared import note
from charrnn.inspection.units import absolute_limit
from charrnn.storage.files import json_text, write_atomically
from charrnn.terminal import with_line_ends

if TYPE_CHECKING:
    from charrnn.inspection.units import TrackedUnits, Unit

MAX_BYTES = 6_000_000  # of activations
LEVELS = 256


def write_page(path: Path, name: str, found: TrackedUnits, unit: Unit | None) -> None:
    """Write the page; the arguments are those of `unit_page`."""
    write_atomically(path, unit_page(name, found, unit).encode())
    length = shown_tokens(found)
    part = f", the first {length:,} tokens" if length < len(found.tokens) else ""
    note(f"written: {path}{part}")


def shown_tokens(found: TrackedUnits) -> int:
    """Return how many tokens of the text fit into a page."""
    parts = found.activations.parts.values()
    bytes_per_token: int = sum(values.shape[0] * values.shape[2] for values in parts)
    return min(len(found.tokens), max(1, MAX_BYTES // bytes_per_token))


def unit_page(name: str, found: TrackedUnits, unit: Unit | None) -> str:
    """Return the page of a text read by the model `name`.

    It starts with `unit`, or else with the unit that tracks best.
    """
    length = shown_tokens(found)
    parts, limits = _parts(found, length)
    layers, _, units = next(iter(found.activations.parts.values())).shape
    best = [
        (feature, best.layer, best.part, best.number, tracker.score)
        for feature, ((best, tracker), *_) in found.trackers.items()
    ]
    first = (unit.layer, unit.part, unit.number) if unit else None
    data = {
        "symbols": [with_line_ends(token) for token in found.tokens[:length]],
        "layers": layers,
        "units": units,
        "parts": parts,
        "ends": limits,
        "colors": [color(level / (LEVELS - 1)) for level in range(LEVELS)],
        "found": best,
        "first": first or (best[0][1:4] if best else (1, found.activations.states[-1], 1)),
    }
    # No text can end the script: a tag in JSON is spelled without its bracket.
    script = json_text(data).replace("<", "\\u003c")
    title = html.escape(f"{name}: what its units do")
    return fill("unit_page.html", title=title, data=script)


def _parts(found: TrackedUnits, length: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the activations of each part as base64 of bytes (L, H, N), and each unit's limit."""
    parts: dict[str, str] = {}
    limits: dict[str, Any] = {}
    for name, values in found.activations.parts.items():
        share: NDArray[Any]
        if name in found.activations.gates:
            layers, _, units = values.shape
            share, limits[name] = values, [[None] * units] * layers
        else:
            limit = absolute_limit(values, axis=1)  # (L, H)
            share, limits[name] = (values / limit[:, None] + 1) / 2, limit.tolist()
        levels = np.rint(share[:, :length] * (LEVELS - 1))
        levels = np.clip(levels, 0, LEVELS - 1).astype(np.uint8)
        parts[name] = base64.b64encode(levels.transpose(0, 2, 1).tobytes()).decode()
    return parts, limits
