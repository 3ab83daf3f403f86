"""Truncated backpropagation through time, BPTT(k1, k2), over B streams with carried state.

Every k1 symbols of each stream comes an update: the gradient of their mean loss is taken k2 steps
back, its norm is clipped, and the weights are changed. With k1 = k2 a window starts from the state
that the last one left; with k2 > k1 it first reads the k2 - k1 symbols before again, from the state
stored there. The best weights on the validation text are kept. A step whose loss or gradient is
not finite is not taken: the training goes on from the best weights with a smaller rate.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.arrays import Ids
from charrnn.config import TrainConfig
from charrnn.errors import DivergedError
from charrnn.network.module import CharRNN, State, detached
from charrnn.text.streams import Cursor, Streams, Window
from charrnn.text.tokenizer import Tokenizer
from charrnn.training import regularizers
from charrnn.training.budget import Budget, Clock, rate
from charrnn.training.regularizers import Recorder

MOST_VALIDATIONS = 20  # times per run that the validation text is scored
VALIDATION_SHARE = 0.1  # and no more than this many characters per one that is trained on
EARLY = 0.1  # of a run: then it is scored at any rate, so that there is a model to write with
REPORTS = 200  # lines of metrics per run
VALID_CAP = 2**16  # symbols of it that stand in while training
MUCH_SCORING = 0.2  # of the time: a person is told
TIMED = 4  # chunks whose scoring tells how long that of a text will take
LEAVING = 0.4  # seconds for the last files and the end of the process
ROLLBACKS = 3  # times that a training may diverge and go on
ROLLBACK_RATE = 0.5  # the rate's part that is left each time
Values = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Progress:
    """Where a training is, for display and for the metrics file.

    Attributes:
        step: updates done.
        epoch: passes over the text done, with fraction.
        characters: characters read.
        fraction: part of the budget used.
        seconds: since the training began.
        train_nats: mean loss per character since the last report.
        valid_nats: on the validation text (parts of a long one); None where it was not scored now.
        learning_rate: of this step.
        grad_norm: the largest norm of the gradient, before clipping, since the last report.
        clipped: part of the updates since the last report whose gradient was made shorter.
        chars_per_second: median over the steps so far.
    """

    step: int
    epoch: float
    characters: int
    fraction: float
    seconds: float
    train_nats: float
    valid_nats: float | None
    learning_rate: float
    grad_norm: float
    clipped: float
    chars_per_second: float


@dataclass(frozen=True)
class Hooks:
    """What the loop tells the outside, and asks it.

    Attributes:
        report: gets every progress.
        best: gets the progress and the weights, whenever they are the best so far.
        stop: asked before every step and within scoring; a word (``interrupt``) ends the training.
        due: whether the training is to be kept at this step.
        keep: keeps it; also before its last validation, which one that is resumed makes again.
        say: gets a sentence about what happened to the training.
    """

    report: Callable[[Progress, CharRNN], None]
    best: Callable[[Progress, Values], None]
    stop: Callable[[], str | None]
    due: Callable[[int], bool] = lambda step: False
    keep: Callable[[Trainer], None] = lambda trainer: None
    say: Callable[[str], None] = lambda sentence: None


@dataclass(frozen=True)
class Outcome:
    """What a training came to: its end, its best moment and weights, and why it ended."""

    last: Progress
    best: Progress
    values: Values
    stopped_by: str


class InterruptedScoring(Exception):  # noqa: N818 - no error: somebody wants to stop
    """The training is to stop, and a text is being scored."""


class Interruptible:
    """A network that is scored until `stop` says a word; `quick` is as `CharRNN.nats` has it."""

    def __init__(
        self, network: CharRNN, stop: Callable[[], str | None], *, quick: bool = False
    ) -> None:
        self._network, self._stop, self._quick = network, stop, quick
        self.start_state = network.start_state

    def nats(self, *window: Any) -> tuple[NDArray[Any], State]:
        """As `CharRNN.nats`.

        Raises:
            InterruptedScoring: there was a word.
        """
        if self._stop():
            raise InterruptedScoring
        return self._network.nats(*window, quick=self._quick)


class Trainer:
    """A network in training: its optimizer, the carried state, the cursor in the streams.

    What changes along the way, and is taken and put back by `charrnn.training.state`, is in
    attributes.
    """

    def __init__(
        self,
        network: CharRNN,
        streams: Streams,
        valid: Ids,
        config: TrainConfig,
        tokenizer: Tokenizer | None = None,
        characters_per_symbol: float = 1.0,
        documents: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Without `tokenizer` there is nothing to validate; symbols count as so many characters.

        `documents`: where those of `valid` start, if they are kept apart.
        """
        self.documents = documents
        self.network, self.streams, self.valid, self.config = network, streams, valid, config
        self.tokenizer, self.characters_per_symbol = tokenizer, characters_per_symbol
        self.optimizer = make_optimizer(network, config)
        self._first_values = network.values()
        self.start = time.perf_counter()
        self.cursor, self.step = Cursor(), 0
        self.reported = self.validated = self.rollbacks = 0
        self.state: State = network.start_state(streams.batch_size)
        self.durations: list[float] = []
        self.losses: list[torch.Tensor] = []
        self.norms: list[float] = []
        self.best: Progress | None = None
        self.best_values: Values = {}

    @property
    def seconds(self) -> float:
        """Since the training began, the time between being kept and resumed left out."""
        return time.perf_counter() - self.start

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.start = time.perf_counter() - seconds

    def run(self, budget: Budget, characters: float, hooks: Hooks) -> Outcome:
        """Train until the budget is used up or `hooks.stop` says a word.

        Args:
            budget: tells what part of the training is done.
            characters: how many it will read, as planned; they say how often to validate.
            hooks: what is told and asked.

        Raises:
            DivergedError: the loss or the gradient was not finite more than `ROLLBACKS` times.
        """
        self.network.train()
        if isinstance(budget, Clock) and not self.step:
            self._reserve()  # what has to be compiled first is not counted
            budget.reserve = self._reserve()
            self._warn(budget, hooks)
        affordable = VALIDATION_SHARE * characters / max(1, min(VALID_CAP, len(self.valid)))
        validations = max(2, min(MOST_VALIDATIONS, int(affordable)))
        fraction = budget.fraction(self.step)
        self.reported = min(self.reported, int(fraction * REPORTS))
        self.validated = min(self.validated, _validations(fraction, validations))
        while True:
            fraction = budget.fraction(self.step)
            stopped_by = hooks.stop() or ("budget" if fraction >= 1 else None)
            if self.step and stopped_by:
                hooks.keep(self)
                return self._end(budget, hooks, fraction, stopped_by)
            if self.step:
                try:
                    self._report(budget, hooks, fraction, validations)
                except InterruptedScoring:
                    hooks.keep(self)
                    return self._end(budget, hooks, fraction, hooks.stop() or "", cut=True)
                if hooks.due(self.step):
                    hooks.keep(self)
            if not self.update(self.rate(fraction)):
                self._roll_back(hooks)

    def _warn(self, clock: Clock, hooks: Hooks) -> None:
        """Of a long text, where the minutes are short: what they are spent on."""
        left = clock.deadline - clock.start
        if clock.reserve > MUCH_SCORING * left and len(self.valid) > VALID_CAP:
            hooks.say(
                f"of {left:.0f} seconds some {min(clock.reserve, left):.0f} will go into scoring "
                f"the {len(self.valid):,} held-out symbols at the end: hold out less "
                "(--valid-fraction, or a shorter --valid) or train longer (--minutes)"
            )

    def rate(self, fraction: float) -> float:
        """The learning rate when this part of the budget is used."""
        return rate(fraction) * self.config.learning_rate * ROLLBACK_RATE**self.rollbacks

    def _report(self, budget: Budget, hooks: Hooks, fraction: float, validations: int) -> None:
        """Validate and report, where it is time for that."""
        if _validations(fraction, validations) > self.validated:
            self._told(hooks, self.progress(fraction, self.validate(budget, hooks.stop)))
            self.validated = _validations(fraction, validations)
            self.reported = int(fraction * REPORTS)
        elif int(fraction * REPORTS) > self.reported:
            hooks.report(self.progress(fraction, None), self.network)
            self.reported = int(fraction * REPORTS)

    def _told(self, hooks: Hooks, progress: Progress) -> None:
        if self.is_best(progress):
            hooks.best(progress, self.best_values)
        hooks.report(progress, self.network)

    def _end(
        self, budget: Budget, hooks: Hooks, fraction: float, stopped_by: str, cut: bool = False
    ) -> Outcome:
        """The last validation, unless one was just cut short and there are weights to keep."""
        if cut and self.best:
            progress = self.progress(fraction, None)
            hooks.report(progress, self.network)
        else:
            progress = self.progress(fraction, self.validate(budget))
            self._told(hooks, progress)
        if not self.best:
            raise DivergedError(
                f"the training diverged: at its end, step {self.step}, no loss is a finite number; "
                "lower --learning-rate or --clip-norm"
            )
        return Outcome(progress, self.best, self.best_values, stopped_by)

    def _roll_back(self, hooks: Hooks) -> None:
        """Go on from the best weights, or the first, with a new optimizer and a smaller rate.

        Raises:
            DivergedError: that was done often enough.
        """
        loss, norm = float(self.losses.pop()), self.norms.pop()
        what = f"the training diverged at step {self.step}: loss {loss}, gradient norm {norm}"
        if self.rollbacks == ROLLBACKS:
            raise DivergedError(
                f"{what}, after {ROLLBACKS} times with a smaller rate; lower --learning-rate or "
                "--clip-norm"
            )
        self.rollbacks += 1
        self.network.load(self.best_values or self._first_values)
        self.optimizer = make_optimizer(self.network, self.config)
        self.state = self.network.start_state(self.streams.batch_size)
        weights = (
            f"the best weights, of step {self.best.step}" if self.best else "the first weights"
        )
        hooks.say(f"{what}; it goes on from {weights}, with {ROLLBACK_RATE:g} of the rate")

    def update(self, learning_rate: float) -> bool:
        """One window: forward, backward, clip, step; False where that cannot be made.

        Then loss or gradient are not finite; weights and place in the text are as they were.
        """
        began = time.perf_counter()
        window = self.streams.window(self.cursor)
        if window.start == 0 or self.config.state == "reset":
            self.state = self.network.start_state(self.streams.batch_size)
        elif window.begins is not None and window.begins.any():
            self.state = self.network.begun(self.state, torch.from_numpy(window.begins))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss, penalty, state = self.loss(window)
        (loss + penalty).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.losses.append(loss.detach())
        self.norms.append(float(norm))
        if not (math.isfinite(float(norm)) and math.isfinite(float(loss.detach()))):
            return False
        self.optimizer.step()
        self.state = detached(state)
        self.cursor = self.streams.advance(self.cursor)
        self.step += 1
        self.durations.append(time.perf_counter() - began)
        return True

    def loss(self, window: Window) -> tuple[torch.Tensor, torch.Tensor | float, State]:
        """Mean nats of the counted steps, what is added to them, and the next window's state.

        What lies before the counted steps is read again from the state stored at the window's
        start, with the weights as they are now; it takes part in the gradient, not in the loss.
        """
        network, device = self.network, self.network.device
        inputs = torch.from_numpy(window.inputs).to(device)
        targets = torch.from_numpy(window.targets[-window.counted :]).to(device)
        recorder = Recorder() if self.config.omega else None
        outputs, state = network.run(
            inputs,
            self.state,
            network.draw(self.streams.batch_size),
            counted=window.counted,
            cut=window.shift,
            sequence=recorder,
        )
        penalty = regularizers.activation(outputs, self.config)
        if recorder:  # which needs the gradient's gradient
            logits = network.logits(outputs.read).flatten(0, 1)
            loss = F.cross_entropy(logits, targets.flatten())
            penalty = penalty + self.config.omega * regularizers.omega(loss, recorder.layers)
        else:
            loss = network.mean_nats(outputs.read, targets)
        return loss, penalty, state

    @torch.no_grad()
    def validate(
        self, budget: Budget, stop: Callable[[], str | None] = lambda: None
    ) -> float | None:
        """Nats on some of the validation text, evenly spread; None without such a text.

        The layers run as in training. A clock is told how long the scoring at the end will take.

        Raises:
            InterruptedScoring: `stop` said a word.
        """
        if not len(self.valid) or self.tokenizer is None:
            return None
        if isinstance(budget, Clock):
            budget.reserve = self._reserve()
        engine = Interruptible(self.network, stop, quick=True)
        start = self.network.config.start_symbol
        found = scoring.score(
            engine, self.valid, self.tokenizer, start, most=VALID_CAP, documents=self.documents
        )
        return found.nats

    def _reserve(self) -> float:
        """Seconds that the last validation and the scoring after it will take, from a few chunks.

        Scored are a part of the text, all of it, and windows.
        """
        if not len(self.valid):
            return LEAVING
        few = np.zeros((scoring.SHORT_CHUNK, scoring.MAX_STREAMS), np.int64)
        state = self.network.start_state(scoring.MAX_STREAMS)
        began = time.perf_counter()
        for _ in range(TIMED):
            self.network.nats(few, few, state)
        each = (time.perf_counter() - began) / (TIMED * few.size)
        length, windows = len(self.valid), scoring.MAX_WINDOWS * scoring.WINDOW
        return each * (min(length, VALID_CAP) + length + min(length, windows)) + LEAVING

    def progress(self, fraction: float, valid_nats: float | None) -> Progress:
        """Where the training is; what was collected since the last report starts anew."""
        characters = self.streams.counted * self.characters_per_symbol
        losses, self.losses = self.losses, []
        norms, self.norms = self.norms, []
        return Progress(
            step=self.step,
            epoch=self.cursor.epoch + self.cursor.window / self.streams.windows,
            characters=round(self.step * characters),
            fraction=min(fraction, 1.0),
            seconds=self.seconds,
            train_nats=self._mean(losses),
            valid_nats=valid_nats,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            grad_norm=max(norms, default=0.0),
            clipped=sum(norm > self.config.clip_norm for norm in norms) / max(1, len(norms)),
            chars_per_second=characters / statistics.median(self.durations),
        )

    def _mean(self, losses: list[torch.Tensor]) -> float:
        """Per character, of losses per symbol."""
        if not losses:
            return math.nan
        return float(torch.stack(losses).mean()) / self.characters_per_symbol

    def is_best(self, progress: Progress) -> bool:
        """Whether the weights are the best so far; then they are kept.

        Best on the validation text, or without one on what was just read.
        """
        nats = _nats(progress)
        if not math.isfinite(nats) or (self.best and not nats < _nats(self.best)):
            return False
        values = self.network.values()
        if not all(np.isfinite(value).all() for value in values.values()):
            return False
        self.best, self.best_values = progress, values
        return True


def _nats(progress: Progress) -> float:
    """The loss that says which weights are the best."""
    return progress.train_nats if progress.valid_nats is None else progress.valid_nats


def _validations(fraction: float, most: int) -> int:
    """How many are due when this part is done: evenly apart, and an early one."""
    return int(fraction * most) + (fraction >= EARLY)


def make_optimizer(network: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices alone (biases keep their size)."""
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
