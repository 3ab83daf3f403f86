from __future__ import annotations

from typing import Any

import pytest
import torch
from own_cells import OWN

from charrnn.cells import CELLS, Layer, find
from charrnn.export.equation import step_source
from charrnn.network.functions import FUNCTIONS

ALL = [*CELLS, *OWN]


def written(layer: Layer, zoneout: bool) -> Any:
    names: dict[str, Any] = {"torch": torch}
    exec(f"def step(x, W, state, v, zone):\n{step_source(layer, zoneout)}\n", names)
    return names["step"]


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_the_written_step_computes_what_the_equation_does(
    name: str, layer_norm: bool, depth: int
) -> None:
    cell = find(name)
    layer = Layer(cell, depth, layer_norm)
    random = torch.Generator().manual_seed(1)

    def values(count: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(3, 4, generator=random, dtype=torch.float64) for _ in range(count))

    x, state, v = values(len(cell.blocks)), values(len(cell.states)), values(layer.vector_values)
    for zone in ((), tuple(0.1 * k for k in range(1, len(cell.states) + 1))):

        def product_of_a_step() -> Any:
            left = iter(layer.products)
            return lambda operand: tuple((k + 1) * operand.flip(-1) for k in range(next(left)))

        expected = layer.step(FUNCTIONS)(x, product_of_a_step(), state, v, zone)
        found = written(layer, bool(zone))(x, product_of_a_step(), state, v, zone)
        assert len(found) == len(cell.states)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_used_once_stands_where_it_is_used() -> None:
    assert step_source(Layer(CELLS["lstm-coupled"]), False).splitlines() == [
        "    x_f, x_g, x_o = x",
        "    old_h, old_c = state",
        "    r_f, r_g, r_o = W(old_h)",
        "    t0 = torch.sigmoid(x_o + r_o)",
        "    t1 = torch.sigmoid(x_f + r_f)",
        "    t2 = torch.tanh(x_g + r_g)",
        "    t3 = old_c * t1 + t2 * (1.0 - t1)",
        "    t4 = torch.tanh(t3)",
        "    return t0 * t4, t3",
    ]


@pytest.mark.parametrize("name", ALL)
def test_lines_are_short(name: str) -> None:
    lines = step_source(Layer(find(name), 2, layer_norm=True), True).splitlines()
    assert max(map(len, lines)) <= 100
