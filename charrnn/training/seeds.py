"""Several trainings that differ in their seed alone: how much chance decides about a loss."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from charrnn.config import RunOptions, TrainOptions
from charrnn.errors import DivergedError, OptionError
from charrnn.run_dir import (
    INTERRUPTED,
    RunDir,
    choose_run_dir,
    choose_seed_base,
    seed_path,
    seeds_of,
)
from charrnn.run_dir.recipe import repeated
from charrnn.text.open import Texts
from charrnn.training.events import Result
from charrnn.training.resume import finished

Train: TypeAlias = Callable[[TrainOptions, Path, RunDir | None], Result]


@dataclass(frozen=True, repr=False)
class Seeds:
    """The results of trainings that differ in their seed.

    Attributes:
        asked: the number of trainings that were asked for.
        results: of those that ended, by seed; the last one may have been interrupted.
        diverged: the seeds whose training diverged.
        out: how the folders of their runs begin.
    """

    asked: int
    results: dict[int, Result]
    diverged: tuple[int, ...] = ()
    out: Path = Path()

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

    def __repr__(self) -> str:
        mean = "" if self.mean is None else f": {self.mean:.4f} nats per character on average"
        spread = "" if self.spread is None else f", standard deviation {self.spread:.4f}"
        return f"<Seeds {len(self.finished)} of {self.asked} finished{mean}{spread}>"

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
    train: Train,
    texts: Texts,
    options: TrainOptions,
    given: Mapping[str, Any],
    run: RunOptions,
    notify: Callable[[str], None],
) -> Seeds:
    """Train once for each seed, from the seed of `options` on, until one is interrupted.

    All of them have the network and the rates that are planned for the first one. With
    `run.resume` the first seed is that of the earlier runs; those that are finished are kept.

    Args:
        train: trains with these options into this folder; a run to be resumed that has no
            checkpoint repeats the last argument.
        texts: what to train on; their name is that of the folders if `run.out` does not name them:
            ``runs/NAME-1-seed1`` and so on.
        options: what the user asked for.
        given: the same by name, without what was left out.
        run: the number of seeds, and the beginning of the folders' names.
        notify: called with sentences about trainings: what is kept, repeated or diverged.

    Raises:
        OptionError: a folder cannot be used; nothing has been trained then.
    """
    name, number = texts.corpus.name, run.seeds or 1
    base = choose_seed_base(name, run.out, resume=run.resume)
    earlier = seeds_of(base) if run.resume else []
    if run.resume and not earlier:
        raise OptionError(f"no run begins with {base}-seed: leave out --resume to train new ones")
    first = options.seed if "seed" in given else min(earlier, default=options.seed)
    seeds = {each.seed: each for each in _with_seeds(options, first, number)}
    folders = {
        seed: choose_run_dir(name, seed_path(base, seed), force=run.force, resume=run.resume)
        for seed in seeds
    }
    begun = [*folders.values()] if run.resume else []
    results: dict[int, Result] = {}
    diverged: list[int] = []
    for seed, folder in folders.items():
        told = {**given, "seed": seed}
        if run.resume and (kept := finished(texts, told, folder)):
            notify(f"seed {seed} is finished: {folder.path} is kept")
            results[seed] = kept
            continue
        planned = next((each for each in begun if each.read_config()), None)
        one = TrainOptions(**repeated(planned, told)) if planned else seeds[seed]
        if planned and not run.resume:
            notify(f"seed {seed} has the network and the rates of {planned.path}")
        begun.append(folder)
        try:
            results[seed] = train(one, folder.path, planned)
        except DivergedError as error:
            notify(f"seed {seed} diverged: {error.message}")
            diverged.append(seed)
            continue
        if results[seed].stopped_by == INTERRUPTED:
            break
    return Seeds(number, results, tuple(diverged), base)


def _with_seeds(options: TrainOptions, first: int, number: int) -> Iterator[TrainOptions]:
    return (replace(options, seed=first + index) for index in range(number))
