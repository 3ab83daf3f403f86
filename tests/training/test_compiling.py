"""What another process compiles for a training is what the training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from following import train

from charrnn.compiler.cache import CFunction
from charrnn.config import TrainOptions
from charrnn.network import fused_codegen
from charrnn.text import corpus
from charrnn.training import compiling

CPU = torch.device("cpu")
OPTIONS: dict[str, Any] = {"hidden_size": 16, "seq_len": 16, "batch_size": 4, "device": "cpu"}


def _name(function: CFunction) -> tuple[str, str]:
    return function.module, function.name


@pytest.mark.parametrize("counts", ["off", "on"])
def test_all_that_a_training_needs_is_begun(
    counts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, used = set[tuple[str, str]](), set[tuple[str, str]]()
    address = CFunction.address.fget
    assert address

    def noted(function: CFunction) -> int:
        used.add(_name(function))
        return int(address(function))

    monkeypatch.setattr(CFunction, "address", property(noted))
    monkeypatch.setattr(
        compiling.background, "share", lambda functions: begun.update(map(_name, functions))
    )
    fused_codegen.compiled_layer.cache_clear()
    options = TrainOptions(minutes=0.02, counts=counts, backend="fused", **OPTIONS)
    train(corpus.from_text("the dog is near the cat.\n" * 300, "dogs"), options, out=tmp_path)
    written = {name for name in used if name[0].startswith("charrnn_rows_")}
    assert written <= begun
    assert {name for name in used if name[0].startswith("charrnn.compiler.")} <= begun
    assert begun <= used
    assert (("charrnn.inference.count_functions", "mix_rows") in begun) == (counts == "on")


@pytest.mark.parametrize(
    "given",
    [{"backend": "library", "cell": "lstm"}, {"cell": "jordan"}, {"cell": "elman", "omega": 1.0}],
)
def test_nothing_is_begun_where_nothing_is_compiled(given: dict[str, Any]) -> None:
    assert compiling.step_functions(TrainOptions(**OPTIONS, **given), CPU) == []
