"""Options of ``charrnn bench``: which networks to time, on how much text, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from charrnn.config.fields import Options, integer, same, strings, switch
from charrnn.config.inspection import check_cells
from charrnn.config.model import CellName, ModelConfig
from charrnn.config.training import MAX_WINDOW

MAX_ROUNDS = 10**6


@dataclass(frozen=True)
class BenchOptions(Options):
    """Networks to time."""

    cell: tuple[str, ...] = strings(
        "A cell, or the file of one of your own; may be repeated.",
        check_cells,
        shown="a table of all",
        values=get_args(CellName),
    )
    num_layers: int | None = same(
        ModelConfig, "num_layers", None, shown="2, or 1 for jordan", panel=""
    )
    hidden_size: int = same(ModelConfig, "hidden_size", 256, panel="")
    rounds: int = integer(1, MAX_ROUNDS, 7, "Number of rounds; the median is reported.")


@dataclass(frozen=True)
class TrainingBench(BenchOptions):
    """Networks whose training is timed."""

    batch_size: int = integer(1, 2**20, 64, "B, number of streams.")
    seq_len: int = integer(1, MAX_WINDOW, 64, "T, the BPTT window.")
    pairs: bool = switch("Train on pairs of T/2 characters each, and compare with a text.")
    parts: bool = switch("Also say what part of a step its pieces take.")


@dataclass(frozen=True)
class GenerationBench(BenchOptions):
    """Networks whose generation is timed."""

    batch_size: int = integer(1, 2**16, 1, "B, number of texts in one batch.")
    ensemble: int = same(
        ModelConfig,
        "ensemble",
        1,
        help="Divide the units of each layer among this many networks (1, 2, 4 or 8), whose logits "
        "are averaged.",
        panel="",
    )


@dataclass(frozen=True)
class PreparationBench(Options):
    """How much text to prepare."""

    size: int = integer(1, 10**6, 480, "MB of text; the corpus is repeated until it has this size.")
    rounds: int = same(BenchOptions, "rounds", 3)
