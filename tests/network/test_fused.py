"""The fused backend against the reference: outputs, gradients, split windows and bad values."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from own_cells import MINGRU, MIXED, SLSTM
from torch import Tensor

from charrnn.cells import CELLS, Layer, find
from charrnn.compiler import cache, codegen, processor, scalar_math
from charrnn.network import fused, fused_codegen, layers, window_arrays, window_layout
from charrnn.network.tokens import Tokens

NAMES = [name for name, cell in CELLS.items() if not cell.feeds_back]
# bfloat16 keeps 8 bits: a product's operands and its result are off by 2^-9 of their size each.
TOLERANCE = {False: 1e-5, True: 2e-2}
# A rectified unit near zero may be on in one and off in the other, and a gradient with it: of some
# 360 units that are on, three are enough for sqrt(3 / 360) = 0.09 of the gradient's length.
RECTIFIED_TOLERANCE = {False: 1e-5, True: 0.15}
ABLE = {
    "float32": True,
    "dots": bool(processor.FEATURES.get("avx512bf16")),
    "tiles": processor._tiles_allowed(),
}


def kinds(*names: str) -> list[Any]:
    """Kinds of products, each skipped where the processor has none of it.

    Pairs of bfloat16 are only in the long form where the processor has tiles, and so uses those.
    """
    return [
        pytest.param(
            name,
            marks=[
                pytest.mark.skipif(not ABLE[name], reason=f"needs {name}"),
                *([pytest.mark.soak] if name == "dots" and ABLE["tiles"] else []),
            ],
        )
        for name in names
    ]


USUAL = kinds("float32", "tiles" if ABLE["tiles"] else "dots")  # what is used on this processor
# What is compiled for bfloat16 differs in what is read and written alone, and each takes seconds to
# compile: so these cells are tried in it only in the long form.
FLOAT32 = ("irnn", "preactivation", "lstm-sigmoid", "lstm-peephole", "lstm-peephole-gers")
FLOAT32 += ("lstm-multiplicative", "gru-reset-after")


def in_kind(number: int, *values: Any, long: bool = False, **named: Any) -> Any:
    """Return a test's values for a kind of `USUAL`, perhaps for the long form alone."""
    kind = USUAL[number]
    marks = [*kind.marks, *([pytest.mark.soak] if long else [])]
    return pytest.param(*values, *kind.values, marks=marks, **named)


CELL_KINDS = [
    in_kind(number, name, long=number == 1 and name in FLOAT32)
    for name in NAMES
    for number in (0, 1)
]
ALL_KINDS = kinds("float32", "dots", "tiles")
SIZES = [(1, 1, 1, 1), (5, 3, 7, 13), (2, 17, 5, 33), (9, 2, 64, 40), (2, 35, 3, 16)]
FORMS: dict[str, tuple[dict[str, Any], bool]] = {
    "plain": ({}, False),
    "deep": ({"recurrent_depth": 3}, False),
    "zoned": ({}, True),
    "all": ({"recurrent_depth": 3, "layer_norm": True}, True),
}
# Each is compiled, which takes seconds where nothing is kept yet: so a form is alone only where it
# is written in another way than together with the others, and in one kind where those have the
# other. (What is zoned alone is compiled for both, by other tests.)
FORMED = [
    in_kind(1, "preactivation", "deep"),
    in_kind(0, "lstm", "zoned"),
    in_kind(1, "lstm", "zoned"),
    in_kind(1, "lstm", "all"),
    in_kind(0, "gru", "deep"),
    in_kind(0, "gru", "all", long=True),
]
# Normalisation alone: beside second biases in one kind, beside vectors in the other.
NORMALISED = [in_kind(0, "gru-reset-after"), in_kind(1, "lstm-peephole-gers")]


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer's input, parameters, state and zoneout's masks."""

    x: Tensor
    weights: dict[str, Tensor]
    state: tuple[Tensor, ...]
    zone: tuple[Tensor, ...] = ()


def make_case(
    layer: Layer, steps: int, batch: int, size: int, hidden: int, zoned: bool = False
) -> Case:
    """All of it random, and wanting gradients."""
    torch.manual_seed(steps + batch + hidden)
    x = torch.randn(steps, batch, size, requires_grad=True)
    weights = {
        name: (torch.randn(shape) / (2 * shape[-1] ** 0.5)).requires_grad_()
        for name, shape in layer.shapes(size, hidden).items()
    }
    state = tuple((torch.randn(batch, hidden) * 0.5).requires_grad_() for _ in layer.cell.states)
    zone = tuple(torch.rand(steps, batch, hidden) for _ in state) if zoned else ()
    return Case(x, weights, state, zone)


def outcome(run: Any, layer: Layer, case: Case) -> list[Tensor]:
    """Outputs, last state and all gradients of a loss that uses all of them."""
    y, after = run(layer, case.x, case.state, case.weights, zone=case.zone)
    loss = (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum()
    loss = loss + sum((part**2).sum() for part in after)
    gradients = torch.autograd.grad(loss, [case.x, *case.weights.values(), *case.state])
    return [y.detach(), *(part.detach() for part in after), *gradients]


@pytest.fixture
def fused_run(kind: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the fused backend with products of `kind`."""
    monkeypatch.setattr(processor, "product_kind", lambda bf16: kind if bf16 else "float32")
    return functools.partial(fused.sequence, bf16=kind != "float32")


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


def assert_near(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    for a, b in zip(found, wanted, strict=True):
        scale = max(b.numel() ** 0.5, float(b.norm()))
        assert float((a - b).norm()) <= tolerance * scale


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("name", "kind"), CELL_KINDS)
def test_equals_the_reference(
    name: str, sizes: tuple[int, int, int, int], kind: str, fused_run: Any
) -> None:
    layer = Layer(CELLS[name])
    case = make_case(layer, *sizes)
    wanted = outcome(layers.reference, layer, case)
    tolerance = (RECTIFIED_TOLERANCE if name == "irnn" else TOLERANCE)[kind != "float32"]
    assert_near(outcome(fused_run, layer, case), wanted, tolerance)


@pytest.mark.parametrize("hidden", [7, 32])  # one has to be padded, the other not
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", USUAL[1:])
def test_layers_hand_on_outputs_in_bfloat16(
    kind: str, masked: bool, hidden: int, fused_run: Any
) -> None:
    layer = Layer(CELLS["lstm-coupled"])
    first, second = make_case(layer, 5, 3, 6, hidden), make_case(layer, 5, 3, hidden, hidden)
    mask = torch.rand(1, 3, hidden) if masked else None

    def results(run: Any, **options: Any) -> list[Tensor]:
        x, found = first.x, []
        for case in (first, second):
            x, _ = run(layer, x, case.state, case.weights, **options)
            x = x if options or mask is None else x * mask
            found.append(x)
        read = torch.cat(found, -1).float()  # both layers get a part of a wider gradient
        loss = (read * torch.linspace(-1, 1, read.numel()).view_as(read)).sum()
        wanted = [first.x, *first.weights.values(), *second.weights.values(), *first.state]
        return [read.detach(), *torch.autograd.grad(loss, wanted)]

    found = results(fused_run, rounded=True, mask=mask)
    assert_near(found, results(layers.reference), TOLERANCE[True])


@pytest.mark.parametrize("kind", USUAL)
def test_an_array_of_another_type_is_refused(kind: str, fused_run: Any) -> None:
    layer = Layer(CELLS["lstm"])
    case = make_case(layer, 5, 3, 7, 13, zoned=True)
    zone = tuple(part.to(torch.bfloat16) for part in case.zone)
    with pytest.raises(TypeError, match="reads zone0 as float32, but it is torch"):
        fused_run(layer, case.x, case.state, case.weights, zone=zone)


@pytest.mark.parametrize("kind", kinds("dots"))
@pytest.mark.parametrize("sizes", SIZES)
def test_pairs_of_bfloat16_equal_the_reference(
    sizes: tuple[int, int, int, int], kind: str, fused_run: Any
) -> None:
    layer = Layer(CELLS["lstm"])
    case = make_case(layer, *sizes)
    wanted = outcome(layers.reference, layer, case)
    assert_near(outcome(fused_run, layer, case), wanted, TOLERANCE[True])


@pytest.mark.parametrize("sizes", SIZES[1:])  # a single unit less its mean is zero
@pytest.mark.parametrize(("name", "form", "kind"), FORMED)
def test_every_form_equals_the_reference(
    name: str, form: str, sizes: tuple[int, int, int, int], kind: str, fused_run: Any
) -> None:
    settings, zoned = FORMS[form]
    layer = Layer(CELLS[name], **settings)
    case = make_case(layer, *sizes, zoned)
    wanted = outcome(layers.reference, layer, case)
    assert_near(outcome(fused_run, layer, case), wanted, TOLERANCE[kind != "float32"])


@pytest.mark.parametrize(("name", "kind"), NORMALISED)
def test_vectors_and_second_biases_beside_normalization(
    name: str, kind: str, fused_run: Any
) -> None:
    layer = Layer(CELLS[name], layer_norm=True)
    case = make_case(layer, 4, 5, 3, 18)
    wanted = outcome(layers.reference, layer, case)
    assert_near(outcome(fused_run, layer, case), wanted, TOLERANCE[kind != "float32"])


OWN_KINDS = [
    in_kind(number, name, form, long=long, id=f"{cell}-{form}-{USUAL[number].values[0]}")
    for cell, name, form, number, long in (
        ("mingru", MINGRU, "plain", 0, False),
        ("mingru", MINGRU, "plain", 1, True),
        ("mingru", MINGRU, "all", 1, False),
        ("slstm", SLSTM, "plain", 0, False),
        ("mixed", MIXED, "plain", 1, False),
        ("mixed", MIXED, "all", 0, True),
    )
]


@pytest.mark.parametrize(("name", "form", "kind"), OWN_KINDS)
def test_a_cell_outside_the_package_equals_the_reference(
    name: str, form: str, kind: str, fused_run: Any
) -> None:
    settings, zoned = FORMS[form]
    layer = Layer(find(name), **settings)
    tolerance = RECTIFIED_TOLERANCE[kind != "float32"]
    for sizes in SIZES[1:]:  # a single unit less its mean is zero
        case = make_case(layer, *sizes, zoned)
        wanted = outcome(layers.reference, layer, case)
        assert_near(outcome(fused_run, layer, case), wanted, tolerance)


@pytest.mark.parametrize("kind", [in_kind(0), in_kind(1, long=True)])
def test_a_new_equation_runs_without_further_code(kind: str, fused_run: Any) -> None:
    # inputs meet products by multiplication, two products meet the same state, one waits
    def equations(sigmoid: Any, tanh: Any, relu: Any) -> Any:
        def unit(x: Any, product: Any, state: Any) -> Any:
            h, c = state
            a, b = product(h + c)
            (d,) = product(h)
            (e,) = product(a * x[0])
            return tanh(b * x[1] - d), relu(0.5 * c - e + x[2] * x[3]) - h

        return unit

    cell = dataclasses.replace(
        CELLS["lstm"], stages=(("a", "b"), ("d",), ("e",)), equations=equations, bias={}
    )
    layer = Layer(cell)
    case = make_case(layer, 4, 3, 5, 17)
    wanted = outcome(layers.reference, layer, case)
    tolerance = RECTIFIED_TOLERANCE[kind != "float32"]
    assert_near(outcome(fused_run, layer, case), wanted, tolerance)


@pytest.mark.parametrize(("name", "kind"), CELL_KINDS)
def test_a_split_window_equals_the_whole(name: str, kind: str, fused_run: Any) -> None:
    layer = Layer(CELLS[name])
    case = make_case(layer, 6, 3, 4, 9, zoned=name == "lstm")
    whole = outcome(fused_run, layer, case)
    for cut in range(1, 6):

        def in_two(layer: Layer, x: Tensor, state: Any, weights: Any, zone: Any) -> Any:
            start, end = (tuple(mask[part] for mask in zone) for part in parts)  # noqa: B023
            first, between = fused_run(layer, x[parts[0]], state, weights, zone=start)  # noqa: B023
            second, after = fused_run(layer, x[parts[1]], between, weights, zone=end)  # noqa: B023
            return torch.cat([first, second]), after

        parts = (slice(None, cut), slice(cut, None))
        tolerance = (RECTIFIED_TOLERANCE if name == "irnn" else TOLERANCE)[kind != "float32"]
        assert_near(outcome(in_two, layer, case), whole, tolerance)


@pytest.mark.parametrize(("name", "kind"), CELL_KINDS)
def test_not_a_number_propagates(name: str, kind: str, fused_run: Any) -> None:
    layer = Layer(CELLS[name])
    case = make_case(layer, 3, 2, 4, 5)
    with torch.no_grad():
        case.x[1, 0, 0] = float("nan")
    y, after = fused_run(layer, case.x, case.state, case.weights)
    assert torch.isfinite(y[0]).all()
    assert torch.isnan(y[1:, 0]).all()
    assert torch.isfinite(y[:, 1]).all()
    assert all(torch.isnan(part[0]).all() for part in after)
    (gradient,) = torch.autograd.grad(y[:, 0].sum(), [case.weights["weight_hh"]])
    assert torch.isnan(gradient).any()


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_derivative_that_is_not_a_number_propagates_backward(kind: str, fused_run: Any) -> None:
    case = make_case(Layer(CELLS["lstm"]), 3, 2, 4, 5)
    y, _ = fused_run(Layer(CELLS["lstm"]), case.x, case.state, case.weights)
    dy = torch.zeros_like(y)
    dy[1, 0, 2] = float("nan")
    (gradient,) = torch.autograd.grad(y, [case.x], dy)
    assert torch.isnan(gradient[:2, 0]).all()
    assert (gradient[2, 0] == 0).all()
    assert (gradient[:, 1] == 0).all()


@pytest.mark.parametrize("threads", [2, 3], indirect=True)
@pytest.mark.parametrize("batch", [1, 2, 5, 70])
@pytest.mark.parametrize(
    ("name", "kind"),
    [case for case in CELL_KINDS if case.values[0] in ("lstm", "gru", "lstm-peephole")],
)
def test_threads_share_the_rows_without_changing_them(
    name: str, batch: int, kind: str, fused_run: Any, threads: int
) -> None:
    layer = Layer(CELLS[name])
    case = make_case(layer, 4, batch, 3, 8, zoned=name == "lstm")
    several = outcome(fused_run, layer, case)
    assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    one = outcome(fused_run, layer, case)
    # torch's own products of bfloat16 may add in another order with more threads
    assert_near(several, one, 1e-6 if kind == "float32" else 1e-2)


@pytest.mark.parametrize("kind", kinds("tiles"))
@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize(("steps", "batch"), [(1, 3), (9, 3), (10, 70)])
@pytest.mark.usefixtures("threads")
def test_input_parts_of_some_steps_at_once_are_the_same(
    steps: int, batch: int, fused_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(Layer(CELLS["lstm"]), steps, batch, 40, 33)
    step_by_step = outcome(fused_run, Layer(CELLS["lstm"]), case)
    made, make = [], window_arrays.Allocator.make

    def recorded(allocator: Any, name: str, *given: Any, **more: Any) -> Tensor:
        array = make(allocator, name, *given, **more)
        made.extend([len(array)] * (name == "ahead"))
        return array

    monkeypatch.setattr(window_arrays.Allocator, "make", recorded)
    monkeypatch.setattr(window_layout, "_CACHE", 0)  # as if nothing fitted into it
    at_once = outcome(fused_run, Layer(CELLS["lstm"]), case)
    assert made == [4 * torch.get_num_threads()]
    assert all(map(torch.equal, at_once, step_by_step))


@pytest.mark.parametrize("kind", kinds("dots"))
@pytest.mark.parametrize("threads", [2, 3], indirect=True)
@pytest.mark.usefixtures("threads")
def test_threads_share_the_rows_of_pairs(kind: str, fused_run: Any) -> None:
    case = make_case(Layer(CELLS["lstm"]), 4, 35, 3, 8)
    wanted = outcome(layers.reference, Layer(CELLS["lstm"]), case)
    assert_near(outcome(fused_run, Layer(CELLS["lstm"]), case), wanted, TOLERANCE[True])


@pytest.mark.parametrize("kind", USUAL)
def test_backward_may_use_another_number_of_threads(kind: str, fused_run: Any) -> None:
    layer = Layer(CELLS["gru"])
    case = make_case(layer, 3, 5, 3, 8)
    wanted = torch.autograd.grad(
        fused_run(layer, case.x, case.state, case.weights)[0].sum(), [*case.weights.values()]
    )
    y, _ = fused_run(layer, case.x, case.state, case.weights)
    torch.set_num_threads(3)
    try:
        found = torch.autograd.grad(y.sum(), [*case.weights.values()])
    finally:
        torch.set_num_threads(1)
    assert_near(list(found), list(wanted), 1e-6 if kind == "float32" else 1e-2)


@pytest.mark.parametrize("kind", USUAL)
def test_rows_are_independent(kind: str, fused_run: Any) -> None:
    layer = Layer(CELLS["gru"])
    case = make_case(layer, 4, 35, 3, 20)
    y, _ = fused_run(layer, case.x, case.state, case.weights)
    for row in (0, 16, 34):
        part = slice(row, row + 1)
        state = tuple(whole[part] for whole in case.state)
        alone, _ = fused_run(layer, case.x[:, part], state, case.weights)
        torch.testing.assert_close(alone, y[:, part], rtol=0, atol=TOLERANCE[kind != "float32"])


@pytest.mark.parametrize("kind", USUAL)
@pytest.mark.parametrize("name", ["elman", "lstm"])
def test_transposed_derivatives_and_states_are_read_correctly(
    name: str, kind: str, fused_run: Any
) -> None:
    layer = Layer(CELLS[name])
    case = make_case(layer, 3, 4, 2, 6)
    turned = tuple(part.detach().T.contiguous().T.requires_grad_() for part in case.state)
    case = dataclasses.replace(case, state=turned)
    factors = torch.randn(6, 4)

    def gradients(run: Any) -> list[Tensor]:
        y, after = run(layer, case.x, case.state, case.weights)
        loss = sum((part.T * factors).sum() for part in after)  # its derivative lies turned
        loss = loss + (y.transpose(0, 2) * factors[:, :, None]).sum()
        return list(torch.autograd.grad(loss, [*case.weights.values(), *case.state]))

    wanted = gradients(layers.reference)
    assert_near(gradients(fused_run), wanted, TOLERANCE[kind != "float32"])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_input_without_gradient_gets_none(kind: str, fused_run: Any) -> None:
    layer = Layer(CELLS["lstm"])
    case = make_case(layer, 3, 2, 4, 5)
    y, _ = fused_run(layer, case.x.detach(), case.state, case.weights)
    y.sum().backward()
    assert case.x.grad is None
    assert case.weights["weight_ih"].grad is not None
    with torch.no_grad():
        again, _ = fused_run(layer, case.x, case.state, case.weights)
    assert not again.requires_grad
    torch.testing.assert_close(again, y, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "kind"), NORMALISED)
def test_the_given_tensors_are_not_changed(name: str, kind: str, fused_run: Any) -> None:
    layer = Layer(CELLS[name], layer_norm=True)
    case = make_case(layer, 3, 2, 4, 5)
    given = [case.x, *case.state, *case.weights.values()]
    before = [tensor.detach().clone() for tensor in given]
    outcome(fused_run, layer, case)
    assert all(torch.equal(tensor, was) for tensor, was in zip(given, before, strict=True))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", USUAL)
def test_a_thousand_windows_leak_no_memory(kind: str, fused_run: Any) -> None:
    layer = Layer(CELLS["lstm"])
    case = make_case(layer, 4, 8, 16, 32)

    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    for _ in range(200):
        outcome(fused_run, layer, case)
    before = resident()
    for _ in range(800):
        outcome(fused_run, layer, case)
    # a window's arrays are some 300 KiB: of 800 windows not one in 60 may stay
    assert resident() - before < 4 * 2**20


@pytest.mark.parametrize("kind", kinds("tiles"))
def test_products_of_torch_are_right_before_and_after_a_window(kind: str, fused_run: Any) -> None:
    # oneDNN configures the tiles once for a run of products, and does not look again
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(33, 65, generator=generator).to(torch.bfloat16) for _ in range(2))
    exact = a.float() @ b.float().T
    for name in ("lstm", "elman"):
        case = make_case(Layer(CELLS[name]), 3, 20, 16, 24)
        before = a @ b.T
        outcome(fused_run, Layer(CELLS[name]), case)
        after = a @ b.T
        assert torch.equal(before, after)
        torch.testing.assert_close(after.float(), exact, rtol=2**-7, atol=2**-5)


def test_bfloat16_rounds_to_nearest_even_and_keeps_not_a_number() -> None:
    numbers = np.array(
        [1.0, -2.5, 3.14159, 1 + 2**-8, 1 + 3 * 2**-8, 1e-30, 65504.0, np.inf, -np.inf, np.nan],
        np.float32,
    )

    @njit
    def convert(numbers: Any) -> Any:
        return np.array([scalar_math.to_bf16(number) for number in numbers])

    bits = convert(numbers)
    wanted = torch.from_numpy(numbers).to(torch.bfloat16)
    found = torch.from_numpy(bits).view(torch.bfloat16)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def test_compiled_code_is_cached_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    module = codegen.load("X = 1\n")
    (file,) = tmp_path.glob("charrnn_rows_*.py")
    assert file.stem == module.__name__
    assert codegen.load("X = 1\n") is module
    file.write_text("X = 2\n")  # as another program might leave it
    del sys.modules[module.__name__]
    assert codegen.load("X = 1\n").X == 1
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


def test_one_window_is_compiled_once() -> None:
    asked = (Layer(CELLS["lstm"]), False, "float32")
    window = fused_codegen.compiled_layer(*asked)
    assert fused_codegen.compiled_layer(Layer(CELLS["lstm"]), False, "float32") is window
    assert (window.saved, window.inputs, window.own_operand) == (5, (4,), False)
    assert window.one_derivative == (True,)
    assert window.forward.function.address != window.backward.function.address
    other = fused_codegen.compiled_layer(Layer(CELLS["preactivation"]), False, "float32")
    assert other.own_operand  # tanh(c), and not c, meets its product


TOKEN_CELLS = [in_kind(number, name) for name in ("lstm", "gru") for number in (0, 1)]


@pytest.mark.parametrize("size", [0, 6])
@pytest.mark.parametrize(("name", "kind"), TOKEN_CELLS)
def test_tokens_give_what_their_vectors_give(
    name: str, kind: str, size: int, fused_run: Any
) -> None:
    """Layers that read tokens alone, or behind another input, in both orders of a cell's gates."""
    layer = Layer(CELLS[name])
    ids = torch.tensor([[0, 3, 1], [2, 2, 0], [1, 1, 1], [3, 0, 3], [0, 0, 2]])
    case = make_case(layer, *ids.shape, size + 7, 20)
    vectors = torch.randn(5, 7, requires_grad=True)  # the last one is that of no step
    x = case.x[:, :, :size].detach().requires_grad_()

    def results(run: Any, **more: Any) -> list[Tensor]:
        y, after = run(layer, more.pop("x"), case.state, case.weights, **more)
        loss = (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() + (after[0] ** 2).sum()
        asked = [vectors, *case.weights.values(), *case.state, *([x] if size else [])]
        return [y.detach(), *torch.autograd.grad(loss, asked)]

    tokens = Tokens(ids, vectors)
    wanted = results(layers.reference, x=tokens.behind(x))
    found = results(fused_run, x=x, tokens=tokens)
    assert_near(found, wanted, TOLERANCE[kind != "float32"])
    assert found[1][4].count_nonzero() == 0
