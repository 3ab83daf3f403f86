"""Options of a training.

`TrainOptions` is what a user asked for, where None leaves the choice to the plan; `TrainConfig` is
what the plan decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from charrnn.config.fields import (
    MAX_SEED,
    NETWORK,
    PLANNED,
    REGULARIZATION,
    RUN,
    TRAINING,
    Option,
    Options,
    choice,
    declare,
    device,
    from_json,
    given_flags,
    integer,
    integer_or,
    number,
    same,
    switch,
    with_field_names,
)
from charrnn.config.model import ContextName, EncoderName, Form, ModelConfig, is_own_cell
from charrnn.config.text import ModelReading, TextOptions
from charrnn.errors import OptionError

InitName = Literal["auto", "orthogonal", "glorot", "he"]
StateName = Literal["carry", "reset"]
OptimizerName = Literal["nadamw", "adamw", "sgd"]
CountsName = Literal["off", "on", "auto"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
BackendName = Literal["auto", "reference", "library", "fused"]
RENAMED_BACKENDS = {"scaffold": "fused"}  # by the first name, which files keep
OMEGA_CELLS = ("elman", "irnn", "preactivation")
PLANNED_CELL, FASTER_CELL = "lstm-coupled", "lstm"  # the second one where it is faster
PLANNED_SHOWN = f"{PLANNED_CELL}; {FASTER_CELL} where that trains faster"
MAX_WINDOW = 2**30
BUDGETS = ("minutes", "epochs", "steps")  # a given one replaces all others, from wherever they are


@dataclass(frozen=True)
class Regularizers(Options):
    """Regularization during training; except for weight decay, off by default."""

    dropout: float | None = number(
        0.0,
        0.95,
        None,
        "Probability that an output of a layer is dropped.",
        shown=PLANNED,
    )
    locked_dropout: bool = switch(
        "Use one dropout mask for a whole window (Gal and Ghahramani 2016).", panel=REGULARIZATION
    )
    source_dropout: float | None = number(
        0.0,
        0.95,
        None,
        "With --pairs or --fill: probability that a token of the source is hidden.",
        panel=REGULARIZATION,
        shown=PLANNED,
        omit=True,
    )
    weight_drop: float = number(
        0.0,
        0.95,
        0.0,
        "Probability that a recurrent weight is dropped for a window (Merity et al. 2018).",
        panel=REGULARIZATION,
    )
    activation_penalty: float = number(
        0.0,
        1e3,
        0.0,
        "AR: weight of the mean square of the last layer's outputs.",
        panel=REGULARIZATION,
    )
    slowness_penalty: float = number(
        0.0,
        1e3,
        0.0,
        "TAR: weight of the mean square of the change of these outputs from step to step, within "
        "an update.",
        panel=REGULARIZATION,
    )
    omega: float = number(
        0.0,
        1e3,
        0.0,
        "Weight of the regularizer of Pascanu et al. (2013), which keeps gradient norms constant "
        "over time; slow.",
        panel=REGULARIZATION,
    )
    weight_decay: float = number(
        0.0, 10.0, 0.1, "Weight decay of the matrices.", panel=REGULARIZATION
    )


@dataclass(frozen=True)
class TrainOptions(TextOptions, Regularizers, Form):
    """What the user asked for; None is planned from the corpus, the machine and the budget."""

    cell: str | None = same(ModelConfig, "cell", None, shown=PLANNED_SHOWN)
    num_layers: int | None = same(ModelConfig, "num_layers", None, shown=PLANNED)
    hidden_size: int | None = same(ModelConfig, "hidden_size", None, shown=PLANNED)
    embedding_size: int | None = same(ModelConfig, "embedding_size", None, shown=PLANNED)
    fill: bool = same(ModelReading, "fill", default=False)
    encoder: str | None = choice(
        EncoderName,
        None,
        "With --pairs or --fill: how the source is read, in both directions or forward.",
        panel=NETWORK,
        shown="bidirectional",
        omit=True,
    )
    context: str | None = choice(
        ContextName,
        None,
        "With --pairs or --fill: what each step of the target sees of the source, its end (fixed) "
        "or also a weighted mean of all of it (attention).",
        panel=NETWORK,
        shown="attention",
        omit=True,
    )
    ensemble: int | None = same(
        ModelConfig,
        "ensemble",
        None,
        help="Divide the units of each layer and the embedding among this many networks (1, 2, 4 "
        "or 8), trained side by side, whose logits are averaged.",
        shown=PLANNED,
    )
    init: str = choice(
        InitName,
        "auto",
        "Initial weights: auto (what suits the cell), orthogonal, glorot or he.",
        panel=NETWORK,
    )
    forget_bias: float | None = number(
        -100.0, 100.0, None, "Initial bias of the forget gate.", panel=NETWORK, shown="1"
    )
    minutes: float | None = number(
        0.0,
        1e7,
        None,
        "Time budget in minutes, from the start of the command to the saved model.",
        above=True,
        shown=PLANNED,
    )
    epochs: float | None = number(
        0.0,
        1e9,
        None,
        "Passes over the text, instead of --minutes.",
        above=True,
        shown="none",
    )
    steps: int | None = integer(
        1, 10**12, None, "Number of updates, instead of --minutes.", shown="none"
    )
    seq_len: int | str | None = declare(
        None,
        Option(
            str,
            "T, the BPTT window: number of steps that gradients flow back, or full.",
            integer_or("full", 1, MAX_WINDOW),
            shown=PLANNED,
        ),
    )
    update_every: int | None = integer(
        1,
        MAX_WINDOW,
        None,
        "Steps between two updates; each update uses a whole window.",
        panel=TRAINING,
        shown="the window",
    )
    state: str = choice(
        StateName,
        "carry",
        "Carry the state from one window to the next, or reset it.",
        panel=TRAINING,
    )
    reset_at_documents: bool = switch(
        "Reset the state at the start of each document, which is a file or what "
        "--document-separator separates.",
        panel=TRAINING,
    )
    batch_size: int | None = integer(
        1,
        2**20,
        None,
        "B, number of streams read in parallel.",
        shown=PLANNED,
    )
    optimizer: str = choice(
        OptimizerName,
        "nadamw",
        "Optimizer: nadamw (AdamW with Nesterov's momentum), adamw or sgd.",
        panel=TRAINING,
    )
    learning_rate: float | None = number(
        0.0,
        1e3,
        None,
        "Peak learning rate, reached after the warm-up.",
        above=True,
        shown=PLANNED,
    )
    clip_norm: float = number(
        0.0,
        math.inf,
        1.0,
        "Clip the gradient to this norm; inf turns clipping off.",
        above=True,
        infinite=True,
        panel=TRAINING,
    )
    counts: str = choice(
        CountsName,
        "off",
        "Count what follows what in the training text, for better scores: off, on, or auto (only "
        "in trainings by the clock, if it gains on a part of the text that is kept back for that). "
        "eval, score and compress use the counts; sample, greedy, beam and write only "
        "--with-counts.",
        panel=TRAINING,
    )
    seed: int = integer(0, MAX_SEED, 1, "Seed of the initial weights and of dropout.")
    device: str = device("auto", "Device: auto, cpu, cuda or cuda:N.", auto=True)
    precision: str = choice(
        PrecisionName,
        "auto",
        "Precision: auto, float32, or bfloat16 (for matrix products only).",
        panel=RUN,
    )
    backend: str = choice(
        BackendName,
        "auto",
        "What runs the layers: auto, library (torch.nn), fused (compiled here) or reference (a "
        "plain loop).",
        renamed=RENAMED_BACKENDS,
        panel=RUN,
    )
    threads: int | None = integer(1, 4096, None, "CPU threads.", shown="all cores")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.items:
            object.__setattr__(self, "reset_at_documents", True)
        budgets = [n for n in BUDGETS if getattr(self, n) is not None]
        if len(budgets) > 1:
            raise OptionError(
                f"{' and '.join('--' + n for n in budgets)} both set the budget: give one of them"
            )
        if self.fill:
            self._check_fill()
        if self.pairs or self.fill:
            self.check_pairs()
        self._check_windows()
        self._check_documents()
        if self.omega and self.cell not in OMEGA_CELLS and not is_own_cell(self.cell):
            raise OptionError(
                f"--omega is for {', '.join(OMEGA_CELLS)}, in which a gradient passes one matrix "
                f"from step to step: leave it out for {self.planned_cell}"
            )
        if self.omega and self.backend not in ("auto", "reference"):
            raise OptionError("--omega takes derivatives of gradients: use --backend reference")

    @property
    def planned_cell(self) -> str:
        """Return the cell; if none is given, the one that is planned without a clock."""
        return self.cell or PLANNED_CELL

    def _check_fill(self) -> None:
        """Refuse what has no meaning for gaps in a text."""
        if self.pairs:
            raise OptionError("--fill makes its pairs of any text: leave out --pairs")
        if self.items:
            raise OptionError(
                "--items is for lists, and --fill leaves gaps in a text: leave it out"
            )

    def check_pairs(self) -> None:
        """Refuse options that have no meaning where pairs are read."""
        windows = ("seq_len", "update_every", "state", "reset_at_documents")
        if given := given_flags(self, *windows):
            raise OptionError(
                f"{given} cuts a text into windows, and pairs are read whole: leave it out"
            )
        if given := given_flags(self, "learned_start"):
            raise OptionError(
                f"{given} has no meaning for pairs, where the source decides the initial state: "
                "leave it out"
            )
        if given := given_flags(self, "omega"):
            raise OptionError(f"{given} compares the steps of one text: leave it out for pairs")

    def _check_windows(self) -> None:
        if self.update_every is None:
            return
        if isinstance(self.seq_len, int) and self.update_every > self.seq_len:
            raise OptionError(
                f"--update-every {self.update_every} exceeds --seq-len {self.seq_len}: some "
                f"steps would get no gradient; use {self.seq_len} or less"
            )
        if self.state == "reset":
            raise OptionError(
                "--window-state reset cuts the text into windows, each with one update: "
                "leave out --update-every"
            )

    def _check_documents(self) -> None:
        if not self.reset_at_documents:
            return
        apart = "--items" if self.items else "--reset-at-documents"
        if self.state == "reset":
            raise OptionError(
                f"--window-state reset resets at every window, {apart} only at documents: give one "
                "of them"
            )
        whole = "--seq-len full" if self.seq_len == "full" else ""
        if whole or self.update_every is not None:
            raise OptionError(
                f"{apart} cuts documents into windows, each with one update: "
                f"leave out {whole or '--update-every'}"
            )


@dataclass(frozen=True)
class TrainConfig(Regularizers):
    """How a network is trained; every value is decided.

    At least one of the budgets is not None; with minutes and epochs, training ends at whichever is
    reached first.
    """

    seq_len: int = 64  # T or k2, the BPTT window
    update_every: int = 64  # k1, steps between two updates
    state: str = TrainOptions.state
    reset_at_documents: bool = TrainOptions.reset_at_documents
    batch_size: int = 32  # B, the number of streams
    optimizer: str = TrainOptions.optimizer
    learning_rate: float = 0.01
    last_rate: float = 0.02  # at the end, of the peak; runs of before 30 November 2026 do not say
    kept_back: int = 0  # tokens of the training text, on which counts are fitted
    init: str = TrainOptions.init
    forget_bias: float | None = TrainOptions.forget_bias
    dropout: float = same(Regularizers, "dropout", 0.0)
    source_dropout: float = same(Regularizers, "source_dropout", 0.0)
    clip_norm: float = same(TrainOptions, "clip_norm", TrainOptions.clip_norm)
    seed: int = TrainOptions.seed
    minutes: float | None = None
    epochs: float | None = None
    steps: int | None = None


def load_options(path: Path) -> dict[str, Any]:
    """Return the training options of a TOML file, by field name; keys may be spelled as flags.

    Raises:
        OptionError: the file cannot be read, or has an unknown key or an invalid value.
    """
    import tomllib  # seldom needed

    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise OptionError(f"--config {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # of the syntax, the encoding, or a long number
        raise OptionError(f"--config {path} is not TOML: {error}") from error
    options = with_field_names(data)
    from_json(TrainOptions, options, f"--config {path}")
    return options
