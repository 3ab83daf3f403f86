"""How far back a model remembers, and the toy tasks."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TrainOptions
from charrnn.errors import CorpusError
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.inspection import memory_tasks
from charrnn.inspection.memory import memory
from charrnn.inspection.memory_tasks import TASKS, Task
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import ByteTokenizer

TEXT = "".join(random.Random(2).choices("abc", k=90))


def naive(model: Model, at: int, context: int, ids: Any) -> float:
    """Return -ln p of token `at` after `context` tokens, read one by one from the start state."""
    engine = NumpyEngine(model.config, model.values)
    state, logits = engine.start_state(1), np.zeros((1, 1))
    for symbol in ids[at - context : at]:
        logits, state = engine.step(np.array([symbol]), state)
    return float(np.log(np.exp(logits[0]).sum()) - logits[0, ids[at]])


@pytest.mark.parametrize("cell", ["lstm", "jordan"])
def test_every_context_is_scored_on_the_same_symbols(cell: str, make_model: Any) -> None:
    model: Model = make_model("abc", cell=cell, learned_start=True)
    ids = model.tokenizer.encode(TEXT)
    engine = NumpyEngine(model.config, model.values)
    found = memory(engine, ids, model.tokenizer, longest=19, symbols=6)
    assert (found.contexts, found.characters) == ((1, 2, 4, 8, 16), 6)
    starts = [16, 52, 88]  # stretches of two tokens; the first starts after the longest context
    for order, context in enumerate((1, 2, 4, 8)):
        each = [naive(model, at + k, context, ids) for at in starts for k in (0, 1)]
        assert found.nats[order] == pytest.approx(np.mean(each), rel=1e-5)
    longest = np.array([[naive(model, at + k, 16 + k, ids) for k in (0, 1)] for at in starts])
    assert found.nats[4] == pytest.approx(longest.mean(), rel=1e-5)
    saved = np.array([[naive(model, at + k, 2, ids) for k in (0, 1)] for at in starts]) - longest
    assert found.excess[1] == pytest.approx(saved.mean(), rel=1e-4)
    error = saved.mean(1).std(ddof=1) / np.sqrt(3)
    assert found.standard_error[1] == pytest.approx(error, rel=1e-3)
    assert found.excess[4] == 0


def test_losses_are_per_character_for_any_tokenizer(make_model: Any) -> None:
    model: Model = make_model("abc")
    engine = NumpyEngine(model.config, model.values)
    ids = np.frombuffer(("é" * 60).encode(), np.uint8) % 3
    by_symbol = memory(engine, ids, model.tokenizer, longest=8, symbols=40)

    class Pairs(ByteTokenizer):
        def measure(self, ids: Any) -> Any:
            return type(super().measure(ids))(len(ids) // 2, len(ids))

    by_pair = memory(engine, ids, Pairs(), longest=8, symbols=40)
    assert (by_symbol.characters, by_pair.characters) == (40, 20)
    assert by_pair.nats == pytest.approx(2 * by_symbol.nats)


def test_too_short_a_text_is_an_error(make_model: Any) -> None:
    model: Model = make_model("abc")
    engine = NumpyEngine(model.config, model.values)
    ids = model.tokenizer.encode(TEXT[:17])
    with pytest.raises(CorpusError, match="18 are needed for `longest=17`"):
        memory(engine, ids, model.tokenizer, longest=17, symbols=8)
    assert np.isnan(memory(engine, ids, model.tokenizer, longest=8, symbols=1).standard_error[0])


@given(st.sampled_from([*TASKS]), st.integers(1, 40), st.integers(0, 999))
def test_answers_are_correct_and_lines_of_a_lag_have_one_length(
    name: str, lag: int, seed: int
) -> None:
    task, chance = TASKS[name], random.Random(seed)
    lengths = set()
    for question, answer in (task.make(lag, chance) for _ in range(5)):
        lengths.add((len(question), len(answer)))
        asked = question.removesuffix("=")
        if name == "copy":
            assert asked == answer + "." * lag
        elif name == "adding":
            marked = [int(asked[at + 1]) for at, symbol in enumerate(asked) if symbol == "+"]
            assert len(marked) == 2
            assert int(answer) == sum(marked)
            assert len(asked) == lag + 4
        else:
            left: list[str] = []
            for symbol in (asked + answer).replace(".", ""):
                if symbol in "([{<":
                    left.append(dict(memory_tasks.PAIRS)[symbol])
                else:
                    assert left.pop() == symbol
            assert left == []
            assert len(asked) == lag + 2
    assert len(lengths) == 1


@pytest.mark.parametrize("name", TASKS)
def test_guessing_is_as_good_as_the_best_constant_answer(name: str) -> None:
    chance = random.Random(1)
    answers = [TASKS[name].make(4, chance)[1] for _ in range(20_000)]
    best = max(answers.count(answer) for answer in {*answers}) / len(answers)
    assert best == pytest.approx(TASKS[name].guessed, rel=0.15)


def test_success_is_the_share_of_correct_answers(make_model: Any) -> None:
    """Let a network write only a."""
    model: Model = make_model("ab=\n", scale=0.0)
    model.values["output.bias"][model.tokenizer.encode("a")] = 1.0

    def success(*answers: str) -> float:
        task = Task(lambda lag, chance: ("b" * lag + "=", chance.choice(answers)), 0.0)
        return memory_tasks.success(model, task, 3, seed=1, count=400)

    assert (success("aa"), success("ab"), success("ba")) == (1.0, 0.0, 0.0)
    assert success("aa", "ab") == pytest.approx(0.5, abs=0.1)


def test_a_task_is_learned_and_seeds_make_different_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["brackets"]
    monkeypatch.setattr(memory_tasks, "CHARACTERS", 40_000)
    options = TrainOptions(
        num_layers=1, hidden_size=32, batch_size=16, seq_len=16, steps=150, learning_rate=0.02
    )
    model = memory_tasks.train(task, [1, 2], options)
    assert memory_tasks.success(model, task, 1, seed=1, count=100) > 0.5 > task.guessed
    lines = [memory_tasks.text(task, [1, 2], 500, random.Random(seed)) for seed in (1, 2)]
    assert lines[0] != lines[1]
    assert {len(line) for line in islice(lines[0].splitlines(), 40)} == {6, 7}
