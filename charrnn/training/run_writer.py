"""Write into a run's folder what its training makes: metrics, models, checkpoints, samples.

A full or failing disk does not end a training: failed writes are tried again later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from charrnn.cells import own
from charrnn.config import to_json
from charrnn.counts.table import CountTable
from charrnn.model import model_file
from charrnn.model.model_file import MODEL_NAME, Model
from charrnn.run_dir import checkpoints, run_text
from charrnn.run_dir.checkpoints import Checkpoint
from charrnn.storage import files, machine
from charrnn.training import run_description
from charrnn.training.background_writer import BackgroundWriter
from charrnn.training.events import Metrics, Notice, Values
from charrnn.training.run_description import Past, Record
from charrnn.training.setup import Setup
from charrnn.training.state import TrainingState


class RunWriter:
    """Writes the files of a run in the background, while it is trained.

    Most methods return notices about writes that failed, or that succeed again.
    """

    def __init__(self, setup: Setup, past: Past) -> None:
        self._setup, self._past = setup, past
        self._run_dir = setup.run_dir
        self._background = BackgroundWriter()
        self._metrics = past.metrics  # all lines so far
        self._metrics_written = len(past.metrics)

    def write_first_files(self, history: Mapping[str, Any]) -> None:
        """Write config.json, the cell and the metrics so far; wait until that is done.

        Args:
            history: when and by which commands the run was trained, for config.json.

        Raises:
            RunError: a file cannot be written.
        """
        checkpoints.tidy(self._run_dir)
        setup, changes = self._setup, self._past.changes
        config = run_description.description(setup) | {
            "options": to_json(setup.options),
            "threads": torch.get_num_threads(),
            **run_description.processes(setup),
            "machine": machine.describe(),
            **history,
        }
        if changes:
            config["changes"] = changes
        text = run_text.describe(self._run_dir, setup.data, setup.options)
        self._run_dir.write_config(config | text)
        self._run_dir.summary.unlink(missing_ok=True)  # of a part of the training
        if used := own.used(setup.plan.model.cell):
            files.write_atomically(self._run_dir.cell, used.source)
        files.write_atomically(self._run_dir.metrics, self._metrics)

    def remove_files(self) -> None:
        """Remove the files of an earlier run."""
        checkpoints.clear(self._run_dir)
        self._run_dir.remove_files()

    def write_metrics(self, metrics: Metrics) -> list[Notice]:
        """Add a line to metrics.jsonl."""
        self._metrics += (files.json_text(asdict(metrics)) + "\n").encode()
        return self._put(self._run_dir.metrics.name, partial(self._append, self._metrics))

    def write_model(
        self,
        metrics: Metrics,
        values: Values,
        table: CountTable | None = None,
        **final: Any,
    ) -> list[Notice]:
        """Write the model file with these weights.

        Args:
            metrics: the metrics of the weights.
            values: the weights.
            table: counts of the training text, fitted to these weights.
            final: what its description says instead, once the training has ended.
        """
        reached = {
            "steps": metrics.step,
            "epochs": metrics.epoch,
            "characters": metrics.characters,
            "train_nats": metrics.train_nats,
            "valid_nats": metrics.valid_nats,
        }
        training = {**run_description.description(self._setup), **reached, **final}
        del training["model"]  # the model's own config says it
        tokenizer = self._setup.data.tokenizer
        model = Model(self._setup.plan.model, tokenizer, values, training, counts=table)
        return self._put(MODEL_NAME, partial(model_file.save, self._run_dir.model, model))

    def write_checkpoint(self, captured: TrainingState, record: Record) -> list[Notice]:
        """Write a checkpoint."""
        made = Checkpoint(captured.step, record.to_json(), captured.arrays(), self._metrics)
        return self._put("checkpoint", partial(checkpoints.save, self._run_dir, made))

    def write_sample(self, step: int, text: str) -> list[Notice]:
        """Add what the network writes after a step to samples.txt."""
        return self._put("sample", partial(self._run_dir.write_sample, step, text))

    def write_summary(self, content: Mapping[str, Any]) -> list[Notice]:
        """Write summary.json."""
        return self._put(self._run_dir.summary.name, partial(self._run_dir.write_summary, content))

    def end(self) -> bool:
        """Write no more, if everything is written in a moment; return whether it is."""
        return self._background.end()

    def finish(self) -> Iterator[Notice]:
        """Wait until everything is written.

        Raises:
            RunError: something could not be written for too long.
        """
        for sentence in self._background.finish():
            yield Notice(sentence)

    def _put(self, name: str, job: Callable[[], None]) -> list[Notice]:
        return [Notice(sentence) for sentence in self._background.put(name, job)]

    def _append(self, text: bytes) -> None:
        self._run_dir.write_metrics(text, self._metrics_written)
        self._metrics_written = len(text)


class NoWriter(RunWriter):
    """Writes nothing, in a process that is not the first one of its training."""

    def write_first_files(self, history: Mapping[str, Any]) -> None:
        """Do nothing."""

    def remove_files(self) -> None:
        """Do nothing."""

    def _put(self, name: str, job: Callable[[], None]) -> list[Notice]:
        return []
