"""Charts in the terminal; what `charrnn plot` draws is in `test_plot_command.py`."""

from __future__ import annotations

import re
import sys

import numba
import pytest

from charrnn.cli.display import plots


def test_any_number_of_curves_can_be_told_apart_without_colors() -> None:
    count = 30
    xs, ys = [[0.0, 1.0]] * count, [[float(k), float(k)] for k in range(count)]
    labels, colors = [f"curve {k}!" for k in range(count)], ["#ffffff"] * count
    drawn = plots.chart("title", xs, ys, labels, colors, width=100)
    marks = re.findall(r"(\S)\1 curve \d+!", drawn)
    assert len({*marks}) == len(marks) == count
    assert marks[:6] == [*"+xo*~."]


def test_a_chart_is_drawn_where_numba_may_cache_nothing_at_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a read-only system: numba then refuses to import uniplot."""

    class Refusing:
        def find_spec(self, name: str, *given: object) -> None:
            if name == "uniplot" and not numba.config.CACHE_DIR:  # type: ignore[attr-defined]
                raise RuntimeError("cannot cache function: no locator available")

    given = "title", [[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]], ["a"], ["#ffffff"]
    drawn = plots.chart(*given)  # its parts stay imported: they would be compiled again
    monkeypatch.delitem(sys.modules, "uniplot")
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    assert "3" in drawn
    assert plots.chart(*given) == drawn
