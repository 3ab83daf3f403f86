"""Truncated backpropagation through time against plain implementations."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from following import Follower, train
from numpy.typing import NDArray
from torch import Tensor

from charrnn.cells import CELLS, Layer
from charrnn.cells.base import Parts, Product
from charrnn.config import ModelConfig, TrainConfig, TrainOptions
from charrnn.errors import CorpusError, OptionError
from charrnn.model import parameters
from charrnn.network.layers import LayerState, reference
from charrnn.network.module import CharRNN
from charrnn.network.noise import Noise
from charrnn.text import corpus, streams
from charrnn.text.streams import Cursor
from charrnn.training.events import Planned
from charrnn.training.regularizers import Recorder
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.training_step import Updater

Make = Callable[..., dict[str, NDArray[Any]]]
Weights = dict[str, Tensor]
TBPTT = [(1, 1), (3, 3), (4, 4), (1, 4), (2, 4), (2, 5), (3, 7), (5, 6), (4, 17), (1, 17)]
STREAMS, LENGTH, SYMBOLS = 3, 17, 4


def _updater(
    make_values: Make, config: ModelConfig, update_every: int, seq_len: int, **more: Any
) -> Updater:
    """Return a training in float64, with the plain loop, on three streams of 17 tokens."""
    ids = np.random.default_rng(5).integers(0, SYMBOLS, STREAMS * LENGTH).astype(np.uint8)
    train = TrainConfig(
        seq_len=seq_len,
        update_every=update_every,
        batch_size=STREAMS,
        **{"clip_norm": math.inf, "learning_rate": 0.05, **more},
    )
    values = {name: value.astype(np.float64) for name, value in make_values(config).items()}
    network = CharRNN(config, values, regularizers=train)
    made = streams.make(ids, STREAMS, seq_len, config.start_token, None, update_every)
    return Updater(StreamBatches(network, made, train))


def _step(cell: str, w: Weights, ids: Tensor, state: list[LayerState]) -> list[LayerState]:
    """Pass one token through all layers, as the equations are printed."""
    x, after = w["embedding"][ids], []
    for layer, before in enumerate(state):
        own = {name: w[f"layers.{layer}.{name}"] for name in ("weight_ih", "weight_hh", "bias")}
        z = x @ own["weight_ih"].T + before[0] @ own["weight_hh"].T + own["bias"]
        if cell == "elman":
            after.append((torch.tanh(z),))
        else:
            i, f, g, o = z.chunk(4, -1)
            c = torch.sigmoid(f) * before[1] + torch.sigmoid(i) * torch.tanh(g)
            after.append((torch.sigmoid(o) * torch.tanh(c), c))
        x = after[-1][0]
    return after


class Slow:
    """BPTT(k1, k2) term by term: one loss, one derivative, one sum.

    For every counted loss the text is read again from the state stored where the window begins; a
    state is stored at each position when a window passes it, with the weights of then.
    """

    def __init__(self, cell: str, layers: int, hidden: int, k1: int, k2: int) -> None:
        self.cell, self.k1, self.k2 = cell, k1, k2
        parts = 2 if cell == "lstm" else 1
        zero = torch.zeros(STREAMS, hidden, dtype=torch.float64)
        self.start = [(zero,) * parts] * layers
        self.stored: dict[int, list[LayerState]] = {}

    def gradients(
        self, values: Weights, text: tuple[Tensor, Tensor], number: int
    ) -> tuple[float, Weights]:
        """Return the mean loss of update `number` of an epoch, and its gradient."""
        inputs, targets = text
        end = (number + 1) * self.k1
        begin = max(0, end - self.k2)
        before = self.stored[begin] if begin else self.start
        loss, total = 0.0, {name: torch.zeros_like(value) for name, value in values.items()}
        for counted in range(end - self.k1, end):
            w = {name: value.clone().requires_grad_() for name, value in values.items()}
            state = before
            for position in range(begin, counted + 1):
                state = _step(self.cell, w, inputs[position], state)
                kept = [tuple(part.detach() for part in layer) for layer in state]
                self.stored[position + 1] = kept
            logits = state[-1][0] @ w["output.weight"].T + w["output.bias"]
            log_p = torch.log_softmax(logits, -1)
            term = -log_p[torch.arange(STREAMS), targets[counted]].sum() / (STREAMS * self.k1)
            loss += term.item()
            terms = torch.autograd.grad(term, list(w.values()), materialize_grads=True)
            for name, gradient in zip(w, terms, strict=True):
                total[name] += gradient
        return loss, total


def _text(updater: Updater) -> tuple[Tensor, Tensor]:
    made = updater.batches.streams
    whole = dataclasses.replace(made, seq_len=made.length, update_every=made.length)
    window = whole.window(Cursor())
    return torch.from_numpy(window.inputs), torch.from_numpy(window.targets)


def _copies(updater: Updater) -> Weights:
    return {n: weight.detach().clone() for n, weight in updater.network.weights().items()}


def _gradients(updater: Updater) -> dict[str, Tensor]:
    found = {name: weight.grad for name, weight in updater.network.weights().items()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize(("k1", "k2"), TBPTT)
@pytest.mark.parametrize(("cell", "layers"), [("elman", 1), ("lstm", 1), ("lstm", 2)])
def test_the_gradient_of_every_update_is_that_of_the_slow_loop(
    make_values: Make, cell: str, layers: int, k1: int, k2: int
) -> None:
    config = ModelConfig(SYMBOLS, cell, layers, 5, 3)
    updater = _updater(make_values, config, k1, k2)
    slow = Slow(cell, layers, 5, k1, k2)
    for _ in range(LENGTH // k1 + 2):  # and on into the second epoch
        number, before = updater.batches.cursor.window, _copies(updater)
        updater.update(0.05)
        loss, expected = slow.gradients(before, _text(updater), number)
        assert updater.losses[-1].item() == pytest.approx(loss, rel=1e-12)
        torch.testing.assert_close(_gradients(updater), expected, rtol=1e-9, atol=1e-12)
        moved = before["output.weight"] - updater.network.weights()["output.weight"]
        assert moved.abs().max() > 0.01  # so weights of then and weights of now differ
    assert updater.batches.cursor == Cursor(1, 2)


@pytest.mark.parametrize(("other", "k2"), [(4, 3), (4, 5), (2, 4)])
def test_another_window_gives_another_gradient(make_values: Make, other: int, k2: int) -> None:
    """Show that the gradient of the test above depends on k2."""
    config = ModelConfig(SYMBOLS, "lstm", 1, 5, 3)
    found = []
    for length in (other, k2):
        updater = _updater(make_values, config, 2, length)
        for _ in range(4):
            updater.update(0.0)
        found.append(_gradients(updater)["layers.0.weight_hh"])
    assert (found[0] - found[1]).abs().max() > 1e-6


def test_stored_states_are_those_of_the_earlier_weights(make_values: Make) -> None:
    config = ModelConfig(SYMBOLS, "elman", 1, 5, 3)
    updater = _updater(make_values, config, 2, 4)
    inputs, _ = _text(updater)
    old: list[Weights] = []
    for _ in range(4):
        old.append(_copies(updater))
        updater.update(0.05)
    # The windows began at 0, 0, 2 and 4. The state now stored is that at 6: reached by the last
    # one from 4 on; at 4 by the third from 2 on; at 2 by the second from the start.
    state = [(torch.zeros(STREAMS, 5, dtype=torch.float64),)]
    for position in range(6):
        state = _step("elman", old[1 + position // 2], inputs[position], state)
    torch.testing.assert_close(updater.batches.carried, tuple(state), rtol=1e-12, atol=1e-12)
    state = [(torch.zeros(STREAMS, 5, dtype=torch.float64),)]
    for position in range(6):
        state = _step("elman", old[-1], inputs[position], state)
    assert (updater.batches.carried[0][0] - state[0][0]).abs().max() > 1e-3


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("window", [1, 4, 5])
def test_equal_k1_and_k2_are_the_usual_loop_that_detaches_the_state(
    make_values: Make, window: int, layers: int
) -> None:
    config = ModelConfig(SYMBOLS, "lstm", layers, 5, 3)
    updater = _updater(make_values, config, window, window, clip_norm=0.2, optimizer="adamw")
    embedding = torch.nn.Embedding(SYMBOLS + 1, 3)
    lstm, output = torch.nn.LSTM(3, 5, layers), torch.nn.Linear(5, SYMBOLS)
    modules = torch.nn.ModuleList([embedding, lstm, output]).double()
    weights = _copies(updater)
    embedding.load_state_dict({"weight": weights["embedding"]})
    output.load_state_dict({"weight": weights["output.weight"], "bias": weights["output.bias"]})
    for name, weight in lstm.named_parameters():
        kind, layer = name.rsplit("_l", 1)
        with torch.no_grad():
            if kind == "bias_hh":  # ours has one bias
                weight.zero_().requires_grad_(False)
            else:
                weight.copy_(weights[f"layers.{layer}.{kind.replace('bias_ih', 'bias')}"])
    trained = [weight for weight in modules.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": 0.1},
            {"params": [weight for weight in trained if weight.ndim == 1], "weight_decay": 0.0},
        ],
        lr=0.05,
        betas=(0.9, 0.99),
    )
    inputs, targets = _text(updater)
    norms = []
    for _ in range(3):  # epochs
        state = None
        for start in range(0, LENGTH - window + 1, window):
            hidden, state = lstm(embedding(inputs[start : start + window]), state)
            state = tuple(part.detach() for part in state)
            loss = F.cross_entropy(
                output(hidden).flatten(0, 1), targets[start : start + window].flatten()
            )
            optimizer.zero_grad()
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(trained, 0.2).item())
            optimizer.step()
            updater.update(0.05)
            assert updater.losses[-1].item() == pytest.approx(loss.item(), rel=1e-9)
    assert max(norms) > 0.2  # it was clipped
    assert updater.batches.cursor == Cursor(3, 0)
    ours = updater.network.weights()
    torch.testing.assert_close(ours["embedding"], embedding.weight, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(ours["output.weight"], output.weight, rtol=1e-7, atol=1e-9)
    for layer in range(layers):
        theirs = getattr(lstm, f"weight_hh_l{layer}")
        torch.testing.assert_close(ours[f"layers.{layer}.weight_hh"], theirs, rtol=1e-7, atol=1e-9)


def test_reset_windows_reset_the_state_but_read_the_token_before_them(make_values: Make) -> None:
    config = ModelConfig(SYMBOLS, "lstm", 1, 5, 3)
    updater = _updater(make_values, config, 4, 4, state="reset")
    inputs, targets = _text(updater)
    for number in range(5):  # four windows in an epoch
        window, before = updater.batches.streams.window(updater.batches.cursor), _copies(updater)
        updater.update(0.05)
        start = number % 4 * 4
        assert window.start == start
        first = [4] * STREAMS if start == 0 else targets[start - 1].tolist()
        assert window.inputs[0].tolist() == first
        slow = Slow("lstm", 1, 5, 4, 4)
        # the same rows as the first window of a text of their own
        rows = slice(start, start + 4)
        loss, expected = slow.gradients(before, (inputs[rows], targets[rows]), 0)
        assert updater.losses[-1].item() == pytest.approx(loss, rel=1e-12)
        torch.testing.assert_close(_gradients(updater), expected, rtol=1e-9, atol=1e-12)


def test_carrying_the_state_makes_a_difference(make_values: Make) -> None:
    config = ModelConfig(SYMBOLS, "lstm", 1, 5, 3)
    carried, anew = (_updater(make_values, config, 4, 4, state=kind) for kind in ("carry", "reset"))
    for updater in (carried, anew):
        for _ in range(2):
            updater.update(0.0)
    assert carried.losses[0].item() == anew.losses[0].item()
    assert abs(carried.losses[1].item() - anew.losses[1].item()) > 1e-4


def _linear() -> Layer:
    """``h = W_xh x + W_hh h + b``."""

    def equations(sigmoid: Any, tanh: Any, relu: Any) -> Callable[..., Parts]:
        def unit(x: Parts, w: Product, state: Parts) -> Parts:
            (r,) = w(state[0])
            return (x[0] + r,)

        return unit

    return Layer(dataclasses.replace(CELLS["elman"], name="linear", equations=equations))


# The scalar network x_{t+1} = w x_t with w = 0.2 and x_0 = 0.9: x_1 = 0.18, x_2 = 0.036,
# x_3 = w^3 x_0 = 0.0072, and dx_3/dw = 3 w^2 x_0 = 0.108. With x_2 taken as given it is
# x_2 = 0.036, with x_1 as given x_2 + w x_1 = 0.036 + 0.036 = 0.072.
SCALAR = [(3, 0.108), (2, 0.072), (1, 0.036)]


@pytest.mark.parametrize(("window", "derivative"), SCALAR)
@pytest.mark.parametrize("sequence", [reference, Recorder()])
def test_the_scalar_example_in_a_layer(window: int, derivative: float, sequence: Any) -> None:
    def tensor(value: float, *shape: int) -> Tensor:
        return torch.full(shape, value, dtype=torch.float64)

    w = tensor(0.2, 1, 1).requires_grad_()
    weights = {"weight_ih": tensor(0, 1, 1), "weight_hh": w, "bias": tensor(0, 1)}
    state: LayerState = (tensor(0.9, 1, 1),)
    if window < 3:
        _, (carried,) = sequence(_linear(), tensor(0, 3 - window, 1, 1), state, weights)
        state = (carried.detach(),)
    assert state[0].item() == pytest.approx(0.9 * 0.2 ** (3 - window), rel=1e-12)
    y, (last,) = sequence(_linear(), tensor(0, window, 1, 1), state, weights)
    assert y[-1].item() == last.item() == pytest.approx(0.0072, rel=1e-12)
    (gradient,) = torch.autograd.grad(last.sum(), w)
    assert gradient.item() == pytest.approx(derivative, rel=1e-12)


@pytest.mark.parametrize(("window", "derivative"), SCALAR)
def test_the_scalar_example_through_the_whole_network(window: int, derivative: float) -> None:
    config = ModelConfig(1, "elman", 1, 1, 0)
    values = {n: np.zeros(shape, np.float64) for n, shape in parameters.shapes(config).items()}
    values["layers.0.weight_hh"][:] = 0.2
    values["output.weight"][:] = 1.0
    network = CharRNN(config, values)
    network.layer = _linear()
    ids = torch.zeros(3, 1, dtype=torch.long)
    begin = ((torch.full((1, 1), 0.9, dtype=torch.float64),),)
    cut = 3 - window
    _, ((stored,),) = network.run(ids, begin, Noise(), cut=cut)
    assert stored.item() == pytest.approx(0.9 * 0.2**cut, rel=1e-12)
    outputs, _ = network.run(ids[cut:], ((stored.detach(),),), Noise(), counted=1)
    assert network.logits(outputs.read).item() == pytest.approx(0.0072, rel=1e-12)
    (gradient,) = torch.autograd.grad(
        network.logits(outputs.read).sum(), network.weights()["layers.0.weight_hh"]
    )
    assert gradient.item() == pytest.approx(derivative, rel=1e-12)


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("cut", [0, 1, 3, 6, None])
def test_a_window_with_a_cut_is_the_same_window(
    make_values: Make, cell: str, cut: int | None
) -> None:
    config = ModelConfig(SYMBOLS, cell, 1 if cell == "jordan" else 2, 5, 3)
    network = CharRNN(config, make_values(config))
    network.double()
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, SYMBOLS, (6, 2)))
    start = network.start_state(2)
    whole, _ = network.run(ids, start, Noise())
    outputs, state = network.run(ids, start, Noise(), counted=2, cut=cut)
    assert network.logits(outputs.read).shape == (2, 2, SYMBOLS)
    assert outputs.top.shape == outputs.dropped.shape == (2, 2, 5)
    torch.testing.assert_close(
        network.logits(outputs.read), network.logits(whole.read)[-2:], rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(outputs.top, whole.top[-2:], rtol=1e-12, atol=1e-12)
    expected = start if cut == 0 else network.run(ids[:cut], start, Noise())[1]
    torch.testing.assert_close(state, expected, rtol=1e-12, atol=1e-12)


TEXT = "the cat is home.\nthe sea is near.\n" * 20  # 680 symbols, of which 612 train


def _train(tmp_path: Path, **options: Any) -> tuple[Any, Any]:
    """Return a short training and its plan."""

    class Planning(Follower):
        def planned(self, planned: Planned) -> None:
            self.plan = planned.plan

    planning = Planning()
    chosen = TrainOptions(
        **{"hidden_size": 6, "embedding_size": 3, "device": "cpu", "backend": "reference"} | options
    )
    text = corpus.from_text(TEXT)
    result = train(text, chosen, out=tmp_path / "run", follower=planning)
    return result, planning.plan


def test_a_full_window_is_one_over_each_stream(tmp_path: Path) -> None:
    result, plan = _train(tmp_path, seq_len="full", batch_size=3, epochs=4)
    assert (plan.train.seq_len, plan.train.update_every) == (204, 204)
    assert (result.steps, result.epochs, result.characters) == (4, 4, 4 * 612)


def test_a_training_that_resets_learns(tmp_path: Path) -> None:
    result, plan = _train(
        tmp_path, state="reset", seq_len=8, batch_size=4, steps=60, learning_rate=0.03
    )
    assert (plan.train.state, plan.train.seq_len, plan.train.update_every) == ("reset", 8, 8)
    assert result.valid_nats < math.log(plan.model.vocab_size) - 0.3


def test_a_training_with_overlapping_windows_learns_and_counts_each_token_once(
    tmp_path: Path,
) -> None:
    result, plan = _train(
        tmp_path, seq_len=10, update_every=4, batch_size=4, epochs=2, learning_rate=0.03
    )
    assert (plan.train.seq_len, plan.train.update_every) == (10, 4)
    # 153 symbols in each stream: 38 updates of 4
    assert (result.steps, result.characters) == (76, 76 * 16)
    assert result.valid_nats < math.log(plan.model.vocab_size) - 0.3


def test_updates_farther_apart_than_a_whole_stream_are_refused(tmp_path: Path) -> None:
    with pytest.raises((OptionError, CorpusError), match="`update_every=400`"):
        _train(tmp_path, seq_len="full", update_every=400, batch_size=3, steps=2)
