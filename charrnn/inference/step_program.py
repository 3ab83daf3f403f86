"""Builds the calls of one step of a whole network, for rows of a workspace.

    lookup of the token's input part -> for each layer its products and stages -> logits

The workspace has these columns; l is a layer, k a part of the state, n a product:

    l.k.0, l.k.1          the state before and after an even step, and the other way round
    l.r0, r1, ...         results of the products; the first may have to last until the next step
    normal0, ...          the same normalized
    operand0, ...         what meets a matrix, where it is not the output of the layer itself
    x, normalx            the input part, and the same normalized
    later                 what a later stage needs of an earlier one
    map0, map1            inside deeper input and output maps
    own, p                where a cell feeds them back: logits of this network, and probabilities
    logits                of the next token, the mean of all networks
    below                 outputs of the layer below, in an encoder
    mean                  what attention gives, in a decoder

Each network of an ensemble has columns of its own, and adds its part to the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from charrnn.arrays import Floats32
from charrnn.cells import Layer
from charrnn.compiler.processor import WIDTH
from charrnn.config import ModelConfig
from charrnn.inference import instructions
from charrnn.inference.instructions import WAIT, Call
from charrnn.inference.packed_network import PackedNetwork
from charrnn.inference.packing import PackedMatrix
from charrnn.inference.step_codegen import Stage, StepFunctions
from charrnn.inference.workspace import RowLayout, Workspace, own

# Of two steps, the first makes the recurrent products of both, the second none of them.
ALONE, FIRST, SECOND = "alone", "first", "second"


def row_layout(
    form: Layer, network: PackedNetwork, step: StepFunctions, networks: int = 1, **more: int
) -> RowLayout:
    """Return the columns that the steps of this many networks need, and panels for more names."""
    row = RowLayout()
    for number in range(networks):
        for name, blocks, panels in _columns(form, network, step):
            row.add(own(number, name), blocks, panels)
    row.add("logits", 1, network.logit_panels)
    for name, count in more.items():
        row.add(name, 1, count)
    row.finish()
    return row


def _columns(
    form: Layer, network: PackedNetwork, step: StepFunctions
) -> Iterator[tuple[str, int, int]]:
    """Yield the columns of each network: the name, the blocks, the panels of each block."""
    panels, blocks = network.panels, len(form.cell.blocks)
    products = [matrix.blocks for matrix in network.layers[0].matrices]
    for number in range(len(network.layers)):
        for k in range(len(form.cell.states)):
            yield f"{number}.{k}.0", 1, panels
            yield f"{number}.{k}.1", 1, panels
        for count in products[:1]:
            yield f"{number}.r0", count, panels
    for n, count in enumerate(products):
        if n:
            yield f"r{n}", count, panels
        yield f"normal{n}", count, panels
        yield f"operand{n}", 1, panels
    yield "x", blocks, panels
    yield "normalx", blocks, panels
    yield "later", step.later, panels
    yield "map0", 1, panels
    yield "map1", 1, panels
    if form.cell.feeds_back:
        yield "own", 1, network.logit_panels
        yield "p", 1, network.logit_panels


def side_by_side(each: Sequence[list[Call]], threads: int) -> list[Call]:
    """Return the calls of networks of the same architecture for this many threads.

    On several threads, all networks have no more waits than one has. One thread runs them one after
    the other: so what the cache holds of a network is used before that of the next one comes.
    """
    if threads == 1 or len(each) == 1:
        return list(chain.from_iterable(each))
    found: list[Call] = []
    for parts in zip(*map(_between_waits, each), strict=True):
        found += [*chain.from_iterable(parts), WAIT]
    return found[:-1]


def _between_waits(calls: list[Call]) -> list[list[Call]]:
    """Return calls in parts, one more than there are waits."""
    parts: list[list[Call]] = [[]]
    for call in calls:
        if call is WAIT:
            parts.append([])
        else:
            parts[-1].append(call)
    return parts


@dataclass(frozen=True)
class StepProgram:
    """The calls of a step of one network, whose rows begin with `first_row` of the workspace.

    Attributes:
        config: the architecture of the network.
        form: the cell and its form.
        network: the packed weights.
        functions: the compiled functions of the cell's step.
        work: the rows.
        first_row: the row of the first text.
        number: of the network in its ensemble.
        networks: how many it has.
    """

    config: ModelConfig
    form: Layer
    network: PackedNetwork
    functions: StepFunctions
    work: Workspace
    first_row: int = 0
    number: int = 0
    networks: int = 1

    def starting_at(self, row: int) -> StepProgram:
        """Return the same for rows that begin with this one."""
        return replace(self, first_row=row)

    def turns(self) -> list[tuple[str, str, str]]:
        """Return `old`, `new` and `order` of even, odd and last steps; see `step` and `Program`."""
        first, second = (FIRST, SECOND) if self.functions.ahead else (ALONE, ALONE)
        return [("0", "1", first), ("1", "0", second), ("0", "1", ALONE)]

    def step(self, old: str, new: str, order: str, logits: bool) -> list[Call]:
        """Return all calls of a step.

        Args:
            old: the columns of the state before it, "0" or "1".
            new: those of the state after it.
            order: `FIRST`, `SECOND` or `ALONE`.
            logits: whether the logits are made as well.
        """
        calls = []
        for number in range(len(self.network.layers)):
            calls += self.input_part(number, new)
            calls += self.recurrence(number, old, new, order)
        return calls + (self.logits(new) if logits else [])

    def input_part(self, number: int, new: str) -> list[Call]:
        """Return the calls from the token, or the output of the layer below, to the input part."""
        blocks = len(self.form.cell.blocks)
        if self.network.table is not None and number == 0:
            return [self.lookup(self.network.table, "normalx" if self.form.layer_norm else "x")]
        calls, sources = [], self.inputs(number, new)
        steps = self.network.layers[number].inputs
        for depth, step in enumerate(steps):
            last = depth == len(steps) - 1
            out = "x" if last else f"map{depth % 2}"
            start = (step.bias.ctypes.data, 0)
            if step.table is not None:
                calls += self.token_rows(number, step.table, out)
                start = (self.address(out), self.work.stride)
            for source, matrix in zip(sources, step.matrices, strict=True):
                calls.append(self.product(source, matrix, start, out))
                start = (self.address(out), self.work.stride)
            if not last:
                calls += [self._tanh(out), WAIT]
            sources = [out]
        if self.form.layer_norm:
            calls += [WAIT, self._normalize("x", "normalx", blocks)]
        return calls

    def recurrence(self, number: int, old: str, new: str, order: str = ALONE) -> list[Call]:
        """Return the calls from the input part and the old state to the new state of a layer."""
        step, layer = self.functions, self.network.layers[number]
        calls = []
        operand = f"{number}.0.{old}"
        if self.form.cell.feeds_back:
            calls += [WAIT, *self._output([operand], "own"), self._softmax(), WAIT]
            operand = "p"
        if step.operand is not None:
            calls += [self._stage(step.operand, number, old, new), WAIT]
            operand = "operand0"
        for n, (matrix, bias) in enumerate(zip(layer.matrices, layer.biases, strict=True)):
            out = _result(number, n)
            start = (bias.ctypes.data, 0)
            if step.merged[n]:
                start = (self._block("x", step.blocks[n][0]), self.work.stride)
            if n or order != SECOND:
                calls.append(self.product(operand, matrix, start, out))
            if layer.normalized[n]:
                calls += [WAIT, self._normalize(out, f"normal{n}", matrix.blocks)]
            calls += [self._stage(step.stages[n], number, old, new), WAIT]
            operand = f"operand{n + 1}"
        if not layer.matrices:
            calls += [self._stage(step.stages[0], number, old, new), WAIT]
        if order == FIRST:
            start = (layer.biases[0].ctypes.data, 0)
            given = (f"{number}.0.{new}", layer.matrices[0], start, _result(number, 0))
            calls.append(self.product(*given, backwards=True))
        return calls

    def logits(self, new: str) -> list[Call]:
        """Return the calls from the layers' outputs to the logits."""
        return self._output(self.outputs(new))

    # What differs in a decoder or an encoder.

    def inputs(self, number: int, new: str) -> list[str]:
        """Return the names of what a layer reads besides the token."""
        return [f"{number - 1}.0.{new}"] if number else []

    def token_rows(self, number: int, table: Floats32, out: str) -> list[Call]:
        """Return the calls that begin the input of a layer with the rows of the tokens."""
        return [self.lookup(table, out)]

    def outputs(self, new: str) -> list[str]:
        """Return the names of what the logits are made of."""
        layers = len(self.network.layers)
        used = range(layers) if self.config.skip_connections else [layers - 1]
        return [f"{number}.0.{new}" for number in used]

    def _output(self, sources: list[str], logits: str = "logits") -> list[Call]:
        """Return the calls from these outputs to the logits of all networks or, "own", of this one.

        Both are those of this network divided by the number of networks, and the former the sum.
        """
        calls: list[Call] = []
        for depth, step in enumerate(self.network.outputs):
            last = depth == len(self.network.outputs) - 1
            out = logits if last else f"map{depth % 2}"
            start = (step.bias.ctypes.data, 0)
            if out == "logits" and self.number:
                start = (self.address(out), self.work.stride)
            elif out == "logits":
                start = (self.network.start.ctypes.data, 0)
            for source, matrix in zip(sources, step.matrices, strict=True):
                calls.append(self.product(source, matrix, start, out))
                start = (self.address(out), self.work.stride)
            if not last:
                calls += [self._tanh(out), WAIT]
            sources = [out]
        return [*calls, WAIT]

    # Single calls.

    def address(self, name: str) -> int:
        """Return the address of a named value in the first text's row."""
        network = 0 if name == "logits" else self.number
        return self.work.address(own(network, name), self.first_row)

    def _block(self, name: str, block: int) -> int:
        return self.address(name) + 4 * block * self.network.panels * WIDTH

    def product(
        self,
        a: str,
        matrix: PackedMatrix,
        start: tuple[int, int],
        out: str,
        backwards: bool = False,
    ) -> Call:
        """Return the product of a named value and a matrix.

        Args:
            a: the operand.
            matrix: (blocks*H, K).
            start: address of what the sums start from, and its bytes per row (0: same for all).
            out: where the result goes.
            backwards: whether the matrix is read from its end; the result is the same.
        """
        stride = self.work.stride
        given = (
            *(self.address(a), stride, matrix.depth, matrix.values.ctypes.data),
            *(matrix.panels, matrix.blocks, *start, self.address(out), stride),
            *(matrix.scale.ctypes.data, backwards),
        )
        return Call(instructions.product(self.network.weights), given)

    def lookup(self, table: Floats32, out: str) -> Call:
        """Return the lookup of the rows of tokens in a table."""
        panels = self.network.panels
        blocks = table.shape[1] // (panels * WIDTH)
        given = (table.ctypes.data, 4 * table.shape[1], self.address(out), self.work.stride)
        return Call(instructions.lookup.address, (*given, panels, blocks))

    def _tanh(self, name: str) -> Call:
        given = (self.address(name), self.work.stride, self.network.panels)
        return Call(instructions.tanh_rows.address, given)

    def _normalize(self, name: str, out: str, blocks: int) -> Call:
        given = (self.address(name), self.address(out), self.work.stride)
        sizes = (self.network.panels, blocks, self.network.units)
        return Call(instructions.normalize_rows.address, (*given, *sizes))

    def _softmax(self) -> Call:
        given = (self.address("own"), self.address("p"), self.work.stride)
        sizes = (self.config.vocab_size, self.networks)
        return Call(instructions.softmax_rows.address, (*given, *sizes))

    def _stage(self, stage: Stage, number: int, old: str, new: str) -> Call:
        """Return the call of a stage of a layer, with the address of each of its elements."""
        layer = self.network.layers[number]
        given: list[Any] = [self.network.panels]
        for kind, index, block in stage.elements:
            name, k = kind + index, int(block)
            match kind:
                case "v":
                    given += [layer.vectors[k].ctypes.data, 0]
                    continue
                case "zone":
                    given += [self.network.zoneout[int(index)].ctypes.data, 0]
                    continue
                case "state":
                    name = f"{number}.{index}.{old}"
                case "new":
                    name = f"{number}.{index}.{new}"
                case "x" if self.form.layer_norm:
                    name = "normalx"
                case "r" if layer.normalized[int(index)]:
                    name = f"normal{index}"
                case "r":
                    name = _result(number, int(index))
            given += [self._block(name, k), self.work.stride]
        return Call(stage.function.address, tuple(given))


def _result(layer: int, product: int) -> str:
    """Return the columns of a product's result."""
    return f"r{product}" if product else f"{layer}.r0"
