"""A whole training: corpus -> dataset -> plan -> loop -> run folder with its model.

A run folder holds config.json (the plan), metrics.jsonl (one line per report), summary.json (what
it came to, at the end), model.safetensors (the best so far, from the first validation on) and
checkpoints, from which the training can go on. A disk that takes nothing does not end a training:
what was to be written is kept and tried again.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.config import FORM, ModelConfig, TextOptions, TrainConfig, TrainOptions, to_json
from charrnn.errors import CorpusError, DivergedError, ModelError, OptionError, RunError
from charrnn.model import model_file, parameters
from charrnn.model.model_file import MODEL_NAME, Model
from charrnn.network.layers import Kernel, select
from charrnn.network.module import CharRNN, choose_device
from charrnn.run_dir import find_model
from charrnn.storage import files, machine
from charrnn.text import corpus, dataset, streams
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.training import checkpoints, lock, plan, resume, state
from charrnn.training import init_from as transfer
from charrnn.training import trainer as loop
from charrnn.training.background_writer import Writer
from charrnn.training.budget import Budget, Clock, Steps
from charrnn.training.checkpoints import Checkpoint, Found
from charrnn.training.plan import Plan
from charrnn.training.resume import Earlier
from charrnn.training.trainer import Hooks, Interruptible, Outcome, Progress, Trainer, Values

MEASURED_WINDOW = 256  # steps whose speed stands for that of longer windows
SHORTEST_WINDOW = 8  # that is planned
FORMAT_VERSION = 1  # of the files in a run's folder, named in config.json
SAVE_MINUTES = 1.0  # from one checkpoint to the next
SAVE_SHARE = 0.01  # of the time at most: where saving takes long, checkpoints are further apart
RUN_FILES = ("config.json", "metrics.jsonl", "summary.json", MODEL_NAME)


# Texts as they are given to be trained on: a corpus, perhaps with others to validate and test, or
# the dataset that was made of them.
Texts = tuple[Corpus | Dataset, Corpus | None, Corpus | None]


class Observer:
    """What a training tells its caller; every method may be left as it is."""

    def planned(self, data: Dataset, plan: Plan, kernel: Kernel, run_dir: Path) -> None:
        """Everything is decided; the training is about to begin."""

    def progress(self, progress: Progress, network: CharRNN) -> None:
        """A few hundred times per run."""

    def notice(self, sentence: str) -> None:
        """Something happened that a person may want to know."""

    def stop(self) -> str | None:
        """Asked before every step, and within scoring: a word ends the training."""
        return None


@dataclass(frozen=True)
class Result:
    """What a training came to; the fields are those of ``charrnn train --json``.

    Losses are of the best model: nats per character, bits per character, bits per byte of UTF-8;
    None where there is no validation text (or none of 257 characters, for the windows).
    """

    run_dir: str
    model: str
    cell: str
    parameters: int
    steps: int
    epochs: float
    characters: int
    seconds: float
    chars_per_second: float
    train_nats: float
    valid_nats: float | None
    valid_bpc: float | None
    valid_bits_per_byte: float | None
    valid_window256_nats: float | None
    valid_characters: int
    stopped_by: str


def choose_run_dir(corpus_name: str, out: Path | None, force: bool, resumed: bool = False) -> Path:
    """Where a run goes: `out`, or the first free ``runs/NAME-1``, ``-2``, ...

    One that is resumed is in `out`, or in the last of those.

    Raises:
        OptionError: `out` holds a run already and neither `force` nor `resumed` is given, or it is
            a file, or both are given.
    """
    if force and resumed:
        raise OptionError("--force replaces a run, --resume goes on with it: give one of them")
    if out is None:
        numbered = (Path("runs") / f"{corpus_name}-{number}" for number in count(1))
        there = list(takewhile(Path.exists, numbered))
        if resumed and there:
            return there[-1]
        return Path("runs") / f"{corpus_name}-{len(there) + 1}"
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out} is a file: name a folder for the run")
    if (out / checkpoints.FOLDER).is_symlink():
        raise OptionError(f"{out / checkpoints.FOLDER} is a link: name another folder with --out")
    if not force and not resumed and holds_run(out):
        raise OptionError(
            f"--out {out} holds a run already: name another, --resume to go on with it, or "
            "--force to replace it"
        )
    return out


def holds_run(folder: Path) -> bool:
    """Whether there is anything of a run."""
    return any((folder / name).exists() for name in RUN_FILES) or checkpoints.exist(folder)


def choose_kernel(options: TrainOptions, device: torch.device) -> Kernel:
    """What will run the layers."""
    form = {name: getattr(options, name) for name in FORM}
    cell = parameters.cell_of(ModelConfig(1, cell=options.cell, **form))
    backend = "reference" if options.omega else options.backend
    zoneout = bool(options.zone_rates(1))
    return select(cell, device, options.precision, backend, zoneout=zoneout)


def _check_memory(made: Plan) -> None:
    """Refuse a window that cannot fit into the machine's memory, where the system tells its size.

    Raises:
        OptionError: says how much it would take.
    """
    needed, installed = plan.window_bytes(made.model, made.train), machine.installed()
    if installed is not None and needed > installed:
        raise OptionError(
            f"a window of {made.train.seq_len:,} steps would take about {needed / 1e9:.0f} GB "
            f"until its gradient is known, and the machine has {installed / 1e9:.0f}: lower "
            "--seq-len, --batch-size or --hidden-size"
        )


def make_plan(options: TrainOptions, data: Dataset, device: torch.device, kernel: Kernel) -> Plan:
    """The plan for `data` on this machine; checks that the text fills a window of every stream."""
    if options.reset_at_documents:
        if len(data.documents["train"]) < 2:
            raise CorpusError(
                f"{data.name} is one document, and --reset-at-documents would do nothing: name "
                "several files or a --document-separator"
            )
        options = replace(options, seq_len=options.seq_len or _document_window(data))
    speed = partial(_speed, data=data, device=device, kernel=kernel)
    made = plan.make(options, len(data.train), data.tokenizer.vocab_size, speed)
    streams.check_fit(len(data.train), made.train.batch_size, made.train.seq_len, data.name)
    return made


def _document_window(data: Dataset) -> int:
    """A window for documents of this length: of a longer one much would be empty."""
    mean = len(data.train) // max(1, len(data.documents["train"]))
    return max(SHORTEST_WINDOW, min(TrainConfig.seq_len, mean))


def _speed(
    model: ModelConfig, train: TrainConfig, *, data: Dataset, device: torch.device, kernel: Kernel
) -> float:
    """Characters per second of a training step, measured for a moment."""
    streams.check_fit(len(data.train), train.batch_size, train.seq_len, data.name)
    network = CharRNN(
        model,
        parameters.initial(model, 0),
        regularizers=train,
        sequence=kernel.run,
        half=kernel.half,
    ).to(device)
    steps = min(train.seq_len, MEASURED_WINDOW)
    few = data.train[: train.batch_size * steps]
    short = streams.make(few, train.batch_size, steps, model.start_symbol, None)
    trainer = Trainer(network, short, data.valid, train, data.tokenizer)
    read = plan.measure(lambda: trainer.update(1e-3), train.batch_size * steps)
    return read * train.update_every / train.seq_len


def train(
    text: Corpus | Dataset,
    options: TrainOptions,
    *,
    out: Path | None = None,
    force: bool = False,
    valid: Corpus | None = None,
    test: Corpus | None = None,
    started: float | None = None,
    observer: Observer | None = None,
    dry_run: bool = False,
    resume_with: Mapping[str, Any] | None = None,
    checkpoint_every: int | None = None,
    init_from: Model | None = None,
) -> Result | None:
    """Plan and train on `text`; None after a dry run, which stops at the plan.

    Args:
        text: the corpus, or a dataset made of it.
        options: what the user asked for.
        out: the run's folder; by default a new one under ``runs``.
        force: replace the run that `out` holds.
        valid: a validation text of its own.
        test: a test text of its own.
        started: when the command began (`time.perf_counter`); minutes count from there.
        observer: gets the plan and the progress, and may end the training.
        dry_run: stop when the plan is made.
        resume_with: go on with the run of `out` (or the newest of the corpus), changing what is
            given here by name; without a checkpoint the training starts from the beginning.
        checkpoint_every: steps from one checkpoint to the next, in place of minutes.
        init_from: start with the weights of a model, of which `options` say the sizes; see
            `charrnn.training.init_from.options`.

    Raises:
        OptionError: what was asked cannot be, or differs from the run that is to go on.
        ModelError: the run has checkpoints, none of which can be used.
        RunError: another training uses the folder, or the disk took nothing for too long.
        DivergedError: the loss was not finite, also after rolling back.
    """
    started = time.perf_counter() if started is None else started
    observer = observer or Observer()
    resumed = resume_with is not None
    if resumed and init_from:
        raise OptionError("--init-from begins a run, --resume goes on with one: give one of them")
    run_dir = choose_run_dir(text.name, out, force, resumed)
    machine.keep()
    if resume_with is not None and checkpoints.exist(run_dir):
        with lock.held(run_dir):
            run = _resumed(run_dir, (text, valid, test), resume_with, observer, started)
            return None if dry_run else run.train(checkpoint_every)
    if resumed:
        if (run_dir / "summary.json").exists():
            raise OptionError(
                f"{run_dir} holds a run that ended and no checkpoint of it: it cannot go on; "
                "--force replaces it"
            )
        observer.notice(f"{run_dir} holds no checkpoint: the training starts from the beginning")
    device = choose_device(options.device)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    data = text if isinstance(text, Dataset) else dataset.make(text, options, valid, test)
    if init_from:
        transfer.alphabets(init_from, data.tokenizer)  # which have to be such that can meet
    kernel = choose_kernel(options, device)
    made = make_plan(options, data, device, kernel)
    _check_memory(made)
    observer.planned(data, made, kernel, run_dir)
    if dry_run:
        return None
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{run_dir} cannot be written: {error.strerror}") from error
    with lock.held(run_dir):
        if not force and not resumed and holds_run(run_dir):  # since it was chosen
            raise OptionError(f"{run_dir} was taken by another training: start again")
        run = _Run(run_dir, data, options, made, device, kernel, observer, started)
        if init_from:
            run.start_with(init_from)
        run.clear_folder()
        return run.train(checkpoint_every)


def _resumed(
    run_dir: Path,
    texts: Texts,
    given: Mapping[str, Any],
    observer: Observer,
    started: float,
) -> _Run:
    """The run of the newest checkpoint that verifies, as it was then.

    Raises:
        OptionError: it cannot go on with these texts and these options.
        ModelError: none can be used.
    """
    reasons = []
    for candidate in checkpoints.found(run_dir):
        try:
            if isinstance(candidate, ModelError):
                raise candidate
            earlier = resume.read(candidate.state, str(candidate.folder))
            return _restored(run_dir, texts, given, observer, started, earlier, candidate)
        except ModelError as error:
            reasons.append(error.message)
            observer.notice(f"not used: {error.message}")
    raise ModelError(
        f"{run_dir} has no checkpoint that can be used: {reasons[0]}; --force starts a new run"
    )


def _restored(
    run_dir: Path,
    texts: Texts,
    given: Mapping[str, Any],
    observer: Observer,
    started: float,
    earlier: Earlier,
    candidate: Found,
) -> _Run:
    """The run of a checkpoint, with what changed since told."""
    given = resume.validated(earlier, given)
    text, valid, test = texts
    data = text if isinstance(text, Dataset) else dataset.make(text, earlier.options, valid, test)
    resume.check(earlier, given, data, str(run_dir))
    options, train_config, changes = resume.changed(earlier, given)
    device = choose_device(options.device)
    most = max(1, os.cpu_count() or 1)
    torch.set_num_threads(options.threads or max(1, min(earlier.machine["threads"], most)))
    kernel = choose_kernel(options, device)
    made = replace(earlier.plan, train=train_config)
    if changes.keys() & set(resume.BUDGETS):
        made = replace(made, characters=_characters(earlier, train_config, len(data.train)))
    run = _Run(run_dir, data, options, made, device, kernel, observer, started)
    notices = run.restore(earlier, candidate)
    observer.planned(data, made, kernel, run_dir)
    observer.notice(
        f"resumed  at step {run.trainer.step:,}, {min(earlier.fraction, 1):.0%} of the training as "
        f"it was planned, from {candidate.folder}"
    )
    for name, value in changes.items():
        before = getattr(earlier.plan.train, name, getattr(earlier.options, name))
        if before != value:
            observer.notice(f"changed  {name}: {before} -> {value}")
    for sentence in notices:
        observer.notice(f"not bit for bit the same training: {sentence}")
    if changes:
        run.note_changes(changes)
    return run


def _characters(earlier: Earlier, train: TrainConfig, length: int) -> float:
    """How many characters a budget comes to that was changed."""
    step = train.batch_size * train.update_every
    if train.steps is not None:
        return float(train.steps * step)
    if train.minutes is None:
        return (train.epochs or 0) * length
    trained = max(float(earlier.trainer["seconds"]), 1e-9)
    return float(earlier.trainer["step"] * step / trained * 60 * train.minutes)


class _Run:
    """One training and its folder."""

    def __init__(
        self,
        run_dir: Path,
        data: Dataset,
        options: TrainOptions,
        made: Plan,
        device: torch.device,
        kernel: Kernel,
        observer: Observer,
        started: float,
    ) -> None:
        self.run_dir, self.data, self.options, self.plan = run_dir, data, options, made
        self.observer, self.started = observer, started
        self.metrics = b""
        self.spent = 0.0  # seconds of the commands before this one
        self.reserve = 0.0
        self.changes: list[dict[str, Any]] = []
        self.origin: dict[str, Any] = {}  # the model that it started from
        config = made.train
        torch.manual_seed(config.seed)
        values = parameters.initial(made.model, config.seed, config.init, config.forget_bias)
        self.kernel = kernel
        # Losses are those of the model as it is saved: in float32, whatever it is trained with.
        zoneout = bool(made.model.zone_rates(1))
        exact = select(parameters.cell_of(made.model), device, "float32", zoneout=zoneout)
        self.network = CharRNN(
            made.model,
            values,
            regularizers=config,
            sequence=kernel.run,
            scoring=exact.run,
            half=kernel.half,
        ).to(device)
        self.streams = streams.make(
            data.train,
            config.batch_size,
            config.seq_len,
            made.model.start_symbol,
            data.newline,
            config.update_every,
            data.documents["train"] if config.reset_at_documents else None,
        )

        self.trainer = self._trainer()
        self.last_kept = -1
        self.kept_at = time.perf_counter()
        self.save_seconds = 0.0  # what the last checkpoint took

    def restore(self, earlier: Earlier, candidate: Found) -> list[str]:
        """Put back what a checkpoint has; what makes it another training by a bit, in words.

        Raises:
            ModelError: its tensors or numbers are not those of this training.
        """
        arrays = candidate.arrays(self.plan.model, self.plan.train.batch_size)
        kept = state.Snapshot(arrays, earlier.trainer)
        try:
            lost = state.restore(self.trainer, kept)
        except ModelError as error:
            raise ModelError(f"{candidate.folder}: {error.message}") from error
        self.spent, self.reserve = earlier.seconds, earlier.reserve
        self.metrics, self.last_kept = candidate.metrics, self.trainer.step
        self.changes = list(earlier.run.get("changes", []))
        self.origin = dict(earlier.run.get("init_from", {}))
        if earlier.fraction >= 1 and self._budget().fraction(self.trainer.step) < 1:
            self.trainer.validated = -1  # its last validation is not in the checkpoint
        if self.network.device.type == "cuda":  # only on CUDA
            lost.append("CUDA adds in an order of its own")
        return lost + resume.moved(earlier, self._machine())

    def start_with(self, model: Model) -> None:
        """Take over a model's weights in place of new ones."""
        made = self.plan.model
        symbols = str(transfer.alphabets(model, self.data.tokenizer))
        self.network.load(transfer.values(model, made, self.data.tokenizer, self.network.values()))
        self.trainer = self._trainer()
        self.origin = {"steps": model.training.get("steps"), "symbols": symbols}
        self.observer.notice(f"starting from a model: {symbols}")

    def _trainer(self) -> Trainer:
        """One of the network as it is now."""
        return Trainer(
            self.network,
            self.streams,
            self.data.valid,
            self.plan.train,
            self.data.tokenizer,
            self.data.characters_per_symbol,
            self._valid_documents,
        )

    @property
    def _valid_documents(self) -> NDArray[np.uint64] | None:
        """Where those of the validation text start, if documents are kept apart."""
        return self.data.documents["valid"] if self.plan.train.reset_at_documents else None

    def note_changes(self, changes: Mapping[str, Any]) -> None:
        """Remember for config.json what is otherwise from this step on."""
        self.changes.append({"step": self.trainer.step, **changes})

    def clear_folder(self) -> None:
        """Remove what is there of another run: our own files alone."""
        checkpoints.clear(self.run_dir)
        try:
            for name in RUN_FILES:
                (self.run_dir / name).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{self.run_dir} cannot be written: {error.strerror}") from error

    def train(self, checkpoint_every: int | None = None) -> Result:
        """Train to the end of the budget; the folder is held."""
        checkpoints.tidy(self.run_dir)
        files.write_atomically(self.run_dir / "config.json", files.to_json(self._config()))
        files.write_atomically(self.run_dir / "metrics.jsonl", self.metrics)
        self.metrics_written = len(self.metrics)
        self.writer = Writer(self.observer.notice)
        self.budget = self._budget()
        self.kept_at = time.perf_counter()

        def due(step: int) -> bool:
            if checkpoint_every is not None:
                return step % checkpoint_every == 0
            apart: float = max(60 * SAVE_MINUTES, self.save_seconds / SAVE_SHARE)
            return time.perf_counter() - self.kept_at >= apart

        hooks = Hooks(
            report=self._report,
            best=self._save,
            stop=self.observer.stop,
            due=due,
            keep=self._keep,
            say=self.observer.notice,
        )
        try:
            outcome = self.trainer.run(self.budget, self.plan.characters, hooks)
        except DivergedError as error:
            self.writer.finish()
            if self.trainer.best:
                kept = f"; the best model so far is kept: {self.run_dir / MODEL_NAME}"
                raise DivergedError(f"{error.message}{kept}") from None
            raise
        result = self._conclude(outcome)
        self.writer.finish()
        return result

    def _report(self, progress: Progress, network: CharRNN) -> None:
        self.metrics += (json.dumps(asdict(progress)) + "\n").encode()
        self.writer.put("metrics.jsonl", partial(self._write_metrics, self.metrics))
        self.observer.progress(progress, network)

    def _write_metrics(self, text: bytes) -> None:
        path = self.run_dir / "metrics.jsonl"
        try:
            files.append(path, text, self.metrics_written)
        except OSError as error:
            raise RunError(f"{path} could not be written: {error.strerror}") from error
        self.metrics_written = len(text)

    def _keep(self, trainer: Trainer) -> None:
        """A checkpoint of now, unless there is one, or its weights are no numbers."""
        began = time.perf_counter()
        taken = state.take(trainer)
        finite = all(
            np.isfinite(value).all()
            for name, value in taken.arrays.items()
            if name.startswith("weights.")
        )
        if finite and taken.step != self.last_kept:
            made = Checkpoint(taken.step, self._state(taken), taken.arrays, self.metrics)
            self.writer.put("checkpoint", partial(checkpoints.save, self.run_dir, made))
            self.last_kept = taken.step
        self.kept_at = time.perf_counter()
        self.save_seconds = self.kept_at - began

    def _state(self, taken: state.Snapshot) -> dict[str, Any]:
        """What a checkpoint says besides its tensors; no file's name is in it."""
        return {
            "run": self._description() | {"changes": self.changes},
            "options": to_json(self.options),
            "planned": {"characters": self.plan.characters, "reason": self.plan.reason},
            "tokenizer": resume.digest(self.data.tokenizer),
            "machine": self._machine(),
            "seconds": self._seconds(),
            "fraction": self.budget.fraction(taken.step),
            "reserve": self.budget.reserve if isinstance(self.budget, Clock) else 0.0,
            "trainer": dict(taken.numbers),
        }

    def _machine(self) -> dict[str, Any]:
        """What the last bits of a training depend on."""
        return {
            "device": self.network.device.type,
            "backend": self.kernel.backend,
            "precision": self.kernel.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        }

    def _seconds(self) -> float:
        """Spent by this command and those before it."""
        return self.spent + time.perf_counter() - self.started

    def _config(self) -> dict[str, Any]:
        """What config.json says."""
        try:
            texts = self.data.files(self.run_dir)
        except OSError as error:
            raise RunError(f"{self.run_dir} cannot be written: {error.strerror}") from error
        config = {
            "format": FORMAT_VERSION,
            **self._description(),
            "files": texts["corpus"],
            "valid_files": texts.get("valid", ()),
            "test_files": texts.get("test", ()),
            "text": {item.name: getattr(self.options, item.name) for item in fields(TextOptions)},
            "threads": torch.get_num_threads(),
        }
        return config | ({"changes": self.changes} if self.changes else {})

    def _budget(self) -> Budget:
        config = self.plan.train
        if config.steps is not None:
            return Steps(config.steps)
        steps = math.inf
        if config.epochs is not None:
            steps = max(1, round(config.epochs * self.streams.windows))
        if config.minutes is None:
            return Steps(steps)
        seconds = 60 * config.minutes
        deadline = self.started + seconds - self.spent
        return Clock(deadline, steps, self.reserve, start=self.trainer.start)

    def _description(self) -> dict[str, Any]:
        """What the plan and the texts were, without any clock time."""
        return {
            "corpus": {
                "name": self.data.name,
                "sha256": self.data.sha256,
                "train_characters": self.data.sizes["train"].characters,
                "valid_characters": self.data.sizes["valid"].characters,
                "test_characters": self.data.sizes["test"].characters,
                "split": self.data.split,
                "tokenizer": self.data.tokenizer.kind,
            },
            "model": to_json(self.plan.model),
            "train": to_json(self.plan.train),
            "kernel": {
                "backend": self.kernel.backend,
                "precision": self.kernel.precision,
                "reason": self.kernel.reason,
            },
            **({"init_from": self.origin} if self.origin else {}),
        }

    def _save(self, progress: Progress, values: Values, **final: Any) -> None:
        """The model file as of now."""
        reached = {
            "steps": progress.step,
            "epochs": progress.epoch,
            "characters": progress.characters,
            "train_nats": progress.train_nats,
            "valid_nats": progress.valid_nats,
        }
        training = {**self._description(), **reached, **final}
        del training["model"]  # it is the model's config already
        model = Model(self.plan.model, self.data.tokenizer, values, training)
        self.writer.put(MODEL_NAME, partial(model_file.save, self.run_dir / MODEL_NAME, model))

    @torch.no_grad()
    def _conclude(self, outcome: Outcome) -> Result:
        """Score the best weights on the whole validation text, save them, and sum up."""
        self.network.load(outcome.values)
        whole, score, windows = outcome.stopped_by == "budget", self._part(outcome.best), None
        if whole:
            engine = Interruptible(self.network, self.observer.stop)
            try:
                score = self._whole(engine)
                windows = scoring.window_nats(engine, self.data.valid, self.data.tokenizer)
            except loop.InterruptedScoring:
                whole, windows = False, None
        self._save(
            outcome.best,
            outcome.values,
            valid_nats=score.nats if score else None,
            valid_window256_nats=windows,
        )
        result = Result(
            run_dir=str(self.run_dir),
            model=str(self.run_dir / MODEL_NAME),
            cell=self.plan.model.cell,
            parameters=parameters.count(self.plan.model),
            steps=outcome.last.step,
            epochs=outcome.last.epoch,
            characters=outcome.last.characters,
            seconds=self._seconds(),
            chars_per_second=outcome.last.chars_per_second,
            train_nats=outcome.best.train_nats,
            valid_nats=score.nats if score else None,
            valid_bpc=score.bpc if score else None,
            valid_bits_per_byte=score.bits_per_byte if score else None,
            valid_window256_nats=windows,
            valid_characters=score.characters if score else 0,
            stopped_by=self._ended(outcome.last) if whole else _word(outcome.stopped_by),
        )
        path, summary = self.run_dir / "summary.json", files.to_json(asdict(result))
        self.writer.put("summary.json", partial(files.write_atomically, path, summary))
        return result

    def _ended(self, last: Progress) -> str:
        """Which of the budgets was used up."""
        config = self.plan.train
        if config.steps is not None:
            return "steps"
        if config.minutes is None or (config.epochs is not None and last.epoch >= config.epochs):
            return "epochs"
        return "minutes"

    def _whole(self, engine: Interruptible) -> scoring.Score | None:
        """The score of the whole validation text."""
        ids = self.data.valid
        if not len(ids):
            return None
        start = self.plan.model.start_symbol
        return scoring.score(
            engine, ids, self.data.tokenizer, start, documents=self._valid_documents
        )

    def _part(self, best: Progress) -> scoring.Score | None:
        """The score of the part that was read while training, where it was."""
        if best.valid_nats is None:
            return None
        read = scoring.spread(self.data.valid, loop.VALID_CAP, documents=self._valid_documents)
        size = self.data.tokenizer.measure(read)
        return scoring.Score(best.valid_nats * size.characters, *size)


def _word(stopped_by: str) -> str:
    """Why a training ended whose text was not scored whole: it may have been in the middle."""
    return "interrupt" if stopped_by == "budget" else stopped_by


def train_files(
    *paths: str | Path,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    checkpoint_every: int | None = None,
    init_from: str | Path | None = None,
    **options: Any,
) -> Result:
    """Train on text files or on a dataset; options are those of `TrainOptions`.

    With `resume`, the run in `out` goes on; the options are what is to change. With `init_from`, a
    model or a run's folder, its network is trained further.

    Returns:
        what the training came to; ``charrnn.load(result.model)`` writes with it.
    """
    model = model_file.load(find_model(Path(init_from))) if init_from else None
    chosen = TrainOptions(**(transfer.options(model, options) if model else options))
    folder = None if out is None else Path(out)
    valid_text = None if valid is None else corpus.read([valid], chosen)
    test_text = None if test is None else corpus.read([test], chosen)
    text: Corpus | Dataset
    if len(paths) == 1 and dataset.is_dataset(Path(paths[0])):
        text = dataset.load(Path(paths[0]))
    else:
        text = corpus.read(paths, chosen)
    result = train(
        text,
        chosen,
        out=folder,
        force=force,
        valid=valid_text,
        test=test_text,
        resume_with=options if resume else None,
        checkpoint_every=checkpoint_every,
        init_from=model,
    )
    assert result is not None
    return result
