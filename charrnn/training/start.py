"""Start a new training: plan it for this machine, then train it in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from charrnn.config import ModelConfig, TrainConfig, TrainOptions, given_flags
from charrnn.errors import CorpusError, OptionError
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.layers import Kernel
from charrnn.network.module import CharRNN, choose_device
from charrnn.network.pair_module import PairRNN
from charrnn.run_dir import RunDir, checkpoints, choose_run_dir, lock
from charrnn.storage import machine
from charrnn.text import line_list, streams
from charrnn.text.dataset import Dataset
from charrnn.text.gaps import GapText
from charrnn.text.notices import short_text_notice
from charrnn.text.open import Texts
from charrnn.text.pairs import PairPart
from charrnn.text.streams import Documents
from charrnn.text.tokenizer import EndingTokenizer
from charrnn.training import effects, init_from, pair_plan, plan, process_settings
from charrnn.training.control import Control
from charrnn.training.events import Events, Notice, Planned
from charrnn.training.pair_batches import PairBatches
from charrnn.training.plan import Plan
from charrnn.training.run import Run
from charrnn.training.run_description import Past
from charrnn.training.setup import (
    Setup,
    choose_kernel,
    initial_values,
    make_dataset,
    make_trainer,
    pairs_of,
)
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.training_step import Updater

N = TypeVar("N", bound=CharRNN)

MEASURED_WINDOW = 256  # steps at most of a window whose speed is measured
SHORTEST_WINDOW = 8  # that is planned for documents
MAX_PADDING = 1.1  # length of padded documents, relative to the window that pads them least


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
    run_dir = choose_run_dir(texts.corpus.name, out, force=force)
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
    device = choose_device(options.device)
    notes: list[str] = []
    threads = machine.usable_threads(options.threads, notes.append)
    with process_settings.settings(device, threads), control.while_compiling():
        setup = _setup(run_dir, texts, options, device, model)
        yield from map(Notice, notes)
        yield from _advice(setup, model)
        yield Planned(run_dir, setup.data, setup.plan, setup.kernel)
        run_dir.create()
        with lock.held(run_dir):
            if not replace_run and run_dir.holds_run():  # since it was chosen
                raise OptionError(f"{run_dir.path} was taken by another training: start again")
            torch.manual_seed(setup.plan.train.seed)
            values = initial_values(setup.plan)
            if model:
                values = init_from.values(model, setup.plan.model, setup.data.tokenizer, values)
                yield Notice(f"starting from a model: {setup.origin['symbols']}")
            trainer = make_trainer(setup, values)
            checkpoints.clear(run_dir)
            run_dir.remove_files()
            yield from Run(setup, trainer, control, Past()).train()


def _advice(setup: Setup, model: Model | None) -> Iterator[Notice]:
    """Say what a plan rests on, and what is odd in a text that is read as one."""
    busy = machine.busy() if setup.plan.train.minutes is not None else None
    if busy:
        yield Notice(f"{busy}: the network is planned for the speed that is left")
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
    run_dir: RunDir, texts: Texts, options: TrainOptions, device: torch.device, model: Model | None
) -> Setup:
    """Decide everything.

    Raises:
        InputError: it cannot be done.
    """
    data = make_dataset(texts, options)
    if data.reading.items and not options.items:  # a dataset of items
        options = replace(options, items=data.reading.items)
    if model and model.reading.documents_apart and len(data.documents["train"]) < 2:
        options = replace(options, items="", document_separator="", reset_at_documents=False)
    origin = init_from.origin(model, data.tokenizer) if model else {}
    _check_pairs(options, data, model)
    kernel = choose_kernel(options, device)
    made = make_plan(options, data, device, kernel, origin.get("characters"))
    _check_memory(made)
    return Setup(run_dir, data, options, made, device, kernel, origin)


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
    elif not options.fill and (given := given_flags(options, "pairs", "encoder", "context")):
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


def make_plan(
    options: TrainOptions,
    data: Dataset,
    device: torch.device,
    kernel: Kernel,
    known: int | None = None,
) -> Plan:
    """Plan for this text and machine; for `known` see `charrnn.training.plan.make`.

    Raises:
        CorpusError: the text does not fill a window of every stream; it is a single document, and
            documents are to be kept apart.
    """
    speed: plan.Speed = partial(_speed, data=data, device=device, kernel=kernel)
    vocab_size = data.tokenizer.vocab_size
    if options.fill or data.reading.pairs:
        return pair_plan.make(options, pairs_of(data, "train"), vocab_size, speed, known)
    counted = 1.0  # share of the tokens of a window: not those that pad the ends of documents
    if options.reset_at_documents:
        if len(data.documents["train"]) < 2:
            raise CorpusError(
                f"{data.name} is one document, and --reset-at-documents would do nothing: name "
                "several files or a --document-separator"
            )
        options = replace(options, seq_len=options.seq_len or _document_window(data))
        windows = Documents.of(data.documents["train"], len(data.train), int(options.seq_len or 1))
        counted = len(data.train) / (windows.count * windows.seq_len)
    made = plan.make(options, len(data.train), vocab_size, speed, counted=counted, known=known)
    streams.check_fit(len(data.train), made.train.batch_size, made.train.seq_len, data.name)
    return made


def _document_window(data: Dataset) -> int:
    """Return a window that reads most documents whole, but pads them little."""
    starts = data.documents["train"].astype(np.int64)
    lengths, counts = np.unique(np.diff(starts, append=len(data.train)), return_counts=True)
    sizes = np.arange(SHORTEST_WINDOW, TrainConfig.seq_len + 1)
    padded = [int(size * (-(-lengths // size) * counts).sum()) for size in sizes]
    return int(sizes[np.array(padded) <= MAX_PADDING * min(padded)][-1])


def _speed(
    model: ModelConfig, train: TrainConfig, *, data: Dataset, device: torch.device, kernel: Kernel
) -> float:
    """Return the characters per second of a training step, measured for a moment."""
    if model.encoder:
        return _pair_speed(model, train, data, device, kernel)
    streams.check_fit(len(data.train), train.batch_size, train.seq_len, data.name)
    network = _new(CharRNN, model, train, device, kernel)
    steps = min(train.seq_len, MEASURED_WINDOW)
    ids = data.train[: train.batch_size * steps]
    short = streams.make(ids, train.batch_size, steps, model.start_token, None)
    updater = Updater(StreamBatches(network, short, train))
    read = plan.measure(lambda: updater.update(1e-3), train.batch_size * steps)
    return read * train.update_every / train.seq_len


def _new(
    kind: type[N], model: ModelConfig, train: TrainConfig, device: torch.device, kernel: Kernel
) -> N:
    """Return a network whose speed is measured."""
    network = kind(
        model,
        parameters.initial(model, 0),
        regularizers=train,
        sequence=kernel.run,
        bf16=kernel.bf16,
    )
    return network.to(device)


def _pair_speed(
    model: ModelConfig, train: TrainConfig, data: Dataset, device: torch.device, kernel: Kernel
) -> float:
    """Return the same for a training on pairs, measured on pairs of usual lengths."""
    part = pairs_of(data, "train")
    if isinstance(part, GapText):
        part = part.usual(train.batch_size)
    order = np.lexsort((part.target_lengths, part.source_lengths))
    first = max(0, len(order) - train.batch_size) // 2
    usual = order[first : first + train.batch_size]
    read = PairPart.of([(part.source(n), part.target(n)) for n in map(int, usual)])
    network = _new(PairRNN, model, train, device, kernel)
    tokenizer = EndingTokenizer(data.tokenizer)  # in gaps its end is the mark
    updater = Updater(PairBatches(network, read, tokenizer, train))
    return plan.measure(lambda: updater.update(1e-3), len(read.ids))


def _check_memory(made: Plan) -> None:
    """Refuse a window that does not fit into the machine's memory, if its size is known.

    Raises:
        OptionError: says how much memory it would take.
    """
    needed, installed = plan.window_bytes(made.model, made.train), machine.installed()
    if installed is not None and needed > installed:
        if made.model.encoder:
            raise OptionError(
                f"a batch of pairs would take about {needed / 1e9:.0f} GB until its gradient is "
                f"known, and the machine has {installed / 1e9:.0f}: lower --batch-size or "
                "--hidden-size, or leave out the longest pairs"
            )
        raise OptionError(
            f"a window of {made.train.seq_len:,} steps would take about {needed / 1e9:.0f} GB "
            f"until its gradient is known, and the machine has {installed / 1e9:.0f}: lower "
            "--seq-len, --batch-size or --hidden-size"
        )
