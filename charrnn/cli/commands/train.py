"""``charrnn train``: from text files to a model."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from charrnn.cli import STARTED
from charrnn.cli.options import Given, configured
from charrnn.cli.run_options import CommandOptions, Trainings
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.cli.texts import OptionalCorpus, texts_for
from charrnn.config import TrainOptions, from_json

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}  # that end a training: exit codes


@guarded
@configured
def train(
    run: CommandOptions,
    given: Annotated[dict[str, Any], Given(TrainOptions)],
    corpus: OptionalCorpus = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network on a text; options you leave out are planned.

    From the first validation on, the run's folder holds the best model so far, and 'charrnn
    sample' can use it during training. Ctrl-C ends training early and keeps the best model;
    --resume continues from there, or from the last checkpoint of a training that was killed.
    """
    from charrnn.run_dir.recipe import recipe
    from charrnn.training import launch
    from charrnn.training.distributed import join
    from charrnn.training.signals import Signals

    if (count := launch.wanted(run.processes)) > 1:
        raise typer.Exit(launch.launch(count, sys.argv[1:]))

    with join() as world:
        asked = recipe(corpus or (), run, given)
        world.check_names(asked.names)
        for sentence in asked.notes:
            note(sentence)
        run = run.starting_from(asked.run.init_from)
        model = run.model(asked.options)
        options = from_json(TrainOptions, asked.options, "options")
        with run.reading_alike(model, given):
            texts = world.in_turn(lambda: texts_for(asked, options, given))

        begin = run.beginning(texts, asked.options, model)
        failed = False
        with Signals(*SIGNALS, error=lambda number: SystemExit(SIGNALS[number.name])) as signals:
            trainings = Trainings(run, begin, signals.requested, STARTED, world)
            if run.dry_run:
                fields = trainings.plan(options)
            elif run.seeds:
                several = trainings.train_seeds(texts, options, asked.options)
                fields, failed = several.to_json(), bool(several.diverged)
            else:
                fields = asdict(trainings.train(options, run.out))
        if stopped := trainings.interrupted:
            again = run.resume_command(asked.names, options, stopped, options.planned_cell)
            note(f"resume   {again}")
        if as_json:
            print_json(fields)
        if signals.received or failed:
            raise typer.Exit(SIGNALS[signals.received.name] if signals.received else 1)
