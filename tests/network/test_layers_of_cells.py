import dataclasses
import functools
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.cells import CELLS, Layer
from charrnn.errors import OptionError
from charrnn.network import layers
from charrnn.network.layers import LIBRARY, LayerState, library, reference, select

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

ALL = sorted(CELLS)
MODULES = {
    "elman": torch.nn.RNN,
    "irnn": functools.partial(torch.nn.RNN, nonlinearity="relu"),
    "lstm": torch.nn.LSTM,
    "gru-reset-after": torch.nn.GRU,
}
# T, B, X, H: nothing even, and ones
SIZES = [(1, 1, 1, 1), (1, 3, 2, 5), (6, 1, 5, 3), (4, 3, 2, 17), (7, 2, 17, 1)]
BOTH = [reference, library]
EACH = [(run, name) for name in ALL for run in BOTH if run is reference or name in LIBRARY]


FORMS: dict[str, dict[str, Any]] = {
    "deep": {"recurrent_depth": 2},
    "normalized": {"layer_norm": True},
    "both": {"recurrent_depth": 3, "layer_norm": True},
}
OUTPUTS = 4  # V, where the output is fed back


def _problem(
    layer: Layer, sizes: tuple[int, int, int, int], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, LayerState, dict[str, Tensor]]:
    """Random input, state and weights, all of them with gradients; an output map if it is read."""
    steps, streams, inputs, hidden = sizes
    rng = np.random.default_rng(7)

    def tensor(*shape: int) -> Tensor:
        values = torch.tensor(rng.standard_normal(shape) * 0.7, dtype=dtype)
        return values.requires_grad_()

    shapes = layer.shapes(inputs, hidden, OUTPUTS)
    if layer.cell.feeds_back:
        shapes |= {"output.weight": (OUTPUTS, hidden), "output.bias": (OUTPUTS,)}
    weights = {key: tensor(*shape) for key, shape in shapes.items()}
    state = tuple(tensor(streams, hidden) for _ in layer.cell.states)
    return tensor(steps, streams, inputs), state, weights


def _masks(state: LayerState, steps: int) -> tuple[Tensor, ...]:
    """How much of each part of the old state stays, another share at every place."""
    generator = torch.Generator().manual_seed(3)
    shape = (steps, *state[0].shape)
    return tuple(torch.rand(shape, dtype=state[0].dtype, generator=generator) for _ in state)


def _run(
    run: Any,
    layer: Layer,
    x: Tensor,
    state: LayerState,
    weights: dict[str, Tensor],
    zone: LayerState = (),
) -> tuple[Tensor, LayerState]:
    """A layer; where it wants the network's output, that is made of its own h."""

    def readout(h: Tensor) -> Tensor:
        return torch.softmax(h @ weights["output.weight"].T + weights["output.bias"], -1)

    found: tuple[Tensor, LayerState] = run(layer, x, state, weights, zone=zone, readout=readout)
    return found


def _outputs_and_gradients(
    run: Any, layer: Layer, x: Tensor, state: LayerState, weights: dict[str, Tensor]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Outputs and last state, and the gradients of a weighted sum of both, by everything."""
    y, last = _run(run, layer, x, state, weights)
    results = [y, *last]
    rng = np.random.default_rng(8)
    total = sum(
        (torch.tensor(rng.standard_normal(part.shape), dtype=part.dtype) * part).sum()
        for part in results
    )
    return results, torch.autograd.grad(total, [x, *state, *weights.values()])


@pytest.mark.parametrize("run", BOTH)
def test_elman_layer_by_hand(run: Any) -> None:
    # W_xh = (1, 0.5), x = 1; W_hh h = ((0, 1), (-1, 0)) (0.5, -0.5) = (-0.5, -0.5); b = (0, 0.5)
    # h = tanh(1 - 0.5 + 0, 0.5 - 0.5 + 0.5) = tanh(0.5, 0.5) = (0.4621172, 0.4621172)
    # (the transposed W_hh would give (0.5, 0.5) and tanh(1.5, 1.5))
    weights = {
        "weight_ih": torch.tensor([[1.0], [0.5]]),
        "weight_hh": torch.tensor([[0.0, 1.0], [-1.0, 0.0]]),
        "bias": torch.tensor([0.0, 0.5]),
    }
    y, (h,) = run(
        Layer(CELLS["elman"]), torch.ones(1, 1, 1), (torch.tensor([[0.5, -0.5]]),), weights
    )
    assert y.flatten().tolist() == pytest.approx([0.4621172, 0.4621172], abs=1e-6)
    assert h.flatten().tolist() == y.flatten().tolist()


@pytest.mark.parametrize("run", BOTH)
def test_lstm_layer_by_hand(run: Any) -> None:
    # the numbers of test_cells: x = 1, h = 1, c = 2 give h = 0.4767584, c = 1.8691486
    weights = {
        "weight_ih": torch.tensor([[1.0], [0.5], [-0.5], [1.0]]),
        "weight_hh": torch.tensor([[1.0], [-0.5], [1.0], [-1.0]]),
        "bias": torch.tensor([0.0, 1.0, 0.0, 0.0]),
    }
    state = (torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    y, (h, c) = run(Layer(CELLS["lstm"]), torch.ones(1, 1, 1), state, weights)
    assert [y.item(), h.item(), c.item()] == pytest.approx(
        [0.4767584, 0.4767584, 1.8691486], abs=1e-6
    )


@pytest.mark.parametrize("run", BOTH)
def test_gru_reset_after_layer_by_hand(run: Any) -> None:
    # the numbers of test_cells: x = 1, h = 2 give h = 1.5863996
    weights = {
        "weight_ih": torch.tensor([[1.0], [0.5], [-1.0]]),
        "weight_hh": torch.tensor([[-0.5], [0.5], [0.5]]),
        "bias_ih": torch.tensor([0.0, -0.5, 0.5]),
        "bias_hh": torch.tensor([0.0, 0.0, 1.0]),
    }
    y, _ = run(
        Layer(CELLS["gru-reset-after"]), torch.ones(1, 1, 1), (torch.tensor([[2.0]]),), weights
    )
    assert y.item() == pytest.approx(1.5863996, abs=1e-6)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", LIBRARY)
def test_library_equals_reference_in_outputs_and_all_gradients(
    name: str, sizes: tuple[int, int, int, int], dtype: torch.dtype, close: float
) -> None:
    layer = Layer(CELLS[name])
    problem = _problem(layer, sizes, dtype)
    ours = _outputs_and_gradients(reference, layer, *problem)
    theirs = _outputs_and_gradients(library, layer, *problem)
    torch.testing.assert_close(theirs, ours, rtol=close, atol=close)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", MODULES)
def test_reference_equals_the_module_of_torch(name: str, sizes: tuple[int, int, int, int]) -> None:
    x, state, weights = _problem(Layer(CELLS[name]), sizes)
    module = MODULES[name](sizes[2], sizes[3]).double()
    zero = torch.zeros(len(weights["weight_ih"]), dtype=torch.float64)
    with torch.no_grad():
        module.weight_ih_l0.copy_(weights["weight_ih"])
        module.weight_hh_l0.copy_(weights["weight_hh"])
        module.bias_ih_l0.copy_(weights.get("bias", weights.get("bias_ih")))
        module.bias_hh_l0.copy_(weights.get("bias_hh", zero))
    first = tuple(part[None] for part in state)
    y, last = module(x, first if len(first) > 1 else first[0])
    ours, after = reference(Layer(CELLS[name]), x, state, weights)
    torch.testing.assert_close(ours, y, rtol=1e-12, atol=1e-12)
    last = last if isinstance(last, tuple) else (last,)
    torch.testing.assert_close(after, tuple(part[0] for part in last), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["plain", *FORMS])
@pytest.mark.parametrize("name", ALL)
def test_gradients_of_the_reference_are_those_of_finite_differences(
    name: str, form: str, pytestconfig: pytest.Config
) -> None:
    """Along random directions; one number after the other in the long form."""
    layer = Layer(CELLS[name], **FORMS.get(form, {}))
    x, state, weights = _problem(layer, (2, 2, 2, 3))
    names = list(weights)
    # with and without zoneout in turn: each cell and each form has both
    zoned = (ALL.index(name) + ["plain", *FORMS].index(form)) % 2
    zone = _masks(state, 2) if zoned else ()

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        parts = tensors[1 : 1 + len(state)]
        given = dict(zip(names, tensors[-len(names) :], strict=True))
        y, last = _run(reference, layer, tensors[0], parts, given, zone)
        return y, *last

    fast = not pytestconfig.getoption("soak")
    assert torch.autograd.gradcheck(run, (x, *state, *weights.values()), fast_mode=fast)


@pytest.mark.parametrize(
    ("run", "name", "form"),
    [(run, name, {}) for run, name in EACH]
    + [(reference, name, form) for name in ALL for form in FORMS.values()],
)
def test_a_window_cut_anywhere_with_the_state_carried_is_the_whole(
    run: Any, name: str, form: dict[str, Any]
) -> None:
    layer = Layer(CELLS[name], **form)
    x, state, weights = _problem(layer, (5, 3, 2, 5))
    whole = _outputs_and_gradients(run, layer, x, state, weights)
    for cut in range(1, 5):

        def in_two(layer: Layer, x: Tensor, state: LayerState, weights: Any, **more: Any) -> Any:
            first, middle = run(layer, x[:cut], state, weights, **more)  # noqa: B023
            second, last = run(layer, x[cut:], middle, weights, **more)  # noqa: B023
            return torch.cat([first, second]), last

        torch.testing.assert_close(
            _outputs_and_gradients(in_two, layer, x, state, weights), whole, rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize(("run", "name"), EACH)
def test_rows_are_independent(run: Any, name: str) -> None:
    layer = Layer(CELLS[name])
    x, state, weights = _problem(layer, (4, 3, 2, 5))
    y, _ = _run(run, layer, x, state, weights)
    row = tuple(part[1:2] for part in state)
    alone, _ = _run(run, layer, x[:, 1:2], row, weights)
    torch.testing.assert_close(alone, y[:, 1:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("run", "name"), EACH)
def test_not_a_number_propagates(run: Any, name: str) -> None:
    layer = Layer(CELLS[name])
    x, state, weights = _problem(layer, (4, 3, 2, 5))
    with torch.no_grad():
        x[1, 2, 0] = float("nan")
    y, last = _run(run, layer, x, state, weights)
    assert torch.isfinite(y[0]).all()
    assert torch.isfinite(y[:, :2]).all()
    assert torch.isnan(y[1:, 2]).all()
    for part in last:
        assert torch.isfinite(part[:2]).all()
        assert torch.isnan(part[2]).all()


@pytest.mark.parametrize(("run", "name"), EACH)
def test_the_given_state_is_not_changed(run: Any, name: str) -> None:
    layer = Layer(CELLS[name])
    x, state, weights = _problem(layer, (4, 3, 2, 5))
    before = [part.detach().clone() for part in state]
    _run(run, layer, x, state, weights)
    assert all(torch.equal(part, was) for part, was in zip(state, before, strict=True))


@pytest.fixture(params=[False, True], ids=["no-triton", "triton"])
def triton(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether Triton is installed."""
    others = importlib.util.find_spec

    def find_spec(name: str) -> object:
        return others(name) if name != "triton" else object() if request.param else None

    monkeypatch.setattr(layers.importlib.util, "find_spec", find_spec)
    return bool(request.param)


@pytest.mark.parametrize("triton", [False], indirect=True)
def test_a_cell_that_the_library_lacks_is_trained_by_its_equation_alone(triton: bool) -> None:
    assert not triton
    layer = Layer(dataclasses.replace(CELLS["elman"], name="mine"))
    x, state, weights = _problem(Layer(CELLS["elman"]), (4, 3, 2, 5), torch.float32)
    expected, _ = library(Layer(CELLS["elman"]), x, state, weights)
    for device, backend in ((CPU, "fused"), (CUDA, "reference")):
        kernel = select(layer, device, "float32")
        assert kernel.backend == backend
        y, _ = kernel.run(layer, x, state, weights)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    message = "`backend` library has no mine, or not in this form: use auto"
    with pytest.raises(OptionError, match=message):
        select(layer, CPU, backend="library")


def test_coupled_gates_are_those_of_an_lstm_whose_gates_are_tied() -> None:
    # i = 1 - f = σ(-(...)): the input gate's weights are the forget gate's, turned round
    x, state, weights = _problem(Layer(CELLS["lstm-coupled"]), (5, 3, 2, 4))
    tied = {
        name: torch.cat([-f, f, g, o])
        for name, value in weights.items()
        for f, g, o in [value.chunk(3)]
    }
    ours = reference(Layer(CELLS["lstm-coupled"]), x, state, weights)
    theirs = reference(Layer(CELLS["lstm"]), x, state, tied)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_irnn_at_its_start_keeps_a_positive_state_and_its_gradient() -> None:
    layer = Layer(CELLS["irnn"])
    start = layer.initial(2, 5, np.random.default_rng(0))
    weights = {name: torch.from_numpy(value) for name, value in start.items()}
    state = (torch.rand(3, 5).requires_grad_(),)
    y, (last,) = reference(layer, torch.zeros(50, 3, 2), state, weights)
    torch.testing.assert_close(last, state[0])
    (gradient,) = torch.autograd.grad(y[-1].sum(), state)
    torch.testing.assert_close(gradient, torch.ones(3, 5))


def test_preactivation_with_its_tanh_as_output_is_an_elman_network() -> None:
    # h_t = tanh(c_t), from the first state on
    x, (c,), weights = _problem(Layer(CELLS["preactivation"]), (5, 3, 2, 4))
    ours, (after,) = reference(Layer(CELLS["preactivation"]), x, (c,), weights)
    theirs, (last,) = reference(Layer(CELLS["elman"]), x, (torch.tanh(c),), weights)
    torch.testing.assert_close(torch.tanh(ours), theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.tanh(after), last, rtol=1e-12, atol=1e-12)
    by = [x, c, *weights.values()]
    torch.testing.assert_close(
        torch.autograd.grad(torch.tanh(ours).pow(2).sum(), by),
        torch.autograd.grad(theirs.pow(2).sum(), by),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("opening", [50.0, 0.0])
def test_both_gru_agree_where_the_reset_gate_is_open_and_only_there(opening: float) -> None:
    # σ(50) is 1 in float64: then it does not matter what r multiplies. The paper's z is 1 - z.
    x, state, weights = _problem(Layer(CELLS["gru"]), (5, 3, 2, 4))
    with torch.no_grad():
        weights["bias"][:4] = opening
    turned = {
        name: torch.cat([r, -z, n])
        for name, value in weights.items()
        for r, z, n in [value.chunk(3)]
    }
    after = {**turned, "bias_ih": turned["bias"], "bias_hh": torch.zeros_like(turned["bias"])}
    ours, _ = reference(Layer(CELLS["gru"]), x, state, weights)
    theirs, _ = reference(Layer(CELLS["gru-reset-after"]), x, state, after)
    difference = float((ours - theirs).detach().abs().max())
    assert difference < 1e-12 if opening else difference > 0.01


def test_peepholes_of_zero_make_an_lstm() -> None:
    x, state, weights = _problem(Layer(CELLS["lstm-peephole"]), (5, 3, 2, 4))
    weights["peephole"] = torch.zeros(12, dtype=torch.float64)
    wanted = reference(Layer(CELLS["lstm"]), x, state, weights)
    for name in ("lstm-peephole", "lstm-peephole-gers"):
        found = reference(Layer(CELLS[name]), x, state, weights)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_jordan_layer_by_hand() -> None:
    # output map (ln 3, 0): softmax of it is (3^h, 1) / (3^h + 1)
    # h = 1: p = (0.75, 0.25), W_ph p = 0.75 + 3 * 0.25 = 1.5, h = tanh(-1 + 1.5) = 0.4621172
    # p = (0.6242642, 0.3757358), W_ph p = 1.7514715, h = tanh(-1 + 1.7514715) = 0.6360260
    weights = {
        "weight_ih": torch.tensor([[-2.0]]),
        "weight_hh": torch.tensor([[1.0, 3.0]]),
        "bias": torch.tensor([1.0]),
    }
    output = torch.tensor([[3.0], [1.0]]).log()
    y, (h,) = reference(
        Layer(CELLS["jordan"]),
        torch.ones(2, 1, 1),
        (torch.ones(1, 1),),
        weights,
        readout=lambda h: torch.softmax(h @ output.T, -1),
    )
    assert y.flatten().tolist() == pytest.approx([0.4621172, 0.6360260], abs=1e-6)
    assert h.item() == y[-1].item()


def test_deep_layer_by_hand() -> None:
    # h = 0.25: tanh(2 * 0.25 + 0.5) = tanh(1) = 0.7615942 meets W_hh = 0.5; x part 0.25:
    # h = tanh(0.25 + 0.3807971) = 0.5586008
    layer = Layer(CELLS["elman"], recurrent_depth=2)
    weights = {
        "weight_ih": torch.tensor([[0.25]]),
        "hidden.0.0.weight": torch.tensor([[2.0]]),
        "hidden.0.0.bias": torch.tensor([0.5]),
        "weight_hh": torch.tensor([[0.5]]),
        "bias": torch.tensor([0.0]),
    }
    y, _ = reference(layer, torch.ones(1, 1, 1), (torch.tensor([[0.25]]),), weights)
    assert y.item() == pytest.approx(0.5586008, abs=1e-6)


def test_normalized_layer_by_hand() -> None:
    # input parts (1, 3): mean 2, variance 1 -> (-1, 1); recurrent parts (4, 0): mean 2, variance 4
    # -> (1, -1). Gains (2, 1) and (0.5, 1), bias (0.5, 0):
    # h = tanh(-2 + 0.5 + 0.5, 1 - 1) = (-0.7615942, 0), but for the 1e-5 in the variance
    layer = Layer(CELLS["elman"], layer_norm=True)
    weights = {
        "weight_ih": torch.tensor([[1.0], [3.0]]),
        "weight_hh": torch.tensor([[4.0, 0.0], [0.0, 4.0]]),
        "gain_ih": torch.tensor([2.0, 1.0]),
        "gain_hh": torch.tensor([0.5, 1.0]),
        "bias": torch.tensor([0.5, 0.0]),
    }
    y, _ = reference(layer, torch.ones(1, 1, 1), (torch.tensor([[1.0, 0.0]]),), weights)
    assert y.flatten().tolist() == pytest.approx([-0.7615942, 0.0], abs=1e-5)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_blocks_are_normalized_each_for_itself(name: str) -> None:
    # another scale or offset of one block's weights changes nothing, of the input or recurrent part
    layer = Layer(CELLS[name], layer_norm=True)
    x, state, weights = _problem(layer, (4, 3, 2, 5))
    wanted = reference(layer, x, state, weights)
    hidden = 5
    for block in range(len(layer.cell.blocks)):
        rows = slice(block * hidden, (block + 1) * hidden)
        changed = {key: value.detach().clone() for key, value in weights.items()}
        for key in ("weight_ih", "weight_hh"):
            changed[key][rows] = 40 * changed[key][rows] + 1
        found = reference(layer, x, state, changed)
        # but for the 1e-5 in the variance
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


def test_zoneout_follows_its_masks() -> None:
    # where the mask is 1 the old value stays, where it is 0 the new one comes: step by step
    layer = Layer(CELLS["lstm"])
    x, state, weights = _problem(layer, (4, 3, 2, 5))
    masks = tuple((mask < 0.5).double() for mask in _masks(state, 4))
    y, last = reference(layer, x, state, weights, zone=masks)
    for t in range(4):
        _, new = reference(layer, x[t : t + 1], state, weights)
        state = tuple(
            torch.where(mask[t] == 1, s, n) for mask, s, n in zip(masks, state, new, strict=True)
        )
        torch.testing.assert_close(y[t], state[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(last, state, rtol=0, atol=1e-12)


def test_zoneout_of_one_number_is_the_same_everywhere() -> None:
    layer = Layer(CELLS["lstm"])
    x, state, weights = _problem(layer, (4, 3, 2, 5))
    rates = (0.25, 0.5)
    one = tuple(torch.full((1, 1, 1), rate, dtype=torch.float64) for rate in rates)
    all_of_them = tuple(torch.full((4, 3, 5), rate, dtype=torch.float64) for rate in rates)
    found = reference(layer, x, state, weights, zone=one)
    wanted = reference(layer, x, state, weights, zone=all_of_them)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile's own
@pytest.mark.parametrize(
    ("name", "form"), [("lstm", {}), ("gru", FORMS["both"])], ids=["plain", "both"]
)
def test_steps_compiled_one_by_one_equal_the_reference(name: str, form: dict[str, Any]) -> None:
    # Torch's tracing and its derivatives, without its code for graphics cards
    run = functools.partial(reference, compiler="aot_eager")
    layer = Layer(CELLS[name], **form)
    problem = _problem(layer, (4, 3, 2, 5))
    ours = _outputs_and_gradients(reference, layer, *problem)
    theirs = _outputs_and_gradients(run, layer, *problem)
    torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=1e-12)
    x, state, weights = problem
    masks = _masks(state, 4)
    found = run(layer, x, state, weights, zone=masks)
    wanted = reference(layer, x, state, weights, zone=masks)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


class TestSelect:
    @pytest.fixture(params=[False, True], ids=["without", "with"])
    def able(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
        """Whether the processor multiplies bfloat16."""
        able: bool = request.param
        monkeypatch.setattr(layers, "multiplies_bfloat16", lambda: able)
        return able

    @pytest.mark.parametrize("x86", [False, True])
    def test_lstm(self, able: bool, x86: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(layers, "is_x86", lambda: x86)
        kernel = select(Layer(CELLS["lstm"]), CPU)
        wanted = ("library", "float32", "torch has this cell")
        if x86:
            wanted = ("fused", "float32", "faster than torch's own or than a plain loop")
        if able:
            wanted = ("fused", "bfloat16", "this CPU multiplies bfloat16 itself")
        assert (kernel.backend, kernel.precision, kernel.reason) == wanted

    @pytest.mark.parametrize(
        "name", sorted(set(ALL) - {"lstm", "jordan"})
    )  # torch has some of them, but slower
    def test_other_cells(self, name: str, able: bool) -> None:
        kernel = select(Layer(CELLS[name]), CPU)
        wanted = ("fused", "float32", "faster than torch's own or than a plain loop")
        if able:
            wanted = ("fused", "bfloat16", "this CPU multiplies bfloat16 itself")
        assert (kernel.backend, kernel.precision, kernel.reason) == wanted

    @pytest.mark.usefixtures("able")
    def test_jordan_has_the_plain_loop_only(self) -> None:
        kernel = select(Layer(CELLS["jordan"]), CPU)
        assert (kernel.backend, kernel.precision) == ("reference", "float32")
        assert kernel.reason == "nothing faster runs this cell here"
        message = "`backend` fused cannot run jordan, whose output map is inside the recurrence"
        with pytest.raises(OptionError, match=f"{message}: use auto"):
            select(Layer(CELLS["jordan"]), CPU, backend="fused")
        with pytest.raises(OptionError, match="`backend` library has no jordan"):
            select(Layer(CELLS["jordan"]), CPU, backend="library")

    @pytest.mark.parametrize("form", [*FORMS.values(), {"zoneout": True}], ids=[*FORMS, "zoned"])
    def test_what_the_library_lacks_goes_to_the_fused_kernel(
        self, form: dict[str, Any], able: bool
    ) -> None:
        zoneout = "zoneout" in form
        layer = Layer(CELLS["lstm"]) if zoneout else Layer(CELLS["lstm"], **form)
        kernel = select(layer, CPU, zoneout=zoneout)
        assert (kernel.backend, kernel.precision) == (
            "fused",
            "bfloat16" if able else "float32",
        )
        with pytest.raises(OptionError, match="`backend` library has no lstm, or not in this form"):
            select(layer, CPU, backend="library", zoneout=zoneout)

    def test_the_library_itself_refuses_what_it_cannot_compute(self) -> None:
        deep = Layer(CELLS["lstm"], recurrent_depth=2)
        for layer, zone in ((deep, ()), (Layer(CELLS["lstm"]), (torch.zeros(1, 1, 1),) * 2)):
            x, state, weights = _problem(layer, (2, 2, 2, 3))
            with pytest.raises(OptionError, match="no lstm of this form"):
                library(layer, x, state, weights, zone=zone)

    @pytest.mark.usefixtures("able")
    def test_a_graphics_card_never_makes_products_in_bfloat16(self, triton: bool) -> None:
        other = "fused" if triton else "reference"
        for name in ALL:
            kernel = select(Layer(CELLS[name]), CUDA)
            wanted = "library" if name in LIBRARY else "reference" if name == "jordan" else other
            assert (kernel.backend, kernel.precision) == (wanted, "float32")
        layer = Layer(CELLS["lstm"], layer_norm=True)
        assert select(layer, CUDA).backend == other
        assert select(Layer(CELLS["lstm"]), CUDA, zoneout=True).backend == other

    def test_where_triton_is_missing_the_fused_kernel_is_refused(self, triton: bool) -> None:
        if triton:
            kernel = select(Layer(CELLS["gru"]), CUDA, backend="fused")
            assert kernel.precision == "float32"
            assert isinstance(kernel.run, functools.partial)
            assert (kernel.run.func, kernel.run.keywords) == (reference, {"compiler": "inductor"})
        else:
            message = "`backend` fused needs Triton on CUDA, which is not installed: use auto"
            with pytest.raises(OptionError, match=message):
                select(Layer(CELLS["gru"]), CUDA, backend="fused")

    @pytest.mark.usefixtures("able")
    def test_a_given_backend_is_used(self) -> None:
        for backend in ("reference", "library", "fused"):
            kernel = select(Layer(CELLS["elman"]), CPU, "float32", backend)
            assert (kernel.backend, kernel.precision) == (backend, "float32")
            assert kernel.reason == "as asked"

    @pytest.mark.parametrize("triton", [True], indirect=True)
    @pytest.mark.usefixtures("able", "triton")
    @pytest.mark.parametrize(
        ("device", "precision", "backend", "message"),
        [
            (CUDA, "bfloat16", "fused", "`precision` bfloat16 needs the fused backend on a CPU"),
            (CUDA, "bfloat16", "auto", "`precision` bfloat16 needs the fused backend on a CPU"),
            (CPU, "bfloat16", "library", "`precision` bfloat16 needs the fused backend on a CPU"),
            (CPU, "bfloat16", "reference", "`precision` bfloat16 needs the fused backend on a CPU"),
        ],
    )
    def test_impossible_combinations_are_refused(
        self, device: torch.device, precision: str, backend: str, message: str
    ) -> None:
        with pytest.raises(OptionError, match=message):
            select(Layer(CELLS["lstm"]), device, precision, backend)

    def test_float32_stays_float32(self, able: bool) -> None:
        kernel = select(Layer(CELLS["gru"]), CPU, "float32")
        assert (kernel.backend, kernel.precision) == ("fused", "float32")
        kernel = select(Layer(CELLS["lstm"]), CPU, backend="fused")
        assert kernel.precision == ("bfloat16" if able else "float32")
