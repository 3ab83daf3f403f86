import dataclasses
import json
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from charrnn.cells import CELLS
from charrnn.config import (
    BeamConfig,
    CellName,
    Form,
    ModelConfig,
    ModelReading,
    Reading,
    Regularizers,
    SampleConfig,
    TrainConfig,
    TrainOptions,
    flag,
    from_json,
    load_options,
    to_json,
)
from charrnn.config import decoding as config_decoding
from charrnn.config.bench import GenerationBench, PreparationBench, TrainingBench
from charrnn.config.inspection import FlowOptions, NextOptions
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
    (TrainOptions, "update_every", 1, 2**30),
    (TrainOptions, "batch_size", 1, 2**20),
    (TrainOptions, "steps", 1, 10**12),
    (TrainOptions, "threads", 1, 4096),
    (NextOptions, "symbols", 1, 10**9),
    (FlowOptions, "lags", 2, 500),
    (FlowOptions, "windows", 1, 256),
    (TrainingBench, "rounds", 1, 10**6),
    (TrainingBench, "batch_size", 1, 2**20),
    (TrainingBench, "seq_len", 1, 2**30),
    (GenerationBench, "num_layers", 1, 64),
    (GenerationBench, "hidden_size", 1, 2**16),
    (GenerationBench, "batch_size", 1, 2**16),
    (PreparationBench, "size", 1, 10**6),
    (PreparationBench, "rounds", 1, 10**6),
    *(
        (kind, name, 1, 16)
        for kind in (ModelConfig, TrainOptions)
        for name in ("input_depth", "recurrent_depth", "output_depth")
    ),
    (TrainOptions, "seed", 0, 2**63 - 1),
    (SampleConfig, "length", 0, 10**9),
    (SampleConfig, "top_k", 0, 10**9),
    (SampleConfig, "num_samples", 1, 10**9),
    (SampleConfig, "seed", 0, 2**63 - 1),
    (BeamConfig, "length", 0, 10**9),
    (BeamConfig, "width", 1, 2**16),
    (BeamConfig, "num_return", 1, 5),
    (BeamConfig, "min_length", 0, 200),
    (SampleConfig, "no_repeat_ngram_size", 0, 10**9),
]
NUMBERS = [
    # kind, field, values that are allowed, values that are not
    (TrainOptions, "minutes", [0.001, 1, 1e7], [0, -1, 1.1e7]),
    (TrainOptions, "epochs", [0.001, 1e9], [0.0, -2]),
    (TrainOptions, "learning_rate", [1e-9, 1], [0.0, -1e-3, 1e4]),
    (TrainOptions, "dropout", [0, 0.5, 0.95], [-0.1, 0.96, 1]),
    (TrainOptions, "weight_decay", [0, 10], [-0.1, 11]),
    (TrainOptions, "forget_bias", [-100, -0.5, 0, 100], [-101, 100.5]),
    (TrainOptions, "weight_drop", [0, 0.5, 0.95], [-0.1, 0.96, 1]),
    (TrainOptions, "source_dropout", [0, 0.5, 0.95], [-0.1, 0.96, 1]),
    (TrainOptions, "activation_penalty", [0, 2.0, 1000], [-0.1, 1001]),
    (TrainOptions, "slowness_penalty", [0, 1.0, 1000], [-0.1, 1001]),
    (TrainOptions, "omega", [0, 0.5, 1000], [-0.1, 1001]),
    *(
        (kind, name, [0, 0.15, 0.95], [-0.1, 0.96, 1])
        for kind in (ModelConfig, TrainOptions)
        for name in ("zoneout", "zoneout_cell")
    ),
    (TrainConfig, "dropout", [0, 0.95], [-0.1, 1]),
    (TrainConfig, "weight_drop", [0, 0.95], [-0.1, 1]),
    (TrainOptions, "valid_fraction", [0, 0.1, 0.9], [-0.1, 0.91, 1]),
    (SampleConfig, "temperature", [0, 1e-6, 1, 1e6], [-0.1, math.inf]),
    (SampleConfig, "top_p", [1e-9, 0.5, 1], [0, -0.1, 1.1]),
    (SampleConfig, "min_p", [0, 0.5, 1], [-0.1, 1.1]),
    (SampleConfig, "typical_p", [1e-9, 0.5, 1], [0, -0.1, 1.1]),
    (SampleConfig, "xtc_probability", [0, 0.5, 1], [-0.1, 1.1]),
    (SampleConfig, "mirostat_ent", [0, 1.5, 64], [-0.1, 65]),
    (SampleConfig, "repeat_penalty", [0.01, 1, 1.3, 100], [0, -1, 101]),
    (SampleConfig, "presence_penalty", [-100, 0, 0.5, 100], [-101, 101]),
    (SampleConfig, "frequency_penalty", [-100, 0, 0.5, 100], [-101, 101]),
    (BeamConfig, "length_penalty", [0, 1, 100], [-1, 101]),
    (BeamConfig, "diversity", [0], [-0.1, 1001]),
    (BeamConfig, "temperature", [1], [0, -0.1]),
]
SWITCHES = ["skip_connections", "tied_output", "learned_start", "layer_norm"]
NO_NUMBERS = [math.nan, math.inf, -math.inf, True, "3", [1], 1 + 0j]


def _make(kind: Any, field: str, value: object) -> Any:
    needed: dict[str, Any] = {"vocab_size": 3} if kind is ModelConfig else {}
    if field == "omega":
        needed["cell"] = "elman"
    if field == "min_length":
        needed["stop"] = "."
    return kind(**{**needed, field: value})


def _refused(kind: Any, field: str, value: object) -> str:
    with pytest.raises(OptionError) as caught:
        _make(kind, field, value)
    return caught.value.message


@pytest.mark.parametrize(("kind", "field", "low", "high"), INTEGERS)
def test_integers_have_bounds(kind: Any, field: str, low: int, high: int) -> None:
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
def test_other_values_than_integers_are_refused(
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


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (ModelConfig, "hidden_size", np.int64(8)),
        (TrainOptions, "seq_len", np.uint8(8)),
        (SampleConfig, "temperature", np.float32(0.5)),
        (SampleConfig, "temperature", Fraction(1, 2)),
        (TrainOptions, "minutes", np.int32(3)),
    ],
)
def test_numbers_of_other_types_become_plain_ones(kind: Any, field: str, value: Any) -> None:
    found = getattr(_make(kind, field, value), field)
    assert found == value
    assert type(found) in (int, float)  # which JSON can hold


def test_only_clip_norm_may_be_infinite() -> None:
    assert TrainOptions(clip_norm=math.inf).clip_norm == math.inf
    for value in (0, -1, -math.inf, math.nan, True, "1"):
        assert "--clip-norm must be a number above 0, not" in _refused(
            TrainOptions, "clip_norm", value
        )


@pytest.mark.parametrize("kind", [ModelConfig, TrainOptions])
def test_an_unknown_cell_suggests_the_nearest(kind: Any) -> None:
    assert "--cell 'lsmt' is not known: did you mean lstm?" in _refused(kind, "cell", "lsmt")
    assert ", ".join(CELLS) in _refused(kind, "cell", "??")


def test_an_unknown_optimizer_is_refused() -> None:
    assert "--optimizer 'adam' is not known: did you mean adamw?" in _refused(
        TrainOptions, "optimizer", "adam"
    )


@pytest.mark.parametrize(
    ("field", "wrong", "nearest"),
    [
        ("precision", "bfloat", "bfloat16"),
        ("backend", "libary", "library"),
        ("init", "ortogonal", "orthogonal"),
        ("state", "rest", "reset"),
    ],
)
def test_an_unknown_choice_suggests_the_nearest(field: str, wrong: str, nearest: str) -> None:
    message = _refused(TrainOptions, field, wrong)
    assert f"{flag(field)} '{wrong}' is not known: did you mean {nearest}?" in message


def test_the_old_name_of_a_backend_is_accepted() -> None:
    assert TrainOptions(backend="scaffold") == TrainOptions(backend="fused")


def test_two_budgets_are_refused() -> None:
    with pytest.raises(OptionError, match="`minutes` and `steps` both set the budget"):
        TrainOptions(minutes=1.0, steps=10)


def test_a_window_is_an_integer_or_full() -> None:
    for given, kept in [(None, None), (1, 1), (2**30, 2**30), ("64", 64), ("full", "full")]:
        assert TrainOptions(seq_len=given).seq_len == kept
    for value in (0, -1, 2**30 + 1, True, "0", "-3", "2_147_483_648"):
        message = _refused(TrainOptions, "seq_len", value)
        assert "--seq-len must be a whole number from 1 to 1073741824, not " in message
    for value in ("", "Full", "whole", "\u0663", "6.4", 6.4, 64.0, math.nan, math.inf, [1], 1 + 0j):
        message = _refused(TrainOptions, "seq_len", value)
        assert message == f"--seq-len must be a whole number or full, not {value}"


def test_update_intervals_longer_than_the_window_are_refused() -> None:
    assert TrainOptions(update_every=8, seq_len=8).update_every == 8
    assert TrainOptions(update_every=8, seq_len="full").update_every == 8
    with pytest.raises(OptionError) as caught:
        TrainOptions(update_every=9, seq_len=8)
    assert caught.value.message == (
        "--update-every 9 exceeds --seq-len 8: some steps would get no gradient; use 8 or less"
    )


def test_overlapping_windows_are_refused_if_the_state_is_reset() -> None:
    assert TrainOptions(state="reset", seq_len=8).state == "reset"
    with pytest.raises(OptionError, match=r"`window_state` reset cuts .*leave out `update_every`"):
        TrainOptions(state="reset", seq_len=8, update_every=4)


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_omega_is_only_for_cells_without_gates(cell: str) -> None:
    if cell in ("elman", "irnn", "preactivation"):
        assert TrainOptions(cell=cell, omega=0.5).omega == 0.5
        assert TrainOptions(cell=cell, omega=0.5, backend="reference").omega == 0.5
        with pytest.raises(OptionError, match=r"`omega` takes derivatives .*`backend` reference"):
            TrainOptions(cell=cell, omega=0.5, backend="fused")
    else:
        message = r"`omega` is for elman, irnn, preactivation, .*: leave it out for " + cell
        with pytest.raises(OptionError, match=message):
            TrainOptions(cell=cell, omega=0.5)
        assert TrainOptions(cell=cell, omega=0.0).omega == 0.0


def test_a_second_jordan_layer_is_refused() -> None:
    assert ModelConfig(3, "jordan", 1).num_layers == 1
    with pytest.raises(OptionError, match=r"`cell` jordan feeds .*use `num_layers=1`, and `inp"):
        ModelConfig(3, "jordan", 2)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        *((kind, name) for kind in (ModelConfig, TrainOptions) for name in SWITCHES),
        (TrainOptions, "locked_dropout"),
        (TrainConfig, "locked_dropout"),
    ],
)
def test_switches_are_true_or_false(kind: Any, field: str) -> None:
    for value in (True, False):
        assert getattr(_make(kind, field, value), field) is value
    for other in (None, 0, 1, "true", 0.5):
        flag = "--" + field.replace("_", "-")
        assert _refused(kind, field, other) == f"{flag} must be true or false"


def test_defaults_are_neutral() -> None:
    assert to_json(Form()) == {
        "skip_connections": False,
        "input_depth": 1,
        "recurrent_depth": 1,
        "output_depth": 1,
        "learned_start": False,
        "layer_norm": False,
        "zoneout": 0.0,
        "zoneout_cell": 0.0,
    }
    assert to_json(Regularizers()) == {
        "dropout": None,
        "locked_dropout": False,
        "weight_drop": 0.0,
        "activation_penalty": 0.0,
        "slowness_penalty": 0.0,
        "omega": 0.0,
        "weight_decay": 0.1,
    }
    assert TrainConfig().dropout == 0.0
    assert TrainOptions().dropout is None  # is planned
    for kind in (ModelConfig(3), TrainOptions()):
        assert {**to_json(kind), **to_json(Form())} == to_json(kind)


def test_an_old_model_config_has_the_neutral_form() -> None:
    old = {
        "vocab_size": 7,
        "cell": "lstm",
        "num_layers": 2,
        "hidden_size": 3,
        "embedding_size": 0,
    }
    assert from_json(ModelConfig, old, "here") == ModelConfig(7, "lstm", 2, 3, 0)


def test_more_texts_than_beams_are_refused() -> None:
    with pytest.raises(OptionError, match=r"`num_return=6` is more than `width=5`: raise `width`"):
        BeamConfig(num_return=6)


TOGETHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "--temperature 0 always takes the most likely token, whatever --top-k and --min-p would": (
        SampleConfig,
        {"temperature": 0, "top_k": 3, "min_p": 0.1},
    ),
    "whatever --typical-p, --top-p and --xtc-probability would leave: give a temperature above": (
        SampleConfig,
        {"temperature": 0, "typical_p": 0.5, "top_p": 0.9, "xtc_probability": 1},
    ),
    "--temperature 0 would write the same text 3 times": (
        SampleConfig,
        {"temperature": 0, "num_samples": 3},
    ),
    "--xtc-threshold has no effect without --xtc-probability": (
        SampleConfig,
        {"xtc_threshold": 0.2},
    ),
    "--mirostat-lr has no effect without --mirostat-ent": (SampleConfig, {"mirostat_lr": 0.2}),
    "--mirostat-lr must be a number above 0 and at most 1, not 0": (
        SampleConfig,
        {"mirostat_lr": 0, "mirostat_ent": 2},
    ),
    "--mirostat-ent chooses its own cutoff: leave out --top-k and --top-p": (
        SampleConfig,
        {"mirostat_ent": 2, "top_k": 3, "top_p": 0.5},
    ),
    "whatever --mirostat-ent would leave": (SampleConfig, {"mirostat_ent": 2, "temperature": 0}),
    "--xtc-threshold must be a number above 0 and at most 0.5, not 0.6": (
        SampleConfig,
        {"xtc_threshold": 0.6, "xtc_probability": 0.5},
    ),
    "--repeat-last-n 0 leaves --repeat-penalty and --frequency-penalty nothing to penalize": (
        SampleConfig,
        {"repeat_last_n": 0, "repeat_penalty": 1.1, "frequency_penalty": 1},
    ),
    "--repeat-last-n 9 has no effect without a penalty": (
        SampleConfig,
        {"repeat_last_n": 9},
    ),
    "--repeat-last-n must be a whole number from -1": (
        SampleConfig,
        {"repeat_last_n": -2, "repeat_penalty": 2},
    ),
    "--logit-bias 'x' must be a number from -100 to 100, not nan": (
        SampleConfig,
        {"logit_bias": {"x": math.nan}},
    ),
    "--logit-bias '\\n' must be a number from -100 to 100, not 101": (
        SampleConfig,
        {"logit_bias": [("\n", 101)]},
    ),
    "--logit-bias names a token twice": (SampleConfig, {"logit_bias": [("x", 1), ("x", 1)]}),
    "--min-length 9 is more than --length 8 allows": (
        BeamConfig,
        {"length": 8, "min_length": 9, "stop": "."},
    ),
    "--width 5 cannot be divided into 2 equal --groups": (
        BeamConfig,
        {"groups": 2, "diversity": 1},
    ),
    "--groups and --diversity must be given together": (BeamConfig, {"diversity": 0.5}),
    "with one group --diversity has no effect": (BeamConfig, {"groups": 5}),
    "--temperature and --seed has no effect": (BeamConfig, {"temperature": 0.5, "seed": 1}),
    "add --stochastic, or use 'charrnn sample'": (BeamConfig, {"seed": 0}),
    "own probabilities: leave out --length-penalty": (
        BeamConfig,
        {"stochastic": True, "length_penalty": 0},
    ),
    "own probabilities: leave out --groups": (
        BeamConfig,
        {"stochastic": True, "groups": 5, "diversity": 1},
    ),
    "--stochastic must be true or false": (BeamConfig, {"stochastic": 1}),
}


@pytest.mark.parametrize("sentence", TOGETHER)
def test_contradictions_and_options_without_effect_are_refused(sentence: str) -> None:
    kind, options = TOGETHER[sentence]
    with pytest.raises(OptionError) as caught:
        kind(**options)
    assert sentence in caught.value.message


def test_valid_combinations_are_accepted() -> None:
    SampleConfig(temperature=0, repeat_penalty=1.3, repeat_last_n=-1, no_repeat_ngram_size=4)
    SampleConfig(xtc_probability=0.5, xtc_threshold=0.5, top_k=3, typical_p=0.9)
    SampleConfig(mirostat_ent=2, mirostat_lr=1, repeat_penalty=1.1, temperature=2)
    BeamConfig(width=6, groups=3, diversity=0.5, num_return=6, length_penalty=0.5)
    BeamConfig(stochastic=True, seed=3, temperature=0.5, num_return=5)


def test_biases_are_stored_as_pairs() -> None:
    for given in ({"x": 1, "=": -2.5}, [("x", 1), ("=", -2.5)], (("x", 1), ("=", -2.5))):
        assert SampleConfig(logit_bias=given).logit_bias == (("x", 1), ("=", -2.5))


@pytest.mark.parametrize("kind", [SampleConfig, BeamConfig])
def test_an_empty_stop_is_refused(kind: Any) -> None:
    assert "--stop '' is empty" in _refused(kind, "stop", ("a", ""))


def test_the_start_token_is_one_past_the_alphabet() -> None:
    assert ModelConfig(vocab_size=7).start_token == 7


def test_the_literal_of_cell_names_lists_the_cells() -> None:
    assert set(get_args(CellName)) == set(CELLS)


def test_configs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainOptions().seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(7, "elman", 2, 3, 0),
        ModelConfig(7, learned_start=True, input_depth=2, zoneout=0.1),
        TrainOptions(minutes=2.5),
        TrainOptions(seq_len="full", locked_dropout=True, skip_connections=True),
        TrainConfig(seq_len=9, update_every=3, weight_drop=0.5, steps=2),
        SampleConfig(top_k=3),
    ],
)
def test_json_round_trip(config: Any) -> None:
    data = json.loads(json.dumps(to_json(config)))
    data = {key: tuple(value) if key == "stop" else value for key, value in data.items()}
    assert from_json(type(config), data, "here") == config


def test_an_unknown_key_names_the_file_and_the_nearest_key() -> None:
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


def test_a_renamed_option_has_two_spellings(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    for spellings in (("window-state", "sentencepiece-type"), ("state", "pieces")):
        lines = zip(spellings, ("reset", "bpe"), strict=True)
        text = "".join(f'{spelling} = "{value}"\n' for spelling, value in lines)
        file.write_text(f'tokenizer = "sentencepiece"\n{text}')
        options = load_options(file)
        assert options == {"tokenizer": "sentencepiece", "state": "reset", "pieces": "bpe"}


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
        (b"layer-norm = 1", "--layer-norm must be true or false"),
        (b"seq-len = 'all'", "--seq-len must be a whole number or full, not all"),
        (b"seq-len = 4\nupdate-every = 8", "--update-every 8 exceeds --seq-len 4: .* 4 or less"),
        (b"minutes = 1\nsteps = 1", "--minutes and --steps both set the budget"),
    ],
)
def test_bad_toml_is_refused_in_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(OptionError) as caught:
        load_options(file)
    assert re.search(message, caught.value.message)


def test_a_missing_toml_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.toml: No such file"):
        load_options(tmp_path / "none.toml")
    with pytest.raises(OptionError, match=r"`config` .*: Is a directory"):
        load_options(tmp_path)


def test_items_decide_how_a_text_is_read_and_trained() -> None:
    lines, paragraphs = TrainOptions(items="lines"), TrainOptions(items="blank-lines")
    assert (lines.document_separator, lines.newline, lines.split) == ("\n", "lf", "hash")
    assert (paragraphs.document_separator, paragraphs.newline) == ("\n\n", "lf")
    assert lines.reset_at_documents
    other = TrainOptions(items="%%\n", split="position")
    assert (other.document_separator, other.newline, other.split) == ("%%\n", "keep", "position")
    assert from_json(TrainOptions, to_json(lines), "here") == lines
    plain = TrainOptions()
    assert (plain.document_separator, plain.split, plain.reset_at_documents) == (
        "",
        "position",
        False,
    )


@pytest.mark.parametrize("word", ["line", "Lines", "blank_lines", "blanklines", "blank-line"])
def test_a_mistyped_kind_of_items_is_no_separator(word: str) -> None:
    with pytest.raises(OptionError, match="use lines, blank-lines, or the text that ends each"):
        Reading(items=word)


def test_items_and_another_separator_contradict_each_other() -> None:
    with pytest.raises(OptionError, match="both say where an item ends"):
        Reading(items="lines", document_separator="%")


def test_a_models_items_are_read_as_such_unless_the_user_says_otherwise() -> None:
    model = ModelReading(items="lines", document_separator="\n", newline="lf", documents_apart=True)
    assert model.options() == Reading(items="lines")
    kept = model.options({"newline": "keep"})
    assert (kept.newline, kept.document_separator, kept.items) == ("keep", "\n", "")
    assert model.options({"document_separator": "%"}).document_separator == "%"


PAIRS = {"vocab_size": 6, "hidden_size": 8, "encoder": "bidirectional", "context": "attention"}


def test_files_of_text_models_say_nothing_of_pairs() -> None:
    assert to_json(ModelConfig(5)).keys() & {"encoder", "context"} == set()
    pairs = ModelConfig(**PAIRS)
    assert to_json(pairs) == {**to_json(ModelConfig(6, hidden_size=8)), **PAIRS}
    assert from_json(ModelConfig, to_json(pairs), "here") == pairs


def test_a_pair_model_has_a_token_that_ends_a_target() -> None:
    pairs, text = ModelConfig(**PAIRS), ModelConfig(5)
    assert (pairs.alphabet_size, pairs.end_token, pairs.start_token) == (5, 5, 6)
    assert (text.alphabet_size, text.start_token) == (5, 5)
    assert text.directions == ()
    assert (pairs.directions, pairs.encoder_size) == (("forward", "backward"), 4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"context": ""}, "both an encoder and a context"),
        ({"encoder": ""}, "both an encoder and a context"),
        ({"encoder": "backward"}, "'backward' is not known"),
        ({"context": "none"}, "'none' is not known"),
        ({"hidden_size": 7}, "must be even"),
        ({"learned_start": True}, "has no meaning for pairs"),
        ({"cell": "jordan"}, "jordan feeds"),
        ({"vocab_size": 1}, "a token to write"),
    ],
)
def test_what_has_no_meaning_for_pairs_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        ModelConfig(**PAIRS | change)


TEXT = {"encoder": "", "context": ""}
VOTING = {**PAIRS, "context": "fixed", "embedding_size": 12, "ensemble": 4}


def test_an_ensemble_divides_units_and_embedding_among_its_networks() -> None:
    config = ModelConfig(**VOTING)
    assert to_json(config)["ensemble"] == 4
    assert (config.member.hidden_size, config.member.embedding_size) == (2, 3)
    assert (config.member.ensemble, config.member.encoder) == (1, "bidirectional")
    alone = ModelConfig(**PAIRS)
    assert "ensemble" not in to_json(alone)
    assert alone.member is alone
    text = ModelConfig(**{**VOTING, **TEXT, "hidden_size": 12, "num_layers": 2}, tied_output=True)
    assert text.member == ModelConfig(text.vocab_size, "lstm", 2, 3, 3, tied_output=True)
    assert text.state_sizes == (3,) * 8
    assert text.member.state_sizes == (3, 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ensemble": 3}, "must be 1, 2, 4 or 8"),
        ({"ensemble": 9}, "from 1 to 8"),
        ({"context": "attention"}, "needs a fixed context"),
        ({"layer_norm": True}, "leave out"),
        ({**TEXT, "cell": "jordan"}, "leave one of them out"),
        ({"embedding_size": 0}, "use another size"),
        ({"embedding_size": 6}, "use a multiple of 4"),
        ({"hidden_size": 12}, r"among its networks \(and directions\): use a multiple of 8"),
        ({**TEXT, "hidden_size": 6}, "among its networks: use a multiple of 4"),
    ],
)
def test_what_no_ensemble_can_have_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        ModelConfig(**VOTING | change)


def test_a_tied_output_needs_an_embedding() -> None:
    with pytest.raises(OptionError, match="`embedding_size=0` means none: use another size"):
        ModelConfig(9, embedding_size=0, tied_output=True)
    assert "tied_output" not in to_json(ModelConfig(9))  # as in files of older versions


def test_one_direction_may_have_any_number_of_units() -> None:
    config = ModelConfig(**PAIRS | {"encoder": "forward", "hidden_size": 7})
    assert (config.directions, config.encoder_size) == (("forward",), 7)


# `seed` changes nothing at temperature 0 and is accepted: the command says so in a note.
ACCEPTED_WHEN_GREEDY = {"temperature", "seed"}
OTHER = {int: 3, float: 0.4, str: "x", bool: True}


@pytest.mark.parametrize(
    "name",
    sorted(
        {field.name for field in dataclasses.fields(SampleConfig)}
        - {*config_decoding.GREEDY_FIELDS}
        - ACCEPTED_WHEN_GREEDY
    ),
)
def test_what_changes_nothing_at_temperature_zero_is_refused(name: str) -> None:
    other = OTHER[type(getattr(SampleConfig, name))]
    with pytest.raises(OptionError):
        SampleConfig(temperature=0, **{name: other})
