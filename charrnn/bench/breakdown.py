"""What a training step spends its time on, seen by torch's profiler."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from charrnn.bench.measuring import Timed

STEPS = 20
# Where an event belongs whose name begins so; the first one that fits counts.
OPERATIONS = {
    "aten::_fused_adamw_": "update",
    "aten::_foreach_add_": "update",
    "aten::_foreach_lerp_": "update",
    "aten::_foreach_norm": "clipping",
    "aten::linalg_vector_norm": "clipping",
    "aten::_foreach_mul_": "clipping",
    "aten::embedding": "embedding",
    "EmbeddingBackward": "embedding",
    "_MeanNats": "output and loss",
    "_WindowBackward": "layers, backward",
    "MkldnnRnnLayerBackward": "layers, backward",
    "_Window": "layers, forward",
    "aten::lstm": "layers, forward",
}
PRODUCTS = ("aten::mm", "aten::matmul", "aten::addmm", "aten::bmm")
GRADIENTS, OTHER, PYTHON = "gradients' products", "dropout, skips and others", "Python"


def shares(run: Timed, steps: int = STEPS) -> dict[str, float]:
    """Return the share of each part of a training step in its time, the largest first.

    The products in the backward pass of compiled layers, for the gradients of weights and inputs,
    are a part of their own. What torch does not see, Python between its operations, is the rest.
    """
    run()
    with _quiet(), profile(activities=[ProfilerActivity.CPU]) as seen:
        began = time.perf_counter()
        for _ in range(steps):
            run()
        passed = 1e6 * (time.perf_counter() - began)
    found = parts(event for event in seen.events() or [] if event.cpu_parent is None)
    found[PYTHON] = max(0.0, passed - sum(found.values()))
    total = sum(found.values())
    largest = sorted(found, key=lambda name: -found[name])
    return {name: found[name] / total for name in largest}


def parts(events: Iterable[FunctionEvent]) -> dict[str, float]:
    """Return the microseconds of each part, from the events that are in no other."""
    found: dict[str, float] = defaultdict(float)
    for event in events:
        part = _part(event.name)
        products = _products(event) if part == "layers, backward" else 0.0
        found[part] += event.cpu_time_total - products
        if products:
            found[GRADIENTS] += products
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Stop the profiler from writing to stderr."""
    name = "KINETO_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ[name] = "99"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _part(name: str) -> str:
    name = name.rpartition(": ")[2]  # without "autograd::engine::evaluate_function"
    return next((part for begin, part in OPERATIONS.items() if name.startswith(begin)), OTHER)


def _products(event: Any) -> float:
    """Return the microseconds of the matrix products in an event."""
    if event.name in PRODUCTS:
        return float(event.cpu_time_total)
    return sum(map(_products, event.cpu_children))
