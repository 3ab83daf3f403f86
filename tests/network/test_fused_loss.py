"""The compiled loss of the output map, against its definition in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from processors import needs_bf16, needs_pairs, needs_tiles
from torch import Tensor

from charrnn.compiler import cache, processor
from charrnn.network import fused_loss, loss
from charrnn.text.streams import IGNORED

LOGITS = 2**22
SIZES = [  # rows, Y, V
    (1, 3, 2),
    (16, 32, 32),
    (31, 5, 7),
    (33, 64, 65),
    (70, 97, 130),
    (64, 384, 65),
    (40, 250, 1),
    (35, 12, 300),
]


@pytest.fixture(
    params=[pytest.param("dots", marks=needs_pairs), pytest.param("tiles", marks=needs_tiles)]
)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kind of products that the loss uses."""
    name: str = request.param
    monkeypatch.setattr(processor, "product_kind", lambda bf16: name)
    return name


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def given(rows: int, width: int, tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the output map reads, targets, weight and bias; each third row has no target."""
    made = torch.Generator().manual_seed(rows + width + tokens)
    read = torch.randn(rows, width, generator=made).to(torch.bfloat16)
    targets = torch.randint(0, tokens, (rows,), generator=made)
    targets[1::3] = IGNORED
    weight, bias = (torch.randn(tokens, size, generator=made) for size in (width, 1))
    return read, targets, weight / width**0.5, bias[:, 0]


def defined(
    read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss and its derivatives by autograd in float64, of operands in bfloat16."""
    x, matrix, start = (
        part.detach().to(torch.bfloat16).double().requires_grad_() for part in (read, weight, bias)
    )
    start.data = bias.double()
    mean = F.cross_entropy(F.linear(x, matrix, start), targets, ignore_index=IGNORED)
    return mean.detach(), *torch.autograd.grad(mean, (x, matrix, start))


def near(found: Tensor, wanted: Tensor, share: float) -> bool:
    """Whether the difference is at most a small share of what is wanted."""
    return bool((found.double() - wanted).norm() <= share * wanted.norm() + 1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_loss_and_derivatives_are_those_of_the_definition(
    sizes: tuple[int, int, int], kind: str
) -> None:
    arguments = given(*sizes)
    mean, *derivatives = fused_loss.mean_nats(*arguments, LOGITS)
    wanted_mean, *wanted = defined(*arguments)
    assert mean.item() == pytest.approx(wanted_mean.item(), rel=1e-6, abs=1e-7)
    for found, right, part in zip(derivatives, wanted, arguments[:1] + arguments[2:], strict=True):
        assert found.shape == part.shape
        assert found.dtype == part.dtype
        assert near(found, right, 5e-3)
    by_read = derivatives[0]
    assert not by_read[1::3].any()  # no target
    for one, right in zip(by_read, wanted[0], strict=True):
        assert near(one, right, 1e-2)


@pytest.mark.parametrize("sizes", [(64, 64, 65), (37, 30, 9)])
def test_rows_in_float32_are_rounded_first(sizes: tuple[int, int, int], kind: str) -> None:
    read, *others = given(*sizes)
    rounded = fused_loss.mean_nats(read, *others, LOGITS)
    found = fused_loss.mean_nats(read.float() * (1 + 2**-12), *others, LOGITS)
    assert found[1].dtype == torch.float32
    assert all(torch.equal(a.float(), b.float()) for a, b in zip(found, rounded, strict=True))


def test_rows_and_weights_may_be_parts_of_others(kind: str) -> None:
    read, targets, weight, bias = given(40, 32, 20)
    apart = fused_loss.mean_nats(read, targets, weight, bias, LOGITS)
    together = fused_loss.mean_nats(
        torch.cat([read, read.neg()], 1)[:, :32],
        targets.repeat(2, 1).T[:, 0],
        weight.T.contiguous().T,
        bias.repeat(2, 1).T[:, 0],
        LOGITS,
    )
    assert all(map(torch.equal, apart, together))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("rows", [20, 300])
def test_the_number_of_threads_changes_no_bit(rows: int, kind: str) -> None:
    arguments = given(rows, 50, 70)
    found = fused_loss.mean_nats(*arguments, LOGITS)
    torch.set_num_threads(1)
    again = fused_loss.mean_nats(*arguments, LOGITS)
    assert all(map(torch.equal, found, again))


def test_few_derivatives_at_once_give_the_same(kind: str) -> None:
    arguments = given(150, 40, 33)
    mean, by_read, *by_output = fused_loss.mean_nats(*arguments, LOGITS)
    pieces = fused_loss.mean_nats(*arguments, 70 * 33)
    assert torch.equal(mean, pieces[0])
    assert torch.equal(by_read, pieces[1])
    for found, wanted in zip(pieces[2:], by_output, strict=True):
        assert near(found, wanted.double(), 1e-5)


@needs_bf16
@pytest.mark.parametrize("factor", [1.0, -2.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autograd_gets_the_derivatives(factor: float, dtype: torch.dtype) -> None:
    read, targets, weight, bias = given(50, 24, 11)
    parts = [part.requires_grad_() for part in (read.to(dtype), weight, bias)]
    mean = loss.mean_nats(parts[0], targets, *parts[1:], bf16=True)
    found = torch.autograd.grad(mean * factor, parts)
    _, *wanted = defined(read, targets, weight, bias)
    for one, right, part in zip(found, wanted, parts, strict=True):
        assert one.dtype == part.dtype
        assert near(one, factor * right, 5e-3)


def test_without_any_target_the_loss_is_no_number(kind: str) -> None:
    read, targets, weight, bias = given(40, 24, 11)
    mean, *derivatives = fused_loss.mean_nats(
        read, torch.full_like(targets, IGNORED), weight, bias, LOGITS
    )
    assert mean.isnan()
    assert not any(part.any() for part in derivatives)


def test_large_logits_and_not_a_number_propagate(kind: str) -> None:
    read, targets, weight, bias = given(40, 24, 11)
    far = fused_loss.mean_nats(read * 1e4, targets, weight, bias, LOGITS)
    assert all(part.isfinite().all() for part in far)
    assert far[0] == pytest.approx(defined(read * 1e4, targets, weight, bias)[0].item(), rel=1e-5)
    read[3, 0] = torch.nan
    mean, by_read, *_ = fused_loss.mean_nats(read, targets, weight, bias, LOGITS)
    assert mean.isnan()
    assert by_read.isnan().any(1).nonzero().tolist() == [[3]]


def test_other_processors_use_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be compiled there is not even declared, as that is compiled everywhere."""
    monkeypatch.setattr(loss, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(fused_loss, "mean_nats", None)
    arguments = given(20, 24, 11)
    mean = loss.mean_nats(*arguments, bf16=True)
    assert mean.item() == pytest.approx(defined(*arguments)[0].item(), rel=1e-2)
    assert not [each for each in cache._declared if each.module.endswith("cross_entropy")]
