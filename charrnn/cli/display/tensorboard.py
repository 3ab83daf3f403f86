"""``charrnn train --tensorboard``: the curves of a training, for TensorBoard to draw."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from charrnn.training.events import Event, Metrics, Planned, Progress

FOLDER = "tensorboard"  # in the run's folder
SCALARS = {
    "train_nats": "nats/train",
    "valid_nats": "nats/valid",
    "learning_rate": "training/learning rate",
    "grad_norm": "training/gradient norm",
    "clipped": "training/clipped",
    "chars_per_second": "training/characters per second",
    "epoch": "training/epoch",
}


class TensorBoard(AbstractContextManager["TensorBoard"]):
    """Writes the metrics of a training into its folder."""

    def __init__(self) -> None:
        self._folder: Path
        self._writer: SummaryWriter | None = None

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def show(self, event: Event) -> None:
        """Write a report; ignore other events."""
        match event:
            case Planned(run_dir):
                self._folder = run_dir.path / FOLDER
                if self._writer is not None:  # planned anew: the curves begin again
                    self._writer.close()
                    self._writer = SummaryWriter(str(self._folder), purge_step=0)
            case Progress(metrics):
                self._write(metrics)

    def _write(self, metrics: Metrics) -> None:
        """Add a point to every curve; a resumed run continues its curves from its checkpoint."""
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=metrics.step)
        for field, name in SCALARS.items():
            value = getattr(metrics, field)
            if value is not None:
                self._writer.add_scalar(name, value, metrics.step)
