"""A network run forward on a CUDA device, one symbol of B rows at a time.

On the device a step is some dozen small kernels, and asking for each of them takes longer than the
arithmetic. So a step is asked for once, over tensors that stay where they are, and captured as a
CUDA graph; from then on one call replays it:

    ids (B,) -> device -> replay: ids and state -> logits and the new state -> logits (B, V) -> host

While texts are written the state stays on the device, and symbols are chosen on the CPU. The step
is that of `charrnn.network.module`, so it is the cells' own. Graphs are of 1, 2, 4, 8, ... rows: of
those that are too many nobody reads the results, and texts that end do not make a new graph each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.arrays import Floats, Ids
from charrnn.config import ModelConfig
from charrnn.inference.instructions import Call, Program
from charrnn.inference.numpy_engine import Chooser, NumpyEngine, State
from charrnn.model.parameters import Parameters
from charrnn.network.module import CharRNN

_WARM_UP = 3  # steps before the capture, in which libraries make what they keep


def step(network: CharRNN, ids: Tensor, state: Tensor, logits: Tensor) -> None:
    """Read a symbol per row, all in place.

    Args:
        network: is not in training.
        ids: (B,).
        state: parts of the layers' states (L, S, B, H), before; becomes the one after.
        logits: becomes the logits (B, V) of the next symbol.
    """
    found, after = network(ids[None], tuple(tuple(layer) for layer in state))
    logits.copy_(found[0])
    state.copy_(torch.stack([torch.stack(layer) for layer in after]))


def captured(run: Callable[[], None]) -> Callable[[], None]:  # only on CUDA
    """What asks the device for the same work again, at the same addresses, in one call.

    As torch's notes on CUDA graphs have it: after a warm-up on the stream of the capture, with
    nothing in it that waits for the device. What `run` allocates comes from the graph's own pool.
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


class _Both:
    """A tensor on the device and its double on the host, in memory that the device reaches."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.tensor = torch.zeros(shape, dtype=dtype, device=device)
        self._host = torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")
        self.array: NDArray[Any] = self._host.numpy()

    def send(self) -> None:
        """Host to device; what is asked of the device afterwards finds it there."""
        self.tensor.copy_(self._host, non_blocking=True)

    def fetch(self) -> None:
        """Device to host; it is there when the device was waited for."""
        self._host.copy_(self.tensor, non_blocking=True)
        if self.tensor.is_cuda:  # only on CUDA
            torch.cuda.current_stream().synchronize()


class _Rows:
    """The step of so many rows, and what it reads and writes."""

    def __init__(self, network: CharRNN, rows: int) -> None:
        config, device = network.config, network.device
        dtype = network.weights()["output.bias"].dtype
        parts = (config.num_layers, len(network.cell.states))
        self.ids = _Both((rows,), torch.int64, device)
        self.state = _Both((*parts, rows, config.hidden_size), dtype, device)
        self.logits = _Both((rows, config.vocab_size), dtype, device)
        given = (self.ids.tensor, self.state.tensor, self.logits.tensor)
        self.run: Callable[[], None] = lambda: step(network, *given)
        if device.type == "cuda":  # only on CUDA
            self.run = captured(self.run)

    def load(self, state: State) -> None:
        """Put a state into the first rows."""
        for layer, given in zip(self.state.array, state, strict=True):
            for part, values in zip(layer, given, strict=True):
                part[: len(values)] = values
        self.state.send()

    def stored(self, batch: int) -> State:
        """A copy of the first rows' state."""
        self.state.fetch()
        return tuple(tuple(part[:batch].copy() for part in layer) for layer in self.state.array)

    def read(self, ids: Ids) -> Floats:
        """Ids (B,) -> the logits (B, V) of the next symbols; they are overwritten by the next."""
        self.ids.array[: len(ids)] = ids
        self.ids.send()
        self.run()
        self.logits.fetch()
        return self.logits.array[: len(ids)]

    def skim(self, ids: Ids) -> None:
        """Read ids (T, B), for the state alone: without waiting for any of the steps."""
        window = np.zeros((len(ids), len(self.ids.array)), np.int64)
        window[:, : ids.shape[1]] = ids
        for row in torch.from_numpy(window).to(self.ids.tensor.device):
            self.ids.tensor.copy_(row)
            self.run()


class TorchEngine(NumpyEngine):
    """The same network as the numpy engine's, its steps run by torch on a device.

    On the CPU this is the same code with the capture left out, to be tested; `Engine` is faster.
    """

    compiles = True

    def __init__(self, config: ModelConfig, values: Parameters, device: torch.device) -> None:
        super().__init__(config, values)
        self._device = -1 if device.index is None else device.index  # -1: the current one
        self._network = CharRNN(config, values).requires_grad_(False).eval().to(device)
        self._rows: dict[int, _Rows] = {}

    @contextlib.contextmanager
    def _of(self, batch: int) -> Iterator[_Rows]:
        """What runs so many rows."""
        count = 1 << max(batch - 1, 0).bit_length()
        try:
            with torch.inference_mode(), torch.cuda.device(self._device):
                if count not in self._rows:
                    self._rows[count] = _Rows(self._network, count)
                yield self._rows[count]
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read one symbol per row: ids (B,) -> logits (B, V) of the next one, and the state."""
        logits, state = self.read(ids[None], state)
        return logits[0], state

    def read(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """Read a window: ids (T, B) -> logits (T, B, V), and the state after it."""
        logits = np.empty((*ids.shape, self.config.vocab_size), self._dtype)
        with self._of(ids.shape[1]) as rows:
            rows.load(state)
            for t, symbols in enumerate(ids):
                logits[t] = rows.read(symbols)
            return logits, rows.stored(ids.shape[1])

    def advance(self, ids: Ids, state: State) -> State:
        """Read a window (T, B) for the state after it alone."""
        with self._of(ids.shape[1]) as rows:
            rows.load(state)
            rows.skim(ids)
            return rows.stored(ids.shape[1])

    def write(
        self, logits: Floats, state: State, chooser: Chooser, count: int
    ) -> tuple[Floats, State]:
        """As `NumpyEngine.write`; the choice is compiled, the state stays on the device."""
        batch, symbols = logits.shape
        ids = np.zeros((1, batch), np.int64)
        with self._of(batch) as rows:
            rows.load(state)
            found = rows.logits.array[:batch]
            found[:] = logits
            for _ in range(count):
                call = Call(*chooser.compiled(found.ctypes.data, found.strides[0], symbols, 1))
                Program([call], [call]).run(ids, 1)
                rows.read(ids[0])
            return found.copy(), rows.stored(batch)
