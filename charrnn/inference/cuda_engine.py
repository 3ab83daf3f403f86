"""Runs a network on a CUDA device, one token of B rows at a time.

On the device a step is some dozen small kernels, and launching each of them takes longer than its
arithmetic. So a step is launched once, on tensors that stay where they are, and captured as a CUDA
graph; from then on one call replays it:

    ids (B,) -> device -> replay: ids and state -> logits and the new state -> logits (B, V) -> host

While texts are written the state stays on the device, and tokens are chosen on the CPU. The step is
that of `charrnn.network.module`, so it is the cell's own. Graphs have 1, 2, 4, 8, ... rows; results
of unused rows are ignored. So texts that end do not need a new graph each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.arrays import Floats, Ids, State
from charrnn.config import ModelConfig
from charrnn.inference.engine import Chooser, Engine, Expected, predicted, select_rows
from charrnn.inference.instructions import Call, Program
from charrnn.model.parameters import Parameters
from charrnn.network.ensemble import network_of
from charrnn.network.module import CharRNN

_WARM_UP = 3  # steps before the capture, in which libraries allocate their workspaces


def step(network: CharRNN, ids: Tensor, state: Tensor, logits: Tensor) -> None:
    """Read a token per row, all in place.

    Args:
        network: in evaluation mode.
        ids: (B,).
        state: parts of the layers' states (L, S, B, H) before the step; overwritten by those after.
            An ensemble has the layers of all its networks.
        logits: overwritten by the logits (B, V) of the next token.
    """
    new_logits, after = network(ids[None], tuple(tuple(layer) for layer in state))
    logits.copy_(new_logits[0])
    state.copy_(torch.stack([torch.stack(layer) for layer in after]))


def captured(run: Callable[[], None]) -> Callable[[], None]:  # only on CUDA
    """Return a function that repeats `run` on the device, at the same addresses, in one call.

    This follows torch's notes on CUDA graphs: after a warm-up on the stream of the capture, and
    with nothing in `run` that waits for the device. What `run` allocates comes from the graph's own
    memory pool.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        run()
    return graph.replay


class _Mirrored:
    """A tensor on the device, and a copy of it on the host in pinned memory."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.tensor = torch.zeros(shape, dtype=dtype, device=device)
        self._host = torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")
        self.array: NDArray[Any] = self._host.numpy()

    def send(self) -> None:
        """Copy host to device; work that the device is given afterwards sees the new values."""
        self.tensor.copy_(self._host, non_blocking=True)

    def fetch(self) -> None:
        """Copy device to host, and wait for it."""
        self._host.copy_(self.tensor, non_blocking=True)
        if self.tensor.is_cuda:  # only on CUDA
            torch.cuda.current_stream().synchronize()


class _Rows:
    """The step of a certain number of rows, and the tensors that it reads and writes."""

    def __init__(self, network: CharRNN, rows: int) -> None:
        config, device = network.config, network.device
        dtype = next(network.parameters()).dtype
        parts, sizes = len(network.layer.cell.states), config.state_sizes
        self.ids = _Mirrored((rows,), torch.int64, device)
        self.state = _Mirrored((len(sizes), parts, rows, sizes[0]), dtype, device)
        self.logits = _Mirrored((rows, config.vocab_size), dtype, device)
        given = (self.ids.tensor, self.state.tensor, self.logits.tensor)
        self.run: Callable[[], None] = lambda: step(network, *given)
        if device.type == "cuda":  # only on CUDA
            self.run = captured(self.run)

    def load(self, state: State) -> None:
        """Copy a state into the first rows."""
        for layer, given in zip(self.state.array, state, strict=True):
            for part, values in zip(layer, given, strict=True):
                part[: len(values)] = values
        self.state.send()

    def fetch_state(self, batch: int) -> State:
        """Return a copy of the first rows' state."""
        self.state.fetch()
        return tuple(tuple(part[:batch].copy() for part in layer) for layer in self.state.array)

    def read(self, ids: Ids) -> Floats:
        """Read ids (B,) and return the logits (B, V) of the next tokens, until the next call."""
        self.ids.array[: len(ids)] = ids
        self.ids.send()
        self.run()
        self.logits.fetch()
        return self.logits.array[: len(ids)]

    def advance(self, ids: Ids) -> None:
        """Read ids (T, B) without logits, and without waiting for any of the steps."""
        window = np.zeros((len(ids), len(self.ids.array)), np.int64)
        window[:, : ids.shape[1]] = ids
        for row in torch.from_numpy(window).to(self.ids.tensor.device):
            self.ids.tensor.copy_(row)
            self.run()


class CudaEngine(Engine):
    """An engine whose steps torch runs on a device.

    On the CPU this is the same code without the capture, for tests; `CompiledEngine` is faster.
    """

    reproducible = True

    def __init__(self, config: ModelConfig, values: Parameters, device: torch.device) -> None:
        """Move the parameters to the device."""
        self.config = config
        self._device = -1 if device.index is None else device.index  # -1: the current one
        self._network = network_of(config, values).requires_grad_(False).eval()
        self._start: State = tuple(
            tuple(part.numpy() for part in layer) for layer in self._network.start_state(1)
        )
        self._network.to(device)
        self._rows: dict[int, _Rows] = {}

    @contextlib.contextmanager
    def _rows_for(self, batch: int) -> Iterator[_Rows]:
        """Provide the step of at least this many rows, made when it is first needed."""
        count = 1 << max(batch - 1, 0).bit_length()
        try:
            with torch.inference_mode(), torch.cuda.device(self._device):
                if count not in self._rows:
                    self._rows[count] = _Rows(self._network, count)
                yield self._rows[count]
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

    def start_state(self, batch_size: int) -> State:
        """Return the state before a text, for `batch_size` rows: zeros, or what was learned."""
        return select_rows(self._start, np.zeros(batch_size, np.int64))

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one token per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        logits, state = self.read(ids[None], state)
        return logits[0], state

    def read(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read a window: ids (T, B) -> logits (T, B, V), and the state after it."""
        with self._rows_for(ids.shape[1]) as rows:
            logits = np.empty((*ids.shape, self.config.vocab_size), rows.logits.array.dtype)
            rows.load(state)
            for t, tokens in enumerate(ids):
                logits[t] = rows.read(tokens)
            return logits, rows.fetch_state(ids.shape[1])

    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) and return only the state after it."""
        with self._rows_for(ids.shape[1]) as rows:
            rows.load(state)
            rows.advance(ids)
            return rows.fetch_state(ids.shape[1])

    def expected(
        self, inputs: Ids, targets: Ids, count: int, state: State
    ) -> tuple[Expected, State]:
        """Return what was predicted in place of each target (T, B), and the state after."""
        logits, state = self.read(inputs, state)
        return predicted(logits, targets, count), state

    def write(
        self, logits: Floats, state: State, chooser: Chooser, count: int
    ) -> tuple[Floats, State]:
        """Choose a token per row and read it, `count` times; see `Engine.write`.

        The choice is compiled code on the CPU; the state stays on the device.
        """
        batch, tokens = logits.shape
        ids = np.zeros((1, batch), np.int64)
        with self._rows_for(batch) as rows:
            rows.load(state)
            current = rows.logits.array[:batch]
            current[:] = logits
            for _ in range(count):
                address, stride = current.ctypes.data, current.strides[0]
                call = Call(*chooser.compiled(address, stride, tokens, 1))
                Program([call], [call]).run(ids, 1)
                rows.read(ids[0])
            return current.copy(), rows.fetch_state(batch)

    def prepare(self, chooser: Chooser, batch_size: int) -> None:
        """Compile the choice of tokens, and capture the step of this many rows."""
        chooser.compile()
        with self._rows_for(batch_size):
            pass
