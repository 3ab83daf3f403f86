"""Measures whole training steps: embedding, layers, loss, gradient, clipping, optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.bench import breakdown
from charrnn.bench.measuring import ROUNDS, VOCAB_SIZE, Row, Timed, in_turns, layers_of, peak
from charrnn.cells import CELLS, Layer, find
from charrnn.config import ModelConfig, TrainConfig, TrainOptions, cell_name
from charrnn.config.bench import TrainingBench
from charrnn.model import parameters
from charrnn.network import layers as sequence
from charrnn.network.ensemble import network_of
from charrnn.network.module import CharRNN, detached
from charrnn.network.pair_module import PairRNN
from charrnn.storage import machine
from charrnn.text import streams
from charrnn.text.notices import Notify
from charrnn.text.pairs import PairPart
from charrnn.text.tokenizer import CharTokenizer
from charrnn.training import measured_plan, plan, timing
from charrnn.training import optimizer as optimizers
from charrnn.training.batches import Batches
from charrnn.training.budget import Pauses
from charrnn.training.pair_batches import PairBatches
from charrnn.training.setup import updater_of
from charrnn.training.stream_batches import StreamBatches


@dataclass(frozen=True)
class Case:
    """One measurement: a network of L layers of H units, and a step's streams and window.

    An ensemble divides its units among networks. With `pairs`, half of a window is the source of a
    pair and half is its target. Dropout is locked, as it is planned, and only ours has it: the
    baseline has none.
    """

    cell: str
    num_layers: int
    hidden_size: int
    batch_size: int = 64
    seq_len: int = 64
    precision: str = "auto"
    backend: str = "auto"
    pairs: bool = False
    skip_connections: bool = False
    dropout: float = 0.0
    ensemble: int = 1


# The published table: the lectures' cells in one shape, the LSTM in three, and pairs; then what is
# planned for PLANNED minutes.
CASES = (
    Case("lstm", 3, 512),
    Case("lstm", 2, 256),
    Case("lstm", 2, 128, 50, 50),
    *(Case(name, 2, 256) for name in CELLS if name not in ("lstm", "jordan")),
    Case("jordan", 1, 256),
    Case("lstm-coupled", 2, 256, pairs=True),
)
PLANNED = (1.0, 3.0, 10.0)
PLANNED_CHARACTERS = 1_000_000  # of the text that is planned for


def measure_training(options: TrainingBench, kernel: TrainOptions, notify: Notify) -> Iterator[Row]:
    """Measure the cells that are named, or those of the published table; see `train`."""
    sizes = (options.hidden_size, options.batch_size, options.seq_len)
    cells = [
        Case(name, layers_of(name, options.num_layers), *sizes, pairs=options.pairs)
        for name in options.cell
    ]
    published = [case for case in CASES if case.pairs or not options.pairs]
    asked = cells or published
    threads = machine.usable_threads(kernel.threads, notify)
    cases: Iterable[Case] = (
        replace(case, precision=kernel.precision, backend=kernel.backend) for case in asked
    )
    if not options.cell and not options.pairs:
        cases = chain(cases, planned(kernel))
    yield from train(cases, options.rounds, threads, parts=options.parts)


def planned(kernel: TrainOptions, minutes: Sequence[float] = PLANNED) -> Iterator[Case]:
    """Yield what `charrnn train` plans for a text of a million characters, on this machine.

    Args:
        kernel: has the precision and the backend.
        minutes: one case for each of these budgets.
    """
    for budget in minutes:
        options = replace(kernel, minutes=budget)
        made = measured_plan.measured(
            partial(plan.make, options, PLANNED_CHARACTERS, VOCAB_SIZE, votes=True),
            partial(_timer, options),
            measured_plan.FIRST_SIZE,
            Pauses(),
        )
        model, config = made.model, made.train
        yield Case(
            cell_name(model.cell),
            model.num_layers,
            model.hidden_size,
            config.batch_size,
            config.seq_len,
            kernel.precision,
            kernel.backend,
            skip_connections=model.skip_connections,
            dropout=config.dropout or 0.0,
            ensemble=model.ensemble,
        )


def _timer(options: TrainOptions, model: ModelConfig, config: TrainConfig) -> Callable[[], float]:
    """Return what measures the seconds per character for a moment, as for a plan."""
    kernel = sequence.select(
        parameters.layer_of(model), torch.device("cpu"), options.precision, options.backend
    )
    run = text_step(model, config, kernel)
    run()
    characters = config.batch_size * config.seq_len * model.ensemble
    return lambda: timing.sample(run) / characters


def train(
    cases: Iterable[Case],
    rounds: int = ROUNDS,
    threads: int | None = None,
    *,
    parts: bool = False,
) -> Iterator[Row]:
    """Measure training steps, case by case.

    Args:
        cases: what to measure.
        rounds: medians are over this many.
        threads: those of both sides; None: as many as torch chooses.
        parts: break our steps down into parts.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield from _measured(cases, rounds, parts)
    finally:
        torch.set_num_threads(before)


def _measured(cases: Iterable[Case], rounds: int, parts: bool) -> Iterator[Row]:
    limits: dict[str, float] = {}
    for case in cases:
        layer = Layer(find(case.cell))
        kernel = sequence.select(layer, torch.device("cpu"), case.precision, case.backend)
        if kernel.precision not in limits:
            limits[kernel.precision] = peak(getattr(torch, kernel.precision))
        run = step(case, kernel)
        baseline, other = same_text(case, kernel) if case.pairs else plain_step(case)
        with machine.freed_memory_kept():  # for both, as training does
            ours, theirs = in_turns([run, other], rounds)
            shares = _shares(case, run) if parts else None
        characters = case.batch_size * case.seq_len
        speed = characters / ours
        yield Row(
            what="train",
            cell=cell_name(case.cell),
            num_layers=case.num_layers,
            hidden_size=case.hidden_size,
            ensemble=case.ensemble,
            batch_size=case.batch_size,
            seq_len=case.seq_len,
            dtype=kernel.precision,
            backend=kernel.backend,
            threads=torch.get_num_threads(),
            chars_per_second=speed,
            baseline=baseline,
            baseline_chars_per_second=characters / theirs,
            ratio=theirs / ours,
            share_of_limit=speed * operations(model_of(case)) / limits[kernel.precision],
            limit="matrix product",
            parts=shares,
        )


def model_of(case: Case) -> ModelConfig:
    """Return the architecture of a case."""
    model = ModelConfig(
        VOCAB_SIZE,
        case.cell,
        case.num_layers,
        case.hidden_size,
        case.ensemble * ModelConfig.embedding_size,
        skip_connections=case.skip_connections,
        ensemble=case.ensemble,
    )
    return replace(model, encoder="bidirectional", context="attention") if case.pairs else model


def operations(model: ModelConfig) -> float:
    """Return the operations of a training step's matrix products per character.

    Each weight takes two in the forward pass, and in the backward pass two for the gradient of the
    input and two for that of the weight. Of pairs, half of the characters pass the encoder and half
    the decoder; what a source does once is not counted.
    """
    matrices = (
        size
        for name, size in parameters.shapes(model).items()
        if len(size) == 2 and not name.endswith("embedding") and not name.startswith("context.")
    )
    passed = 0.5 if model.encoder else 1.0
    return 6.0 * passed * sum(rows * columns for rows, columns in matrices)


def text(batch_size: int, seq_len: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return random token ids for a few windows."""
    length = batch_size * seq_len * 4
    return np.random.default_rng(0).integers(0, VOCAB_SIZE, length).astype(np.uint8)


def pairs(case: Case) -> PairPart:
    """Return random pairs for a few batches, whose sources and targets are half a window long."""
    ids = text(case.batch_size, case.seq_len) % (VOCAB_SIZE - 1)
    source = max(1, case.seq_len // 2)
    starts = np.arange(0, len(ids), case.seq_len)
    return PairPart(ids, np.stack([starts, starts + source], 1).ravel())


def step(case: Case, kernel: sequence.Kernel) -> Timed:
    """Return a function that runs one training step; see `charrnn.training.training_step`."""
    model = model_of(case)
    config = TrainConfig(
        seq_len=case.seq_len,
        update_every=case.seq_len,
        batch_size=case.batch_size,
        dropout=case.dropout,
        locked_dropout=case.dropout > 0,
        steps=1,
    )
    return pair_step(case, config, kernel) if case.pairs else text_step(model, config, kernel)


def text_step(model: ModelConfig, config: TrainConfig, kernel: sequence.Kernel) -> Timed:
    """Return one step of training on a text."""
    network = network_of(
        model,
        parameters.initial(model, 1),
        regularizers=config,
        sequence=kernel.run,
        bf16=kernel.bf16,
    )
    ids = text(config.batch_size, config.seq_len)
    made = streams.make(ids, config.batch_size, config.seq_len, model.start_token, None)
    return _update(network, lambda each: StreamBatches(each, made, config))


def pair_step(case: Case, config: TrainConfig, kernel: sequence.Kernel) -> Timed:
    """Return one step of training on pairs."""
    model = model_of(case)
    values = parameters.initial(model, 1)
    reader = PairRNN(model, values, sequence=kernel.run, bf16=kernel.bf16)
    letters = CharTokenizer("".join(map(chr, range(VOCAB_SIZE - 1))))
    return _update(reader, lambda each: PairBatches(reader, pairs(case), letters, config))


def _update(network: CharRNN, batches: Callable[[CharRNN], Batches]) -> Timed:
    updater = updater_of(network.train(), batches)
    return lambda: updater.update(1e-3)


def same_text(case: Case, kernel: sequence.Kernel) -> tuple[str, Timed]:
    """Return the baseline of pairs: as many characters of a text, and a network of its sizes."""
    return f"a text, {kernel.precision}", step(replace(case, pairs=False), kernel)


def _shares(case: Case, run: Timed) -> dict[str, float]:
    """Return the shares of the parts of a step; the profiler sees networks one after another."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if case.ensemble == 1 else 1)
    try:
        return breakdown.shares(run)
    finally:
        torch.set_num_threads(before)


MODULES: dict[str, Callable[..., nn.Module]] = {
    "elman": nn.RNN,
    "irnn": lambda *sizes: nn.RNN(*sizes, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru-reset-after": nn.GRU,
}


class Plain(nn.Module):
    """The same network, written with torch.nn."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(model.vocab_size + 1, model.embedding_size)
        layers = MODULES[model.cell]
        self.layers = layers(model.embedding_size, model.hidden_size, model.num_layers)
        self.output = nn.Linear(model.hidden_size, model.vocab_size)

    def forward(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return logits (T, B, V) for ids (T, B), and the state."""
        outputs, state = self.layers(self.embedding(ids), state)
        return self.output(outputs), state


def plain_step(case: Case) -> tuple[str, Timed]:
    """Return the baseline's name and step: torch.nn, or a loop over the equation, in float32."""
    model = model_of(case)
    network: nn.Module
    if case.cell in MODULES:
        network = Plain(model)
        name = f"torch.nn.{type(network.layers).__name__}"
        state: Any = None
    else:
        network = network_of(model, parameters.initial(model, 1))
        name = "plain loop"
        state = network.start_state(case.batch_size)
    config = TrainConfig()
    optimizer = optimizers.make(dict(network.named_parameters()), config)
    ids = torch.from_numpy(text(case.batch_size, case.seq_len).astype(np.int64))
    ids = ids.view(-1, case.batch_size)
    inputs, targets = ids[: case.seq_len], ids[1 : case.seq_len + 1].flatten()

    def run() -> None:
        nonlocal state
        optimizer.clear()
        logits, state = network(inputs, state)
        F.cross_entropy(logits.flatten(0, 1), targets).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        state = detached(state)

    return f"{name} float32", run
