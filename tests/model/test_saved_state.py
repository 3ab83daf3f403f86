from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import strict_json
from damage import flips, truncations

from charrnn.cells import CELLS
from charrnn.config import BeamConfig, SampleConfig
from charrnn.decoding.sampler import generator
from charrnn.errors import RunError, StateError
from charrnn.generator import Generator
from charrnn.model.model_file import Model

MakeModel = Callable[..., Model]


@pytest.fixture
def writer(tiny_model: Model) -> Generator:
    return Generator(tiny_model)


@pytest.fixture
def saved(writer: Generator, tmp_path: Path) -> Path:
    """The state after a prompt."""
    writer.save_state(tmp_path / "state", writer.read("hello"))
    return tmp_path / "state"


@pytest.mark.parametrize("drawn", [*range(9), 1001])
def test_a_generator_continues_after_the_numbers_that_were_drawn(drawn: int) -> None:
    whole = generator(7, 2).random(drawn + 5)
    assert generator(7, 2, drawn).random(5).tolist() == whole[drawn:].tolist()


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_continues_as_if_never_interrupted(
    make_model: MakeModel, tmp_path: Path, cell: str
) -> None:
    assert_continues(
        make_model("helo w\n", cell=cell, num_layers=1 if cell == "jordan" else 2), tmp_path
    )


def test_a_text_of_an_ensemble_continues_as_if_never_interrupted(
    tiny_ensemble: Model, tmp_path: Path
) -> None:
    assert_continues(tiny_ensemble, tmp_path)
    with safetensors.safe_open(tmp_path / "state", "np") as file:
        shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118
    layers = {f"{layer}.{part}": (1, 5) for layer in range(4) for part in "hc"}
    assert shapes == {"logits": (1, 7), **layers}


def assert_continues(model: Model, tmp_path: Path) -> None:
    first = Generator(model)
    first.prepare(SampleConfig(length=40, seed=3))  # what numpy writes has other last digits
    whole = first.samples("hello", SampleConfig(length=40, seed=3))[0]
    text, log_prob = "", 0.0
    path = tmp_path / "state"
    for part, length in enumerate((1, 7, 0, 13, 19)):  # each by a new generator
        writer = Generator(model)
        prompted = writer.load_state(path) if part else writer.read("hello")
        config = SampleConfig(length=length, seed=None if part else 3)
        (written,) = writer.samples(prompted, config)
        assert written.seed == 3
        writer.save_state(path, writer.after(prompted, written))
        text, log_prob = text + written.text, log_prob + written.log_prob
    assert text == whole.text
    assert log_prob == pytest.approx(whole.log_prob, rel=1e-12)
    last, exact = (
        Generator(model).load_state(path),
        Generator(model).after(Generator(model).read("hello"), whole),
    )
    assert (last.read, last.seed, last.drawn) == (45, 3, 40)
    assert last.logits.tobytes() == exact.logits.tobytes()
    for layer, other in zip(last.state, exact.state, strict=True):
        assert [part.tobytes() for part in layer] == [part.tobytes() for part in other]


def test_a_state_can_be_branched(writer: Generator, saved: Path) -> None:
    prompted = writer.load_state(saved)
    for seed in (1, 2):
        text = writer.sample(prompted, length=30, seed=seed).text
        assert text == writer.sample("hello", length=30, seed=seed).text
    assert writer.greedy(prompted, length=9) == writer.greedy("hello", length=9)
    config = BeamConfig(length=9, width=3)
    assert writer.beams(prompted, config) == writer.beams("hello", config)


def test_another_seed_starts_a_new_random_sequence(writer: Generator) -> None:
    prompted = writer.read("hello")
    (begun,) = writer.samples(prompted, SampleConfig(length=20, seed=1))
    after = writer.after(prompted, begun)
    assert writer.sample(after, length=20).text == writer.sample(after, length=20, seed=1).text
    read = writer.read("hello" + begun.text)
    assert (
        writer.sample(after, length=20, seed=9).text == writer.sample(read, length=20, seed=9).text
    )
    assert (
        writer.sample(after, length=20, seed=1).text != writer.sample(read, length=20, seed=1).text
    )


def test_penalties_apply_after_an_empty_text(writer: Generator) -> None:
    prompted = writer.read("hello")
    options: dict[str, Any] = {"seed": 1, "repeat_penalty": 1.5}
    (nothing,) = writer.samples(prompted, SampleConfig(length=0, **options))
    after = writer.after(prompted, nothing)
    assert after.ids.dtype == np.int64
    assert (
        writer.sample(after, length=20, **options).text
        == writer.sample("hello", length=20, **options).text
    )


def test_a_prompt_can_follow_a_state(writer: Generator, saved: Path) -> None:
    after = writer.read(" wo", after=writer.load_state(saved))
    assert after.read == 8
    assert writer.greedy(after, length=20) == writer.greedy("hello wo", length=20)
    assert writer.read("", after=after) is after


def test_a_stop_string_counts_as_read(writer: Generator) -> None:
    prompted = writer.read("")
    (stopped,) = writer.samples(prompted, SampleConfig(length=500, seed=1, stop="w"))
    after = writer.after(prompted, stopped)
    assert after.read == len(stopped.text) + 1
    whole = writer.sample("", length=len(stopped.text) + 31, seed=1).text
    assert stopped.text + "w" + writer.sample(after, length=30).text == whole


def test_the_file_contains_no_text(saved: Path) -> None:
    with safetensors.safe_open(saved, "np") as file:
        header = strict_json.loads(file.metadata()["charrnn-state"])
        shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118
    assert shapes == {
        "logits": (1, 7),
        **{f"{layer}.{part}": (1, 5) for layer in (0, 1) for part in "hc"},
    }
    assert header["read"] == 5
    assert (header["format"], header["seed"], header["drawn"]) == (1, None, 0)
    assert b"hell" not in saved.read_bytes()


def test_the_model_hash_ignores_the_training_summary(tiny_model: Model, make_model: Any) -> None:
    same = Model(tiny_model.config, tiny_model.tokenizer, tiny_model.values, {"steps": 99})
    assert Generator(same).model_hash == Generator(tiny_model).model_hash
    others = [make_model("helo w\n", seed=1, num_layers=2), make_model("helo v\n", num_layers=2)]
    hashes = {Generator(model).model_hash for model in [tiny_model, *others]}
    assert len(hashes) == 3


def test_another_models_state_is_refused(make_model: MakeModel, saved: Path) -> None:
    other = Generator(make_model("helo w\n", seed=1, num_layers=2))
    with pytest.raises(StateError, match="is the state of another model"):
        other.load_state(saved)


def rewritten(path: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> None:
    """Change tensors or header fields of a saved state."""
    with safetensors.safe_open(path, "np") as file:
        header = strict_json.loads(file.metadata()["charrnn-state"]) | changes
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    held |= tensors or {}
    path.write_bytes(safetensors.numpy.save(held, {"charrnn-state": json.dumps(header)}))


@pytest.mark.parametrize(
    ("tensors", "changes", "words"),
    [
        ({"0.h": np.zeros((1, 6), np.float32)}, {}, "tensors"),
        ({"0.h": np.zeros((1, 5), np.float64)}, {}, "tensors"),
        ({"2.h": np.zeros((1, 5), np.float32)}, {}, "tensors"),
        ({"logits": np.full((1, 7), np.nan, np.float32)}, {}, "finite"),
        ({}, {"format": 3}, "upgrade"),
        ({}, {"format": 2}, "tensors"),
        ({}, {"format": "1"}, "format version"),
        ({}, {"read": -1}, "incomplete"),
        ({}, {"drawn": True}, "incomplete"),
        ({}, {"drawn": 2**63}, "incomplete"),
        ({}, {"seed": 1.5}, "incomplete"),
    ],
)
def test_an_invalid_state_is_refused(
    writer: Generator, saved: Path, tensors: Any, changes: Any, words: str
) -> None:
    rewritten(saved, tensors, **changes)
    with pytest.raises(StateError, match=words):
        writer.load_state(saved)


def test_a_damaged_or_foreign_file_is_refused(
    writer: Generator, saved: Path, tmp_path: Path
) -> None:
    for content in truncations(saved.read_bytes()):
        saved.write_bytes(content)
        with pytest.raises(StateError, match="damaged, or not a saved state"):
            writer.load_state(saved)
    for foreign in (b"hello", b"PK\x03\x04" * 99, bytes(range(256))):
        saved.write_bytes(foreign)
        with pytest.raises(StateError, match="not a saved state"):
            writer.load_state(saved)
    saved.write_bytes(safetensors.numpy.save({"h": np.zeros(3)}))
    with pytest.raises(StateError, match="not a saved state"):
        writer.load_state(saved)
    with pytest.raises(StateError, match="does not exist"):
        writer.load_state(tmp_path / "none")
    with pytest.raises(StateError, match="is a folder"):
        writer.load_state(tmp_path)


def test_only_a_saved_state_is_overwritten(writer: Generator, saved: Path, tmp_path: Path) -> None:
    writer.save_state(saved, writer.read("w"))
    assert writer.load_state(saved).read == 1
    novel = tmp_path / "novel.txt"
    novel.write_text("a year's work")
    for path, words in ((novel, "not a saved state"), (tmp_path / "no" / "s", "not a folder")):
        with pytest.raises(StateError, match=words):
            writer.save_state(path, writer.read("w"))
    assert novel.read_text() == "a year's work"


def test_a_flipped_bit_gives_a_state_or_a_sentence(writer: Generator, saved: Path) -> None:
    """A state has no hash of its numbers: some bits give another state, of finite numbers."""
    for content in flips(saved.read_bytes()):
        saved.write_bytes(content)
        with contextlib.suppress(StateError, RunError):
            assert len(writer.sample(writer.load_state(saved), length=1, seed=1).text) == 1


def test_states_of_models_of_pairs_are_refused(
    make_pair_model: MakeModel, saved: Path, tmp_path: Path
) -> None:
    writer = Generator(make_pair_model("helo w\n"))
    with pytest.raises(StateError, match="states of models of pairs are not saved"):
        writer.save_state(tmp_path / "new", writer.read("", source="hello"))
    rewritten(saved, model=writer.model_hash)
    with pytest.raises(StateError, match="states of models of pairs are not saved"):
        writer.load_state(saved)
    assert not (tmp_path / "new").exists()
