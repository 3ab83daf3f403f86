"""Computes with the instructions that numba is told to use: for a process of its own.

Prints W, whether bfloat16 is multiplied, what trains an LSTM and an elman network by default, and
the largest differences between compiled code and torch or numpy: gradients of a window by each kind
of product, and logits.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch

from charrnn.compiler import processor
from charrnn.config import ModelConfig
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model import parameters
from charrnn.network import layers
from charrnn.network.module import CharRNN
from charrnn.network.noise import Noise

MODEL = ModelConfig(5, "irnn", 1, 37)
VALUES = parameters.initial(MODEL, 1)
IDS = np.random.default_rng(1).integers(0, 5, (9, 13))
CPU = torch.device("cpu")


def kernel(cell: str, precision: str = "auto", backend: str = "auto") -> layers.Kernel:
    """Return what trains a cell."""
    layer = parameters.layer_of(ModelConfig(5, cell, 1, 37))
    return layers.select(layer, CPU, precision, backend)


def gradients(precision: str, backend: str) -> list[torch.Tensor]:
    """Return the gradients of the mean loss of a window by all parameters."""
    chosen = kernel(MODEL.cell, precision, backend)
    network = CharRNN(MODEL, VALUES, sequence=chosen.run, bf16=chosen.bf16).train()
    ids = torch.from_numpy(IDS)
    outputs, _ = network.run(ids, network.start_state(IDS.shape[1]), Noise())
    network.mean_nats(outputs.read, ids.flip(0)).backward()  # type: ignore[no-untyped-call]
    return [each.grad for each in network.parameters() if each.grad is not None]


def error(precision: str) -> float:
    """Return the largest error of a gradient, relative to the largest number in it."""
    pairs = zip(gradients(precision, "fused"), gradients("float32", "reference"), strict=True)
    return max(float((mine - right).abs().max() / right.abs().max()) for mine, right in pairs)


def logits_error() -> float:
    """Return the largest difference of the logits after the second of two tokens."""
    found = []
    for engine in (CompiledEngine(MODEL, VALUES, threads=1), NumpyEngine(MODEL, VALUES)):
        _, state = engine.step(IDS[0], engine.start_state(IDS.shape[1]))
        logits, _ = engine.step(IDS[1], state)
        found.append(np.array(logits))
    return float(np.abs(found[0] - found[1]).max())


def main() -> None:
    """Print one JSON object."""
    bf16 = processor.multiplies_bfloat16()
    found: dict[str, Any] = {"width": processor.WIDTH, "bf16": bf16}
    for cell in ("lstm", "elman"):
        chosen = kernel(cell)
        found[cell] = f"{chosen.backend} {chosen.precision}"
    found["gradients"] = error("float32")
    found["bf16 gradients"] = error("bfloat16") if bf16 else 0.0
    found["logits"] = logits_error()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
