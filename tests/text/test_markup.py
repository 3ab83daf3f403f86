"""Markup as it is parsed; whole documents are in `test_extract.py`."""

from __future__ import annotations

from charrnn.text.markup import HtmlTarget, lines


def test_empty_cells_cost_no_more_than_others() -> None:
    """Each cell once looked at all empty ones before it: hours for so many."""
    row = b"<table><tr>" + b"<td> " * 400_000 + b"<td>one<td> <td>two"
    assert "".join(lines(HtmlTarget(), [row])) == "one\t \ttwo\n"
