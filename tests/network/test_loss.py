"""The loss in pieces is the loss of all rows at once, and so is its gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.network import loss
from charrnn.text.streams import IGNORED

ROWS, READ, SYMBOLS = 7, 5, 4


def _given(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    made = torch.Generator().manual_seed(1)
    read, weight, bias = (
        torch.randn(*shape, generator=made, dtype=dtype).requires_grad_()
        for shape in ((ROWS, READ), (SYMBOLS, READ), (SYMBOLS,))
    )
    return read, torch.randint(0, SYMBOLS, (ROWS,), generator=made), weight, bias


@pytest.mark.parametrize("at_once", [1, SYMBOLS, 2 * SYMBOLS, 3 * SYMBOLS + 1, 10**6])
@pytest.mark.parametrize("factor", [1.0, -2.5])
def test_pieces_of_any_size_give_the_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, at_once: int, factor: float
) -> None:
    monkeypatch.setattr(loss, "LOGITS", at_once)
    read, targets, weight, bias = _given()
    plain = F.cross_entropy(F.linear(read, weight, bias), targets)
    found = loss.mean_nats(read, targets, weight, bias, bf16=False)
    assert found.item() == pytest.approx(plain.item(), rel=1e-14)
    given = (read, weight, bias)
    for ours, theirs in zip(
        torch.autograd.grad(found * factor, given),
        torch.autograd.grad(plain * factor, given),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
    each = F.cross_entropy(F.linear(read, weight, bias), targets, reduction="none")
    nats = loss.nats(read, targets, weight, bias, bf16=False)
    torch.testing.assert_close(nats, each.detach(), rtol=1e-14, atol=0)
    assert not nats.requires_grad


@pytest.mark.parametrize("at_once", [SYMBOLS, 10**6])
def test_rows_without_a_target_do_not_count(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(loss, "LOGITS", at_once)
    read, targets, weight, bias = _given()
    targets[[1, 4, 6]] = IGNORED
    plain = F.cross_entropy(F.linear(read, weight, bias), targets)
    found = loss.mean_nats(read, targets, weight, bias, bf16=False)
    assert found.item() == pytest.approx(plain.item(), rel=1e-14)
    given = (read, weight, bias)
    ours, theirs = (torch.autograd.grad(mean, given) for mean in (found, plain))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)
    assert not ours[0][[1, 4, 6]].any()


def test_the_gradient_is_that_of_finite_differences() -> None:
    read, targets, weight, bias = _given()

    def run(*given: Tensor) -> Tensor:
        return loss.mean_nats(given[0], targets, given[1], given[2], bf16=False)

    assert torch.autograd.gradcheck(run, (read, weight, bias))


def test_in_bfloat16_it_is_what_autograd_makes_of_the_same_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the processor does not multiply bfloat16 itself."""
    monkeypatch.setattr(loss, "multiplies_bfloat16", lambda: False)
    read, targets, weight, bias = _given(torch.float32)
    plain = F.cross_entropy(loss.logits(read, weight, bias, bf16=True), targets)
    found = loss.mean_nats(read, targets, weight, bias, bf16=True)
    assert found.item() == pytest.approx(plain.item(), rel=1e-6)
    given = (read, weight, bias)
    for ours, theirs in zip(
        torch.autograd.grad(found, given), torch.autograd.grad(plain, given), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4)
    exact = loss.nats(read, targets, weight, bias, bf16=False).mean()
    assert found.item() != exact.item()  # products are rounded


def test_large_logits_and_not_a_number_propagate() -> None:
    read, targets, weight, bias = _given(torch.float32)
    far = loss.mean_nats(read * 1e4, targets, weight, bias, bf16=False)
    assert torch.isfinite(far)
    assert all(torch.isfinite(part).all() for part in torch.autograd.grad(far, (weight, bias)))
    spoiled = read.detach().clone()
    spoiled[3, 0] = torch.nan
    assert torch.isnan(loss.mean_nats(spoiled, targets, weight, bias, bf16=False))


def test_a_gradient_of_the_gradient_is_refused() -> None:
    read, targets, weight, bias = _given()
    found = loss.mean_nats(read, targets, weight, bias, bf16=False)
    (first,) = torch.autograd.grad(found.square(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
