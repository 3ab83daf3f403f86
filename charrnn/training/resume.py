"""What a training that goes on has to have in common with itself, and what may be changed.

The text, its alphabet, the network and the way it is cut into windows are fixed: a difference is an
error that lists all of them. Budget, rate, regularisers and machine may change, and that is said.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.config import (
    ModelConfig,
    TextOptions,
    TrainConfig,
    TrainOptions,
    flag,
    from_json,
    to_json,
)
from charrnn.errors import CharRNNError, ModelError, OptionError
from charrnn.text.dataset import Dataset
from charrnn.text.tokenizer import Tokenizer
from charrnn.training.plan import Plan

BUDGETS = ("minutes", "epochs", "steps")
MACHINE = ("device", "precision", "backend", "threads")
# Of the training these say what is read and where it starts; so does all of the network.
FIXED = {"seq_len", "update_every", "state", "batch_size", "optimizer", "init", "forget_bias"}
FIXED |= {"seed", "reset_at_documents"} | {field.name for field in dataclasses.fields(ModelConfig)}
# So does all that makes symbols of files.
FIXED |= {field.name for field in dataclasses.fields(TextOptions)} - {"max_unpacked"}


@dataclass(frozen=True)
class Earlier:
    """What a checkpoint says of its training, validated.

    Attributes:
        options: what the user asked for at the start.
        plan: what was made of it.
        run: text, network and training, and what was changed on the way.
        tokenizer: SHA-256 of the tokenizer.
        machine: what ran it, in words.
        seconds: spent by the command until then.
        fraction: part of the budget used.
        reserve: seconds kept for the end, where the clock decides.
        trainer: the trainer's own numbers.
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


def read(state: Mapping[str, Any], where: str) -> Earlier:
    """A checkpoint's state; `where` names it in errors.

    Raises:
        ModelError: it is not what charrnn writes.
    """
    try:
        run = dict(state["run"])
        corpus, planned, trainer = dict(run["corpus"]), state["planned"], dict(state["trainer"])
        for name in ("train_characters", "valid_characters", "sha256"):
            corpus[name]
        plan = Plan(
            from_json(ModelConfig, run["model"], where),
            _train_config(run["train"], where),
            float(planned["characters"]),
            str(planned["reason"]),
        )
        if not isinstance(trainer["step"], int) or not float(trainer["seconds"]) >= 0:
            raise ValueError("steps or seconds are no numbers")
        return Earlier(
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
    except (CharRNNError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{where} is damaged: its state is not readable ({error})") from error


def _train_config(data: Mapping[str, Any], where: str) -> TrainConfig:
    """Validated as what a user asks for is: there a budget is only one."""
    train = from_json(TrainConfig, data, where)
    asked = to_json(train)
    if train.minutes is not None:
        asked["epochs"] = None
    if train.state == "reset" or train.reset_at_documents:
        asked["update_every"] = None
    TrainOptions(**asked | ({"cell": "elman"} if train.omega else {}))
    for name in ("seq_len", "update_every", "batch_size", "learning_rate", "dropout"):
        if not isinstance(getattr(train, name), int | float):
            raise ModelError(f"{where}: {name} is not decided")
    return train


def digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of a tokenizer, as the model file keeps it."""
    return hashlib.sha256(json.dumps(tokenizer.to_json(), sort_keys=True).encode()).hexdigest()


def validated(earlier: Earlier, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given now, checked; what they go with is as it was.

    Raises:
        OptionError: a value that cannot be.
    """
    made = TrainOptions(**{"tokenizer": earlier.options.tokenizer, **given})
    return {name: getattr(made, name) for name in given}


def check(earlier: Earlier, given: Mapping[str, Any], data: Dataset, where: str) -> None:
    """Refuse another text, alphabet or network.

    Args:
        earlier: what the checkpoint says.
        given: the options that were given now.
        data: the text as it is now.
        where: the run's folder, for the message.

    Raises:
        OptionError: lists every difference.
    """
    differences = _texts(earlier, data)
    if earlier.tokenizer != digest(data.tokenizer) and not differences:
        differences.append(f"the symbols are others ({data.tokenizer.kind})")
    before = _before(earlier)
    for name in sorted(FIXED & given.keys()):
        if _differs(earlier, name, given[name]):
            differences.append(f"{flag(name)} was {before.get(name)}, now {given[name]}")
    if differences:
        raise OptionError(
            f"{where} cannot be resumed with something else: {'; '.join(differences)}; give what "
            "it was trained with, or another folder with --out"
        )


def _texts(earlier: Earlier, data: Dataset) -> list[str]:
    """How the text differs."""
    before = earlier.run["corpus"]
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


def _before(earlier: Earlier) -> dict[str, Any]:
    return {
        **to_json(earlier.options),
        **to_json(earlier.plan.train),
        **to_json(earlier.plan.model),
    }


def _differs(earlier: Earlier, name: str, value: Any) -> bool:
    """Neither as asked at the start, nor as it was planned then."""
    asked = getattr(earlier.options, name, None)
    return value not in (_before(earlier).get(name), asked)


def changed(
    earlier: Earlier, given: Mapping[str, Any]
) -> tuple[TrainOptions, TrainConfig, dict[str, Any]]:
    """Options and training as they go on, and what changed by name.

    A budget that is given takes the place of all of them.

    Raises:
        OptionError: a value that cannot be.
    """
    changes = {
        name: value
        for name, value in given.items()
        if name not in FIXED and _differs(earlier, name, value)
    }
    if changes.keys() & set(BUDGETS):
        changes |= {name: given.get(name) for name in BUDGETS}
    options = dataclasses.replace(earlier.options, **changes)
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    of_training = {name: value for name, value in changes.items() if name in fields}
    return options, dataclasses.replace(earlier.plan.train, **of_training), changes


def moved(earlier: Earlier, machine: Mapping[str, Any]) -> list[str]:
    """What runs the training now and did not before: sums may come out otherwise by a last bit."""
    return [
        f"{name} was {earlier.machine.get(name)}, now {value}"
        for name, value in machine.items()
        if earlier.machine.get(name) != value
    ]
