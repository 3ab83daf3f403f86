"""Measures generation as a user experiences it: `Generator.samples`, from the first token on.

The baseline is a loop of single steps written with torch.nn as well as possible: no gradients, no
copies, and with the better number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charrnn.bench.measuring import (
    ROUNDS,
    VOCAB_SIZE,
    Row,
    Timed,
    bandwidth,
    in_turns,
    layers_of,
    peak,
)
from charrnn.bench.training import MODULES, Plain
from charrnn.cells import CELLS
from charrnn.config import EngineOptions, ModelConfig, SampleConfig, cell_name
from charrnn.config.bench import GenerationBench
from charrnn.generator import Generator
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.module import CharRNN
from charrnn.storage import machine
from charrnn.text.notices import Notify
from charrnn.text.tokenizer import CharTokenizer

TEMPERATURE = 0.8
TEXT_SECONDS = 0.2  # that a text takes, about: long enough for its beginning not to matter


@dataclass(frozen=True)
class Case:
    """One measurement: L layers of H units of all networks, B texts at a time, type of weights."""

    cell: str
    num_layers: int
    hidden_size: int
    batch_size: int = 1
    weights: str = "float32"
    ensemble: int = 1


CASES = (
    *(Case("lstm", layers, size) for layers, size in ((2, 128), (1, 256), (2, 256), (3, 512))),
    *(Case("lstm", layers, size, weights="int8") for layers, size in ((2, 256), (3, 512))),
    Case("lstm", 3, 512, batch_size=64),
    *(Case(name, 3, 512) for name in CELLS if name not in ("lstm", "jordan")),
    Case("jordan", 1, 512),
)


def measure_generation(
    options: GenerationBench, engine: EngineOptions, notify: Notify
) -> Iterator[Row]:
    """Measure the cells that are named, or those of the published table; see `generate`."""
    sizes = (options.hidden_size, options.batch_size, engine.weights, options.ensemble)
    cells = [Case(name, layers_of(name, options.num_layers), *sizes) for name in options.cell]
    threads = machine.usable_threads(engine.threads, notify)
    return generate(cells or CASES, options.rounds, threads)


def generate(
    cases: Sequence[Case] = CASES, rounds: int = ROUNDS, threads: int | None = None
) -> Iterator[Row]:
    """Measure generation, case by case.

    Args:
        cases: what to measure.
        rounds: medians are over this many.
        threads: those of our engine; None: as many as it chooses.
    """
    for case in cases:
        yield _measure(case, rounds, threads)


def _measure(case: Case, rounds: int, threads: int | None) -> Row:
    embedding = case.ensemble * ModelConfig.embedding_size
    sizes = (case.num_layers, case.hidden_size, embedding)
    model = ModelConfig(VOCAB_SIZE, case.cell, *sizes, ensemble=case.ensemble)
    values = parameters.initial(model, 1)
    tokenizer = CharTokenizer("".join(map(chr, range(48, 48 + VOCAB_SIZE))))
    given = Model(model, tokenizer, values)
    generator = Generator(given, weights=case.weights, threads=threads)
    engine = generator.engine
    assert isinstance(engine, CompiledEngine)
    count = length(generator, case.batch_size)
    few = 1 + count // 20
    max_threads = torch.get_num_threads()
    baselines = [plain_steps(model, values, case.batch_size, few, n) for n in {1, max_threads}]
    ours, *theirs = in_turns([texts(generator, case.batch_size, count), *baselines], rounds)
    torch.set_num_threads(max_threads)
    speed, plain = case.batch_size * count / ours, case.batch_size * few / min(theirs)
    limit, share = _share_of_limit(engine, case.batch_size, speed)
    kind = MODULES.get(case.cell)
    name = "plain loop" if kind is None else f"torch.nn.{type(kind(1, 1)).__name__}"
    return Row(
        what="generate",
        cell=cell_name(case.cell),
        num_layers=case.num_layers,
        hidden_size=case.hidden_size,
        batch_size=case.batch_size,
        seq_len=None,
        dtype=case.weights,
        backend="compiled steps",
        threads=engine.threads_for(case.batch_size),
        chars_per_second=speed,
        baseline=f"{name} float32",
        baseline_chars_per_second=plain,
        ratio=speed / plain,
        share_of_limit=share,
        limit=limit,
        ensemble=case.ensemble,
    )


def _share_of_limit(engine: CompiledEngine, batch: int, speed: float) -> tuple[str, float]:
    """Return what limits the engine, and its speed (characters per second) as a share of that."""
    if batch == 1:
        limit = bandwidth(engine.weight_bytes, engine.threads)
        return "bandwidth", engine.weight_bytes * speed / limit
    return "matrix product", 2 * engine.weight_count * speed / peak(torch.float32)


def length(generator: Generator, batch: int) -> int:
    """Return how many tokens make a text that takes about `TEXT_SECONDS`."""
    texts(generator, batch, 20)()
    began = time.perf_counter()
    texts(generator, batch, 20)()
    return max(20, int(20 * TEXT_SECONDS / (time.perf_counter() - began)))


def texts(generator: Generator, batch: int, count: int) -> Timed:
    """Return a function that writes texts of `count` tokens as one batch."""
    config = SampleConfig(length=count, temperature=TEMPERATURE, num_samples=batch, seed=1)
    read = generator.read("")
    return lambda: generator.samples(read, config)


def plain_steps(
    model: ModelConfig, values: parameters.Parameters, batch: int, count: int, threads: int
) -> Timed:
    """Return a function that runs `count` steps written with torch: read, multiply, draw."""
    networks = [
        (Plain(model.member) if model.cell in MODULES else CharRNN(model.member, own)).eval()
        for own in parameters.members(model, values)
    ]
    states: list[Any] = [
        None if isinstance(network, Plain) else network.start_state(batch) for network in networks
    ]

    @torch.inference_mode()
    def run() -> None:
        torch.set_num_threads(threads)
        ids = torch.zeros(1, batch, dtype=torch.long)
        for _ in range(count):
            total = torch.zeros(batch, model.vocab_size)
            for k, network in enumerate(networks):
                logits, states[k] = network(ids, states[k])
                total = total + logits[0]
            p: Tensor = torch.softmax(total / (TEMPERATURE * len(networks)), -1)
            ids = torch.multinomial(p, 1).T

    return run
