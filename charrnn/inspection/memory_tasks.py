"""Toy tasks that measure memory, as texts: each line is a question, ``=`` and the answer.

    copy      three letters, then n blanks; the letters again (Hochreiter and Schmidhuber 1997)
    adding    n + 2 digits, two of them marked by ``+``, one in each half; their sum (ibid.)
    brackets  two open brackets, then n characters of closed ones; what closes the two

An answer is correct if each of its characters is the likeliest one.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import TrainOptions, cell_name
from charrnn.config.inspection import TASK_CELLS, TaskOptions
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model import model_file
from charrnn.model.model_file import Model
from charrnn.storage import machine
from charrnn.text import corpus, dataset
from charrnn.text.open import Texts

LETTERS, COPIED = "abcd", 3
PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"))
OPENED = 2
EXAMPLES = 200  # that measure the success at a lag
CHARACTERS = 1_000_000  # of the training text
HELD_OUT = 20_000  # characters of the validation text

Example = tuple[str, str]  # question with ``=``, and answer


def _copy(lag: int, chance: random.Random) -> Example:
    letters = "".join(chance.choices(LETTERS, k=COPIED))
    return f"{letters}{'.' * lag}=", letters


def _adding(lag: int, chance: random.Random) -> Example:
    digits = [chance.randrange(10) for _ in range(lag + 2)]
    middle = len(digits) // 2
    marked = (chance.randrange(middle), chance.randrange(middle, len(digits)))
    question = "".join(f"+{d}" if index in marked else f"{d}" for index, d in enumerate(digits))
    return f"{question}=", f"{sum(digits[index] for index in marked):02}"


def _brackets(lag: int, chance: random.Random) -> Example:
    outer = chance.choices(PAIRS, k=OPENED)
    inner, opened = list[str](), list[str]()  # the second holds the closing brackets to come
    for left in range(lag, 0, -1):
        if left > len(opened) + 1 and (not opened or chance.random() < 0.5):
            opening, closing = chance.choice(PAIRS)
            inner.append(opening)
            opened.append(closing)
        else:
            inner.append(opened.pop() if opened else ".")
    question = "".join(pair[0] for pair in outer) + "".join(inner)
    return f"{question}=", "".join(pair[1] for pair in reversed(outer))


@dataclass(frozen=True)
class Task:
    """A toy task.

    Attributes:
        make: returns an example with a lag.
        guessed: the share of correct answers that guessing reaches, without memory.
    """

    make: Callable[[int, random.Random], Example]
    guessed: float


TASKS: Mapping[str, Task] = {
    "copy": Task(_copy, 1 / len(LETTERS) ** COPIED),
    "adding": Task(_adding, 10 / 100),
    "brackets": Task(_brackets, 1 / len(PAIRS) ** OPENED),
}


def text(task: Task, lags: Sequence[int], characters: int, chance: random.Random) -> str:
    """Return lines with random lags, of at least `characters` characters in total."""
    lines, length = list[str](), 0
    while length < characters:
        lines.append("".join(task.make(chance.choice(lags), chance)) + "\n")
        length += len(lines[-1])
    return "".join(lines)


def train(task: Task, lags: Sequence[int], options: TrainOptions) -> Model:
    """Return a network trained on lines of all lags; the training's files are deleted."""
    from charrnn.training.events import result_of
    from charrnn.training.start import start

    with tempfile.TemporaryDirectory(prefix="charrnn-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        made = {}
        for part, length in (("train", CHARACTERS), ("valid", HELD_OUT)):
            path, chance = folder / f"{part}.txt", random.Random(f"{part} {options.seed}")
            path.write_text(text(task, lags, length, chance), "utf-8", newline="")
            made[part] = corpus.read([path], options)
        data = dataset.make(made["train"], options, made["valid"], folder=folder / "dataset")
        result = result_of(start(Texts(data), options, out=folder / "run"))
        return model_file.load(Path(result.model))


def success(model: Model, task: Task, lag: int, seed: int, count: int) -> float:
    """Return the share of `count` new examples with a lag that a model answers correctly.

    The model reads another example first, since in training there always was one.
    """
    chance = random.Random(f"test {seed} {lag}")
    rows, answers = [], []
    for _ in range(count):
        before, (question, answer) = task.make(lag, chance), task.make(lag, chance)
        rows.append("\n" + "".join(before) + "\n" + question)
        answers.append(answer)
    encode = model.tokenizer.encode
    ids = np.stack([encode(row) for row in rows], 1).astype(np.int64)  # all rows have one length
    wanted = np.stack([encode(answer) for answer in answers], 1).astype(np.int64)
    engine = NumpyEngine(model.config, model.values)
    state = engine.advance(ids[:-1], engine.start_state(count))
    read, correct = ids[-1], np.ones(count, np.bool_)
    for characters in wanted:
        logits, state = engine.step(read, state)
        read = logits.argmax(-1).astype(np.int64)
        correct &= read == characters
    return float(correct.mean())


@dataclass(frozen=True)
class CellSuccess:
    """How often the networks of a cell answered correctly.

    Attributes:
        cell: its name.
        by_seed: for the seed of each training, the share at each lag, (K,).
    """

    cell: str
    by_seed: Mapping[int, Sequence[float]]

    @property
    def means(self) -> list[float]:
        """The means over the trainings, (K,)."""
        return [sum(shares) / len(shares) for shares in zip(*self.by_seed.values(), strict=True)]

    def to_json(self, lags: Sequence[int]) -> dict[str, Any]:
        """Return all numbers for JSON."""
        each = [{"seed": seed, "success": shares} for seed, shares in self.by_seed.items()]
        return {"cell": self.cell, "lags": list(lags), "success": self.means, "each": each}


@dataclass(frozen=True)
class Comparison:
    """How often the networks of some cells answered correctly on some tasks.

    Attributes:
        options: how the networks were trained.
        lags: powers of two, (K,).
        tasks: the cells' success on each task, by the task's name.
    """

    options: TaskOptions
    lags: Sequence[int]
    tasks: Mapping[str, Sequence[CellSuccess]]

    def to_json(self) -> dict[str, Any]:
        """Return all numbers for JSON."""
        tasks = [
            {
                "task": name,
                "guessed": TASKS[name].guessed,
                "cells": [one.to_json(self.lags) for one in cells],
            }
            for name, cells in self.tasks.items()
        ]
        return {
            "examples": EXAMPLES,
            "hidden_size": self.options.hidden_size,
            "steps": self.options.steps,
            "learning_rate": self.options.learning_rate,
            "tasks": tasks,
        }


def compare_on_tasks(
    options: TaskOptions, longest: int, notify: Callable[[str], object]
) -> Comparison:
    """Train networks on each task and measure their success at lags up to `longest`.

    Args:
        options: which networks to train on which tasks, and how.
        longest: limit of the lags.
        notify: called with a line before each training.
    """
    lags = [1 << power for power in range(longest.bit_length())]
    options = replace(options, threads=machine.usable_threads(options.threads, notify))
    tasks = {
        name: _compare_cells(name, lags, options, notify) for name in dict.fromkeys(options.task)
    }
    return Comparison(options, lags, tasks)


def _compare_cells(
    name: str, lags: Sequence[int], options: TaskOptions, notify: Callable[[str], object]
) -> list[CellSuccess]:
    """Train networks of some cells on one task and measure their success at each lag."""
    task, found = TASKS[name], []
    for cell in options.cell or TASK_CELLS:
        by_seed = {}
        for seed in range(options.seed, options.seed + options.seeds):
            which = f", seed {seed}" if options.seeds > 1 else ""
            notify(f"training {cell_name(cell)} on {name}{which}")
            model = train(task, lags, _train_options(options, cell, seed, lags[-1]))
            by_seed[seed] = [success(model, task, lag, seed, EXAMPLES) for lag in lags]
        found.append(CellSuccess(cell_name(cell), by_seed))
    return found


def _train_options(options: TaskOptions, cell: str, seed: int, longest: int) -> TrainOptions:
    """Return the options of one training, for lags up to `longest`."""
    return TrainOptions(
        cell=cell,
        num_layers=1,
        hidden_size=options.hidden_size,
        batch_size=32,
        seq_len=2 * longest + 32,  # a whole line in most windows
        steps=options.steps,
        learning_rate=options.learning_rate,
        seed=seed,
        threads=options.threads,
    )
