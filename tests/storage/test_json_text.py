"""JSON that every parser reads: numbers that are not finite are null."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import strict_json

import charrnn
from charrnn.storage.files import finite, json_text, to_json

ODD = {"nats": math.nan, "parts": [1.5, math.inf, {"x": (-math.inf, "NaN", None, True)}]}
PLAIN = {"nats": None, "parts": [1.5, None, {"x": [None, "NaN", None, True]}]}


@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"ensure_ascii": False, "sort_keys": True}])
def test_numbers_that_are_not_finite_are_null(layout: dict[str, object]) -> None:
    assert strict_json.loads(json_text(ODD, **layout)) == PLAIN


def test_files_and_headers_hold_null_as_well() -> None:
    assert strict_json.loads(to_json(ODD)) == PLAIN
    assert finite(ODD) == PLAIN


def test_finite_values_are_written_as_python_writes_them() -> None:
    value = {"a": [1, 2.5e-300, -0.0, "é", None, False], "b": {"c": []}}
    assert json_text(value) == json.dumps(value)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_the_strict_parser_of_the_tests_refuses_what_python_alone_reads(text: str) -> None:
    json.loads(text)
    with pytest.raises(ValueError, match="is not JSON"):
        strict_json.loads(text)


def test_one_function_writes_all_json() -> None:
    """Elsewhere, JSON is only hashed, or made for a header whose numbers are finite already."""
    package = Path(charrnn.__file__).parent
    found = {
        f"{path.relative_to(package).as_posix()}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"json\.dumps?\(", line) and "sha256(json.dumps(" not in line
    }
    assert {line.split(":")[0] for line in found} == {"storage/files.py", "model/model_file.py"}
    assert len(found) == 3, found
