"""The HTML pages that commands write: files beside this one with ``$names`` to fill in."""

from __future__ import annotations

from pathlib import Path
from string import Template


def fill(file: str, **values: str) -> str:
    """Return the page in `file` with its placeholders replaced; the values are HTML already."""
    page = Path(__file__).with_name(file).read_text("utf-8")
    return Template(page).substitute(values)
