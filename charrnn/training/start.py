"""Start a new training: plan it for this machine, then train it in a folder of its own."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from charrnn.config import TrainOptions, given_flags
from charrnn.errors import OptionError
from charrnn.model.model_file import Model
from charrnn.network.module import choose_device
from charrnn.run_dir import RunDir, choose_run_dir, lock
from charrnn.storage import machine
from charrnn.text import line_list
from charrnn.text.dataset import Dataset
from charrnn.text.notices import short_text_notice
from charrnn.text.open import Texts
from charrnn.training import (
    base_model,
    compiling,
    count_model,
    effects,
    init_from,
    process_settings,
    run_description,
)
from charrnn.training.budget import Pauses, stopped
from charrnn.training.control import Control
from charrnn.training.distributed import World
from charrnn.training.events import Events, Notice, Planned, Values
from charrnn.training.measured_plan import anew, choose_cell, make_plan
from charrnn.training.plan import Plan
from charrnn.training.run import Replan, Run
from charrnn.training.run_description import Past
from charrnn.training.setup import (
    Setup,
    choose_kernel,
    initial_values,
    make_dataset,
    make_trainer,
)

_OF_PAIRS = "pairs", "encoder", "context", "source_dropout"  # not for texts
VARIED = 1.5  # the spread of measured speeds from which on the machine is busy


def start(
    texts: Texts,
    options: TrainOptions,
    *,
    out: Path | None = None,
    force: bool = False,
    model: Model | None = None,
    control: Control | None = None,
) -> Events:
    """Plan a training and run it; the caller iterates over its events.

    Nothing is written before the event `Planned`: whoever only wants the plan leaves it at that.

    Args:
        texts: what to train on.
        options: what the user asked for.
        out: the run's folder; by default a new one in ``runs``.
        force: replace the run that `out` holds.
        model: start with the weights of this model, for whose network the options are; see
            `charrnn.training.init_from.options`.
        control: when to stop, and when to save.

    Raises:
        OptionError: the options do not go with each other, the text or the machine; or `out`
            cannot be used.
        CorpusError: the text is too short.
        RunError: another training uses the folder, or a write failed for too long.
        DivergedError: the loss was not finite, even after several restarts.
    """
    control = control or Control()
    run_dir = control.world.first(lambda: choose_run_dir(texts.corpus.name, out, force=force))
    yield from begin(run_dir, texts, options, control, model=model, replace_run=force)


def begin(
    run_dir: RunDir,
    texts: Texts,
    options: TrainOptions,
    control: Control,
    *,
    model: Model | None = None,
    replace_run: bool = False,
) -> Events:
    """Plan and train in a folder that was chosen; `replace_run`: it may hold a run."""
    effects.check(options, from_model=model is not None)
    world = control.world
    device = choose_device(world.device(options.device))
    notes: list[str] = []
    threads = world.threads(options.threads, notes.append)
    with process_settings.settings(device, threads), control.while_compiling():
        if world.is_first:
            compiling.begin(options, device)
        pauses = Pauses()
        setup = _setup(run_dir, texts, options, device, model, pauses, world)
        control = replace(control, started=control.started + pauses.seconds)
        notes += [stopped(pauses.seconds)] if pauses.seconds else []
        yield from map(Notice, notes)
        yield from _advice(setup, model)
        if model is None and (offer := base_model.offer(setup.data, options)):
            yield Notice(offer)
        yield Planned(run_dir, setup.data, setup.plan, setup.kernel)
        with contextlib.ExitStack() as stack:
            world.first(lambda: _take(run_dir, stack, replace_run=replace_run))
            if world.is_first:
                compiling.go_on(setup)
            sized = options.hidden_size is not None
            run = yield from _run(setup, model, control, None if sized else partial(anew, setup))
            again = yield from run.train()
            if again:
                control = replace(control, started=control.started + run.paused)
                yield Planned(run_dir, again.data, again.plan, again.kernel)
                run.remove_files()
                run = yield from _run(again, None, control, None)
                yield from run.train()


def _take(run_dir: RunDir, stack: contextlib.ExitStack, *, replace_run: bool) -> None:
    """Make a run's folder, and lock it until the stack is left.

    Raises:
        OptionError: another training took it.
        RunError: another training uses it.
    """
    run_dir.create()
    stack.enter_context(lock.held(run_dir))
    if not replace_run and run_dir.holds_run():  # since it was chosen
        raise OptionError(f"{run_dir.path} was taken by another training: start again")


def _run(
    setup: Setup, model: Model | None, control: Control, replan: Replan | None
) -> Generator[Notice, None, Run]:
    """Return a training before its first step."""
    torch.manual_seed(setup.plan.train.seed)
    values = initial_values(setup.plan)
    if model:
        values = init_from.values(model, setup.plan.model, setup.data.tokenizer, values)
        yield Notice(f"starting from a model: {setup.origin['symbols']}")
    setup.world.check_alike(lambda: {"the initial weights": _digest(values)})
    trainer = make_trainer(setup, values)
    return Run(setup, trainer, control, Past(), replan)


def _digest(values: Values) -> str:
    """Return the SHA-256 of parameters."""
    found = hashlib.sha256()
    for name in sorted(values):
        found.update(values[name].tobytes())
    return found.hexdigest()


def _advice(setup: Setup, model: Model | None) -> Iterator[Notice]:
    """Say what a plan rests on, and what is odd in a text that is read as one."""
    if setup.plan.train.minutes is not None:
        busy = machine.busy()
        if busy:
            yield Notice(f"{busy}: the network is planned for the speed that is left")
        elif setup.plan.spread > VARIED:
            yield Notice(
                f"this machine's speed varied by a factor of {setup.plan.spread:.1f} while it was "
                "measured: the network is planned for the best of it"
            )
    if setup.options.reset_at_documents or setup.plan.model.encoder:
        return
    if setup.options.document_separator and setup.options.split == "position":
        yield Notice(
            "--document-separator only counts documents here: add --reset-at-documents, --items or "
            "--split"
        )
    if model and model.reading.documents_apart:
        yield Notice(
            f"{setup.data.name} is read as one text; the model of --init-from was trained on "
            "documents apart"
        )
    characters = sum(size.characters for size in setup.data.sizes.values())
    short = short_text_notice(setup.data.name, characters)
    if short and not setup.origin:  # a model to start from has learned from other texts
        yield Notice(short)
    text = setup.data.texts.get("corpus")
    sentence = None if text is None else line_list.advice(text)
    if sentence:
        yield Notice(sentence)


def _setup(
    run_dir: RunDir,
    texts: Texts,
    options: TrainOptions,
    device: torch.device,
    model: Model | None,
    pauses: Pauses,
    world: World,
) -> Setup:
    """Decide everything; `pauses` notes the time in which the process is stopped meanwhile.

    Raises:
        InputError: it cannot be done.
    """
    data = world.in_turn(lambda: make_dataset(texts, options))
    world.check_alike(lambda: run_description.facts(data, options))
    if data.reading.items and not options.items:  # a dataset of items
        options = replace(options, items=data.reading.items)
    if model and model.reading.documents_apart and len(data.documents["train"]) < 2:
        options = replace(options, items="", document_separator="", reset_at_documents=False)
    origin = init_from.origin(model, data.tokenizer) if model else {}
    _check_pairs(options, data, model)
    known = origin.get("characters")
    turned = model is not None and model.reading.swap != data.reading.swap

    def planned() -> tuple[TrainOptions, Plan]:
        chosen, kernel = choose_cell(options, data, device)
        more: dict[str, Any] = {"turned": turned, "world": world}
        return chosen, make_plan(chosen, data, device, kernel, known, pauses, **more)

    options, made = world.first(planned)
    world.check_streams(made.train.batch_size)
    if model:
        made = replace(made, reason="the size of the model to start from")
    kernel = choose_kernel(options, device)
    world.check_alike(lambda: {"the precision": kernel.precision, "the backend": kernel.backend})
    setup = Setup(run_dir, data, options, made, device, kernel, origin, world)
    count_model.check(setup)
    return setup


def _check_pairs(options: TrainOptions, data: Dataset, model: Model | None) -> None:
    """Refuse what goes with a text where pairs are read, and the other way round.

    Raises:
        OptionError: says which option.
    """
    pairs = data.reading.pairs
    if pairs and options.fill:
        raise OptionError(f"--fill makes its pairs of a text, and {data.name} has pairs of its own")
    if pairs:
        options.check_pairs()
    elif not options.fill and (given := given_flags(options, *_OF_PAIRS)):
        raise OptionError(f"{given} is for pairs, and {data.name} is read as a text: leave it out")
    if model is None:
        return

    def kind(pairs: bool, fill: bool) -> str:
        return "pairs" if pairs else "a text with gaps (--fill)" if fill else "a text"

    now, then = kind(pairs, options.fill), kind(model.reading.pairs, model.reading.fill)
    if now != then:
        raise OptionError(
            f"{data.name} is read as {now}, and the model of --init-from was trained on {then}: "
            "it cannot start from that model"
        )
