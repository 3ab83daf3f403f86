"""The functions of compiled code, compiled and with the compiler switched off."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numba import njit

from charrnn.kernels import scalars

EDGES = [0.0, -0.0, 1e-30, -1e-30, 8.999, 9.0, 9.001, -9.5, 80.0, -80.0, np.inf, -np.inf, np.nan]
NUMBERS = np.array([*np.linspace(-12, 12, 4001), *EDGES], np.float32)


def over(function: Any) -> Any:
    """`function` of every number, in compiled code."""

    @njit
    def run(numbers: Any) -> Any:
        return np.array([function(number) for number in numbers])

    return run(NUMBERS)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("tanh", np.tanh),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("relu", lambda x: np.where(np.isnan(x), x, np.maximum(x, 0))),
        ("positive", lambda x: (x > 0).astype(np.float64)),
    ],
)
def test_nonlinear_functions(name: str, exact: Any) -> None:
    with np.errstate(over="ignore"):
        wanted = exact(NUMBERS.astype(np.float64))
    np.testing.assert_allclose(over(getattr(scalars, name)), wanted, rtol=0, atol=5e-7)


def test_half_there_and_back_is_half() -> None:
    bits = np.arange(2**16, dtype=np.uint16)

    @njit
    def there_and_back(bits: Any) -> Any:
        return np.array([scalars.to_half(scalars.from_half(number)) for number in bits])

    is_number = (bits & 0x7F80 != 0x7F80) | (bits & 0x7F == 0)
    found = there_and_back(bits)
    np.testing.assert_array_equal(found[is_number], bits[is_number])
    assert (found[~is_number] & 0x7F != 0).all()  # still not a number


PLAIN = """
import numpy as np, torch
from charrnn.cells import CELLS
from charrnn.kernels import rows, scaffold, scalars, sequence

def half(*layer):
    return scaffold.sequence(*layer, half=True)

def whole(*layer):
    return scaffold.sequence(*layer, half=False)

torch.manual_seed(0)
for cell in CELLS.values():
    weights = {name: torch.randn(shape) / 2 for name, shape in cell.shapes(3, 4).items()}
    for weight in weights.values():
        weight.requires_grad_()
    state = tuple(torch.randn(2, 4) for _ in cell.states)
    x = torch.randn(3, 2, 3)
    results = []
    for run in (sequence.reference, whole, half):
        y, _ = run(cell, x, state, weights)
        results.append([y, *torch.autograd.grad((y**2).sum(), list(weights.values()))])
    for near, found in ((1e-5, results[1]), (0.1, results[2])):
        for a, b in zip(found, results[0]):
            assert (a - b).abs().max() <= near * max(1, b.abs().max()), cell.name
assert scalars.relu(np.float32(-1)) == 0 and scalars.positive(np.float32(2)) == 1
assert not hasattr(scalars.tanh, "py_func")  # the compiler was really off
"""


def test_the_same_without_the_compiler(tmp_path: Any) -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "XDG_CACHE_HOME": str(tmp_path)}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", PLAIN],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
