"""The scaffold against the reference: outputs, all gradients, cuts, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from torch import Tensor

from charrnn.cells import CELLS, Cell
from charrnn.errors import OptionError
from charrnn.kernels import rows, scaffold, scalars, sequence

CPU = torch.device("cpu")
# bfloat16 keeps 8 bits: a product's operands and its result are off by 2^-9 of their size each.
TOLERANCE = {False: 1e-5, True: 2e-2}
# A rectified unit near zero may be on in one and off in the other, and a gradient with it: of some
# 360 units that are on, three are enough for sqrt(3 / 360) = 0.09 of the gradient's length.
RECTIFIED_TOLERANCE = {False: 1e-5, True: 0.15}
Case = tuple[Tensor, dict[str, Tensor], tuple[Tensor, ...]]


def make_case(cell: Cell, steps: int, batch: int, size: int, hidden: int) -> Case:
    """Input, parameters and state, random, all of them wanting gradients."""
    torch.manual_seed(steps + batch + hidden)
    x = torch.randn(steps, batch, size, requires_grad=True)
    weights = {
        name: (torch.randn(shape) / (2 * shape[-1] ** 0.5)).requires_grad_()
        for name, shape in cell.shapes(size, hidden).items()
    }
    state = tuple((torch.randn(batch, hidden) * 0.5).requires_grad_() for _ in cell.states)
    return x, weights, state


def outcome(run: sequence.Sequence, cell: Cell, case: Case) -> list[Tensor]:
    """Outputs, last state and all gradients of a loss that uses all of them."""
    x, weights, state = case
    y, after = run(cell, x, state, weights)
    loss = (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum()
    loss = loss + sum((part**2).sum() for part in after)
    gradients = torch.autograd.grad(loss, [x, *weights.values(), *state])
    return [y.detach(), *(part.detach() for part in after), *gradients]


def scaffolded(half: bool) -> sequence.Sequence:
    backend = sequence.select(CELLS["lstm"], CPU, "bfloat16" if half else "float32", "scaffold")
    return backend.run


def assert_near(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    for a, b in zip(found, wanted, strict=True):
        scale = max(b.numel() ** 0.5, float(b.norm()))
        assert float((a - b).norm()) <= tolerance * scale


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("steps", "batch", "size", "hidden"),
    [(1, 1, 1, 1), (5, 3, 7, 13), (2, 17, 5, 33), (9, 2, 64, 40)],
)
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_reference(
    name: str, steps: int, batch: int, size: int, hidden: int, half: bool
) -> None:
    cell = CELLS[name]
    case = make_case(cell, steps, batch, size, hidden)
    wanted = outcome(sequence.reference, cell, case)
    tolerance = (RECTIFIED_TOLERANCE if name == "irnn" else TOLERANCE)[half]
    assert_near(outcome(scaffolded(half), cell, case), wanted, tolerance)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CELLS)
def test_a_window_cut_anywhere_equals_the_whole(name: str, half: bool) -> None:
    cell, run = CELLS[name], scaffolded(half)
    x, weights, state = make_case(cell, 6, 3, 4, 9)
    whole, last = run(cell, x, state, weights)
    for cut in range(1, 6):
        first, between = run(cell, x[:cut], state, weights)
        second, after = run(cell, x[cut:], between, weights)
        tolerance = TOLERANCE[half]
        torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=tolerance)
        for a, b in zip(after, last, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CELLS)
def test_not_a_number_goes_in_and_comes_out(name: str, half: bool) -> None:
    cell = CELLS[name]
    x, weights, state = make_case(cell, 3, 2, 4, 5)
    with torch.no_grad():
        x[1, 0, 0] = float("nan")
    y, _ = scaffolded(half)(cell, x, state, weights)
    assert torch.isfinite(y[0]).all()
    assert torch.isnan(y[1:, 0]).all()
    assert torch.isfinite(y[:, 1]).all()


@pytest.mark.parametrize("name", CELLS)
def test_threads_share_the_rows_without_changing_them(name: str) -> None:
    cell = CELLS[name]
    case = make_case(cell, 4, 5, 3, 8)
    one = outcome(scaffolded(False), cell, case)
    torch.set_num_threads(3)
    try:
        three = outcome(scaffolded(False), cell, case)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert_near(three, one, 1e-6)


def test_input_without_gradient_gets_none() -> None:
    cell = CELLS["lstm"]
    x, weights, state = make_case(cell, 3, 2, 4, 5)
    y, _ = scaffold.sequence(cell, x.detach(), state, weights, half=False)
    y.sum().backward()
    assert x.grad is None
    assert weights["weight_ih"].grad is not None


def test_bfloat16_rounds_to_nearest_even_and_keeps_not_a_number() -> None:
    numbers = np.array(
        [1.0, -2.5, 3.14159, 1 + 2**-8, 1 + 3 * 2**-8, 1e-30, 65504.0, np.inf, -np.inf, np.nan],
        np.float32,
    )

    @njit
    def convert(numbers: Any) -> Any:
        return np.array([scalars.to_half(number) for number in numbers])

    bits = convert(numbers)
    wanted = torch.from_numpy(numbers).to(torch.bfloat16)
    found = torch.from_numpy(bits).view(torch.bfloat16)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def test_compiled_code_is_kept_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "cache_folder", lambda: tmp_path)
    rows.compiled.cache_clear()
    module = rows._load("X = 1\n")
    (kept,) = tmp_path.glob("charrnn_rows_*.py")
    assert kept.stem == module.__name__
    assert rows._load("X = 1\n") is module
    rows.compiled.cache_clear()


def test_a_home_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(rows.platformdirs, "user_cache_path", lambda name: blocked / "no")
    folder = rows.cache_folder()
    assert folder.is_dir()
    assert blocked not in folder.parents


class TestSelect:
    def test_bfloat16_only_where_the_cpu_multiplies_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for able, expected in ((True, ("scaffold", "bfloat16")), (False, ("library", "float32"))):
            monkeypatch.setattr(sequence, "multiplies_bfloat16", lambda able=able: able)
            kernel = sequence.select(CELLS["lstm"], CPU)
            assert (kernel.backend, kernel.precision) == expected

    def test_wishes_are_granted(self) -> None:
        for backend in ("reference", "library", "scaffold"):
            kernel = sequence.select(CELLS["elman"], CPU, "float32", backend)
            assert kernel.backend == backend

    @pytest.mark.parametrize(
        ("device", "precision", "backend"),
        [
            ("cuda", "auto", "scaffold"),
            ("cuda", "bfloat16", "auto"),
            ("cpu", "bfloat16", "library"),
        ],
    )
    def test_what_cannot_be_is_refused(self, device: str, precision: str, backend: str) -> None:
        with pytest.raises(OptionError, match="use auto"):
            sequence.select(CELLS["lstm"], torch.device(device), precision, backend)
