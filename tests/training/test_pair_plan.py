"""The plan for pairs."""

from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from charrnn.config import ModelConfig, TrainConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.model import parameters
from charrnn.text.pairs import PairPart
from charrnn.training import pair_plan, plan
from charrnn.training.plan import Plan, Speed

ALPHABET = 30


@cache
def _part(pairs: int) -> PairPart:
    rng = np.random.default_rng(0)
    lengths = enumerate(rng.integers(4, 13, (pairs, 2)))
    return PairPart.of(
        [([1] * int(a), [n % 29, n // 29 % 29] + [2] * int(b - 2)) for n, (a, b) in lengths]
    )


def _unasked(model: ModelConfig, train: TrainConfig) -> float:
    raise AssertionError("the speed is not measured")


def _made(pairs: int, speed: Speed = _unasked, **options: Any) -> Plan:
    asked = TrainOptions(pairs=True, **options)
    made = pair_plan.make(asked, _part(pairs), ALPHABET, speed)
    assert made == pair_plan.make(asked, _part(pairs), ALPHABET, speed)
    return made


def test_steps_and_epochs_are_planned_without_a_clock() -> None:
    made = _made(5000, epochs=10.0)
    length = len(_part(5000).ids)
    assert made.characters == 10 * length
    assert (made.model.encoder, made.model.context) == ("bidirectional", "attention")
    assert (made.model.vocab_size, made.model.num_layers) == (ALPHABET + 1, 2)
    assert (made.train.batch_size, made.train.epochs, made.train.minutes) == (64, 10.0, None)
    by_steps = _made(5000, steps=790)  # an epoch has 79 batches
    assert by_steps.characters == pytest.approx(10 * length)
    assert by_steps.model == made.model


def test_many_pairs_come_in_larger_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_plan, "MANY_PAIRS", 5000)
    assert _made(4999, epochs=1.0).train.batch_size == 64
    assert _made(5000, epochs=1.0).train.batch_size == 128
    assert _made(5000, epochs=1.0, batch_size=32).train.batch_size == 32


LABELS = PairPart.of([([1] * (5 + index % 3), [2] * (1 + index % 4)) for index in range(400)])


def _labels(part: PairPart = LABELS, **options: Any) -> Plan:
    asked = TrainOptions(pairs=True, **{"epochs": 20.0, **options})
    return pair_plan.make(asked, part, ALPHABET, lambda model, train: 1e5)


def test_several_networks_vote_about_labels() -> None:
    made = _labels()
    assert (made.model.ensemble, made.model.context) == (pair_plan.LABELS_ENSEMBLE, "fixed")
    assert made.model.embedding_size == 64 * made.model.ensemble
    assert (made.model.num_layers, made.model.skip_connections) == (1, False)
    assert _labels(num_layers=2).model.num_layers == 2
    one = _labels(ensemble=1)
    assert (one.model.ensemble, one.model.embedding_size) == (1, 64)
    assert _made(400, steps=1).model.ensemble == 1  # the targets are not labels
    two = _labels(ensemble=2, hidden_size=32, embedding_size=6)
    assert (two.model.ensemble, two.model.hidden_size, two.model.embedding_size) == (2, 32, 6)
    alone = ({"context": "attention"}, {"layer_norm": True}, {"hidden_size": 6})
    for options in (*alone, {"embedding_size": 0}):
        assert _labels(**options).model.ensemble == 1


@pytest.mark.parametrize(
    ("budget", "count"),
    [({"epochs": 9.9}, 1), ({"epochs": 10.0}, 2), ({"steps": 79}, 1), ({"steps": 80}, 2)],
)
def test_a_short_training_is_that_of_one_network(budget: dict[str, float], count: int) -> None:
    assert _labels(**{"epochs": None, **budget}).model.ensemble == count  # 8 steps an epoch


def test_the_time_decides_whether_networks_vote() -> None:
    length = len(LABELS.ids)
    shortest = pair_plan.ENSEMBLE_EPOCHS * length / pair_plan.ENSEMBLE_SPEED / 60
    for part, count in ((0.9, 1), (1.1, 2)):
        assert _labels(epochs=None, minutes=part * shortest).model.ensemble == count


def test_the_networks_of_an_ensemble_are_planned_as_each_of_them_alone() -> None:
    sizes = {"hidden_size": 256, "ensemble": 2}
    made = _labels(**sizes, embedding_size=64)
    alone = {"hidden_size": 128, "ensemble": 1, "num_layers": 1}
    one = _labels(**alone, embedding_size=32)
    assert made.train.dropout == one.train.dropout > 0
    assert made.train.learning_rate == one.train.learning_rate < plan.MAX_RATE


def test_tokens_of_sources_are_hidden_where_targets_are_labels() -> None:
    assert _labels().train.source_dropout == pair_plan.LABELS_SOURCE_DROPOUT
    assert _labels(source_dropout=0.0).train.source_dropout == 0
    assert _labels(source_dropout=0.3).train.source_dropout == 0.3
    assert _labels(_part(400)).train.source_dropout == 0
    assert _labels(_part(400), source_dropout=0.3).train.source_dropout == 0.3


def test_what_the_user_sets_stays() -> None:
    asked = {
        "encoder": "forward",
        "context": "fixed",
        "num_layers": 3,
        "hidden_size": 40,
        "embedding_size": 0,
        "batch_size": 10,
        "learning_rate": 0.5,
        "dropout": 0.4,
        "cell": "elman",
    }
    made = _made(500, steps=10, **asked)
    for name, value in asked.items():
        assert getattr(made.model, name, getattr(made.train, name, None)) == value, name
    assert not made.model.skip_connections


def test_a_faster_machine_trains_a_larger_network_in_the_same_time() -> None:
    def speed(model: ModelConfig, train: TrainConfig, *, each: float) -> float:
        return each / parameters.count(model)

    sizes = [_made(5000, partial(speed, each=each), minutes=10) for each in (1e8, 5e8, 1e10)]
    hidden = [made.model.hidden_size for made in sizes]
    assert hidden == sorted(set(hidden))
    for made in sizes[:2]:
        size = parameters.count(made.model) - parameters.count(made.model, "output.")
        assert made.characters >= 10 * size
        assert "read too little in the time" in made.reason
    assert "overfit" in sizes[2].reason


def test_few_pairs_get_a_small_network_small_batches_and_dropout() -> None:
    made = _made(100, epochs=30.0)
    length = len(_part(100).ids)
    assert made.train.batch_size == 13  # eight batches
    assert made.model.hidden_size == 32
    assert made.train.dropout > 0.1
    assert made.train.locked_dropout
    measure = plan.overfitting(made.model, 30.0, length)
    assert made.train.dropout == min(0.3, round(0.08 * np.log(measure / 2), 2))
    assert _made(1, epochs=1.0).train.batch_size == 1


def test_a_pair_model_has_an_even_number_of_units() -> None:
    with pytest.raises(OptionError, match="must be even"):
        _made(100, steps=1, hidden_size=9)


def test_the_largest_batch_decides_the_memory() -> None:
    long = PairPart.of([([1] * 10, [2] * 9)] * 200 + [([1] * 30_000, [2] * 9)])
    options = TrainOptions(pairs=True, steps=5, hidden_size=64)
    usual = pair_plan.make(options, _part(200), ALPHABET, _unasked)
    made = pair_plan.make(options, long, ALPHABET, _unasked)
    needed = plan.window_bytes(made.model, made.train)
    assert needed > 3 * plan.window_bytes(usual.model, usual.train)
    per_step = needed / (made.train.batch_size * made.train.seq_len)
    assert needed == pytest.approx(30_010 * per_step, rel=0.01)


@pytest.mark.parametrize(("hidden_size", "rate"), [(64, 0.03), (128, 0.02734), (320, 0.01094)])
def test_the_rate_falls_with_the_width(hidden_size: int, rate: float) -> None:
    made = _made(500, steps=10, hidden_size=hidden_size)
    assert made.train.learning_rate == pytest.approx(rate, rel=1e-3)
    assert _made(500, steps=10, learning_rate=0.2).train.learning_rate == 0.2


def _speed(model: ModelConfig, train: TrainConfig) -> float:
    return 50_000.0


def test_a_fine_tuning_depends_on_the_direction_that_the_network_knows() -> None:
    part = _part(500)
    known = 4 * len(part.ids)

    def made(turned: bool, **options: Any) -> TrainConfig:
        asked = TrainOptions(pairs=True, hidden_size=128, cell="lstm-coupled", **options)
        new = pair_plan.make(asked, part, ALPHABET, _speed)
        tuned = pair_plan.make(asked, part, ALPHABET, _speed, known, turned=turned)
        share = tuned.train.learning_rate / new.train.learning_rate
        assert share == pytest.approx(0.5 if turned else 0.25)
        return tuned.train

    assert made(turned=False).epochs == plan.ENOUGH_TUNED_EPOCHS
    assert made(turned=True).epochs == pair_plan.ENOUGH_TURNED_EPOCHS
    assert made(turned=True, epochs=3.0).epochs == 3.0
    assert made(turned=True, steps=3).epochs is None
