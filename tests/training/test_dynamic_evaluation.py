from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn import scoring
from charrnn.config import ModelConfig
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.module import CharRNN
from charrnn.text.tokenizer import CharTokenizer
from charrnn.training import dynamic_evaluation

TEXT = "the sea, the sea, the open sea\n" * 12
TOKENIZER = CharTokenizer("".join(sorted(set(TEXT))))
IDS = TOKENIZER.encode(TEXT)


@pytest.fixture(params=["lstm", "gru", "elman"])
def model(request: pytest.FixtureRequest) -> Model:
    config = ModelConfig(TOKENIZER.vocab_size, cell=request.param, hidden_size=12)
    return Model(config, TOKENIZER, parameters.initial(config, 3))


def naive(model: Model) -> float:
    """Apply the rule as written, in float64, segment by segment."""
    values = {k: torch.tensor(v).double().requires_grad_() for k, v in model.values.items()}
    first = {name: value.detach().clone() for name, value in values.items()}
    gradients: dict[str, list[torch.Tensor]] = {name: [] for name in values}
    network = CharRNN(model.config, model.values).double().eval()
    state = network.start_state(1)
    total, before = 0.0, model.config.start_token
    for begin in range(0, len(IDS), dynamic_evaluation.SEGMENT):
        segment = [int(symbol) for symbol in IDS[begin : begin + dynamic_evaluation.SEGMENT]]
        inputs = torch.tensor([before, *segment[:-1]])[:, None]
        names = list(network.weights())
        logits, state = torch.func.functional_call(
            network, {name.replace(".", "_"): values[name] for name in names}, (inputs, state)
        )
        log_probs = torch.log_softmax(logits[:, 0], -1)
        loss = -sum(log_probs[t, symbol] for t, symbol in enumerate(segment))
        assert isinstance(loss, torch.Tensor)
        total += float(loss.detach())
        found = torch.autograd.grad(loss / len(segment), [values[name] for name in names])
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        for name, gradient in zip(names, found, strict=True):
            gradients[name].append(gradient)
            mean = torch.stack(gradients[name]).square().sum(0) / len(gradients[name])
            moved = values[name] - dynamic_evaluation.RATE * gradient / (
                mean.sqrt() + dynamic_evaluation.EPSILON
            )
            moved = moved + dynamic_evaluation.DECAY * (first[name] - moved)
            values[name] = moved.detach().requires_grad_()
        before = segment[-1]
    return total


def test_equals_a_plain_implementation_of_the_rule(model: Model) -> None:
    assert dynamic_evaluation.score(model, IDS).total_nats == pytest.approx(naive(model), rel=1e-4)


def test_scores_each_segment_before_learning_from_it(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = CharRNN(model.config, model.values)
    start = model.config.start_token
    static = scoring.score(network, IDS, TOKENIZER, start, exact=True)
    first = IDS[: dynamic_evaluation.SEGMENT]
    assert dynamic_evaluation.score(model, first).nats == pytest.approx(
        scoring.score(network, first, TOKENIZER, start, exact=True).nats, rel=1e-5
    )
    learnt = dynamic_evaluation.score(model, IDS)
    assert learnt.nats < static.nats - 0.02
    assert learnt.characters == len(TEXT)
    monkeypatch.setattr(dynamic_evaluation, "RATE", 0.0)
    assert dynamic_evaluation.score(model, IDS).nats == pytest.approx(static.nats, rel=1e-5)


def test_the_model_does_not_change_and_progress_is_reported(model: Model) -> None:
    before = {name: np.array(value) for name, value in model.values.items()}
    told: list[int] = []
    dynamic_evaluation.score(model, IDS, progress=told.append)
    assert all(np.array_equal(before[name], value) for name, value in model.values.items())
    assert told[-1] == len(IDS)
    assert told == sorted(told)
