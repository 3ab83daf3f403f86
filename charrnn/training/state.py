"""Everything that the rest of a training depends on, as values; taken from a trainer and put back.

After `restore` the next update is the one that would have come after `take`, bit for bit: weights,
optimizer, random generators, place in the text, carried state, best weights so far, and what was
collected for the next report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from charrnn.errors import ModelError
from charrnn.storage.tensors import Arrays
from charrnn.text.streams import Cursor
from charrnn.training.trainer import Progress, Trainer


@dataclass(frozen=True)
class Snapshot:
    """A training at one moment.

    Attributes:
        arrays: tensors by name; see `charrnn.training.checkpoints`.
        numbers: the rest, as plain JSON.
    """

    arrays: Arrays
    numbers: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.numbers["step"])


def take(trainer: Trainer) -> Snapshot:
    """Copies of everything; nothing of the trainer is changed."""
    arrays: Arrays = {f"weights.{name}": v for name, v in trainer.network.values().items()}
    arrays |= {f"best.{name}": value for name, value in trainer.best_values.items()}
    arrays |= _optimizer(trainer)
    for layer, parts in enumerate(trainer.state):
        for name, part in zip(trainer.network.cell.states, parts, strict=True):
            arrays[f"state.{layer}.{name}"] = _array(part)
    arrays["rng.cpu"] = _array(torch.get_rng_state())
    if trainer.network.device.type == "cuda":  # only on CUDA
        arrays["rng.cuda"] = _array(torch.cuda.get_rng_state(trainer.network.device))
    losses = torch.stack(trainer.losses) if trainer.losses else torch.zeros(0)
    arrays["losses"] = _array(losses)
    arrays["norms"] = np.array(trainer.norms, np.float64)
    arrays["durations"] = np.array(trainer.durations, np.float32)
    numbers = {
        "step": trainer.step,
        "epoch": trainer.cursor.epoch,
        "window": trainer.cursor.window,
        "seconds": trainer.seconds,
        "reported": trainer.reported,
        "validated": trainer.validated,
        "rollbacks": trainer.rollbacks,
        "learning_rate": trainer.optimizer.param_groups[0]["lr"],
        "best": asdict(trainer.best) if trainer.best else None,
    }
    return Snapshot(arrays, numbers)


def restore(trainer: Trainer, snapshot: Snapshot) -> list[str]:
    """Put everything back; what could not be, in words.

    Raises:
        ModelError: the numbers are not those of a training.
    """
    arrays, numbers = snapshot.arrays, snapshot.numbers
    try:
        trainer.step = _count(numbers["step"])
        trainer.cursor = Cursor(_count(numbers["epoch"]), _count(numbers["window"]))
        trainer.seconds = float(numbers["seconds"])
        trainer.reported = int(numbers["reported"])
        trainer.validated = int(numbers["validated"])
        trainer.rollbacks = _count(numbers["rollbacks"])
        trainer.best = _progress(numbers["best"]) if numbers["best"] else None
        learning_rate = float(numbers["learning_rate"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the state is damaged: {error!r}") from None
    if trainer.cursor.window >= trainer.streams.windows:
        raise ModelError("the state is damaged: its place is behind the text's end")
    if len(arrays["durations"]) != trainer.step or len(arrays["losses"]) != len(arrays["norms"]):
        raise ModelError("the state is damaged: it has not what was measured of each step")
    device = trainer.network.device
    _restore_optimizer(trainer, arrays)
    trainer.network.load(_within(arrays, "weights."))
    trainer.best_values = _within(arrays, "best.")
    if bool(trainer.best_values) != bool(trainer.best):
        raise ModelError("the state is damaged: the best weights are missing")
    for group in trainer.optimizer.param_groups:
        group["lr"] = learning_rate
    trainer.state = tuple(
        tuple(
            torch.from_numpy(arrays[f"state.{layer}.{name}"]).to(device)
            for name in trainer.network.cell.states
        )
        for layer in range(trainer.network.config.num_layers)
    )
    trainer.losses = list(torch.from_numpy(arrays["losses"]).to(device).unbind())
    trainer.norms = arrays["norms"].tolist()
    trainer.durations = arrays["durations"].tolist()
    return _restore_generators(trainer, arrays)


def _restore_generators(trainer: Trainer, arrays: Arrays) -> list[str]:
    """Random generators go on where they were, unless they are of another kind now."""
    lost = []
    device = trainer.network.device
    if arrays["rng.cpu"].shape == tuple(torch.get_rng_state().shape):
        torch.set_rng_state(torch.from_numpy(arrays["rng.cpu"]))
    else:
        lost.append("the random generator of this torch is another one")
    if device.type == "cuda":  # only on CUDA
        if "rng.cuda" in arrays:
            torch.cuda.set_rng_state(torch.from_numpy(arrays["rng.cuda"]), device)
        else:
            lost.append("the random generator of the GPU starts anew")
    return lost


def _optimizer(trainer: Trainer) -> Arrays:
    """What the optimizer keeps, by the names of the parameters."""
    names = _names(trainer)
    kept = trainer.optimizer.state_dict()["state"]
    return {
        f"optimizer.{names[index]}.{slot}": _array(torch.as_tensor(value))
        for index, slots in kept.items()
        for slot, value in slots.items()
    }


def _restore_optimizer(trainer: Trainer, arrays: Arrays) -> None:
    """What it keeps has to be what one of its kind keeps, which a step without rate tells."""
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.0
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    trainer.optimizer.step()
    shapes = {name: value.shape for name, value in _optimizer(trainer).items()}
    given = {n: v.shape for n, v in arrays.items() if n.startswith("optimizer.")}
    if given and given != shapes:
        raise ModelError("the state is damaged: it is not that of this optimizer")
    index = {name: number for number, name in _names(trainer).items()}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _within(arrays, "optimizer.").items():
        parameter, _, slot = name.rpartition(".")
        state.setdefault(index[parameter], {})[slot] = torch.from_numpy(value)
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _names(trainer: Trainer) -> dict[int, str]:
    """Parameters' names by their numbers in the optimizer."""
    name_of = {id(weight): name for name, weight in trainer.network.weights().items()}
    weights = [w for group in trainer.optimizer.param_groups for w in group["params"]]
    return {number: name_of[id(weight)] for number, weight in enumerate(weights)}


def _within(arrays: Arrays, prefix: str) -> Arrays:
    return {n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)}


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().cpu().numpy().copy()


def _progress(told: Mapping[str, Any]) -> Progress:
    made = Progress(**told)
    for name, value in asdict(made).items():
        if not isinstance(value, int | float) and (name != "valid_nats" or value is not None):
            raise ValueError(f"{name} is no number")
    return made


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value} is no count")
    return value
