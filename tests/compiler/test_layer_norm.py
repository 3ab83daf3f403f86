"""Layer normalization of compiled code against torch's, compiled and as plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from charrnn.cells.layer import EPSILON
from charrnn.compiler import layer_norm

# rows, blocks, units; the arrays hold two steps, two parts and rows before and behind
SIZES = [(1, 1, 2), (3, 4, 5), (2, 2, 33)]
STEP, PART, BEFORE = 1, 1, 2
UNTOUCHED = 777.0


def plain(function: Any) -> Any:
    """The function that was compiled."""
    return getattr(function, "py_func", function)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "plain"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("sizes", SIZES)
def test_forward_and_backward_equal_torch(
    sizes: tuple[int, int, int], bf16: bool, compiled: bool
) -> None:
    count, blocks, hidden = sizes
    width = blocks * hidden
    rng = np.random.default_rng(hidden)
    # a product's room is wider than what it gives
    r, dn = (3 * rng.standard_normal((2, 4, width + 7)).astype(np.float32) + 1 for _ in range(2))
    normal, scale = (
        np.full((2, BEFORE + count + 1, size), UNTOUCHED, np.float32) for size in (width, blocks)
    )
    forward, back = (
        layer_norm.normalize,
        layer_norm.unnormalize_bf16 if bf16 else layer_norm.unnormalize,
    )
    if not compiled:
        forward, back = plain(forward), plain(back)
    rows = slice(BEFORE, BEFORE + count)
    place = (STEP, BEFORE, BEFORE + count, hidden)
    forward(r, PART, normal, scale, *place)
    dr = np.full(normal.shape, 777, np.uint16 if bf16 else np.float32)
    back(dn, PART, normal, scale, dr, *place)

    given = torch.tensor(r[PART, :count, :width].reshape(count, blocks, hidden).astype(np.float64))
    given.requires_grad_()
    wanted = F.layer_norm(given, (hidden,), eps=EPSILON)
    d = torch.tensor(dn[PART, :count, :width].reshape(wanted.shape).astype(np.float64))
    (d_wanted,) = torch.autograd.grad(wanted, given, d)
    deviation = (given.var(-1, correction=0) + EPSILON) ** -0.5

    np.testing.assert_allclose(
        normal[STEP, rows], wanted.detach().reshape(count, width), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(scale[STEP, rows], deviation.detach(), rtol=1e-4)
    found = dr[STEP, rows]
    if bf16:
        found = (found.astype(np.uint32) << 16).view(np.float32)
    close = 2**-8 if bf16 else 1e-4
    largest = float(d_wanted.abs().max())
    np.testing.assert_allclose(
        found, d_wanted.reshape(count, width), rtol=close, atol=1e-4 * largest + 1e-5
    )
    for array in (normal, scale, dr):  # other steps and rows
        others = np.delete(
            array.reshape(-1, array.shape[2]),
            [STEP * array.shape[1] + row for row in range(BEFORE, BEFORE + count)],
            0,
        )
        assert (others == 777).all()


def test_not_a_number_stays_in_its_block() -> None:
    r = np.ones((1, 1, 6), np.float32)
    r[0, 0, 1] = np.nan
    normal, scale = np.zeros((1, 1, 6), np.float32), np.zeros((1, 1, 2), np.float32)
    layer_norm.normalize(r, 0, normal, scale, 0, 0, 1, 3)
    assert np.isnan(normal[0, 0, :3]).all()
    assert (normal[0, 0, 3:] == 0).all()  # of three equal values none differs from the mean
    assert np.isnan(scale[0, 0, 0])
    assert scale[0, 0, 1] == pytest.approx(EPSILON**-0.5)
