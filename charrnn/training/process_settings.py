"""Change the settings of the whole process for a training, and restore them when it ends."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch

from charrnn.storage import machine


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch use this many threads; None leaves their number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def settings(device: torch.device, thread_count: int | None) -> Iterator[None]:
    """Set torch's threads; afterwards restore them, its random generators and the warning filters.

    Memory that is freed meanwhile stays with the process; see `machine.freed_memory_kept`.
    """
    devices = [device] if device.type == "cuda" else []
    with (
        threads(thread_count),
        torch.random.fork_rng(devices),
        warnings.catch_warnings(),
        machine.freed_memory_kept(),
    ):
        yield
