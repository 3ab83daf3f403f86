"""Describe a training in its run's files: config.json, the model's header, checkpoints."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from charrnn.config import (
    ModelConfig,
    ModelReading,
    TrainConfig,
    TrainOptions,
    cell_name,
    flag,
    from_json,
    to_json,
)
from charrnn.config.training import RENAMED_BACKENDS
from charrnn.errors import CharRNNError, ModelError
from charrnn.model import parameters
from charrnn.run_dir.models import digest
from charrnn.storage import machine as installed
from charrnn.text.dataset import Dataset
from charrnn.training.plan import Plan
from charrnn.training.setup import Setup


def description(setup: Setup) -> dict[str, Any]:
    """Return what was trained on what and by what, without any clock time."""
    data, plan, kernel = setup.data, setup.plan, setup.kernel
    return {
        "corpus": {
            "name": data.name,
            "sha256": data.sha256,
            "train_characters": data.sizes["train"].characters,
            "valid_characters": data.sizes["valid"].characters,
            "test_characters": data.sizes["test"].characters,
            "split": data.split,
            "tokenizer": data.tokenizer.kind,
            **({"rare_symbols": data.rare_symbols} if data.rare_symbols else {}),
        },
        "reading": to_json(_reading(setup)),
        "model": to_json(plan.model),
        "train": to_json(plan.train),
        "kernel": {
            "backend": _backend(setup),
            "precision": kernel.precision,
            "reason": kernel.reason,
        },
        "versions": dict(installed.versions()),
        **({"init_from": dict(setup.origin)} if setup.origin else {}),
    }


def _reading(setup: Setup) -> ModelReading:
    """Return how the text was read; of what other sources a first model had, nothing is known."""
    only = "" if setup.origin else setup.data.target_only
    return replace(setup.plan.reading(setup.data.reading), target_only=only)


def facts(data: Dataset, options: TrainOptions) -> dict[str, object]:
    """Return, by what each is called, what all processes of a training must have in common."""
    texts = {"corpus": "the text", "valid": "the validation text", "test": "the test text"}
    hashes = {
        f"the SHA-256 of {texts.get(use, use)}": data.sha256.get(use) for use in sorted(texts)
    }
    asked = {flag(name): value for name, value in to_json(options).items() if name != "device"}
    return hashes | asked | {"the tokenizer": digest(data.tokenizer), "the split": data.split}


def in_words(setup: Setup) -> str:
    """Return the network, and how often it will read the text, in a few words."""
    plan = setup.plan
    model = plan.model
    return (
        f"{cell_name(model.cell)}, {model.size_words}, "
        f"{parameters.count(model):,} parameters, about {plan.passes:.1f} passes over the text"
    )


def machine(setup: Setup) -> dict[str, Any]:
    """Return what the last bits of a training depend on."""
    return {
        "device": setup.device.type,
        "backend": _backend(setup),
        "precision": setup.kernel.precision,
        "threads": torch.get_num_threads(),
        **processes(setup),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        **installed.versions(),
    }


def processes(setup: Setup) -> dict[str, int]:
    """Return how many processes train together, if there are several."""
    return {"processes": setup.world.size} if setup.world.size > 1 else {}


def _backend(setup: Setup) -> str:
    """Return the backend's name in files, which keep the first one."""
    first_names = {name: first for first, name in RENAMED_BACKENDS.items()}
    return first_names.get(setup.kernel.backend, setup.kernel.backend)


@dataclass(frozen=True)
class Record:
    """What a checkpoint says besides its tensors; no file name is in it.

    Attributes:
        options: what the user asked for at the start.
        plan: what was planned.
        run: the `description`, and under ``changes`` what a resume changed at which step.
        tokenizer: the tokenizer's `charrnn.run_dir.models.digest`.
        machine: what ran it.
        seconds: spent by the commands so far.
        fraction: part of the budget used.
        reserve: seconds reserved for the end of a training by the clock.
        trainer: the numbers of the trainer's `TrainingState`.
    """

    options: TrainOptions
    plan: Plan
    run: dict[str, Any]
    tokenizer: str
    machine: dict[str, Any]
    seconds: float
    fraction: float
    reserve: float
    trainer: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "run": self.run,
            "options": to_json(self.options),
            "planned": {
                "characters": self.plan.characters,
                "passes": self.plan.passes,
                "reason": self.plan.reason,
            },
            "tokenizer": self.tokenizer,
            "machine": self.machine,
            "seconds": self.seconds,
            "fraction": self.fraction,
            "reserve": self.reserve,
            "trainer": self.trainer,
        }

    @classmethod
    def parse(cls, state: Mapping[str, Any], where: str) -> Record:
        """Return what a checkpoint says; `where` names it in errors.

        Raises:
            ModelError: charrnn does not write such a state.
        """
        try:
            run = dict(state["run"])
            corpus, planned, trainer = dict(run["corpus"]), state["planned"], dict(state["trainer"])
            for name in ("train_characters", "valid_characters", "sha256"):
                corpus[name]
            run["changes"] = [dict(change) for change in run.get("changes", ())]
            run["init_from"] = dict(run.get("init_from", {}))
            plan = Plan(
                from_json(ModelConfig, run["model"], where),
                _train_config(run["train"], where),
                float(planned["characters"]),
                float(planned.get("passes", planned["characters"] / corpus["train_characters"])),
                str(planned["reason"]),
                run["init_from"].get("characters"),
            )
            if not isinstance(trainer["step"], int) or not float(trainer["seconds"]) >= 0:
                raise ValueError("steps or seconds are not numbers")
            return cls(
                options=from_json(TrainOptions, state["options"], where),
                plan=plan,
                run=run,
                tokenizer=str(state["tokenizer"]),
                machine={"threads": int(state["machine"]["threads"]), **state["machine"]},
                seconds=float(state["seconds"]),
                fraction=float(state["fraction"]),
                reserve=float(state["reserve"]),
                trainer=trainer,
            )
        except (CharRNNError, KeyError, TypeError, ValueError, ArithmeticError) as error:
            why = error.message if isinstance(error, CharRNNError) else error
            raise ModelError(f"{where} is damaged: its state is not readable ({why})") from error


@dataclass(frozen=True)
class Past:
    """What earlier commands did for a run that is resumed; nothing for a new one.

    Attributes:
        seconds: how long they took.
        reserve: seconds reserved for the end of a training by the clock.
        metrics: the metrics file so far.
        changes: what they changed, and at which step.
        saved_step: the step of the checkpoint; -1 without one.
    """

    seconds: float = 0.0
    reserve: float = 0.0
    metrics: bytes = b""
    changes: Sequence[Mapping[str, Any]] = ()
    saved_step: int = -1


def _train_config(data: Mapping[str, Any], where: str) -> TrainConfig:
    """Return a planned training, validated as what a user asks for is: with one budget."""
    train = from_json(TrainConfig, data, where)
    asked = to_json(train)
    del asked["last_rate"], asked["kept_back"]  # nobody asks for them
    if train.minutes is not None:
        asked["epochs"] = None
    if train.state == "reset" or train.reset_at_documents:
        asked["update_every"] = None
    TrainOptions(**asked | ({"cell": "elman"} if train.omega else {}))
    for name in ("seq_len", "update_every", "batch_size", "learning_rate", "dropout"):
        if not isinstance(getattr(train, name), int | float):
            raise ModelError(f"{where}: {name} is not decided")
    return train
