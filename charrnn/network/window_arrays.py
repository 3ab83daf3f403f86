"""The arrays of a compiled window: one table for generated code, allocation and the reader.

All arrays have three dimensions. Sizes: T steps, B rows, H hidden units, G blocks of the cell, n
blocks of one product, S saved values per unit, P threads, A steps ahead. K is the padded width of
an operand, N of a product, W the width of a vector, V tokens; see `charrnn.compiler.matmul`. Names
that end in a number in generated code (w0, w1, ...) have an array for each product or each part of
the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.compiler import processor

# Values of this type are bfloat16 if products are, otherwise float32. Numba has no bfloat16: code
# reads and writes it as the upper half of a float32's bits.
PRODUCT = "product"


@dataclass(frozen=True)
class ArrayKind:
    """What the arrays of one name have in common.

    Attributes:
        name: without its number.
        shape: the three dimensions. Arrays with P of them belong to a thread each; their second
            dimension has room for a thread's rows.
        row: where generated code finds row b: the first two indices; empty for arrays that code
            hands to functions as a whole.
        type: float32, uint8, int64 or PRODUCT.
        meaning: what the array holds.
    """

    name: str
    shape: tuple[str, str, str]
    row: str
    type: str
    meaning: str


def _table(*rows: tuple[str, str, str, str, str]) -> dict[str, ArrayKind]:
    kinds = {}
    for name, shape, row, kind, meaning in rows:
        first, second, third = shape.split(", ")
        kinds[name] = ArrayKind(name, (first, second, third), row, kind, meaning)
    return kinds


F32 = "float32"
ARRAYS = _table(
    # Input.
    ("x", "T, B, G*H", "t, b", F32, "input parts, if they are computed before the window"),
    ("input", "T, B, K", "", PRODUCT, "otherwise the input itself"),
    ("wx", "N/W, K, W", "", PRODUCT, "packed input matrix of a product's stage"),
    ("ids", "T, B, 1", "", "int64", "tokens, by which sums of the input's product start"),
    ("token", "V, 1, N", "", F32, "start of the sums of a product's stage by token"),
    ("rx", "P, B, n*H", "part, b - first", F32, "input part by itself"),
    # Recurrence.
    ("w", "N/W, K, W", "", PRODUCT, "packed matrix of a product; backward, its transpose"),
    ("bias", "1, 1, n*H", "", F32, "start of a product's sums"),
    (
        "r",
        "P, B, n*H",
        "part, b - first",
        F32,
        "product of this step, perhaps with the input part",
    ),
    (
        "ahead",
        "A*P, B, n*H",
        "turn, b - first",
        F32,
        "instead of r: products with the input part, which is computed for A steps at once",
    ),
    ("normal", "T, B, n*H", "t, b", F32, "normalized product"),
    ("scale", "T, B, n", "", F32, "1 / deviation of each block of the product"),
    ("state", "T + 1, B, H", "t, b", F32, "part of the state, read at t and written at t + 1"),
    ("operand", "T, B, K", "t, b", PRODUCT, "operand of a product; operand0 has T + 1 steps"),
    ("saved", "T, B, S*H", "t, b", PRODUCT, "what backward needs"),
    ("y", "T, B, K", "t, b", PRODUCT, "outputs after dropout"),
    ("mask", "1, B, H", "0, b", F32, "of dropout, by which outputs are multiplied at each step"),
    ("v", "1, 1, n*H", "0, 0", F32, "vectors: peepholes, gains and biases"),
    ("zone", "T, B, H", "t, b", F32, "share of a part of the old state that stays"),
    # Derivatives of the loss.
    ("dy", "T, B, H", "t, b", PRODUCT, "by the outputs, from their readers"),
    ("d", "1, B, H", "0, b", F32, "by a part of the state after step t, then before it"),
    ("dm", "P, B, H", "part, b - first", F32, "by an operand; dm0 comes from step t + 1"),
    ("dr", "T, B, K", "t, b", PRODUCT, "by a product; also by its input part if that is the same"),
    ("dx", "T, B, n*H", "t, b", PRODUCT, "by an input part (float32 with layer normalization)"),
    ("dn", "P, B, n*H", "part, b - first", F32, "by a normalized product"),
    ("dv", "P, 1, n*H", "part, 0", F32, "by the vectors, summed over a thread's rows"),
    # Others.
    ("zero", "1, 1, N", "", F32, "start of sums that start from nothing"),
    ("tiles", "P, 2, 64", "", "uint8", "configuration of tiles, see `processor.tiles_config`"),
)
_SIZES = {"uint8": 1, "uint16": 2, "float32": 4, "int64": 8}  # bytes of an element
# Elements of generated code that are the next step's in an array: its name, and where row b is.
NEXT = {"new": ("state", "t + 1, b"), "next": ("operand", "t + 1, b")}


def array_of(element: str) -> str:
    """Return the kind of array that an element of generated code (``new``) belongs to."""
    return NEXT[element][0] if element in NEXT else element


def row_of(element: str) -> str:
    """Return the first two indices of row b in the array of an element of generated code."""
    return NEXT[element][1] if element in NEXT else ARRAYS[element].row


def numpy_type(name: str, bf16: bool, layer_norm: bool) -> str:
    """Return the name of the numpy type with which generated code reads a kind of array."""
    kind = ARRAYS[name].type
    if kind != PRODUCT:
        return kind
    return "uint16" if bf16 and not (name == "dx" and layer_norm) else "float32"


@dataclass(frozen=True)
class Allocator:
    """Makes the arrays of a window.

    Attributes:
        steps: T.
        batch: B.
        threads: P.
        product: the kind of products, see `charrnn.compiler.matmul`.
        layer_norm: whether products are normalized.
    """

    steps: int
    batch: int
    threads: int
    product: str
    layer_norm: bool

    def make(self, name: str, width: int, more_steps: int = 0, at_once: int = 1) -> Tensor:
        """Return an uninitialized array of a kind, with `width` used values per row.

        `more_steps` adds steps to those of the table; `at_once` is the table's A.
        """
        first, _, last = ARRAYS[name].shape
        bf16 = numpy_type(name, self.product != "float32", self.layer_norm) == "uint16"
        dtype = torch.bfloat16 if bf16 else torch.float32
        if first.endswith("P"):
            rows = processor.padded_rows(-(-self.batch // self.threads))
            count = self.threads * (1 if first == "P" else at_once)
            return torch.empty(count, rows, processor.padded_columns(width))
        steps = {"1": 1, "T": self.steps, "T + 1": self.steps + 1}[first] + more_steps
        if last == "K":
            return self._operand(steps, width, dtype)
        return torch.empty(steps, self.batch, width, dtype=dtype)

    def input(self, x: Tensor) -> Tensor:
        """Return the array (T, B, K) of an input (T, B, X): the input itself if it is like one."""
        steps, batch, width = x.shape
        depth = processor.padded_depth(width, self.product)
        across, along, each = x.stride()
        end = x.storage_offset() + (steps * batch + processor.ROW_GROUP - 1) * along + width
        if (
            numpy_type("input", self.product != "float32", self.layer_norm) == "uint16"
            and x.dtype == torch.bfloat16
            and (across, each) == (batch * along, 1)
            and depth == width
            and end * x.itemsize <= x.untyped_storage().nbytes()
        ):
            return x
        array = self.make("input", width)
        array[:, :, :width] = x
        return array

    def _operand(self, steps: int, width: int, dtype: torch.dtype) -> Tensor:
        """Return an array (T, B, K) with zeros in the padding of K.

        Products read rows in groups: there is space for one more group after the last row.
        """
        depth = processor.padded_depth(width, self.product)
        make = torch.empty if depth == width else torch.zeros
        count = steps * self.batch * depth
        space = make(count + processor.ROW_GROUP * depth, dtype=dtype)
        return space[:count].view(steps, self.batch, depth)


def start_row(width: int, *parts: Tensor | None) -> Tensor:
    """Return the start of a product's sums (1, 1, N): the sum of these vectors, or zero."""
    start = torch.zeros(1, 1, processor.padded_columns(width))
    for part in parts:
        if part is not None:
            start[0, 0, :width] += part
    return start


def numbered(name: str, tensors: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """Return tensors by the names that generated code has for them; it does not use None."""
    return {f"{name}{n}": tensor for n, tensor in enumerate(tensors) if tensor is not None}


def with_rows(tensor: Tensor) -> Tensor:
    """Return a tensor (T, B, H) whose rows all have the same distance; a copy only if need be.

    A part of the columns of a wider tensor is such a one.
    """
    _, batch, width = tensor.shape
    across, along, each = tensor.stride()
    fits = each == 1 and along >= width and across == batch * along
    return tensor if fits else tensor.contiguous()


def place(name: str, tensor: Tensor, kind: str) -> tuple[int, int, int, int]:
    """Return where a tensor is, as compiled code reads it.

    Returns:
        the address, the first two dimensions, and the number of elements from row to row.

    Raises:
        TypeError: its elements are not as large as those of this numpy type.
    """
    if tensor.itemsize != _SIZES[kind]:
        raise TypeError(f"compiled code reads {name} as {kind}, but it is {tensor.dtype}")
    first, second, _ = tensor.shape
    return tensor.data_ptr(), first, second, tensor.stride(1)
