"""Check what a resumed training must have in common with its run, and what may change.

The text, its tokens, the network and how the text is cut into windows are fixed; a difference is an
error that lists all of them. Budget, learning rate, regularization and machine may change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from charrnn.config import (
    BUDGETS,
    ModelConfig,
    TextOptions,
    TrainConfig,
    TrainOptions,
    flag,
    to_json,
)
from charrnn.errors import OptionError, shell_command
from charrnn.run_dir.models import digest
from charrnn.text.dataset import Dataset
from charrnn.training.run_description import Record

MACHINE = ("device", "precision", "backend", "threads")
# What is read and where the training starts: these, the whole network, and how files are tokenized.
FIXED = {"seq_len", "update_every", "state", "batch_size", "optimizer", "init", "forget_bias"}
FIXED |= {"seed", "reset_at_documents", "fill"} | {
    field.name for field in dataclasses.fields(ModelConfig)
}
FIXED |= {field.name for field in dataclasses.fields(TextOptions)} - {"max_unpacked"}


def validated(record: Record, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options after checking them.

    Raises:
        OptionError: a value is invalid.
    """
    made = TrainOptions(**{"tokenizer": record.options.tokenizer, **given})
    return {name: getattr(made, name) for name in given}


def check(
    record: Record, given: Mapping[str, Any], data: Dataset, words: Sequence[str], where: str
) -> None:
    """Refuse another text, alphabet or network.

    Args:
        record: what the checkpoint says.
        given: the options given now.
        data: the text given now.
        words: name this text on a command line.
        where: the run's folder, for the message.

    Raises:
        OptionError: lists every difference.
    """
    differences = _texts(record, data)
    is_other_text = bool(differences)
    if record.tokenizer != digest(data.tokenizer) and not differences:
        differences.append(f"the tokens differ ({data.tokenizer.kind})")
    before = _before(record)
    for name in sorted(FIXED & given.keys()):
        if _differs(record, name, given[name]):
            differences.append(f"{flag(name)} was {before.get(name)}, now {given[name]}")
    if differences:
        raise OptionError(
            f"{where} cannot be resumed, because {'; '.join(differences)}: use what it was "
            f"trained with, or {_new_run(record, words, where, is_other_text)}"
        )


def _new_run(record: Record, words: Sequence[str], where: str, is_other_text: bool) -> str:
    """Say how to train anew; on a text that has grown, or another one, from the run's weights."""
    by_character = record.options.tokenizer == "char"
    if not (is_other_text and by_character and words):
        return "choose another folder with --out"
    command = shell_command("charrnn", "train", *words, "--init-from", where)
    return f"train a new run on this text, from the weights of the old one: {command}"


def _texts(record: Record, data: Dataset) -> list[str]:
    """Return how the text differs."""
    before = record.run["corpus"]
    hashes = before["sha256"] if isinstance(before["sha256"], dict) else {}
    names = {"corpus": "the text", "valid": "the validation text", "test": "the test text"}
    differences = []
    for name in sorted(hashes.keys() | data.sha256.keys()):
        if hashes.get(name) != data.sha256.get(name):
            was, now = (str(each.get(name, "none"))[:12] for each in (hashes, data.sha256))
            differences.append(f"{names.get(name, name)} has SHA-256 {now}, not {was}")
    for part, size in data.sizes.items():
        was = before.get(f"{part}_characters", size.characters)
        if was != size.characters:
            differences.append(f"{size.characters:,} {part} characters, not {was:,}")
    if before.get("split", data.split) != data.split:
        differences.append(f"the split is {data.split}, not {before['split']}")
    return differences


def _before(record: Record) -> dict[str, Any]:
    return {
        **to_json(record.options),
        **to_json(record.plan.train),
        **to_json(record.plan.model),
    }


def _differs(record: Record, name: str, value: Any) -> bool:
    """Return whether a value differs from what was asked for and from the plan."""
    asked = getattr(record.options, name, None)
    return value not in (_before(record).get(name), asked)


def changed(
    record: Record, given: Mapping[str, Any]
) -> tuple[TrainOptions, TrainConfig, dict[str, Any]]:
    """Return the options and the training with the changes, and the changes by name.

    A given budget replaces all earlier budgets.

    Raises:
        OptionError: a value is invalid.
    """
    changes = {
        name: value
        for name, value in given.items()
        if name not in FIXED and _differs(record, name, value)
    }
    if changes.keys() & set(BUDGETS):
        changes |= {name: given.get(name) for name in BUDGETS}
    options = dataclasses.replace(record.options, **changes)
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    of_training = {name: value for name, value in changes.items() if name in fields}
    return options, dataclasses.replace(record.plan.train, **of_training), changes


def machine_changes(record: Record, machine: Mapping[str, Any]) -> list[str]:
    """Return how the machine differs, which may change the last bits of sums.

    The first checkpoints name fewer packages; nothing is known about the others.
    """
    return [
        f"{name} was {record.machine[name]}, now {value}"
        for name, value in machine.items()
        if record.machine.get(name, value) != value
    ]
