"""How many processes ``--processes`` starts."""

from __future__ import annotations

import pytest
import torch

from charrnn.storage import machine
from charrnn.training import launch


@pytest.mark.parametrize(
    ("asked", "cores", "gpus", "wanted"),
    [
        (None, 64, 8, 1),
        (3, 2, 0, 3),
        ("auto", 2, 0, 1),
        ("auto", 15, 0, 1),
        ("auto", 64, 0, 8),
        ("auto", 64, 4, 4),
    ],
)
def test_processes_are_those_asked_for_or_one_for_each_gpu_or_eight_cores(
    asked: int | str | None, cores: int, gpus: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert launch.wanted(asked) == wanted
    monkeypatch.setenv("WORLD_SIZE", "2")  # torchrun has started this one
    assert launch.wanted(asked) == 1
