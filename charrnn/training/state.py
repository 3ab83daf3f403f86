"""Everything that the rest of a training depends on, as values: captured and restored.

After `restore` and `restore_generators` the next update is, bit for bit, the one that would have
followed `capture`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from charrnn.errors import ModelError
from charrnn.storage.tensors import Arrays
from charrnn.training.batches import Position
from charrnn.training.events import Metrics
from charrnn.training.trainer import Trainer

_PREFIXES = {  # of the tensors' names in a checkpoint
    "weights": "weights.",
    "best_weights": "best.",
    "optimizer": "optimizer.",
    "carried": "state.",
    "generators": "rng.",
}
_LISTS = ("losses", "norms", "durations")


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint holds of a trainer.

    Attributes:
        step: updates made.
        epoch: epochs done.
        window: batches of this epoch done.
        seconds: trained so far.
        reported: reports made.
        validated: validations made.
        rollbacks: how often the training diverged.
        learning_rate: learning rate of the last update.
        best: metrics of the best weights; None before the first validation.
        first_nats: loss of the first weights on the first window; NaN if it is not known.
        weights: parameters by name.
        best_weights: the best ones; empty before the first validation.
        optimizer: the optimizer's state, as NAME.SLOT; empty before its first step.
        carried: the recurrent state (B, H), as LAYER.PART.
        generators: the state of torch's random generators: cpu, and on CUDA cuda.
        losses: of the updates since the last report.
        norms: of the same updates.
        durations: of all updates.
    """

    step: int
    epoch: int
    window: int
    seconds: float
    reported: int
    validated: int
    rollbacks: int
    learning_rate: float
    best: Metrics | None
    first_nats: float
    weights: Arrays
    best_weights: Arrays
    optimizer: Arrays
    carried: Arrays
    generators: Arrays
    losses: np.ndarray[Any, Any]
    norms: np.ndarray[Any, Any]
    durations: np.ndarray[Any, Any]

    def is_finite(self) -> bool:
        """Return whether all weights are finite numbers."""
        return all(np.isfinite(value).all() for value in self.weights.values())

    def arrays(self) -> Arrays:
        """Return the tensors by their names in a checkpoint."""
        grouped = {
            prefix + name: value
            for group, prefix in _PREFIXES.items()
            for name, value in getattr(self, group).items()
        }
        return grouped | {name: getattr(self, name) for name in _LISTS}

    def numbers(self) -> dict[str, Any]:
        """Return the rest as plain JSON."""
        tensors = {*_PREFIXES, *_LISTS}
        numbers = {name: value for name, value in vars(self).items() if name not in tensors}
        return numbers | {"best": asdict(self.best) if self.best else None}

    @classmethod
    def parse(cls, numbers: Mapping[str, Any], arrays: Arrays) -> TrainingState:
        """Return the state of a checkpoint.

        Raises:
            ModelError: numbers and tensors do not fit together.
        """
        try:
            parsed: dict[str, Any] = {
                "step": _count(numbers["step"]),
                "epoch": _count(numbers["epoch"]),
                "window": _count(numbers["window"]),
                "seconds": float(numbers["seconds"]),
                "reported": int(numbers["reported"]),
                "validated": int(numbers["validated"]),
                "rollbacks": _count(numbers["rollbacks"]),
                "learning_rate": float(numbers["learning_rate"]),
                "best": _metrics(numbers["best"]) if numbers["best"] else None,
                "first_nats": float(numbers.get("first_nats") or math.nan),  # old ones have none
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the state is damaged: {error!r}") from None
        groups: dict[str, Any] = {
            group: _within(arrays, prefix) for group, prefix in _PREFIXES.items()
        }
        groups |= {name: arrays[name] for name in _LISTS}
        made = cls(**parsed, **groups)
        if len(made.durations) != made.step or len(made.losses) != len(made.norms):
            raise ModelError("the state is damaged: its measurements do not fit its steps")
        if bool(made.best_weights) != bool(made.best):
            raise ModelError("the state is damaged: the best weights are missing")
        return made


def capture(trainer: Trainer) -> TrainingState:
    """Return copies of everything; the trainer stays as it is."""
    updater, network = trainer.updater, trainer.updater.network
    position = updater.position()
    generators = {"cpu": _array(torch.get_rng_state())}
    if network.device.type == "cuda":  # only on CUDA
        generators["cuda"] = _array(torch.cuda.get_rng_state(network.device))
    return TrainingState(
        step=updater.step,
        epoch=position.epoch,
        window=position.batch,
        seconds=trainer.seconds,
        reported=trainer.reported,
        validated=trainer.validated,
        rollbacks=trainer.rollbacks,
        learning_rate=updater.learning_rate,
        best=trainer.best.metrics,
        first_nats=trainer.divergence.first_nats,
        weights=network.values(),
        best_weights=dict(trainer.best.values) if trainer.best.metrics else {},
        optimizer=updater.optimizer_state(),
        carried=position.carried,
        generators=generators,
        losses=_array(torch.stack(updater.losses) if updater.losses else torch.zeros(0)),
        norms=np.array(updater.norms, np.float64),
        durations=np.array(updater.durations, np.float32),
    )


def restore(trainer: Trainer, state: TrainingState) -> None:
    """Restore everything but the random generators.

    Raises:
        ModelError: the state is not that of such a training.
    """
    updater, network = trainer.updater, trainer.updater.network
    updater.restore_position(Position(state.epoch, state.window, state.carried))
    updater.restore_optimizer(state.optimizer, state.learning_rate)
    network.load(state.weights)
    updater.step = state.step
    updater.losses = list(torch.from_numpy(state.losses).to(network.device).unbind())
    updater.norms = state.norms.tolist()
    updater.durations = state.durations.tolist()
    trainer.seconds = state.seconds
    trainer.reported, trainer.validated = state.reported, state.validated
    trainer.rollbacks, trainer.divergence.first_nats = state.rollbacks, state.first_nats
    if state.best:
        trainer.best.metrics, trainer.best.values = state.best, state.best_weights


def restore_generators(state: TrainingState, device: torch.device) -> list[str]:
    """Restore torch's random generators; return sentences about those that cannot be restored."""
    lost = []
    cpu = state.generators["cpu"]
    if cpu.shape == tuple(torch.get_rng_state().shape):
        torch.set_rng_state(torch.from_numpy(cpu))
    else:
        lost.append("this torch has another random generator")
    if device.type == "cuda":  # only on CUDA
        if "cuda" in state.generators:
            torch.cuda.set_rng_state(torch.from_numpy(state.generators["cuda"]), device)
        else:
            lost.append("the GPU's random generator is reset")
    return lost


def _within(arrays: Arrays, prefix: str) -> Arrays:
    return {n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)}


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().cpu().numpy().copy()


MAY_LACK = ("valid_nats", "valid_right")  # in metrics


def _metrics(fields: Mapping[str, Any]) -> Metrics:
    unknown = dict.fromkeys(("train_nats", "grad_norm"), math.nan)  # null, where not finite
    known = {name: value for name, value in dict(fields).items() if value is not None}
    made = Metrics(**unknown | {"valid_nats": None} | known)
    for name, value in asdict(made).items():
        if not isinstance(value, int | float) and (name not in MAY_LACK or value is not None):
            raise ValueError(f"{name} is not a number")
    return made


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value} is not a count")
    return value
