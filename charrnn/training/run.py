"""A whole training: corpus -> dataset -> plan -> loop -> run folder with its model.

A run folder holds config.json (the plan), metrics.jsonl (one line per report), summary.json (what
it came to, at the end) and model.safetensors (the best so far, from the first validation on).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn import checkpoint, corpus, dataset, parameters, scoring, streams
from charrnn.checkpoint import MODEL_NAME, Model, write_atomically
from charrnn.config import FORM, ModelConfig, TrainConfig, TrainOptions, to_json
from charrnn.corpus import Corpus
from charrnn.dataset import Dataset
from charrnn.errors import DivergedError, OptionError, RunError
from charrnn.kernels import memory
from charrnn.kernels.sequence import Kernel, select
from charrnn.network import CharRNN
from charrnn.training import loop, plan
from charrnn.training.budget import Budget, Clock, Steps
from charrnn.training.loop import Hooks, Outcome, Progress, Trainer, Values
from charrnn.training.plan import Plan

MEASURED_WINDOW = 256  # steps whose speed stands for that of longer windows
RUN_FILES = ("config.json", "metrics.jsonl", "summary.json", MODEL_NAME)


class Observer:
    """What a training tells its caller; every method may be left as it is."""

    def planned(self, data: Dataset, plan: Plan, kernel: Kernel, run_dir: Path) -> None:
        """Everything is decided; the training is about to begin."""

    def progress(self, progress: Progress, network: CharRNN) -> None:
        """A few hundred times per run."""

    def stop(self) -> str | None:
        """Asked before every step: a word ends the training."""
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


def choose_run_dir(corpus_name: str, out: Path | None, force: bool) -> Path:
    """Where a run goes: `out`, or the first free ``runs/NAME-1``, ``-2``, ...

    Raises:
        OptionError: `out` holds a run already and `force` is not given, or is a file.
    """
    if out is None:
        folders = (Path("runs") / f"{corpus_name}-{number}" for number in count(1))
        return next(folder for folder in folders if not folder.exists())
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out} is a file: name a folder for the run")
    if not force and any((out / name).exists() for name in RUN_FILES):
        raise OptionError(
            f"--out {out} holds a run already: name another, or --force to replace it"
        )
    return out


def choose_device(name: str) -> torch.device:
    """The device meant by ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        OptionError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not index.isdecimal()):
        raise OptionError(f"--device '{name}' is not known: use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        why = "no such CUDA device here" if torch.cuda.is_available() else "PyTorch sees no CUDA"
        raise OptionError(f"--device {name}: {why}; use --device auto or cpu")
    return torch.device(name)


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
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    needed = plan.window_bytes(made.model, made.train)
    if needed > installed:
        raise OptionError(
            f"a window of {made.train.seq_len:,} steps would take about {needed / 1e9:.0f} GB "
            f"until its gradient is known, and the machine has {installed / 1e9:.0f}: lower "
            "--seq-len, --batch-size or --hidden-size"
        )


def make_plan(options: TrainOptions, data: Dataset, device: torch.device, kernel: Kernel) -> Plan:
    """The plan for `data` on this machine; checks that the text fills a window of every stream."""
    speed = partial(_speed, data=data, device=device, kernel=kernel)
    made = plan.make(options, len(data.train), data.tokenizer.vocab_size, speed)
    streams.check_fit(len(data.train), made.train.batch_size, made.train.seq_len, data.name)
    return made


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
    """
    started = time.perf_counter() if started is None else started
    observer = observer or Observer()
    run_dir = choose_run_dir(text.name, out, force)
    device = choose_device(options.device)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    memory.keep()
    data = text if isinstance(text, Dataset) else dataset.make(text, options, valid, test)
    kernel = choose_kernel(options, device)
    made = make_plan(options, data, device, kernel)
    _check_memory(made)
    observer.planned(data, made, kernel, run_dir)
    if dry_run:
        return None
    return _Run(run_dir, data, options, made, device, kernel, observer, started).train()


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
        )

    def train(self) -> Result:
        self._open_folder()
        with (self.run_dir / "metrics.jsonl").open("w", encoding="utf-8") as metrics:

            def report(progress: Progress, network: CharRNN) -> None:
                metrics.write(json.dumps(asdict(progress)) + "\n")
                metrics.flush()
                self.observer.progress(progress, network)

            hooks = Hooks(report, self._save, self.observer.stop)
            trainer = Trainer(
                self.network,
                self.streams,
                self.data.valid,
                self.plan.train,
                self.data.tokenizer,
                self.data.characters_per_symbol,
            )
            try:
                outcome = trainer.run(self._budget(), self.plan.characters, hooks)
            except DivergedError as error:
                if trainer.best_values:
                    kept = f"; the best model so far is kept: {self.run_dir / MODEL_NAME}"
                    raise DivergedError(f"{error}{kept}") from None
                raise
        return self._conclude(outcome)

    def _open_folder(self) -> None:
        """An empty run folder; of a run that was there, only our own files are removed."""
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            for name in RUN_FILES:
                (self.run_dir / name).unlink(missing_ok=True)
            files = self.data.files(self.run_dir)
        except OSError as error:
            raise RunError(f"{self.run_dir} cannot be written: {error.strerror}") from error
        self._write(
            "config.json",
            {
                **self._description(),
                "files": files["corpus"],
                "valid_files": files.get("valid", ()),
                "test_files": files.get("test", ()),
                "text": dataset.settings(self.options),
                "threads": torch.get_num_threads(),
            },
        )

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
        return Clock(self.started + seconds, steps, reserve=0.02 * seconds)

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
        checkpoint.save(self.run_dir / MODEL_NAME, model)

    @torch.no_grad()
    def _conclude(self, outcome: Outcome) -> Result:
        """Score the best weights on the whole validation text, save them, and sum up."""
        self.network.load(outcome.values)
        whole = outcome.stopped_by == "budget"
        score = self._score(self.data.valid if whole else self.data.valid[: loop.VALID_CAP])
        data = self.data
        windows = scoring.window_nats(self.network, data.valid, data.tokenizer) if whole else None
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
            seconds=time.perf_counter() - self.started,
            chars_per_second=outcome.last.chars_per_second,
            train_nats=outcome.best.train_nats,
            valid_nats=score.nats if score else None,
            valid_bpc=score.bpc if score else None,
            valid_bits_per_byte=score.bits_per_byte if score else None,
            valid_window256_nats=windows,
            valid_characters=score.characters if score else 0,
            stopped_by=self._ended(outcome.last) if whole else outcome.stopped_by,
        )
        self._write("summary.json", asdict(result))
        return result

    def _ended(self, last: Progress) -> str:
        """Which of the budgets was used up."""
        config = self.plan.train
        if config.steps is not None:
            return "steps"
        if config.minutes is None or (config.epochs is not None and last.epoch >= config.epochs):
            return "epochs"
        return "minutes"

    def _score(self, ids: np.ndarray[Any, Any]) -> scoring.Score | None:
        if not len(ids):
            return None
        start = self.plan.model.start_symbol
        return scoring.score(self.network, ids, self.data.tokenizer, start)

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2)  # in ASCII: a file's name may be no Unicode
        write_atomically(self.run_dir / name, (text + "\n").encode())


def train_files(
    *paths: str | Path,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    out: str | Path | None = None,
    force: bool = False,
    **options: Any,
) -> Result:
    """Train on text files or on a dataset; options are those of `TrainOptions`.

    Returns:
        what the training came to; ``charrnn.load(result.model)`` writes with it.
    """
    chosen = TrainOptions(**options)
    folder = None if out is None else Path(out)
    valid_text = None if valid is None else corpus.read([valid], chosen)
    test_text = None if test is None else corpus.read([test], chosen)
    text: Corpus | Dataset
    if len(paths) == 1 and dataset.is_dataset(Path(paths[0])):
        text = dataset.load(Path(paths[0]))
    else:
        text = corpus.read(paths, chosen)
    result = train(text, chosen, out=folder, force=force, valid=valid_text, test=test_text)
    assert result is not None
    return result
