"""The network of pairs against one written out here: one pair at a time, step by step, float64."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FORMS
from numpy.typing import NDArray
from processors import needs_bf16
from torch import Tensor

from charrnn.arrays import Floats64
from charrnn.cells import CELLS
from charrnn.config import ModelConfig, Regularizers
from charrnn.network import fused
from charrnn.network.layers import library, reference
from charrnn.network.pair_module import PairRNN
from charrnn.network.source import Reversal
from charrnn.text.pair_order import PairBatch, batch
from charrnn.text.pairs import PairPart
from charrnn.text.streams import IGNORED

V, E, H = 6, 3, 4  # five letters and the end
PART = PairPart.of(
    [([0, 1, 2, 3], [4, 0]), ([2], [1, 1, 3, 0, 2]), ([4, 4], [3]), ([1, 0, 2], [2, 0])]
)
ALL = [name for name in sorted(CELLS) if name != "jordan"]
# Every cell as it is, every form with one cell, and all forms at once with the widest steps. Some
# cells only in the long form: test_module.py has their gradients, which meet a source no otherwise.
LONG = ("irnn", "gru-reset-after", "lstm-sigmoid", "lstm-peephole-gers", "lstm-multiplicative")
FORMED = [
    *(
        pytest.param(cell, "plain", marks=[pytest.mark.soak] if cell in LONG else [])
        for cell in ALL
    ),
    *(("lstm-coupled", form) for form in FORMS if form != "learned_start"),
    *((cell, "all") for cell in ("gru", "lstm-peephole")),
]
NETWORKS = [(e, c) for e in ("forward", "bidirectional") for c in ("fixed", "attention")]
Make = Callable[..., dict[str, NDArray[Any]]]
Values = Mapping[str, NDArray[Any]]


def _config(cell: str = "lstm", **changes: Any) -> ModelConfig:
    form = {"encoder": "bidirectional", "context": "attention", **changes}
    return ModelConfig(V, cell, form.pop("num_layers", 2), H, form.pop("embedding_size", E), **form)


def _network(
    make_values: Make, config: ModelConfig, dtype: Any = np.float64, **more: Any
) -> PairRNN:
    values = {name: value.astype(dtype) for name, value in make_values(config).items()}
    return PairRNN(config, values, **more)


def _batch(*which: int) -> PairBatch:
    return batch(PART, np.array(which), start_token=V, end_token=V - 1)


def _loss(network: PairRNN, read: PairBatch) -> Tensor:
    """Return the summed loss; it has a second derivative, so no mistake in the first one hides."""
    logits = network.logits(network.run_pairs(read).read).flatten(0, 1)
    targets = torch.from_numpy(read.targets).flatten()
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def _sigmoid(x: Floats64) -> Floats64:
    return 1 / (1 + np.exp(-x))


def _lstm(w: Values, prefix: str, x: Floats64, h: Floats64, c: Floats64) -> tuple[Floats64, ...]:
    total = w[f"{prefix}weight_ih"] @ x + w[f"{prefix}weight_hh"] @ h + w[f"{prefix}bias"]
    i, f, g, o = np.split(total, 4)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _elman(w: Values, prefix: str, x: Floats64, h: Floats64) -> tuple[Floats64, ...]:
    return (
        np.tanh(w[f"{prefix}weight_ih"] @ x + w[f"{prefix}weight_hh"] @ h + w[f"{prefix}bias"]),
    )


STEPS: dict[str, Any] = {"lstm": (_lstm, ("h", "c")), "elman": (_elman, ("h",))}


def _written_out(w: Values, config: ModelConfig, source: Any, target: Any) -> list[float]:
    """Return -ln p of every token of a target and of its end."""
    step, names = STEPS[config.cell]
    size = config.hidden_size // (2 if config.encoder == "bidirectional" else 1)
    embedding = w.get("embedding", np.eye(V + 1))
    symbols = [embedding[token] for token in source]
    rows = symbols
    for layer in range(config.num_layers):
        state = [np.zeros(size) for _ in names]
        ahead = []
        for x in rows:
            state = step(w, f"encoder.layers.{layer}.forward.", x, *state)
            ahead.append(state[0])
        outputs = ahead
        if config.encoder == "bidirectional":
            state, back = [np.zeros(size) for _ in names], []
            for x in rows[::-1]:
                state = step(w, f"encoder.layers.{layer}.backward.", x, *state)
                back.append(state[0])
            outputs = [np.concatenate(both) for both in zip(ahead, back[::-1], strict=True)]
        rows = outputs
        if config.skip_connections:
            rows = [np.concatenate(both) for both in zip(outputs, symbols, strict=True)]
    last = outputs[-1]
    if config.encoder == "bidirectional":
        last = np.concatenate([outputs[-1][:size], outputs[0][size:]])
    states: list[Any] = []
    for layer in range(config.num_layers):
        own = slice(layer * H, (layer + 1) * H)
        weights = [(w[f"context.start.{n}.weight"], w[f"context.start.{n}.bias"]) for n in names]
        states.append([weight[own] @ last + bias[own] for weight, bias in weights])
    nats = []
    for token, wanted in zip([V, *target], [*target, V - 1], strict=True):
        symbol = embedding[token] + w["context.input.weight"] @ last
        x, tops, found = symbol, [], np.zeros(0)
        for layer in range(config.num_layers):
            states[layer] = step(w, f"layers.{layer}.", x, *states[layer])
            tops.append(states[layer][0])
            if layer == 0 and config.context == "attention":
                query = w["attention.query.weight"] @ tops[0]
                scores = [query @ m / math.sqrt(H) for m in outputs]
                shares = np.exp(scores) / np.exp(scores).sum()
                found = np.sum([share * m for share, m in zip(shares, outputs, strict=True)], 0)
            x = np.concatenate([tops[-1], symbol if config.skip_connections else [], found])
        read = np.concatenate([*(tops if config.skip_connections else tops[-1:]), found])
        logits = w["output.weight"] @ read + w["output.bias"]
        nats.append(float(np.log(np.exp(logits).sum()) - logits[wanted]))
    return nats


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize(("encoder", "context"), NETWORKS)
@pytest.mark.parametrize(
    "form",
    [{}, {"skip_connections": True}, {"num_layers": 1, "embedding_size": 0}, {"num_layers": 3}],
)
def test_losses_are_those_of_the_network_written_out(
    make_values: Make, cell: str, encoder: str, context: str, form: dict[str, Any]
) -> None:
    config = _config(cell, encoder=encoder, context=context, **form)
    network = _network(make_values, config)
    read = _batch(0, 1, 2, 3)
    nats = network.pair_nats(read)
    for pair in range(len(PART)):
        expected = _written_out(network.values(), config, PART.source(pair), PART.target(pair))
        np.testing.assert_allclose(nats[: len(expected), pair], expected, rtol=1e-12)
        assert not nats[len(expected) :, pair].any()  # padding
    mean = network.mean_nats(network.run_pairs(read).read, torch.from_numpy(read.targets))
    assert mean.item() == pytest.approx(nats.sum() / (read.targets != IGNORED).sum(), rel=1e-12)


@pytest.mark.parametrize(("cell", "form"), FORMED)
def test_padding_changes_no_number(make_values: Make, cell: str, form: str) -> None:
    network = _network(make_values, _config(cell, **FORMS[form] | {"learned_start": False})).eval()
    together = network.pair_nats(_batch(0, 1, 2, 3))
    loss = _loss(network, _batch(0, 1, 2, 3))
    alone = [_loss(network, _batch(pair)) for pair in range(4)]
    for pair in range(4):
        nats = network.pair_nats(_batch(pair))[:, 0]
        np.testing.assert_allclose(together[: len(nats), pair], nats, rtol=1e-12)
    weights = list(network.weights().values())
    torch.testing.assert_close(
        torch.autograd.grad(loss, weights),
        torch.autograd.grad(torch.stack(alone).sum(), weights),
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize(("cell", "form"), FORMED)
def test_gradients_are_those_of_central_differences(
    make_values: Make, cell: str, form: str
) -> None:
    context = "fixed" if cell == "lstm-peephole" else "attention"
    config = _config(cell, context=context, **FORMS[form] | {"learned_start": False})
    network = _network(make_values, config).eval()
    read, weights = _batch(0, 1, 2), network.weights()
    gradients = dict(
        zip(weights, torch.autograd.grad(_loss(network, read), list(weights.values())), strict=True)
    )
    rng = np.random.default_rng(3)
    for name, weight in weights.items():  # along one random direction of each parameter
        direction = torch.tensor(rng.standard_normal(weight.shape))
        losses = []
        with torch.no_grad():
            for distance in (1e-6, -2e-6):
                weight += distance * direction
                losses.append(_loss(network, read).item())
            weight += 1e-6 * direction
        slope = (losses[0] - losses[1]) / 2e-6
        along = (gradients[name] * direction).sum().item()
        assert slope == pytest.approx(along, rel=1e-5, abs=1e-7), name


@pytest.mark.parametrize("cell", ALL)
def test_an_encoder_of_reversed_sources_is_the_encoder_with_its_directions_swapped(
    make_values: Make, cell: str
) -> None:
    network = _network(make_values, _config(cell))
    values = network.values()

    def swapped(name: str, value: NDArray[Any]) -> NDArray[Any]:
        """Return what stands for the other direction; units of above follow those of below."""
        other = {"forward": "backward", "backward": "forward"}
        for one, two in other.items():
            if f".{one}." in name:
                value = values[name.replace(one, two)]
        if name.startswith("encoder.layers.1.") and name.endswith("weight_ih"):
            value = np.roll(value, H // 2, axis=1)
        return value

    mirrored = PairRNN(network.config, {name: swapped(name, v) for name, v in values.items()})
    read = _batch(0, 1, 2, 3)
    ids, lengths = torch.from_numpy(read.sources), torch.from_numpy(read.lengths)
    turned = Reversal(lengths, len(ids))
    source = network.eval().encode(ids, lengths)
    other = mirrored.eval().encode(turned(ids), lengths)
    assert source.memory is not None
    assert other.memory is not None
    back = turned(other.memory.transpose(0, 1)).transpose(0, 1).roll(H // 2, -1)
    inside = ~source.padded[..., None]
    torch.testing.assert_close(source.memory * inside, back * inside, rtol=1e-12, atol=1e-12)


def test_a_reversal_keeps_padding_where_it_is_and_undoes_itself() -> None:
    values = torch.arange(8).view(4, 2)
    turned = Reversal(torch.tensor([3, 1]), 4)
    assert turned(values).tolist() == [[4, 1], [2, 3], [0, 5], [6, 7]]
    assert turned(turned(values)).tolist() == values.tolist()


def test_attention_reads_only_the_source(make_values: Make) -> None:
    network = _network(make_values, _config()).eval()
    read = _batch(1, 0)  # a source of one token, and one of four
    source = network.encode(torch.from_numpy(read.sources), torch.from_numpy(read.lengths))
    shares = source.alignment(torch.randn(3, 2, H, dtype=torch.float64))
    assert shares[0].tolist() == [[1, 0, 0, 0]] * 3
    assert (shares[1] > 0).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("cell", ALL)
def test_compiled_windows_train_as_the_plain_loop(make_values: Make, cell: str) -> None:
    config = _config(cell, skip_connections=True)
    exact = partial(fused.sequence, bf16=False)
    runs = [reference, exact, *([library] if cell in ("elman", "irnn", "lstm") else [])]
    networks = [_network(make_values, config, np.float32, sequence=run) for run in runs]
    read, found = _batch(0, 1, 2, 3), []
    for network in networks:
        loss = network.mean_nats(network.run_pairs(read).read, torch.from_numpy(read.targets))
        gradients = torch.autograd.grad(loss, list(network.weights().values()))
        found.append((loss, gradients))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=2e-4, atol=1e-6)


@needs_bf16
def test_training_in_bfloat16_is_near_that_in_float32(make_values: Make) -> None:
    config = replace(_config("lstm-coupled"), hidden_size=32)
    low = partial(fused.sequence, bf16=True)
    values = make_values(config, scale=0.2)
    read, found = _batch(0, 1, 2, 3), []
    for network in (PairRNN(config, values), PairRNN(config, values, sequence=low, bf16=True)):
        loss = network.mean_nats(network.run_pairs(read).read, torch.from_numpy(read.targets))
        gradients = torch.autograd.grad(loss, list(network.weights().values()))
        found.append(torch.cat([gradient.flatten() for gradient in gradients]))
    assert 0 < (found[1] - found[0]).norm() < 0.03 * found[0].norm()


def test_an_update_draws_masks_for_encoder_and_decoder(make_values: Make) -> None:
    config = replace(_config(num_layers=1), hidden_size=200)
    options = Regularizers(dropout=0.5, locked_dropout=True, weight_drop=0.5)
    network = PairRNN(config, make_values(config, scale=0.1), regularizers=options)
    read = _batch(0, 0)
    ids, lengths = torch.from_numpy(read.sources), torch.from_numpy(read.lengths)
    first, second = (network.encode(ids, lengths).memory for _ in range(2))
    assert first is not None
    assert second is not None
    dropped = first == 0  # (B, S, H): the same units at every step, others for every pair
    assert (dropped == dropped[:, :1]).all()
    assert 0.3 < dropped.float().mean() < 0.7
    assert (dropped[0] != dropped[1]).any()
    assert (dropped != (second == 0)).any()  # and at every update
    kept = ~dropped & (second != 0)
    assert (first[kept] != second[kept]).any()  # other recurrent weights
    outputs = network.run_pairs(read)
    assert ((outputs.dropped == 0) == (outputs.dropped[:1] == 0)).all()
    network.eval()
    assert torch.equal(network.run_pairs(read).read, network.run_pairs(read).read)


@pytest.mark.parametrize("embedding_size", [0, 3])
def test_hidden_tokens_of_a_source_are_read_as_zeros(
    make_values: Make, embedding_size: int
) -> None:
    config = replace(_config(num_layers=1), embedding_size=embedding_size)
    options = Regularizers(source_dropout=0.3)
    network = PairRNN(config, make_values(config, scale=0.5), regularizers=options)
    without = PairRNN(config, network.values())
    ids, lengths = torch.zeros(40, 100, dtype=torch.int64), torch.full((100,), 40)
    seen = network._seen(ids)
    shown = (seen != 0).any(-1)
    assert 0.67 < shown.float().mean() < 0.73
    assert torch.equal(
        seen, network._embedded(ids) * shown[..., None]
    )  # what is shown is not scaled
    assert not torch.equal(seen, network._seen(ids))  # others are hidden in every update
    assert not torch.equal(*(network.encode(ids, lengths).added for _ in range(2)))
    network.eval()
    assert torch.equal(network.encode(ids, lengths).added, without.encode(ids, lengths).added)
