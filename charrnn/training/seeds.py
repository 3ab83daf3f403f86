"""Several trainings that differ in their seed alone: how much chance decides about a loss."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from charrnn.config import RunOptions, TrainOptions
from charrnn.errors import DivergedError
from charrnn.run_dir import INTERRUPTED, choose_run_dir, new_path
from charrnn.training.events import Result


@dataclass(frozen=True)
class Seeds:
    """The results of trainings that differ in their seed.

    Attributes:
        asked: the number of trainings that were asked for.
        results: of those that ended, by seed; the last one may have been interrupted.
        diverged: the seeds whose training diverged.
    """

    asked: int
    results: dict[int, Result]
    diverged: tuple[int, ...] = ()

    @property
    def finished(self) -> list[Result]:
        """The results of the trainings that used their budget."""
        return [each for each in self.results.values() if each.stopped_by != INTERRUPTED]

    @property
    def mean(self) -> float | None:
        """The mean of the validation losses of the finished trainings, in nats per character."""
        losses = self._losses()
        return statistics.fmean(losses) if losses else None

    @property
    def spread(self) -> float | None:
        """The sample standard deviation of these losses; None for fewer than two."""
        losses = self._losses()
        return statistics.stdev(losses) if len(losses) > 1 else None

    def _losses(self) -> list[float]:
        return [each.valid_nats for each in self.finished if each.valid_nats is not None]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "asked": self.asked,
            "finished": len(self.finished),
            "diverged": list(self.diverged),
            "mean_valid_nats": self.mean,
            "spread_valid_nats": self.spread,
            "runs": [{"seed": seed, **asdict(each)} for seed, each in self.results.items()],
        }


def train_each(
    train: Callable[[TrainOptions, Path], Result],
    corpus_name: str,
    options: TrainOptions,
    run: RunOptions,
    notify: Callable[[str], None],
) -> Seeds:
    """Train once for each seed, from the seed of `options` on, until one is interrupted.

    Args:
        train: trains with these options into this folder.
        corpus_name: names the folders if `run.out` does not: ``runs/NAME-1-seed1`` and so on.
        options: what the user asked for.
        run: the number of seeds, and the beginning of the folders' names.
        notify: called with a sentence about each training that diverged.

    Raises:
        OptionError: a folder cannot be used; nothing has been trained then.
    """
    number = run.seeds or 1
    each = [replace(options, seed=options.seed + index) for index in range(number)]
    base = run.out or new_path(corpus_name)
    paths = [base.with_name(f"{base.name}-seed{one.seed}") for one in each]
    folders = [choose_run_dir(corpus_name, path, force=run.force).path for path in paths]
    results: dict[int, Result] = {}
    diverged: list[int] = []
    for one, folder in zip(each, folders, strict=True):
        try:
            results[one.seed] = train(one, folder)
        except DivergedError as error:
            notify(f"seed {one.seed} diverged: {error.message}")
            diverged.append(one.seed)
            continue
        if results[one.seed].stopped_by == INTERRUPTED:
            break
    return Seeds(number, results, tuple(diverged))
