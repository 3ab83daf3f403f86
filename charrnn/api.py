"""The functions that Python callers use, as the command line uses `__main__`: `train` and `load`.

    import charrnn

    run = charrnn.train("corpus.txt", minutes=3)
    model = charrnn.load(run.model)
    print(model.sample(prompt="It was", temperature=0.8))

Keyword arguments are the fields of `charrnn.config`, named like the flags of the command line.
Only training imports torch.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from charrnn.compiler import cell_file
from charrnn.config import RunOptions, TrainOptions
from charrnn.config.signature import LOAD, TRAIN, TRAIN_SEEDS
from charrnn.decoding.output_text import Sample
from charrnn.errors import CorpusError, ModelError, OptionError, file_name, in_python
from charrnn.generator import Generator
from charrnn.model.model_file import CellGiven
from charrnn.run_dir import find_model, read_model
from charrnn.run_dir.recipe import Recipe, recipe
from charrnn.scoring import Score
from charrnn.text import open as opening
from charrnn.text.notices import Notify
from charrnn.text.reader import ReadingProgress, silent
from charrnn.training.signals import Signals

if TYPE_CHECKING:
    from typing import Unpack

    from charrnn.cli.display.training_progress import Lines
    from charrnn.config.keywords import LoadKeywords, TrainKeywords, TrainSeedsKeywords
    from charrnn.run_dir import RunDir
    from charrnn.text.dataset import Dataset
    from charrnn.training.distributed import World
    from charrnn.training.events import Event, Events, Result, Stop
    from charrnn.training.seeds import Seeds

__all__ = ["Generator", "Sample", "Score", "load", "train", "train_seeds"]
Callback: TypeAlias = "Callable[[Event], object]"
_RUN_FIELDS = {field.name for field in fields(RunOptions)}


@TRAIN.document
def train(
    *names: str | PathLike[str],
    text: str | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    **options: Unpack[TrainKeywords],
) -> Result:
    """Train on texts and return the result; ``charrnn.load(result.model)`` loads the model.

    Ctrl-C ends the training after its step: the best model is saved and the result returned; a
    second one raises KeyboardInterrupt at once.

    Args:
        names: what the command line takes: files, folders, patterns, ``-``, named corpora, or
            one dataset.
        text: the text itself, in place of names.
        callback: called with each event of the training, which are `charrnn.Planned`, `Progress`,
            `Best`, `Notice` and `Done`. If it returns False, the training ends after its step, as
            it does for Ctrl-C.
        progress: show on stderr what ``charrnn train`` shows: a live picture on a terminal, lines
            elsewhere.
        options: see below; what is left out is planned. `cell` may also be a path or a
            `charrnn.cells.Cell` of your own.

    Raises:
        CharRNNError: as the command line prints it.
        TypeError: an argument has another name.
    """
    from charrnn.training.distributed import join

    given = TRAIN.check("charrnn.train", options)
    with join() as world:
        asked = _Asked(names, text, given, _Watch(callback, progress, world))
        return asked.train(asked.options, asked.run.out)


@TRAIN_SEEDS.document
def train_seeds(
    *names: str | PathLike[str],
    text: str | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    **options: Unpack[TrainSeedsKeywords],
) -> Seeds:
    """Train several times, with seeds counted from `seed`; return all results, mean and spread.

    Ctrl-C ends the training that runs, and no other one is started.

    Args:
        names: as in `train`.
        text: as in `train`.
        callback: as in `train`.
        progress: as in `train`.
        options: see below; `seeds` is the number of trainings, 3 by default, and the folders are
            named `out` followed by ``-seed1``, ``-seed2`` and so on.

    Raises:
        CharRNNError: as the command line prints it; but a training that diverges is noted in the
            result.
        TypeError: an argument has another name.
    """
    from charrnn.training.distributed import join
    from charrnn.training.seeds import train_each

    given: dict[str, Any] = {"seeds": 3, **TRAIN_SEEDS.check("charrnn.train_seeds", options)}
    with join() as world:
        watch = _Watch(callback, progress, world)
        asked = _Asked(names, text, given, watch)
        world.check_one_run(asked.run.seeds)
        many = asked.texts, asked.options, asked.given, asked.run
        return train_each(asked.train, *many, watch.notify)


class _Asked:
    """What a caller wants to train: the texts, read; the options, checked."""

    def __init__(
        self,
        names: Sequence[str | PathLike[str]],
        text: str | None,
        given: dict[str, Any],
        watch: _Watch,
    ) -> None:
        from charrnn.training import init_from as transfer

        self._started, self._watch = time.perf_counter(), watch
        if "cell" in given:
            given["cell"] = cell_file.use(given["cell"])
        run = RunOptions(**{name: given.pop(name) for name in _RUN_FIELDS & given.keys()})
        asked = recipe(("text",) if text is not None else names, run, given)
        self.run, self.given = asked.run, asked.options
        for sentence in asked.notes:
            watch.notify(sentence)
        start_from = self.run.init_from
        self._model = read_model(find_model(start_from)) if start_from else None
        if self._model:
            self.given = transfer.options(self._model, self.given)
        self.options = TrainOptions(**self.given)
        named = asked.names if text is None else names
        watch.world.check_names(named)

        def read() -> opening.Texts:
            if asked.source:
                return opening.Texts(watch.read_again(asked, self.options))
            with transfer.reading_alike(self._model, given):
                return watch.read(named, text, self.options, self.run, given)

        self.texts = watch.world.in_turn(read)

    def train(
        self, options: TrainOptions, out: Path | None, planned: RunDir | None = None
    ) -> Result:
        """Train into a folder and return the result; for `planned` see `training.resume.resume`."""
        from charrnn.training.control import Control
        from charrnn.training.resume import resume
        from charrnn.training.start import start

        run, texts, model = self.run, self.texts, self._model

        def events(stop: Stop, notify: Notify) -> Events:
            every, samples = run.checkpoint_every, run.sample_every
            control = Control(
                stop, every, self._started, None, run.init_from, samples, notify, self._watch.world
            )
            if run.resume:
                given = {**self.given, "seed": options.seed} if run.seeds else self.given
                return resume(texts, given, out=out, planned=planned, control=control)
            return start(texts, options, out=out, force=run.force, model=model, control=control)

        result = self._watch.run(events)
        self._started = time.perf_counter()  # of the next one
        return result


class _Watch:
    """Who looks on while a training runs: a callback, a display, and whoever presses Ctrl-C."""

    def __init__(self, callback: Callback | None, progress: bool, world: World) -> None:
        if callback is not None and not callable(callback):
            raise OptionError(
                f"`callback` must be a function of one event, not {type(callback).__name__}"
            )
        if not isinstance(progress, bool):
            raise OptionError(f"`progress` must be True or False, not {progress!r}")
        self.world = world
        self._callback = callback if world.is_first else None
        self._progress = progress and world.is_first
        self._stopped = False  # by the callback

    def read(
        self,
        names: Sequence[str | PathLike[str]],
        text: str | None,
        options: TrainOptions,
        run: RunOptions,
        given: dict[str, Any],
    ) -> opening.Texts:
        """Read the texts; notices about them are events, too."""
        if text is not None and names:
            raise CorpusError("give the names of texts, or `text`, not both")
        if text is None and not names:
            raise CorpusError("name a text file, or give the text itself as `text`")
        with self._reading() as (notify, progress):
            callbacks: dict[str, Any] = {"notify": notify, "progress": progress}
            where = (options, run.valid, run.test, given)
            if text is not None:
                texts = opening.texts_of_string(text, *where, **callbacks)
            else:
                texts = opening.texts_of(names, *where, **callbacks)
            from charrnn.training.setup import make_dataset

            if run.resume:  # the run knows how its texts were tokenized
                return texts
            return opening.Texts(make_dataset(texts, options, progress))

    def read_again(self, asked: Recipe, options: TrainOptions) -> Dataset:
        """Read the texts of the run that is repeated."""
        with self._reading() as (_, progress):
            return asked.dataset(options, progress)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[Notify, ReadingProgress]]:
        """Yield who gets the notices about texts, and how much of them is read."""
        if not self._progress:
            yield self.notify, silent
            return
        from charrnn.cli.display.progress import ProgressBar

        with ProgressBar() as bar:

            def notify(sentence: str) -> None:
                bar.notify(sentence)
                self.notify(sentence)

            yield notify, bar

    def notify(self, sentence: str) -> None:
        """Tell the callback a sentence for a person."""
        from charrnn.training.events import Notice

        self._call(Notice(sentence))

    def _call(self, event: Event) -> None:
        """Give an event to the callback; a notice speaks of arguments, as errors do."""
        from charrnn.training.events import Notice

        if isinstance(event, Notice):
            event = Notice(in_python(event.sentence))
        if self._callback and self._callback(event) is False:
            self._stopped = True

    def run(self, events: Callable[[Stop, Notify], Events]) -> Result:
        """Run a training to its end and return its result."""
        from charrnn.training.events import Done

        own = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        names = () if own else ("SIGINT",)  # a program that handles it goes on to do so
        with (
            Signals(*names, error=lambda number: KeyboardInterrupt()) as signals,
            self._display(signals.requested) as display,
        ):
            asked = display.stop if display else signals.requested

            def notify(sentence: str) -> None:
                if display:
                    display.notify(sentence)
                self.notify(sentence)

            with contextlib.closing(events(lambda: asked() or self._stopped, notify)) as running:
                for event in running:
                    signals.requested()  # from the first event on there is something to save
                    if display:
                        display.show(event)
                    self._call(event)
                    if isinstance(event, Done):
                        return event.result
        raise AssertionError("a training ends with Done")

    @contextlib.contextmanager
    def _display(self, stop: Stop) -> Iterator[Lines | None]:
        if not self._progress:
            yield None
            return
        from charrnn.cli.display.training_progress import display_for

        with display_for(stop) as display:
            yield display


@LOAD.document
def load(
    path: str | PathLike[str] | None = None,
    *,
    cell: CellGiven = None,
    **options: Unpack[LoadKeywords],
) -> Generator:
    """Return the model of a model file, of a run's folder or of a checkpoint.

    Args:
        path: the file or the folder; by default what the environment variable CHARRNN_MODEL names,
            or else the newest run in ./runs.
        cell: the model's cell, if it is one of your own: its file, whose code is run; the name of
            an installed one; or the `charrnn.cells.Cell` itself.
        options: see below.

    Raises:
        ModelError: the file is missing, damaged or foreign, or needs another cell.
        OptionError: an option is invalid, or options contradict each other; the cell has a mistake.
        TypeError: an argument has another name.
    """
    chosen = LOAD.check("charrnn.load", options)
    named = None if path is None else Path(file_name(path, "`path`", ModelError))
    return Generator(read_model(find_model(named), cell), **chosen)
