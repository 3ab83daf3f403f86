"""``charrnn train --log-to tensorboard``: the course of a training for TensorBoard to draw."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

from charrnn.training.run import Observer

if TYPE_CHECKING:
    from charrnn.network.layers import Kernel
    from charrnn.network.module import CharRNN
    from charrnn.text.dataset import Dataset
    from charrnn.training.plan import Plan
    from charrnn.training.trainer import Progress

FOLDER = "tensorboard"  # in the run's
SCALARS = {
    "train_nats": "nats/train",
    "valid_nats": "nats/valid",
    "learning_rate": "training/learning rate",
    "grad_norm": "training/gradient norm",
    "clipped": "training/clipped",
    "chars_per_second": "training/characters per second",
    "epoch": "training/epoch",
}


class Logged(Observer, AbstractContextManager["Logged"]):
    """An observer whose reports are also written for TensorBoard.

    Args:
        observer: gets everything.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._writer: SummaryWriter | None = None
        self._run_dir: Path

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def planned(self, data: Dataset, plan: Plan, kernel: Kernel, run_dir: Path) -> None:
        """The run's folder is known."""
        self._run_dir = run_dir
        self._observer.planned(data, plan, kernel, run_dir)

    def progress(self, progress: Progress, network: CharRNN) -> None:
        """Write a point of every curve; those of a run that is resumed go on where it does."""
        if self._writer is None:
            folder = str(self._run_dir / FOLDER)
            self._writer = SummaryWriter(folder, purge_step=progress.step)
        for field, name in SCALARS.items():
            value = getattr(progress, field)
            if value is not None:
                self._writer.add_scalar(name, value, progress.step)
        self._observer.progress(progress, network)

    def notice(self, sentence: str) -> None:
        """Hand it on."""
        self._observer.notice(sentence)

    def stop(self) -> str | None:
        """What the observer says."""
        return self._observer.stop()
