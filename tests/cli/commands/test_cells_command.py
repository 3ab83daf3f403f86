from __future__ import annotations

from charrnn.cells import CELLS
from cli.conftest import Cli


def test_every_cell_is_listed_with_its_equation(cli: Cli) -> None:
    out = cli("cells").out
    for cell in CELLS.values():
        assert f"{cell.name}: {cell.title}" in out
        for line in cell.equation.splitlines():
            assert line in out


def test_json_has_the_same_cells(cli: Cli) -> None:
    result = cli("cells", "--json").json
    assert [row["cell"] for row in result["cells"]] == list(CELLS)
    assert {row["cell"]: row["equation"] for row in result["cells"]} == {
        name: cell.equation for name, cell in CELLS.items()
    }


def test_parameters_are_counted_for_the_given_size(cli: Cli) -> None:
    """V = 3, H = 2, E = 64: embedding 4 x 64, per block 2 x 64 + 2 x 2 + 2, output 3 x 2 + 3."""
    rows = cli("cells", "--hidden-size", 2, "--vocab-size", 3, "--json").json["cells"]
    counted = {row["cell"]: row["parameters"] for row in rows}
    block, rest = 2 * 64 + 2 * 2 + 2, 4 * 64 + 3 * 2 + 3
    assert counted["elman"] == block + rest
    assert counted["lstm"] == 4 * block + rest
    assert counted["gru-reset-after"] == 3 * block + 3 * 2 + rest  # it has a second bias


def test_an_invalid_size_is_refused(cli: Cli) -> None:
    assert "--hidden-size" in cli("cells", "--hidden-size", 0, code=2).sentence
