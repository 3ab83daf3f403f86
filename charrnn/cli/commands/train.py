"""``charrnn train``: from text files to a model."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from charrnn.cli import STARTED
from charrnn.cli.options import Given, configured
from charrnn.cli.run_options import CommandOptions, show_events
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.cli.texts import CorpusArgument
from charrnn.config import TrainOptions, from_json

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}  # that end a training: exit codes


@guarded
@configured
def train(
    corpus: CorpusArgument,
    run: CommandOptions,
    given: Annotated[dict[str, Any], Given(TrainOptions)],
    as_json: JsonOption = False,
) -> None:
    """Train a network on a text; options you leave out are planned.

    From the first validation on, the run's folder holds the best model so far, and 'charrnn
    sample' can use it during training. Ctrl-C ends training early and keeps the best model;
    --resume continues from there, or from the last checkpoint of a training that was killed.
    """
    chosen = run.chosen(given)
    model = run.model(chosen)
    options = from_json(TrainOptions, chosen, "options")
    texts = run.texts(corpus, options, given)

    from charrnn.cli.display.training_progress import display_for
    from charrnn.training.resume import resume
    from charrnn.training.run import Control
    from charrnn.training.signals import Signals
    from charrnn.training.start import start

    with (
        Signals(*SIGNALS, error=lambda number: SystemExit(SIGNALS[number.name])) as signals,
        display_for(signals.requested) as display,
        run.curves() as curves,
    ):
        command = ("charrnn", *sys.argv[1:])
        control = Control(
            display.stop,
            run.checkpoint_every,
            STARTED,
            command,
            run.init_from,
            run.sample_every,
            display.notify,
        )
        if run.resume:
            events = resume(texts, chosen, out=run.out, control=control)
        else:
            events = start(
                texts, options, out=run.out, force=run.force, model=model, control=control
            )
        result = show_events(events, [display, *curves], run.dry_run)
    if result is None:
        if as_json:
            planned = display.planned
            print_json({"run_dir": str(planned.run_dir.path), **asdict(planned.plan)})
        return
    if result.stopped_by == "interrupt":
        note(f"resume   {run.resume_command(corpus, options, result.run_dir, options.cell)}")
    if as_json:
        print_json(asdict(result))
    if signals.received:
        raise typer.Exit(SIGNALS[signals.received.name])
