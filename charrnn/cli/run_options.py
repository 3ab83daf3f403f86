"""Surround a training for ``charrnn train``: the run's options, its texts, its displays."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from charrnn.cli.shared import cell_words, note
from charrnn.cli.start_up import importing_torch
from charrnn.config import Reading, RunOptions, TrainOptions, given_flags
from charrnn.config.fields import (
    RUN,
    Option,
    choice,
    declare,
    integer_or,
    switch,
)
from charrnn.errors import OptionError, missing_package, shell_command

if TYPE_CHECKING:
    from charrnn.cli.display.tensorboard import TensorBoard
    from charrnn.model.model_file import Model
    from charrnn.run_dir import RunDir
    from charrnn.text.open import Texts
    from charrnn.training.control import Control
    from charrnn.training.distributed import World
    from charrnn.training.events import Event, Events, Result, Stop
    from charrnn.training.seeds import Seeds

    Begin = Callable[[TrainOptions, Path | None, Control, RunDir | None], Events]

MAX_PROCESSES = 1024  # of one machine


_ACT_LATER = ("checkpoint_every", "sample_every", "seeds", "tensorboard", "log_to")


@dataclass(frozen=True)
class CommandOptions(RunOptions):
    """The options of a run, and what the command shows and writes besides."""

    tensorboard: bool = switch("Also write the curves for TensorBoard into the run.", panel=RUN)
    log_to: str | None = choice(
        Literal["tensorboard"], None, "The old spelling of --tensorboard.", hidden=True
    )
    dry_run: bool = switch("Print the plan and stop.")
    processes: int | str | None = declare(
        None,
        Option(
            str,
            "Train with this many processes of this machine, or auto: one for each GPU, or for "
            "every eight cores. That is a rule and not measured; on two cores, the threads of one "
            "process are faster.",
            integer_or("auto", 1, MAX_PROCESSES),
            panel=RUN,
            shown="one",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dry_run and self.seeds and self.resume:
            raise OptionError(
                "--dry-run shows one plan, and --seeds with --resume continues several runs: leave "
                "out --seeds, and name one of the runs with --out"
            )
        if not self.logs_curves:
            return
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise OptionError(
                missing_package("--tensorboard", "tensorboard", "tensorboard")
            ) from None

    @property
    def logs_curves(self) -> bool:
        """Return whether to write curves for TensorBoard."""
        return self.tensorboard or self.log_to is not None

    def starting_from(self, model: Path | None) -> CommandOptions:
        """Return the options of a run that starts from this model, if it is one."""
        return replace(self, init_from=model)

    def model(self, chosen: dict[str, Any]) -> Model | None:
        """Return the model to start from, if any, and add its architecture to the options."""
        if self.init_from is None:
            return None
        from charrnn.run_dir import find_model, read_model
        from charrnn.training import init_from as transfer

        model = read_model(find_model(self.init_from))
        chosen |= transfer.options(model, chosen)
        return model

    @contextlib.contextmanager
    def reading_alike(self, model: Model | None, given: Container[str]) -> Iterator[None]:
        """Let an error about the text say what the model to start from, if any, decided about it.

        Raises:
            CorpusError: the text cannot be read like that of the model.
        """
        if model is None:  # a training that starts with new weights imports less
            yield
            return
        from charrnn.training import init_from as transfer

        with transfer.reading_alike(model, given):
            yield

    def beginning(self, texts: Texts, given: Mapping[str, Any], model: Model | None) -> Begin:
        """Return what begins a training on texts, or resumes one.

        Args:
            texts: what to train on.
            given: what the user asked for, by name.
            model: a model to start from.
        """
        with importing_torch():
            from charrnn.training.resume import resume
            from charrnn.training.start import start

        def begin(
            options: TrainOptions, out: Path | None, control: Control, planned: RunDir | None = None
        ) -> Events:
            if self.resume:
                told = {**given, "seed": options.seed} if self.seeds else given
                return resume(texts, told, out=out, planned=planned, control=control)
            return start(texts, options, out=out, force=self.force, model=model, control=control)

        return begin

    @contextlib.contextmanager
    def curves(self, world: World) -> Iterator[list[TensorBoard]]:
        """Yield what writes curves for TensorBoard, if the run wants them and this process may."""
        if not (self.logs_curves and world.is_first):
            yield []
            return
        from charrnn.cli.display.tensorboard import TensorBoard

        with TensorBoard() as tensorboard:
            yield [tensorboard]

    def resume_command(
        self, corpus: Sequence[str | PathLike[str]], reading: Reading, run_dir: str, cell: str
    ) -> str:
        """Return the command that resumes the run; the run knows its other options."""
        from charrnn.text.open import command_words

        words = [*command_words(corpus, reading, self.valid, self.test), *cell_words(cell)]
        words += ["--seeds", str(self.seeds)] if self.seeds else []
        return shell_command("charrnn", "train", *words, "--out", run_dir, "--resume")


class Trainings:
    """Runs and shows the trainings of one command.

    Attributes:
        interrupted: what --out resumes after an interruption: the run, or all those of --seeds.
    """

    def __init__(
        self, run: CommandOptions, begin: Begin, stop: Stop, started: float, world: World
    ) -> None:
        """Show nothing yet.

        Args:
            run: the run's options.
            begin: begins a training.
            stop: who stops it.
            started: when the command started.
            world: the processes that train together.

        Raises:
            OptionError: several processes are to train several runs.
        """
        world.check_one_run(run.seeds)
        self._run, self._begin, self._stop, self._started = run, begin, stop, started
        self._world = world
        self.interrupted: str | None = None

    def train(
        self, options: TrainOptions, out: Path | None, planned: RunDir | None = None
    ) -> Result:
        """Run and show a training; return its result.

        Args:
            options: what the user asked for.
            out: the run's folder.
            planned: a run to repeat, in case that this one is resumed and was never begun.
        """
        from charrnn.run_dir import INTERRUPTED
        from charrnn.training.events import Done

        for event in self._events(options, out, planned):
            if isinstance(event, Done):
                self._started = time.perf_counter()  # of the next one
                if event.result.stopped_by == INTERRUPTED:
                    self.interrupted = event.result.run_dir
                return event.result
        raise AssertionError("a training ends with Done")

    def train_seeds(self, texts: Texts, options: TrainOptions, given: Mapping[str, Any]) -> Seeds:
        """Run and show a training for each seed; return and show their results."""
        from charrnn.cli.display.training_text import seeds_lines
        from charrnn.training.seeds import train_each

        several = train_each(self.train, texts, options, given, self._run, note)
        self.interrupted = self.interrupted and str(several.out)
        for line in seeds_lines(several):
            note(line)
        return several

    def plan(self, options: TrainOptions) -> dict[str, Any]:
        """Show the plan of a training and return it, without a training."""
        from charrnn.training.events import Planned

        if later := given_flags(self._run, *_ACT_LATER):
            note(f"--dry-run only checks {later}, which would act during the training")
        for event in self._events(options, self._run.out):
            if isinstance(event, Planned):
                rare = {"rare_symbols": event.data.rare_symbols}
                return {"run_dir": str(event.run_dir.path), **asdict(event.plan), **rare}
        raise AssertionError("a training begins with Planned")

    def _events(
        self, options: TrainOptions, out: Path | None, planned: RunDir | None = None
    ) -> Iterator[Event]:
        """Show the events of a training; the caller ends it by reading no more of them."""
        from charrnn.cli.display.training_progress import display_for
        from charrnn.training.control import Control

        run, command = self._run, ("charrnn", *sys.argv[1:])
        with display_for(self._stop) as display, run.curves(self._world) as curves:
            control = Control(
                display.stop,
                run.checkpoint_every,
                self._started,
                command,
                run.init_from,
                run.sample_every,
                display.notify,
                self._world,
            )
            with contextlib.closing(self._begin(options, out, control, planned)) as events:
                for event in events:
                    display.show(event)
                    for each in curves:
                        each.show(event)
                    yield event
