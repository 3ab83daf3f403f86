from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn import scoring
from charrnn.adaptive import network
from charrnn.adaptive.network import AdaptiveNetwork, followed
from charrnn.arrays import Ids
from charrnn.compiler.cache import CFunction
from charrnn.config import ModelConfig
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.module import CharRNN
from charrnn.text.tokenizer import CharTokenizer

TEXT = "the sea, the sea, the open sea\n" * 12
TOKENIZER = CharTokenizer("".join(sorted(set(TEXT))))
IDS = TOKENIZER.encode(TEXT)


FORMS: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "elman", "embedding_size": 6, "tied_output": True},
    {"cell": "lstm-coupled", "num_layers": 2, "skip_connections": True, "ensemble": 2},
]


@pytest.fixture(params=FORMS, ids=lambda form: form["cell"])
def model(request: pytest.FixtureRequest) -> Model:
    config = ModelConfig(TOKENIZER.vocab_size, hidden_size=12, **request.param)
    return Model(config, TOKENIZER, parameters.initial(config, 3))


def naive(model: Model) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Apply the rule as written to one network, in float64, segment by segment.

    Return the logits (N, V) of all tokens, and the weights.
    """
    values = {k: torch.tensor(v).double().requires_grad_() for k, v in model.values.items()}
    first = {name: value.detach().clone() for name, value in values.items()}
    gradients: dict[str, list[torch.Tensor]] = {name: [] for name in values}
    module = CharRNN(model.config, model.values).double().eval()
    state = module.start_state(1)
    predicted, before = list[torch.Tensor](), model.config.start_token
    for begin in range(0, len(IDS), network.SEGMENT):
        segment = [int(symbol) for symbol in IDS[begin : begin + network.SEGMENT]]
        inputs = torch.tensor([before, *segment[:-1]])[:, None]
        names = list(module.weights())
        logits, state = torch.func.functional_call(
            module, {name.replace(".", "_"): values[name] for name in names}, (inputs, state)
        )
        predicted += logits.detach()[:, 0]
        log_probs = torch.log_softmax(logits[:, 0], -1)
        loss = -sum(log_probs[t, symbol] for t, symbol in enumerate(segment))
        assert isinstance(loss, torch.Tensor)
        found = torch.autograd.grad(loss / len(segment), [values[name] for name in names])
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        for name, gradient in zip(names, found, strict=True):
            gradients[name].append(gradient)
            mean = torch.stack(gradients[name]).square().sum(0) / len(gradients[name])
            share = len(segment) / network.SEGMENT
            scaled = gradient / (mean.sqrt() + network.EPSILON)
            moved = values[name] - share * network.RATE * scaled
            moved = moved + share * network.DECAY * (first[name] - moved)
            values[name] = moved.detach().requires_grad_()
        before = segment[-1]
    return torch.stack(predicted), values


def read(model: Model, ids: Ids) -> float:
    """Return the nats of a text that an adaptive network reads."""
    reader, total = AdaptiveNetwork(model), 0.0
    for token in ids.tolist():
        logits = reader.predict()[0].astype(np.float64)
        total += np.log(np.exp(logits).sum()) - logits[token]
        reader.read([token])
    return total


def test_all_that_is_needed_can_be_compiled_before(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, address = list[CFunction](), CFunction.address

    def asked(function: CFunction) -> Any:
        used.append(function)
        return address.__get__(function)

    monkeypatch.setattr(CFunction, "address", property(asked))
    AdaptiveNetwork(model)
    functions = network.functions(model.config)
    assert {*used} <= {*functions}
    windows = [each for each in functions if each.name in ("forward", "backward")]
    assert len(windows) == (0 if model.config.cell == "lstm" else 2)  # torch has an LSTM
    assert {*windows} <= {*used}


def test_gradients_are_summed_over_vectors_as_in_older_archives(model: Model) -> None:
    """Sums over tokens, which train faster, would differ in their last bits."""
    (follower, *_) = AdaptiveNetwork(model)._followers
    ids = torch.zeros((2, 2 * TOKENIZER.vocab_size), dtype=torch.int64)
    assert follower.network._tokens(ids, follower.network._usual) is None


def test_equals_a_plain_implementation_of_the_rule(model: Model) -> None:
    predicted, each = zip(*map(naive, model.networks), strict=True)
    log_probs = torch.log_softmax(torch.stack(predicted).mean(0), -1)
    nats = -log_probs.gather(1, torch.from_numpy(IDS.astype(np.int64))[:, None]).sum().item()
    assert read(model, IDS) == pytest.approx(nats, rel=1e-4)
    weights = parameters.together(each)
    found = followed(model, [IDS])
    assert found.keys() == parameters.shapes(model.config).keys()
    for name, value in found.items():
        assert value == pytest.approx(weights[name].detach().numpy(), abs=1e-4), name


def test_predicts_each_segment_before_learning_from_it(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = NumpyEngine(model.config, model.values)
    start = model.config.start_token

    def static(ids: Ids) -> float:
        return scoring.score(engine, ids, TOKENIZER, start, exact=True).total_nats

    first = IDS[: network.SEGMENT]
    assert read(model, first) == pytest.approx(static(first), rel=1e-5)
    assert read(model, IDS) < static(IDS) - 0.02 * len(IDS)
    monkeypatch.setattr(network, "RATE", 0.0)
    assert read(model, IDS) == pytest.approx(static(IDS), rel=1e-5)


def test_known_tokens_get_the_bits_of_those_that_are_decoded_one_by_one(model: Model) -> None:
    known, decoded = AdaptiveNetwork(model), AdaptiveNetwork(model)
    for reader in (known, decoded):  # the first segment is begun already
        reader.predict()
        reader.read([1])
    for tokens in known.segments(IDS[:90]):
        logits = []
        for token in tokens:
            logits.append(decoded.predict()[0])
            decoded.read([token])
        assert known.predict_known(tokens).tobytes() == np.stack(logits).tobytes()
        known.read(tokens)


def test_the_model_does_not_change_and_no_global_setting_does(model: Model) -> None:
    before = {name: np.array(value) for name, value in model.values.items()}
    threads = torch.get_num_threads()
    read(model, IDS)
    assert torch.get_num_threads() == threads
    assert all(np.array_equal(before[name], value) for name, value in model.values.items())


def test_after_a_restart_the_text_is_forgotten_and_the_weights_are_not(model: Model) -> None:
    once = read(model, IDS)
    reader, total = AdaptiveNetwork(model), 0.0
    for token in [*IDS.tolist(), None, *IDS.tolist()]:
        if token is None:
            reader.restart()
            total = 0.0
            assert reader.predict().shape == (1, TOKENIZER.vocab_size)
            reader.restart()
            continue
        logits = reader.predict()[0].astype(np.float64)
        total += np.log(np.exp(logits).sum()) - logits[token]
        reader.read([token])
    assert total < once - 1
