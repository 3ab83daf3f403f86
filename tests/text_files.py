"""Text files that tests write and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.errors import CorpusError
from charrnn.text import corpus


def write_file(folder: Path, content: bytes, name: str = "text.txt") -> Path:
    """Write a file, making its folder, and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refused(*paths: Path | str) -> str:
    """Return the message with which these texts are refused."""
    with pytest.raises(CorpusError) as caught:
        corpus.read(paths)
    return str(caught.value)
