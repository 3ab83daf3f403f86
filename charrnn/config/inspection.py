"""Options of ``charrnn inspect``: which unit to show, and networks made only to be measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from charrnn.config.decoding import BeamConfig, SampleConfig
from charrnn.config.fields import (
    MAX_LENGTH,
    TASKS,
    Options,
    check_choice,
    flag,
    given_flags,
    integer,
    read_number,
    same,
    string,
    strings,
)
from charrnn.config.model import CellName, ModelConfig, check_cell
from charrnn.config.training import TrainOptions
from charrnn.errors import OptionError, excerpt

TaskName = Literal["copy", "adding", "brackets"]
TASK_CELLS = ("elman", "gru", "lstm")
MAX_SCALE = 100


def _check_tasks(name: str, values: Sequence[str]) -> Any:
    for value in values:
        check_choice(flag(name), value, get_args(TaskName))
    return values


def check_cells(name: str, values: Sequence[str]) -> Any:
    """Refuse what is neither a cell of charrnn nor one of the user's own."""
    for value in values:
        check_cell(name, value)
    return values


def _check_scaled_cells(name: str, values: Sequence[str]) -> Any:
    for value in values:
        _parse_cell(name, value)
    return values


def _parse_cell(name: str, value: str) -> tuple[str, float]:
    """Return the cell and the scale of its recurrent weights from ``CELL[:SCALE]``."""
    cell, colon, scale = value.partition(":")
    check_cell(name, cell)
    try:
        factor = read_number(scale) if colon else 1.0
    except ValueError:
        factor = math.nan
    if not 0 <= factor <= MAX_SCALE:
        raise OptionError(
            f"{flag(name)} {excerpt(value)}: the scale is not a number from 0 to {MAX_SCALE}, as "
            "in irnn:1.1"
        )
    return cell, factor


def _preview(name: str, setting: str, shown: str) -> Any:
    """Return a field for a setting of sampling whose effect is to be shown."""
    changes = {"help": f"Preview this {setting}.", "shown": shown, "short": "", "panel": ""}
    return same(SampleConfig, name, None, **changes)


@dataclass(frozen=True)
class UnitOptions(Options):
    """What a model reads while its units are recorded, and which unit to show."""

    prompt: str | None = string(None, "Read this text instead.", shown="none")
    length: int = integer(1, 100_000, 5000, "Tokens to read.")
    unit: str | None = string(
        None,
        "Color the text by this unit: LAYER.UNIT or LAYER.PART.UNIT, for example 1.c.37.",
        shown="none",
    )


@dataclass(frozen=True)
class UntrainedOptions(Options):
    """Untrained networks to measure beside models."""

    cell: tuple[str, ...] = strings(
        "Add an untrained network of this cell; may be repeated. irnn:1.1 multiplies its recurrent "
        "weights by 1.1. A file of your own also opens the models that need it.",
        _check_scaled_cells,
        shown="none",
        values=get_args(CellName),
    )
    hidden_size: int = same(
        ModelConfig, "hidden_size", 64, help="Units in each layer of these networks.", panel=""
    )
    num_layers: int = same(
        ModelConfig, "num_layers", 1, help="Number of layers of these networks.", panel=""
    )
    seed: int = same(
        TrainOptions, "seed", 1, help="Seed of the weights of these networks.", panel=""
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        unused = given_flags(self, "hidden_size", "num_layers", "seed")
        if unused and not self.cell:
            raise OptionError(f"{unused} is for untrained networks: name one with --cell")

    @property
    def cells(self) -> list[tuple[str, float]]:
        """The cell of each network and the scale of its recurrent weights."""
        return [_parse_cell("cell", value) for value in self.cell]


@dataclass(frozen=True)
class FlowOptions(Options):
    """How far back to follow gradients, and where."""

    lags: int = integer(2, 500, 100, "Tokens to look back.")
    windows: int = integer(1, 256, 16, "Positions in the text to measure at.")


MAX_TREE_WIDTH, MAX_TREE_LENGTH = 20, 100  # of a tree that is still readable


@dataclass(frozen=True)
class NextOptions(Options):
    """What to show of the next token: the settings to preview and the size of the search tree."""

    symbols: int = integer(1, MAX_LENGTH, 12, "Likeliest tokens to show.")
    temperature: float | None = _preview("temperature", "temperature", "0.5 and 2")
    top_k: int | None = _preview("top_k", "top-k", "5")
    top_p: float | None = _preview("top_p", "top-p", "0.9")
    typical_p: float | None = _preview("typical_p", "typical-p", "none")
    min_p: float | None = _preview("min_p", "min-p", "none")
    width: int = same(BeamConfig, "width", BeamConfig.width, help="Beam width.")
    length: int = same(BeamConfig, "length", 8, help="Beam search steps.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width > MAX_TREE_WIDTH or self.length > MAX_TREE_LENGTH:
            raise OptionError(
                f"--width {self.width}, --length {self.length}: a tree of more than "
                f"{MAX_TREE_WIDTH} prefixes or {MAX_TREE_LENGTH} steps is too large to show: use "
                "'charrnn beam' for such texts"
            )

    @property
    def settings(self) -> dict[str, float]:
        """The sampling settings that were given, in the order in which they act."""
        names = ("temperature", "top_k", "typical_p", "top_p", "min_p")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def beam(self) -> BeamConfig:
        """The search whose tree is shown."""
        return BeamConfig(length=self.length, width=self.width, num_return=self.width)


@dataclass(frozen=True)
class ContextOptions(Options):
    """Which contexts, or lags of a task, to measure."""

    longest: int | None = integer(
        1,
        2**16,
        None,
        "Longest context (or lag of a task), in tokens; all powers of two up to it are used.",
        shown="1,024; for a task 32",
    )
    symbols: int = integer(1, 2**20, 4096, "Tokens to score after each context.")


@dataclass(frozen=True)
class TaskOptions(Options):
    """Small networks to train on toy tasks."""

    task: tuple[str, ...] = strings(
        "Train small networks on this task instead: copy, adding or brackets; may be repeated.",
        _check_tasks,
        panel=TASKS,
        shown="none",
        values=get_args(TaskName),
    )
    cell: tuple[str, ...] = strings(
        "Cell of the small networks; may be repeated. Without a task: the file of a model's own "
        "cell.",
        check_cells,
        panel=TASKS,
        shown=", ".join(TASK_CELLS),
        values=get_args(CellName),
    )
    hidden_size: int = same(
        ModelConfig, "hidden_size", 64, help="Units of the small networks.", panel=TASKS
    )
    steps: int = same(TrainOptions, "steps", 1000, help="Training steps.", panel=TASKS, shown="")
    learning_rate: float = same(
        TrainOptions, "learning_rate", 0.004, help="Peak learning rate.", panel=TASKS, shown=""
    )
    seed: int = same(TrainOptions, "seed", 1, help="Seed of weights and texts.", panel=TASKS)
    seeds: int = integer(
        1,
        100,
        1,
        "Number of networks to train per cell, with --seed and the seeds after it.",
        panel=TASKS,
    )
    threads: int | None = same(
        TrainOptions, "threads", None, help="CPU threads of the training.", panel=TASKS
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        trained = ("hidden_size", "steps", "learning_rate", "seed", "seeds", "threads")
        unused = given_flags(self, *trained)
        if unused and not self.task:
            raise OptionError(f"{unused} is for the networks that a --task trains: add --task")
