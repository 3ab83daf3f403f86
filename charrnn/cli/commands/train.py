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
    from charrnn.cli.display.training_progress import Lines
    from charrnn.model.model_file import Model
    from charrnn.training.run import Observer


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
    chosen = run.chosen(given)
    model = _model(run.init_from, chosen) if run.init_from else None
    options = from_json(TrainOptions, chosen, "options")
    texts = (  # a run that is resumed knows how its texts were tokenized
        texts_of(corpus, options, run.valid, run.test, given)
        if run.resume
        else (dataset_of(corpus, options, run.valid, run.test, given), None, None)
    )

    from charrnn.cli.display.training_progress import observer_for
    from charrnn.training.run import train as train_network

    with (
        Signals() as signals,
        observer_for(signals.reason) as observer,
        _logged(observer, run) as notified,
    ):
        result = train_network(
            texts[0],
            options,
            valid=texts[1],
            test=texts[2],
            out=run.out,
            force=run.force,
            started=STARTED,
            observer=notified,
            dry_run=run.dry_run,
            resume_with=chosen if run.resume else None,
            checkpoint_every=run.checkpoint_every,
            init_from=model,
        )
    if result is None:
        if as_json:
            print_json({"run_dir": str(observer.run_dir), **asdict(observer.plan)})
        return
    observer.conclude(result)
    if result.stopped_by == "interrupt":
        note(f"resume   {run.resume_command(corpus, options, result.run_dir)}")
    if as_json:
        print_json(asdict(result))
    if signals.code:
        raise typer.Exit(signals.code)


def _logged(observer: Lines, run: RunOptions) -> contextlib.AbstractContextManager[Observer]:
    """Return what the training reports to: the observer, or one that also writes curves."""
    if not run.logs_curves:
        return contextlib.nullcontext(observer)
    from charrnn.cli.display.tensorboard import Logged

    return Logged(observer)


def _model(path: Path, chosen: dict[str, Any]) -> Model:
    """Return the model to start from, and add its architecture to the options."""
    from charrnn.model import model_file
    from charrnn.run_dir import find_model
    from charrnn.training import init_from as transfer

    model = model_file.load(find_model(path))
    chosen |= transfer.options(model, chosen)
    return model
