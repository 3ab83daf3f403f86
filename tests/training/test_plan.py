import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.cells import CELLS
from charrnn.compiler.cell_file import use
from charrnn.config import ModelConfig, TrainConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.text import streams
from charrnn.training import effects, plan
from charrnn.training.plan import (
    CHARACTERS_PER_PARAMETER,
    ENOUGH_EPOCHS,
    ENOUGH_TUNED_EPOCHS,
    HIDDEN_SIZES,
    PARAMETERS_PER_CHARACTER,
)

MEGABYTE = 1_000_000


def _unasked(model: ModelConfig, train: TrainConfig) -> float:
    raise AssertionError("the machine's speed must not matter")


def _speed(model: ModelConfig, train: TrainConfig) -> float:
    """Return the speed of a machine that does 2e10 parameters times characters per second."""
    return 2e10 / plan.layers(model)


def test_given_options_are_not_planned_away() -> None:
    asked: dict[str, Any] = {
        "cell": "elman",
        "num_layers": 3,
        "hidden_size": 17,
        "embedding_size": 0,
        "skip_connections": True,
        "input_depth": 2,
        "recurrent_depth": 3,
        "output_depth": 4,
        "learned_start": True,
        "layer_norm": True,
        "zoneout": 0.1,
        "zoneout_cell": 0.2,
        "seq_len": 11,
        "update_every": 7,
        "state": "carry",
        "batch_size": 5,
        "steps": 9,
        "learning_rate": 0.5,
        "init": "he",
        "forget_bias": -2.0,
        "dropout": 0.0,
        "locked_dropout": True,
        "weight_drop": 0.3,
        "activation_penalty": 2.0,
        "slowness_penalty": 1.0,
        "omega": 0.5,
        "weight_decay": 0.0,
        "clip_norm": 7.0,
        "seed": 13,
    }
    fields = {f.name for kind in (ModelConfig, TrainConfig) for f in dataclasses.fields(kind)}
    assert fields - asked.keys() == {
        *("vocab_size", "optimizer", "minutes", "epochs"),
        "reset_at_documents",  # not with update_every
        "tied_output",  # not with one-hot tokens
        *("encoder", "context", "ensemble", "source_dropout"),  # of pairs
        "last_rate",  # nobody asks for it
        "kept_back",
    }
    made = plan.make(TrainOptions(**asked), 1000, 30, _unasked)
    decided = dataclasses.asdict(made.model) | dataclasses.asdict(made.train)
    assert {name: decided[name] for name in asked} == asked
    assert (made.model.vocab_size, made.train.minutes, made.train.epochs) == (30, None, None)
    assert made.characters == 9 * 7 * 5
    assert made.reason == "size as given"


@pytest.mark.parametrize("budget", [{"steps": 1000}, {"epochs": 2.5}])
def test_without_minutes_the_plan_depends_on_text_and_options_alone(
    budget: dict[str, Any],
) -> None:
    options = TrainOptions(**budget)
    assert plan.make(options, MEGABYTE, 65, _unasked) == plan.make(options, MEGABYTE, 65, _unasked)


def test_epochs_are_counted_in_whole_windows() -> None:
    # 1003 characters in 10 streams of 100, of which windows of 30 fill 90: 900 per epoch
    options = TrainOptions(epochs=2.0, batch_size=10, seq_len=30)
    assert plan.make(options, 1003, 30, _unasked).characters == 1800


def test_epochs_are_counted_in_whole_updates_where_windows_overlap() -> None:
    # 1003 characters in 10 streams of 100: 33 updates of 3 each, 990 characters per epoch
    options = TrainOptions(epochs=2.0, batch_size=10, seq_len=30, update_every=3)
    made = plan.make(options, 1003, 30, _unasked)
    assert (made.train.seq_len, made.train.update_every, made.characters) == (30, 3, 1980)


def test_by_default_each_window_is_one_update() -> None:
    def shape(**options: Any) -> tuple[int, int]:
        train = plan.make(TrainOptions(steps=1, **options), MEGABYTE, 65, _unasked).train
        return train.seq_len, train.update_every

    assert shape() == (64, 64)
    assert shape(seq_len=50) == (50, 50)
    assert shape(seq_len=50, update_every=5) == (50, 5)
    assert shape(update_every=16) == (64, 16)
    assert shape(update_every=100) == (100, 100)  # a window is as long as its counted part
    assert shape(state="reset") == (64, 64)


def test_a_full_window_is_as_long_as_a_stream() -> None:
    def train(**options: Any) -> TrainConfig:
        return plan.make(TrainOptions(steps=1, seq_len="full", **options), 1003, 30, _unasked).train

    made = train(batch_size=10)
    assert (made.batch_size, made.seq_len, made.update_every) == (10, 100, 100)
    made = train(batch_size=10, update_every=20)
    assert (made.seq_len, made.update_every) == (100, 20)
    made = train()  # as many streams as it would have with windows: 1003 // (64 * 8)
    assert (made.batch_size, made.seq_len, made.update_every) == (1, 1003, 1003)


@pytest.mark.parametrize(
    ("length", "minutes"), [(10**8, 5.0), (10**6, 5.0), (250_000, 2.5), (10_000, 0.5), (100, 0.2)]
)
def test_default_minutes_grow_with_the_square_root_of_the_length(
    length: int, minutes: float
) -> None:
    assert plan.make(TrainOptions(), length, 65, _speed).train.minutes == minutes


@pytest.mark.parametrize("minutes", [0.1, 1.0, 5.0, 60.0, 1e5])
def test_the_size_is_the_largest_that_time_and_text_support(minutes: float) -> None:
    made = plan.make(TrainOptions(minutes=minutes), MEGABYTE, 65, _speed)
    window = made.train.batch_size * made.train.seq_len
    enough = ENOUGH_EPOCHS * (MEGABYTE // window) * window

    def fed(hidden_size: int) -> bool:
        model = dataclasses.replace(made.model, hidden_size=hidden_size)
        size = plan.layers(model)
        reads = min(enough, _speed(model, made.train) * minutes * 60)
        return reads >= min(enough, CHARACTERS_PER_PARAMETER * size) and (
            size <= PARAMETERS_PER_CHARACTER * MEGABYTE
        )

    largest = max([size for size in HIDDEN_SIZES if fed(size)], default=HIDDEN_SIZES[0])
    assert made.model.hidden_size == largest
    trained = max(30 * minutes, 54 * minutes - 4)  # seconds, without start and scoring
    expected = min(enough, _speed(made.model, made.train) * trained)
    assert made.characters == pytest.approx(expected)


def test_the_reason_says_what_limited_the_size() -> None:
    def reason(length: int, minutes: float) -> str:
        return plan.make(TrainOptions(minutes=minutes), length, 65, _speed).reason

    assert "overfit" in reason(10_000, 1e5)
    assert "too little in the time" in reason(10**9, 0.1)
    assert "the largest" in reason(10**9, 1e7)


def test_a_faster_machine_trains_a_larger_network() -> None:
    def size(factor: float) -> int:
        def speed(model: ModelConfig, train: TrainConfig) -> float:
            return factor * _speed(model, train)

        return plan.make(TrainOptions(minutes=1), 10**7, 65, speed).model.hidden_size

    assert size(0.1) < size(1.0) < size(10.0)


@given(st.integers(2, 20_000), st.sampled_from([None, "full"]))
def test_the_planned_batch_and_window_always_fit(length: int, seq_len: str | None) -> None:
    train = plan.make(TrainOptions(steps=1, seq_len=seq_len), length, 30, _unasked).train
    streams.check_fit(length, train.batch_size, train.seq_len, "text")
    assert 1 <= train.update_every <= train.seq_len


@given(st.integers(1, 200), st.integers(1, 5000))
def test_updates_are_never_farther_apart_than_a_window(update_every: int, length: int) -> None:
    options = TrainOptions(steps=1, update_every=update_every)
    train = plan.make(options, length, 30, _unasked).train
    assert (train.update_every, train.seq_len >= update_every) == (update_every, True)


def test_the_memory_of_a_window_by_hand() -> None:
    # an Elman layer: one block's three values, two of the state, three more: 8 for each of 2 * 10
    # units. Logits are made of some rows at a time, whatever the window.
    model = ModelConfig(30, "elman", 2, 10, 4)
    train = TrainConfig(seq_len=6, update_every=3, batch_size=5)
    assert plan.window_bytes(model, train) == 4 * 5 * 6 * 160


@pytest.mark.parametrize(
    ("part", "field", "value", "factor"),
    [
        # what a window saves is in proportion to its length, streams and units, nearly
        ("train", "seq_len", 1280, 9.0),
        ("train", "batch_size", 320, 10.0),
        ("model", "hidden_size", 2560, 9.0),
        ("model", "num_layers", 10, 9.0),
        ("model", "cell", "lstm", 1.5),
    ],
)
def test_the_memory_of_a_window_grows_with_its_size(
    part: str, field: str, value: Any, factor: float
) -> None:
    model = ModelConfig(65, "elman", 1, 256, 64)
    train = TrainConfig(seq_len=128, update_every=32, batch_size=32)
    before = plan.window_bytes(model, train)
    if part == "model":
        model = dataclasses.replace(model, **{field: value})
    else:
        train = dataclasses.replace(train, **{field: value})
    assert plan.window_bytes(model, train) >= factor * before


def test_a_long_text_is_read_in_many_streams_of_long_windows() -> None:
    train = plan.make(TrainOptions(steps=1), MEGABYTE, 30, _unasked).train
    assert train.batch_size >= 32
    assert train.seq_len >= 32


def test_two_layers_with_skip_connections_are_the_default() -> None:
    def form(**options: Any) -> tuple[int, bool]:
        model = plan.make(TrainOptions(steps=9, **options), MEGABYTE, 65, _unasked).model
        return model.num_layers, model.skip_connections

    assert form() == form(skip_connections=True) == (2, True)
    assert form(cell="jordan") == form(num_layers=1) == (1, False)
    assert form(num_layers=3) == (3, False)


def test_fewer_steps_train_a_smaller_network() -> None:
    def size(steps: int) -> int:
        return plan.make(TrainOptions(steps=steps), MEGABYTE, 65, _unasked).model.hidden_size

    assert size(100) < size(1000) < size(10_000)


def test_dropout_grows_with_repetition() -> None:
    def dropout(epochs: float, **options: Any) -> float:
        chosen = TrainOptions(epochs=epochs, **options)
        return plan.make(chosen, MEGABYTE, 65, _unasked).train.dropout

    assert dropout(1) == 0
    assert 0 < dropout(10) < dropout(100) < 1
    assert dropout(100, hidden_size=32) < dropout(100, hidden_size=512)
    assert dropout(100, dropout=0.0) == 0


def test_wider_networks_have_smaller_learning_rates() -> None:
    rates = [
        plan.make(TrainOptions(steps=1, hidden_size=size), MEGABYTE, 65, _unasked).train
        for size in (128, 512, 2048)
    ]
    assert rates[0].learning_rate > rates[1].learning_rate > rates[2].learning_rate > 0


@pytest.mark.parametrize("size", [64, 1024])
def test_sgd_has_its_own_learning_rate(size: int) -> None:
    def rate(**options: Any) -> float:
        chosen = TrainOptions(steps=1, hidden_size=size, **options)
        return plan.make(chosen, MEGABYTE, 65, _unasked).train.learning_rate

    assert rate(optimizer="sgd") == pytest.approx(50 * rate())
    assert rate(optimizer="sgd", learning_rate=0.25) == 0.25


# 10 / 128 would suit the width, but no rate is above 0.03.
@pytest.mark.parametrize(
    ("known", "rate"),
    [
        (MEGABYTE, 0.03),
        (4 * MEGABYTE, 0.03),
        (16 * MEGABYTE, 10 / 128 / 4),
        (100 * MEGABYTE, 10 / 128 / 10),
        (1000, 0.03),
        (0, 0.03),
    ],
)
def test_a_fine_tuning_is_slower_the_more_the_network_knows(known: int, rate: float) -> None:
    options = TrainOptions(steps=9, hidden_size=128)
    made = plan.make(options, MEGABYTE, 65, _unasked, known=known)
    assert made.train.learning_rate == pytest.approx(rate)
    assert made.known == known
    assert plan.make(options, MEGABYTE, 65, _unasked).known is None


def test_a_fine_tuning_by_sgd_has_a_rate_of_its_own() -> None:
    options = TrainOptions(steps=9, hidden_size=512, optimizer="sgd")
    made = plan.make(options, MEGABYTE, 65, _unasked, known=4 * MEGABYTE)
    assert made.train.learning_rate == pytest.approx(50 * 10 / 512 / 2)


def test_a_fine_tuning_has_half_the_dropout() -> None:
    def dropouts(epochs: float) -> tuple[float, ...]:
        options = TrainOptions(hidden_size=128, epochs=epochs)
        made = [plan.make(options, 100_000, 65, _unasked, known=n) for n in (None, MEGABYTE)]
        assert all(each.train.locked_dropout == (each.train.dropout > 0) for each in made)
        return tuple(each.train.dropout for each in made)

    # 2.2 parameters per character, and 10 epochs: they overfit by 8.8 * 2.2, where an epoch is
    # 48 windows of 2048 characters. 0.16 ln(19.7 / 2) = 0.36, half of it 0.18.
    expected = {10: (0.36, 0.18), 20: (0.48, 0.24), 1000: (0.6, 0.3), 3: (0.12, 0.0), 1: (0.0, 0.0)}
    assert {epochs: dropouts(epochs) for epochs in expected} == expected


def test_a_fine_tuning_by_the_clock_reads_the_text_fewer_times() -> None:
    def epochs(known: int | None, **budget: float) -> float | None:
        options = TrainOptions(hidden_size=128, **budget)
        return plan.make(options, 100_000, 65, _speed, known=known).train.epochs

    assert ENOUGH_TUNED_EPOCHS < ENOUGH_EPOCHS
    for budget in ({}, {"minutes": 5.0}):
        assert epochs(MEGABYTE, **budget) == ENOUGH_TUNED_EPOCHS
        assert epochs(None, **budget) == ENOUGH_EPOCHS
    assert epochs(MEGABYTE, epochs=40.0) == 40.0
    assert epochs(MEGABYTE, steps=7) is None


def test_a_fine_tuning_keeps_the_given_options() -> None:
    asked = {"learning_rate": 0.2, "dropout": 0.45, "epochs": 3.0, "hidden_size": 64}
    made = plan.make(TrainOptions(**asked), 100_000, 65, _unasked, known=MEGABYTE)
    decided = dataclasses.asdict(made.model) | dataclasses.asdict(made.train)
    assert {name: decided[name] for name in asked} == asked


def test_a_large_alphabet_gets_a_larger_embedding() -> None:
    small, large = (
        plan.make(TrainOptions(steps=1), MEGABYTE, size, _unasked).model for size in (65, 5000)
    )
    assert 0 < small.embedding_size < large.embedding_size


def test_the_output_of_a_large_alphabet_is_tied_unless_the_embedding_is_given() -> None:
    def tied(size: int, **options: Any) -> bool:
        made = plan.make(TrainOptions(steps=1, **options), MEGABYTE, size, _unasked)
        return made.model.tied_output

    assert [tied(size) for size in (65, plan.TIED_TOKENS - 1, plan.TIED_TOKENS)] == [0, 0, 1]
    assert not tied(5000, embedding_size=128)
    assert not tied(5000, embedding_size=0)
    assert tied(65, tied_output=True)


def test_the_time_of_an_update_is_planned_where_time_counts() -> None:
    made = plan.make(TrainOptions(minutes=1), MEGABYTE, 65, _speed)
    update = made.train.batch_size * made.train.update_every
    assert made.update_seconds == pytest.approx(update / _speed(made.model, made.train))
    assert plan.make(TrainOptions(steps=9), MEGABYTE, 65, _unasked).update_seconds is None


def test_minutes_also_limit_the_epochs() -> None:
    made = plan.make(TrainOptions(minutes=5.0), 10_000, 65, _speed)
    assert (made.train.minutes, made.train.epochs) == (5.0, ENOUGH_EPOCHS)
    assert plan.make(TrainOptions(steps=5), 10_000, 65, _speed).train.epochs is None


def test_a_cell_of_one_s_own_that_feeds_back_has_one_layer() -> None:
    mine = use(dataclasses.replace(CELLS["jordan"], name="mine"))
    planned = plan.make(TrainOptions(cell=mine, steps=10), 10_000, 20, _speed)
    assert (planned.model.num_layers, planned.model.skip_connections) == (1, False)
    with pytest.raises(OptionError, match="mine feeds the network's output back"):
        effects.check(TrainOptions(cell=mine, steps=10, num_layers=2))


def test_a_cell_that_diverges_at_the_rate_of_its_family_has_a_rate_of_its_own() -> None:
    options = TrainOptions(cell="lstm-multiplicative", hidden_size=128, steps=9)
    made = plan.make(options, MEGABYTE, 65, _unasked)
    assert made.train.learning_rate == 1 / 128


def test_the_rate_of_a_cell_of_one_s_own_is_that_of_its_family() -> None:
    names = ("gru-mine", "mine")
    cells = [use(dataclasses.replace(CELLS["gru-reset-after"], name=name)) for name in names]
    rates = [
        plan.make(TrainOptions(cell=cell, steps=9, hidden_size=512), 10_000, 20, _speed)
        for cell in cells
    ]
    assert [made.train.learning_rate for made in rates] == [5 / 512, 3 / 512]


def _voted(minutes: float | None = 10, length: int = 10**6, **options: Any) -> plan.Plan:
    """Return the plan where networks may vote; each of K has 1/K of the machine."""

    def speed(model: ModelConfig, train: TrainConfig) -> float:
        return _speed(model, train) / model.ensemble

    asked = TrainOptions(minutes=minutes, **options)
    return plan.make(asked, length, 65, speed, votes=True)


def test_minutes_are_divided_among_networks_that_vote() -> None:
    made = _voted()
    assert made.model.ensemble == 2
    assert made.model.embedding_size == 64 * made.model.ensemble
    alone = plan.make(TrainOptions(minutes=5), 10**6, 65, _speed)
    assert made.model.member.hidden_size == alone.model.hidden_size  # half the time for each
    assert made.train.dropout == alone.train.dropout
    # In the time without start and scoring, which are not divided.
    assert made.passes / (536 / 2) == pytest.approx(alone.passes / 266)
    assert made.passes * 600 / 536 >= plan.VOTES[2]


def test_the_more_often_a_text_is_read_the_more_networks_vote() -> None:
    counts = [_voted(minutes).model.ensemble for minutes in (0.2, 5, 600)]
    assert counts == [1, *plan.VOTES]


@pytest.mark.parametrize(
    "options",
    [
        *({"minutes": None, "steps": 9}, {"minutes": None, "epochs": 2.0}, {"cell": "jordan"}),
        *({"hidden_size": 64}, {"embedding_size": 8}, {"layer_norm": True}, {"ensemble": 1}),
    ],
)
def test_one_network_is_planned_for_what_tells_its_size_and_without_a_clock(
    options: dict[str, Any],
) -> None:
    assert _voted(**options).model.ensemble == 1


def test_the_given_number_of_networks_is_kept() -> None:
    made = _voted(None, steps=500, ensemble=4, hidden_size=64, embedding_size=16)
    sizes = (made.model.ensemble, made.model.hidden_size, made.model.embedding_size)
    assert sizes == (4, 64, 16)
