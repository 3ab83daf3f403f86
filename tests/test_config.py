import dataclasses
import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest

from charrnn.cells import CELLS
from charrnn.config import (
    BeamConfig,
    CellName,
    ModelConfig,
    SampleConfig,
    TrainOptions,
    from_json,
    load_options,
    to_json,
)
from charrnn.errors import OptionError

INTEGERS = [
    # kind, field, smallest, largest
    (ModelConfig, "vocab_size", 1, 0x110000),
    (ModelConfig, "num_layers", 1, 64),
    (ModelConfig, "hidden_size", 1, 2**16),
    (ModelConfig, "embedding_size", 0, 2**16),
    (TrainOptions, "num_layers", 1, 64),
    (TrainOptions, "hidden_size", 1, 2**16),
    (TrainOptions, "embedding_size", 0, 2**16),
    (TrainOptions, "seq_len", 1, 2**20),
    (TrainOptions, "batch_size", 1, 2**20),
    (TrainOptions, "steps", 1, 10**12),
    (TrainOptions, "threads", 1, 4096),
    (TrainOptions, "seed", 0, 2**63 - 1),
    (SampleConfig, "length", 0, 10**9),
    (SampleConfig, "top_k", 0, 10**9),
    (SampleConfig, "num_samples", 1, 2**16),
    (SampleConfig, "seed", 0, 2**63 - 1),
    (BeamConfig, "length", 0, 10**9),
    (BeamConfig, "width", 1, 2**16),
    (BeamConfig, "num_return", 1, 5),
]
NUMBERS = [
    # kind, field, values that are allowed, values that are not
    (TrainOptions, "minutes", [0.001, 1, 1e7], [0, -1, 1.1e7]),
    (TrainOptions, "epochs", [0.001, 1e9], [0.0, -2]),
    (TrainOptions, "learning_rate", [1e-9, 1], [0.0, -1e-3, 1e4]),
    (TrainOptions, "dropout", [0, 0.5, 0.95], [-0.1, 0.96, 1]),
    (TrainOptions, "weight_decay", [0, 10], [-0.1, 11]),
    (TrainOptions, "valid_fraction", [0, 0.1, 0.9], [-0.1, 0.91, 1]),
    (SampleConfig, "temperature", [0, 1e-6, 1, 1e6], [-0.1, math.inf]),
    (SampleConfig, "top_p", [1e-9, 0.5, 1], [0, -0.1, 1.1]),
    (SampleConfig, "min_p", [0, 0.5, 1], [-0.1, 1.1]),
    (BeamConfig, "length_penalty", [0, 1, 100], [-1, 101]),
]
NO_NUMBERS = [math.nan, math.inf, -math.inf, True, "3", [1], 1 + 0j]


def _make(kind: Any, field: str, value: object) -> Any:
    needed = {"vocab_size": 3} if kind is ModelConfig else {}
    return kind(**{**needed, field: value})


def _refused(kind: Any, field: str, value: object) -> str:
    with pytest.raises(OptionError) as caught:
        _make(kind, field, value)
    return str(caught.value)


@pytest.mark.parametrize(("kind", "field", "low", "high"), INTEGERS)
def test_whole_numbers_have_bounds(kind: Any, field: str, low: int, high: int) -> None:
    assert getattr(_make(kind, field, low), field) == low
    assert getattr(_make(kind, field, high), field) == high
    for value in (low - 1, high + 1):
        message = _refused(kind, field, value)
        flag = "--" + field.replace("_", "-")
        assert flag in message
        assert str(value) in message
    assert f"whole number from {low} to " in _refused(kind, field, low - 1)


@pytest.mark.parametrize(("kind", "field", "low", "high"), INTEGERS)
@pytest.mark.parametrize("value", [*NO_NUMBERS, 2.0])
def test_what_is_no_whole_number_is_refused(
    kind: Any, field: str, low: int, high: int, value: object
) -> None:
    assert "must be a whole number" in _refused(kind, field, value)


@pytest.mark.parametrize(("kind", "field", "good", "bad"), NUMBERS)
def test_numbers_have_bounds(kind: Any, field: str, good: list[float], bad: list[float]) -> None:
    for value in good:
        assert getattr(_make(kind, field, value), field) == value
    for value in [*bad, *NO_NUMBERS]:
        message = _refused(kind, field, value)
        assert f"--{field.replace('_', '-')} must be a number" in message
        assert f"not {value}" in message


def test_clip_norm_may_be_infinite_but_nothing_else() -> None:
    assert TrainOptions(clip_norm=math.inf).clip_norm == math.inf
    for value in (0, -1, -math.inf, math.nan, True, "1"):
        assert "--clip-norm must be a number above 0 up" in _refused(
            TrainOptions, "clip_norm", value
        )


@pytest.mark.parametrize("kind", [ModelConfig, TrainOptions])
def test_an_unknown_cell_suggests_the_nearest(kind: Any) -> None:
    assert "--cell 'lsmt' is not known: did you mean lstm?" in _refused(kind, "cell", "lsmt")
    assert "elman, irnn, lstm, lstm-coupled, gru-reset-after" in _refused(kind, "cell", "??")


def test_an_unknown_optimizer_is_refused() -> None:
    assert "--optimizer 'adam' is not known: did you mean adamw?" in _refused(
        TrainOptions, "optimizer", "adam"
    )


@pytest.mark.parametrize(
    ("field", "wrong", "nearest"),
    [("precision", "bfloat", "bfloat16"), ("backend", "libary", "library")],
)
def test_an_unknown_kernel_suggests_the_nearest(field: str, wrong: str, nearest: str) -> None:
    message = _refused(TrainOptions, field, wrong)
    assert f"--{field} '{wrong}' is not known: did you mean {nearest}?" in message


def test_two_budgets_are_refused() -> None:
    with pytest.raises(OptionError, match="--minutes and --steps are two budgets"):
        TrainOptions(minutes=1.0, steps=10)


def test_more_texts_than_beams_are_refused() -> None:
    with pytest.raises(OptionError, match=r"--num-return 6 .* --width 5 .*raise --width"):
        BeamConfig(num_return=6)


@pytest.mark.parametrize("kind", [SampleConfig, BeamConfig])
def test_an_empty_stop_is_refused(kind: Any) -> None:
    assert "--stop '' is empty" in _refused(kind, "stop", ("a", ""))


def test_the_start_symbol_is_one_past_the_alphabet() -> None:
    assert ModelConfig(vocab_size=7).start_symbol == 7


def test_the_literal_of_cell_names_lists_the_cells() -> None:
    assert set(get_args(CellName)) == set(CELLS)


def test_configs_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainOptions().seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    "config",
    [ModelConfig(7, "elman", 2, 3, 0), TrainOptions(minutes=2.5), SampleConfig(top_k=3)],
)
def test_json_round_trip(config: Any) -> None:
    data = json.loads(json.dumps(to_json(config)))
    data = {key: tuple(value) if key == "stop" else value for key, value in data.items()}
    assert from_json(type(config), data, "here") == config


def test_an_unknown_key_names_its_place_and_the_nearest_key() -> None:
    with pytest.raises(OptionError, match="here: unknown key 'hiden_size': did you mean hidden_si"):
        from_json(ModelConfig, {"vocab_size": 3, "hiden_size": 3}, "here")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(OptionError, match="here: 'vocab_size' is missing"):
        from_json(ModelConfig, {}, "here")


def test_options_from_toml_may_be_spelled_as_flags(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('cell = "elman"\nhidden-size = 7\nseq_len = 5\nlearning-rate = 1e-2\n')
    options = load_options(file)
    assert options == {"cell": "elman", "hidden_size": 7, "seq_len": 5, "learning_rate": 0.01}
    assert TrainOptions(**options).hidden_size == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hidden-sice = 3", "run.toml: unknown key 'hidden_sice': did you mean hidden_size"),
        (b"hidden-size = 0", "--hidden-size must be a whole number from 1"),
        (b"dropout = nan", "--dropout must be a number"),
        (b"dropout = true", "--dropout must be a number"),
        (b"cell = ['lstm']", "--cell .* is not known"),
        (b"[cell]\nname = 3", "--cell .* is not known"),
        (b"hidden-size 3", "run.toml is not TOML: .*line 1"),
        (b"cell = '\xff'", "run.toml is not TOML: .*utf-8"),
        (b"minutes = 1\nsteps = 1", "--minutes and --steps are two budgets"),
    ],
)
def test_bad_toml_is_refused_in_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(OptionError, match=message):
        load_options(file)


def test_a_missing_toml_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.toml: No such file"):
        load_options(tmp_path / "none.toml")
    with pytest.raises(OptionError, match=r"--config .*: Is a directory"):
        load_options(tmp_path)
