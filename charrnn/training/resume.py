"""Resume a training from its newest checkpoint, bit for bit as if it had never stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from charrnn.config import AUTO, BUDGETS, TrainConfig, TrainOptions, is_own_cell
from charrnn.errors import ModelError, OptionError
from charrnn.model import model_file, needed_cell
from charrnn.network.module import choose_device
from charrnn.run_dir import (
    RunDir,
    checkpoints,
    choose_run_dir,
    find_model,
    lock,
    read_model,
    run_text,
)
from charrnn.run_dir.checkpoints import Found
from charrnn.run_dir.models import digest
from charrnn.run_dir.recipe import repeated, start_model
from charrnn.storage import machine
from charrnn.text import alphabet, corpus
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.open import Texts
from charrnn.training import count_model, process_settings, run_description, state
from charrnn.training import resume_rules as change_rules
from charrnn.training.control import Control
from charrnn.training.distributed import ALONE, World
from charrnn.training.events import Events, Notice, Planned, Result
from charrnn.training.run import Run
from charrnn.training.run_description import Past, Record
from charrnn.training.setup import (
    Setup,
    choose_kernel,
    initial_values,
    make_dataset,
    make_trainer,
)
from charrnn.training.start import begin
from charrnn.training.state import TrainingState
from charrnn.training.trainer import Trainer


def resume(
    texts: Texts,
    given: Mapping[str, Any],
    *,
    out: Path | None = None,
    planned: RunDir | None = None,
    control: Control | None = None,
) -> Events:
    """Resume a run; without a checkpoint the training starts from the beginning.

    Args:
        texts: what the run was trained on.
        given: the options to change, by name.
        out: the run's folder; by default the newest run of the text in ``runs``.
        planned: a run with the same options, in case that this one was never begun.
        control: when to stop, and when to save.

    Raises:
        OptionError: the run cannot continue with these texts or options.
        ModelError: the run has checkpoints, none of which can be used.
        RunError: another training uses the folder, or a write failed for too long.
        DivergedError: the loss was not finite, even after several restarts.
    """
    control = control or Control()
    world = control.world
    run_dir = world.first(lambda: choose_run_dir(texts.corpus.name, out, resume=True))
    if world.first(run_dir.checkpoint_steps):
        ordered = _in_order(texts, run_dir, world)
        if ordered != texts:
            yield Notice("the files are read in the order in which the run read them")
        texts = ordered
        with contextlib.ExitStack() as stack:
            world.first(lambda: _lock(run_dir, stack))
            resumed = yield from _newest(run_dir, texts, given, world)
            yield from _train(resumed, control)
        return
    if world.first(run_dir.summary.exists):
        raise OptionError(
            f"{run_dir.path} holds a finished run without a checkpoint, which cannot be "
            "resumed: use --force to replace it"
        )
    runs = run_dir, planned
    planned = world.first(lambda: next((run for run in runs if run and run.read_config()), None))
    like = f", with the options of {planned.path}" if planned and planned != run_dir else ""
    yield Notice(f"{run_dir.path} has no checkpoint: training starts from the beginning{like}")
    options = world.first(lambda: TrainOptions(**(repeated(planned, given) if planned else given)))
    start = world.first(lambda: start_model(planned) if planned else None)
    model = read_model(find_model(start)) if start else None
    control = replace(control, init_from=start)
    yield from begin(run_dir, texts, options, control, model=model, replace_run=True)


def finished(texts: Texts, given: Mapping[str, Any], run_dir: RunDir) -> Result | None:
    """Return the result of a run that has used its budget, unless the given options change it.

    Raises:
        OptionError: the run is one of another text or network.
    """
    summary = run_dir.read_summary()
    newest = next((each for each in checkpoints.found(run_dir) if isinstance(each, Found)), None)
    if summary.get("stopped_by") not in BUDGETS or newest is None:
        return None
    try:
        earlier = Record.parse(newest.state, str(newest.folder))
    except ModelError:
        return None
    given = change_rules.validated(earlier, given)
    data = _dataset(run_dir, _in_order(texts, run_dir, ALONE), earlier)
    change_rules.check(earlier, given, data, texts.words, str(run_dir.path))
    if change_rules.changed(earlier, given)[-1]:
        return None
    known: dict[str, Any] = {field.name: summary.get(field.name) for field in fields(Result)}
    known |= {"run_dir": str(run_dir.path), "model": str(run_dir.model)}  # it may have moved
    return Result(**known)


def _lock(run_dir: RunDir, stack: contextlib.ExitStack) -> None:
    """Lock a run's folder until the stack is left."""
    stack.enter_context(lock.held(run_dir))


def _in_order(texts: Texts, run_dir: RunDir, world: World) -> Texts:
    """Return texts with their files in the order of a run: older versions sorted ch10 before ch2.

    Raises:
        CorpusError: a text can no longer be read.
    """
    ordered: dict[str, Any] = {
        use: corpus.in_order(text, files)
        for use, files in world.first(lambda: run_text.text_files(run_dir)).items()
        if isinstance(text := getattr(texts, use), Corpus)
    }
    return texts._replace(**ordered)


@dataclass(frozen=True)
class _Resumed:
    """A training as a checkpoint restores it.

    Attributes:
        setup: what was decided, with the changes made now.
        trainer: the trainer as it was at the checkpoint.
        state: the same as values.
        record: what the checkpoint says.
        checkpoint: the checkpoint.
        changes: the options changed now.
    """

    setup: Setup
    trainer: Trainer
    state: TrainingState
    record: Record
    checkpoint: Found
    changes: dict[str, Any]


def _newest(
    run_dir: RunDir, texts: Texts, given: Mapping[str, Any], world: World
) -> Generator[Notice, None, _Resumed]:
    """Restore the newest checkpoint that verifies.

    Raises:
        OptionError: the run cannot continue with these texts or options.
        ModelError: no checkpoint can be used.
    """
    reasons = []
    found = checkpoints.found(run_dir)
    while candidate := world.first(lambda: next(found, None)):
        try:
            if isinstance(candidate, ModelError):
                raise candidate
            return _restored(run_dir, texts, given, candidate, world)
        except ModelError as error:
            reasons.append(error.message)
            yield Notice(f"not used: {error.message}")
    raise ModelError(
        f"{run_dir.path} has no checkpoint that can be used: {reasons[0]}; --force starts a new run"
    )


def _dataset(run_dir: RunDir, texts: Texts, earlier: Record) -> Dataset:
    """Return the dataset of a training; an older version may have planned other rare symbols."""
    options = earlier.options
    data = make_dataset(texts, options)
    if options.min_count == AUTO and digest(data.tokenizer) != earlier.tokenizer:
        with contextlib.suppress(ModelError):  # without a model it stays another alphabet
            known = model_file.load(run_dir.model, described_only=True).tokenizer
            data = make_dataset(texts, replace(options, **alphabet.options_of(known)))
    return data


def _restored(
    run_dir: RunDir, texts: Texts, given: Mapping[str, Any], checkpoint: Found, world: World
) -> _Resumed:
    """Restore a training, random generators apart.

    Raises:
        OptionError: it cannot continue with these texts or options.
        ModelError: the checkpoint is damaged.
    """
    earlier = Record.parse(checkpoint.state, str(checkpoint.folder))
    if is_own_cell(earlier.plan.model.cell):
        needed_cell.check_options(run_dir.model, earlier.plan.model.cell, given.get("cell"))
    given = change_rules.validated(earlier, given)
    data = world.in_turn(lambda: _dataset(run_dir, texts, earlier))
    change_rules.check(earlier, given, data, texts.words, str(run_dir.path))
    options, train, changes = change_rules.changed(earlier, given)
    plan = replace(earlier.plan, train=train)
    world.check_alike(lambda: run_description.facts(data, options))
    world.check_streams(train.batch_size)
    device = choose_device(world.device(options.device))
    kernel = choose_kernel(options, device)
    setup = Setup(run_dir, data, options, plan, device, kernel, earlier.run["init_from"], world)
    count_model.check(setup)
    trainer = make_trainer(setup, initial_values(plan))
    if changes.keys() & set(BUDGETS):
        step = train.batch_size * train.update_every
        step = round(trainer.updater.batches.characters) if plan.model.encoder else step
        characters = _characters(earlier, train, len(data.train), step)
        setup = replace(setup, plan=replace(plan, characters=characters))
    arrays = world.first(lambda: checkpoint.arrays(plan.model, train.batch_size))
    try:
        captured = TrainingState.parse(earlier.trainer, arrays)
        state.restore(trainer, captured)
    except ModelError as error:
        raise ModelError(f"{checkpoint.folder}: {error.message}") from error
    return _Resumed(setup, trainer, captured, earlier, checkpoint, changes)


def _train(resumed: _Resumed, control: Control) -> Events:
    setup, trainer, earlier = resumed.setup, resumed.trainer, resumed.record
    step = resumed.state.step
    notes: list[str] = []
    threads = setup.world.threads(setup.options.threads, notes.append)
    threads = threads or max(1, min(earlier.machine["threads"], machine.cores()))
    with process_settings.settings(setup.device, threads), control.while_compiling():
        torch.manual_seed(setup.plan.train.seed)
        differences = state.restore_generators(resumed.state, setup.device)
        if setup.device.type == "cuda":  # only on CUDA
            differences.append("CUDA sums in no fixed order")
        differences += change_rules.machine_changes(earlier, run_description.machine(setup))
        changes = [*earlier.run["changes"]]
        if resumed.changes:
            changes.append({"step": step, **resumed.changes})
        metrics = resumed.checkpoint.metrics
        past = Past(earlier.seconds, earlier.reserve, metrics, changes, step)
        run = Run(setup, trainer, control, past)
        if earlier.fraction >= 1 and run.budget.fraction(step) < 1:
            trainer.validated = -1  # the last validation came after this checkpoint: repeat it
        rate = trainer.learning_rate(run.budget.fraction(step))
        sentences = (*_sentences(resumed, rate, differences), *notes)
        yield Planned(setup.run_dir, setup.data, setup.plan, setup.kernel, sentences)
        yield from run.train()


def _sentences(resumed: _Resumed, rate: float, differences: list[str]) -> Iterator[str]:
    """Say where the training continues, what changed, and what may change its last bits.

    Args:
        resumed: the training.
        rate: learning rate of its next step.
        differences: what may change its last bits.
    """
    earlier = resumed.record
    yield (
        f"resumed  at step {resumed.state.step:,}, {min(earlier.fraction, 1):.0%} of the planned "
        f"training, from {resumed.checkpoint.folder}"
    )
    for name, value in resumed.changes.items():
        before = getattr(earlier.plan.train, name, getattr(earlier.options, name))
        if before != value:
            yield f"changed  {name}: {_or_none(before)} -> {_or_none(value)}"
    last = resumed.state.learning_rate
    if resumed.changes.keys() & set(BUDGETS) and rate > 1.01 * last:
        yield (
            f"learning rate: it had fallen to {last:.2g} and rises to {rate:.2g}, as the training "
            "is longer now; it falls again until the end (--learning-rate sets its peak)"
        )
    for sentence in differences:
        yield f"not bit for bit reproducible: {sentence}"


def _characters(earlier: Record, train: TrainConfig, length: int, step: int) -> float:
    """Return how many characters a training reads whose budget was changed; `step`: an update."""
    if train.steps is not None:
        return float(train.steps * step)
    if train.minutes is None:
        return (train.epochs or 0) * length
    trained = max(float(earlier.trainer["seconds"]), 1e-9)
    return float(earlier.trainer["step"] * step / trained * 60 * train.minutes)


def _or_none(value: Any) -> Any:
    """Return a value as a notice shows it."""
    return "none" if value is None else value
