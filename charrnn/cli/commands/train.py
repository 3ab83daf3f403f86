"""``charrnn train``: from text files to a model."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import STARTED
from charrnn.cli.options import Given, configured
from charrnn.cli.run_options import RunOptions
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.cli.signals import Signals
from charrnn.cli.texts import CorpusArgument, dataset_of, texts_of
from charrnn.config import TrainOptions, from_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from charrnn.cli.display.tensorboard import TensorBoard
    from charrnn.cli.display.training_progress import Lines
    from charrnn.model.model_file import Model
    from charrnn.text.open import Texts
    from charrnn.training.events import Events, Result


@guarded
@configured
def train(
    corpus: CorpusArgument,
    run: RunOptions,
    given: Annotated[dict[str, Any], Given(TrainOptions)],
    as_json: JsonOption = False,
) -> None:
    """Train a network on a text; what you leave out is planned.

    From the first validation on, the run's folder holds the best model so far, and 'charrnn
    sample' can use it during training. Ctrl-C ends training early and keeps the best model;
    --resume continues from there, or from the last checkpoint of a training that was killed.
    """
    if run.resume:
        from charrnn.run_dir import check_resume

        check_resume(force=run.force, init_from=run.init_from is not None)
    chosen = run.chosen(given)
    model = _model(run.init_from, chosen) if run.init_from else None
    options = from_json(TrainOptions, chosen, "options")
    texts = _texts(corpus, options, run, given)

    from charrnn.cli.display.training_progress import display_for
    from charrnn.training.resume import resume
    from charrnn.training.run import Control
    from charrnn.training.start import start

    with (
        Signals() as signals,
        display_for(signals.requested) as display,
        _tensorboard(run) as tensorboard,
    ):
        control = Control(display.stop, run.checkpoint_every, STARTED)
        if run.resume:
            events = resume(texts, chosen, out=run.out, control=control)
        else:
            events = start(
                texts, options, out=run.out, force=run.force, model=model, control=control
            )
        result = _result(events, [display, *tensorboard], run.dry_run)
    if result is None:
        if as_json:
            planned = display.planned
            print_json({"run_dir": str(planned.run_dir.path), **asdict(planned.plan)})
        return
    if result.stopped_by == "interrupt":
        note(f"resume   {run.resume_command(corpus, options, result.run_dir)}")
    if as_json:
        print_json(asdict(result))
    if signals.code:
        raise typer.Exit(signals.code)


def _texts(
    corpus: list[str], options: TrainOptions, run: RunOptions, given: dict[str, Any]
) -> Texts:
    """Return what to train on."""
    from charrnn.text.open import Texts

    if run.resume:  # the run knows how its texts were tokenized
        return texts_of(corpus, options, run.valid, run.test, given)
    return Texts(dataset_of(corpus, options, run.valid, run.test, given))


def _result(
    events: Events, displays: Sequence[Lines | TensorBoard], dry_run: bool
) -> Result | None:
    """Show the events of a training and return its result; None after a dry run."""
    from charrnn.training.events import Done, Planned

    with contextlib.closing(events):
        for event in events:
            for display in displays:
                display.show(event)
            if isinstance(event, Done):
                return event.result
            if isinstance(event, Planned) and dry_run:
                break
    return None


@contextlib.contextmanager
def _tensorboard(run: RunOptions) -> Iterator[list[TensorBoard]]:
    """Yield what writes curves for TensorBoard, if the run wants them."""
    if not run.logs_curves:
        yield []
        return
    from charrnn.cli.display.tensorboard import TensorBoard

    with TensorBoard() as tensorboard:
        yield [tensorboard]


def _model(path: Path, chosen: dict[str, Any]) -> Model:
    """Return the model to start from, and add its architecture to the options."""
    from charrnn.model import model_file
    from charrnn.run_dir import find_model
    from charrnn.training import init_from as transfer

    model = model_file.load(find_model(path))
    chosen |= transfer.options(model, chosen)
    return model
