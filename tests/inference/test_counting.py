"""Engines that mix counts into a network's predictions: compiled and numpy alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.counts import build
from charrnn.counts.table import CountTable
from charrnn.errors import OptionError, StateError
from charrnn.generator import Generator
from charrnn.inference.counting import CompiledCountingEngine, CountingEngine
from charrnn.inference.cuda_engine import CudaEngine
from charrnn.inference.engine import Engine
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model.model_file import Model

SYMBOLS = "abcde "
VOTING = {"ensemble": 2, "hidden_size": 6, "embedding_size": 4}
TEXT = "abc ade bad cab ace bee dad deb cede bead " * 40


def _table(model: Model, order: int = 10, **weights: Any) -> CountTable:
    """Return counts of the text, with weights of all sizes."""
    start, ids = model.config.start_token, model.tokenizer.encode(TEXT)
    table = build.build(np.concatenate([[start], ids]), model.config.vocab_size, 10**6, order)
    drawn = np.random.default_rng(1).random(table.weights.shape).astype(np.float32)
    return replace(table, weights=weights.get("weights", drawn))


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    made = make_model(SYMBOLS, num_layers=2, skip_connections=True)
    return replace(made, counts=_table(made))


def _engines(model: Model, threads: int = 1) -> tuple[Engine, Engine]:
    given = (model.config, model.values)
    assert model.counts
    plain = CountingEngine(NumpyEngine(*given), model.counts)
    return plain, CompiledCountingEngine(*given, model.counts, threads=threads)


def _ids(model: Model, rows: int, length: int) -> np.ndarray:
    """Return parts of the text, of other ones and of what never came (T, B)."""
    rng = np.random.default_rng(0)
    text = np.array(model.tokenizer.encode(TEXT))
    parts = [text[10 * row : 10 * row + length] for row in range(rows - 1)]
    ids = np.stack([*parts, rng.integers(0, model.config.vocab_size, length)], 1)
    ids[0] = model.config.start_token
    return ids


@pytest.mark.parametrize(
    ("rows", "threads", "form"), [(1, 1, {}), (3, 2, {}), (11, 1, {}), (3, 2, VOTING)]
)
def test_the_compiled_mixture_is_that_of_numpy(
    make_model: Callable[..., Model], rows: int, threads: int, form: dict[str, Any]
) -> None:
    """Read in windows of a layer at a time, in single steps, and with many rows."""
    model = make_model(SYMBOLS, num_layers=2, skip_connections=True, **form)
    model = replace(model, counts=_table(model))
    plain, engine = _engines(model, threads)
    ids = _ids(model, rows, 40)
    before, state = plain.start_state(rows), engine.start_state(rows)
    for first, last in ((0, 25), (25, 28), (28, 39)):
        window = (ids[first:last], ids[first + 1 : last + 1])
        wanted, before = plain.expected(*window, 3, before)
        found, state = engine.expected(*window, 3, state)
        assert found.nats == pytest.approx(wanted.nats, abs=1e-5)
        assert found.likeliest_nats == pytest.approx(wanted.likeliest_nats, abs=1e-5)
    assert (state[-1][0] == before[-1][0]).all()
    wanted_logits, _ = plain.step(ids[-1], before)
    logits, after = engine.step(ids[-1], state)
    assert logits == pytest.approx(wanted_logits, abs=1e-5)
    advanced = engine.advance(ids, engine.start_state(rows))
    assert all((a == b).all() for a, b in zip(advanced[-1], after[-1], strict=True))


def test_the_counts_change_what_is_predicted(model: Model) -> None:
    _, engine = _engines(model)
    alone = NumpyEngine(model.config, model.values)
    ids = _ids(model, 2, 40)
    with_counts, _ = engine.nats(ids[:-1], ids[1:], engine.start_state(2))
    without, _ = alone.nats(ids[:-1], ids[1:], alone.start_state(2))
    assert with_counts[:, 0].mean() < without[:, 0].mean() - 0.3


def test_weights_of_zero_leave_the_network_alone(model: Model) -> None:
    assert model.counts
    nothing = replace(model, counts=replace(model.counts, weights=model.counts.weights * 0))
    ids = _ids(model, 2, 30)
    alone = NumpyEngine(model.config, model.values)
    wanted, _ = alone.nats(ids[:-1], ids[1:], alone.start_state(2))
    for engine in _engines(nothing):
        found, _ = engine.nats(ids[:-1], ids[1:], engine.start_state(2))
        assert found == pytest.approx(wanted, abs=1e-5)


def test_a_state_of_zeros_knows_no_tokens(model: Model) -> None:
    for engine in _engines(model):
        state = tuple(tuple(part * 0 for part in layer) for layer in engine.start_state(1))
        fresh, _ = engine.step(np.array([2]), engine.start_state(1))
        found, _ = engine.step(np.array([2]), state)
        assert found == pytest.approx(fresh, abs=1e-6)


@pytest.mark.parametrize("width", [300, 70_000])
def test_tokens_of_two_and_four_bytes(make_model: Callable[..., Model], width: int) -> None:
    symbols = "".join(chr(0x4E00 + n) if n < 20_000 else chr(0x20000 + n) for n in range(width))
    made = make_model(symbols, hidden_size=4, embedding_size=2)
    ids = np.array([0, width - 1, 1, width - 2] * 100)
    table = build.build(ids, width, 10**6, 2)
    table.weights[:] = 0.5
    plain, engine = _engines(replace(made, counts=table))
    for token in (width - 1, 1):
        wanted, _ = plain.step(np.array([token]), plain.start_state(1))
        found, _ = engine.step(np.array([token]), engine.start_state(1))
        assert found == pytest.approx(wanted, abs=2e-5)


def test_a_torch_engine_mixes_them_too(model: Model) -> None:
    import torch

    assert model.counts
    network = CudaEngine(model.config, model.values, torch.device("cpu"))
    engine, (plain, _) = CountingEngine(network, model.counts), _engines(model)
    ids = _ids(model, 2, 20)
    wanted, _ = plain.nats(ids[:-1], ids[1:], plain.start_state(2))
    found, state = engine.nats(ids[:-1], ids[1:], engine.start_state(2))
    assert found == pytest.approx(wanted, abs=1e-4)
    assert len(engine.select(state, np.array([1]))[-1][0]) == 1


def test_text_is_the_same_by_both_engines_and_however_it_is_read(model: Model) -> None:
    plain, compiled = (Generator(model, with_counts=True) for _ in range(2))
    plain.engine = _engines(model)[0]
    options: dict[str, Any] = {"length": 60, "seed": 5, "top_p": 0.9, "repeat_penalty": 1.1}
    assert plain.sample("bad ", **options).text == compiled.sample("bad ", **options).text
    assert plain.greedy("ce", length=20).text == compiled.greedy("ce", length=20).text
    assert plain.beam("ce", width=3, length=20).text == compiled.beam("ce", width=3, length=20).text
    several = [each.text for each in compiled.samples("bad ", num_samples=3, **options)]
    assert several[0] == compiled.sample("bad ", **options).text
    score = compiled.score(TEXT[:300], exact=True)
    assert plain.score(TEXT[:300], exact=True).nats == pytest.approx(score.nats, abs=1e-5)


def test_counts_score_always_and_write_only_if_asked(model: Model) -> None:
    network = Generator(replace(model, counts=None))
    usual, both = Generator(model), Generator(model, with_counts=True)
    options: dict[str, Any] = {"length": 60, "seed": 5}
    assert usual.sample("bad ", **options).text == network.sample("bad ", **options).text
    assert both.sample("bad ", **options).text != network.sample("bad ", **options).text
    nats = [each.score(TEXT[:300], exact=True).nats for each in (network, usual, both)]
    assert nats[1] == nats[2] < nats[0] - 0.3
    assert usual.model_hash == network.model_hash != both.model_hash
    with pytest.raises(OptionError, match="trained with `counts` on"):
        Generator(replace(model, counts=None), with_counts=True)
    assert usual.scored_hash == both.scored_hash == both.model_hash


def test_a_saved_state_continues_the_text(model: Model, tmp_path: Path) -> None:
    generator = Generator(model, with_counts=True)
    whole = generator.sample("bad ", length=60, seed=5)
    first = generator.read("bad ")
    sample = generator.sample(first, length=25, seed=5)
    generator.save_state(tmp_path / "s", generator.after(first, sample))
    loaded = generator.load_state(tmp_path / "s")
    assert sample.text + generator.sample(loaded, length=35, seed=5).text == whole.text
    with pytest.raises(StateError, match="another model"):
        Generator(model).load_state(tmp_path / "s")
