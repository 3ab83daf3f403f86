"""JSON as its standard defines it: without NaN and Infinity, which Python would read and write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn


def loads(text: str | bytes) -> Any:
    """Return the value of a JSON text; refuse what other languages could not read."""
    return json.loads(text, parse_constant=_refuse)


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one on each line, such as metrics.jsonl."""
    return [loads(line) for line in path.read_text("utf-8").splitlines()]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
