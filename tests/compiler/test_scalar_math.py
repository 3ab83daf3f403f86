"""The functions of compiled code, compiled and with the compiler switched off."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
import torch
from numba import carray, njit

from charrnn.cells import CELLS, Layer
from charrnn.compiler import processor, scalar_math, window_math
from charrnn.text.streams import IGNORED

EDGES = [0.0, -0.0, 1e-30, -1e-30, 8.999, 9.0, 9.001, -9.5, 80.0, -80.0, np.inf, -np.inf, np.nan]
OWN_CELLS = sorted((Path(__file__).parents[1] / "own_cells").glob("[a-z]*.py"))
NUMBERS = np.array([*np.linspace(-12, 12, 4001), *EDGES], np.float32)


def over(function: Any) -> Any:
    """`function` of every number, in compiled code."""

    @njit
    def run(numbers: Any) -> Any:
        return np.array([function(number) for number in numbers])

    return run(NUMBERS)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("tanh", np.tanh),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("relu", lambda x: np.where(np.isnan(x), x, np.maximum(x, 0))),
        ("positive", lambda x: (x > 0).astype(np.float64)),
        ("sign", lambda x: np.nan_to_num(np.sign(x))),
    ],
)
def test_nonlinear_functions(name: str, exact: Any) -> None:
    with np.errstate(over="ignore"):
        wanted = exact(NUMBERS.astype(np.float64))
    np.testing.assert_allclose(over(getattr(scalar_math, name)), wanted, rtol=0, atol=5e-7)


@pytest.mark.parametrize(
    ("name", "exact"), [("tanh", np.tanh), ("sigmoid", lambda x: 1 / (1 + np.exp(-x)))]
)
def test_functions_of_windows(name: str, exact: Any) -> None:
    """In vectors of any width, and in the numbers that are left over."""
    function = getattr(window_math, name)

    @njit(fastmath=scalar_math.OPTIONS["fastmath"], error_model="numpy")
    def run(numbers: Any, found: Any) -> None:
        window_math.use_wide_vectors()
        for i in range(len(numbers)):
            found[i] = function(numbers[i])

    found = np.empty_like(NUMBERS)
    run(NUMBERS, found)
    with np.errstate(over="ignore"):
        wanted = exact(NUMBERS.astype(np.float64))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_windows_round_to_the_nearest_bf16() -> None:
    rng = np.random.default_rng(0)
    edges = [0, -0.0, np.inf, -np.inf, 1.00390625, 1.01171875, 3.3961e38, 1.2e-38]
    numbers = np.array([*edges, *rng.standard_normal(1001) * 10.0 ** rng.integers(-30, 30, 1001)])

    @njit
    def run(numbers: Any, found: Any) -> None:
        for i in range(len(numbers)):
            found[i] = window_math.to_bf16(numbers[i])

    given = numbers.astype(np.float32)
    found = np.empty(len(given), np.uint16)
    run(given, found)
    wanted = torch.from_numpy(given).to(torch.bfloat16)
    assert found.tolist() == wanted.view(torch.uint16).tolist()
    run(np.full_like(given, np.nan), found)
    assert (found & 0x7FFF > 0x7F80).all()  # still not a number


def test_the_exponential_of_equations() -> None:
    numbers = np.array([*np.linspace(-90, 90, 9001), 88.7, 88.72, 88.73, *EDGES], np.float32)

    @njit
    def run(numbers: Any) -> Any:
        return np.array([scalar_math.exponential(number) for number in numbers])

    with np.errstate(over="ignore", under="ignore"):
        wanted = np.exp(numbers.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(run(numbers), wanted, rtol=3e-6, atol=1.2e-38)
    assert run(np.array([-np.inf, -200], np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "exact"),
    [("maximum", np.maximum), ("larger", lambda a, b: (a > b) + (a == b) / 2)],
)
def test_functions_of_two_numbers(name: str, exact: Any) -> None:
    function = getattr(scalar_math, name)

    @njit
    def run(a: Any, b: Any) -> Any:
        return np.array([function(x, y) for x in a for y in b])

    numbers = np.array(EDGES, np.float32)
    a, b = np.meshgrid(numbers, numbers, indexing="ij")
    np.testing.assert_array_equal(run(numbers, numbers), exact(a, b).ravel())


def test_bf16_to_float32_and_back_is_exact() -> None:
    bits = np.arange(2**16, dtype=np.uint16)

    @njit
    def there_and_back(bits: Any) -> Any:
        return np.array([scalar_math.to_bf16(scalar_math.from_bf16(number)) for number in bits])

    is_number = (bits & 0x7F80 != 0x7F80) | (bits & 0x7F == 0)
    found = there_and_back(bits)
    np.testing.assert_array_equal(found[is_number], bits[is_number])
    assert (found[~is_number] & 0x7F != 0).all()  # still not a number


def test_larger_numbers_have_larger_integers() -> None:
    numbers = np.sort(np.array([*NUMBERS, 3e38, -3e38, 1e-45, -1e-45], np.float32))

    @njit
    def orders(numbers: Any) -> Any:
        return np.array([scalar_math.to_order(number) for number in numbers])

    @njit
    def back(orders: Any) -> Any:
        return np.array([scalar_math.from_order(np.uint32(order)) for order in orders])

    found = orders(numbers).astype(np.int64)
    assert (np.diff(found)[np.diff(numbers) > 0] > 0).all()
    np.testing.assert_array_equal(back(orders(numbers)).view(np.uint32), numbers.view(np.uint32))


def test_take_counts_across_threads() -> None:
    @njit
    def count(address: Any, times: Any) -> Any:
        return [scalar_math.take(address) for _ in range(times)]

    numbers = np.array([7, 40, 7], np.int64)
    assert list(count(numbers.ctypes.data + 8, 3)) == [40, 41, 42]
    assert numbers.tolist() == [7, 43, 7]


def test_an_address_can_be_read_and_written() -> None:
    @njit
    def double(address: Any) -> None:
        numbers = carray(scalar_math.pointer(address), (3,), np.float32)
        numbers *= 2

    numbers = np.array([1, 2, 3, 4], np.float32)
    double(numbers.ctypes.data + 4)
    assert numbers.tolist() == [1, 4, 6, 8]


class WithoutCompiler:
    """Stand-ins for what only a compiler can do: addresses, and instructions of the processor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from charrnn.compiler import matmul, matmul_blocks
        from charrnn.network import fused_codegen, fused_loss, openmp, panels

        self.functions: list[Any] = []
        monkeypatch.setattr(scalar_math, "pointer", lambda address: ctypes.c_void_p(int(address)))
        monkeypatch.setattr(scalar_math, "take", self.take)
        monkeypatch.setattr(numba, "cfunc", self.cfunc)
        monkeypatch.setattr(openmp, "run", self.run)
        for module in (matmul, matmul_blocks):
            monkeypatch.setattr(module, "vector_block", self.block)
        monkeypatch.setattr(matmul_blocks, "pairing_block", self.pairing)
        monkeypatch.setattr(matmul_blocks, "rounding_block", self.rounding)
        monkeypatch.setattr(matmul_blocks, "tile_block", self.tiles_in_panels)
        for kind, bf16 in (("float32", False), ("dots", True)):
            product = matmul._vector_product(bf16)  # plain Python, of plain blocks
            monkeypatch.setattr(matmul, f"multiply_{kind}", product)
        monkeypatch.setattr(matmul, "_one_tile", self.block(16, 2, "tiles"))
        monkeypatch.setattr(matmul, "_two_tiles", self.block(32, 2, "tiles"))
        monkeypatch.setattr(matmul, "_load_config", lambda address: None)
        monkeypatch.setattr(matmul, "_store_config", lambda address: None)
        fused_codegen.compiled_layer.cache_clear()
        fused_codegen._written.cache_clear()
        for function in (panels.PACK, *fused_loss.FUNCTIONS.values()):
            monkeypatch.setattr(function, "_address", None)
        made = ("row_products", "panels", "cross_entropy")  # of the blocks above, as windows
        made = ("charrnn_rows_", *(f"charrnn.compiler.{name}" for name in made))
        for name in [name for name in sys.modules if name.startswith(made)]:
            del sys.modules[name]

    @staticmethod
    def at(address: Any, count: int, kind: Any) -> Any:
        """Return this many numbers from memory."""
        size = count * np.dtype(kind).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(int(address)), kind)

    def take(self, address: Any) -> int:
        number = self.at(address, 1, np.int64)
        number += 1
        return int(number[0]) - 1

    def cfunc(self, *_: Any, **__: Any) -> Any:
        def made(function: Any) -> Any:
            self.functions.append(function)
            return SimpleNamespace(address=len(self.functions) - 1)

        return made

    def run(self, address: int, data: int, threads: int) -> None:
        self.functions[address](ctypes.c_void_p(data))

    def bf16(self, address: Any, count: int) -> Any:
        """Return this many bfloat16 from memory, as float32."""
        return (self.at(address, count, np.uint16).astype(np.uint32) << 16).view(np.float32)

    def pairing(self, width: int, *, added: bool, turned: bool = False) -> Any:
        """Pairs of adjacent rows, and their sums, as `matmul_blocks.pairing_block` has them."""

        def block(rows: int, row: int, out: int, sums: int) -> None:
            given = [self.at(rows + n * row, width, np.uint16) for n in range(32)]
            pairs = np.stack(given).reshape(16, 2, width).transpose(0, 2, 1)
            found = self.at(out, 32 * width, np.uint16)
            found[:] = (pairs.transpose(1, 0, 2) if turned else pairs).ravel()
            if added:
                total = self.at(sums, width, np.float32)
                total += np.sum([self.bf16(rows + n * row, width) for n in range(32)], axis=0)

        return block

    def rounding(self, *, turned: bool) -> Any:
        """Pairs of a square of a panel, as `matmul_blocks.rounding_block` has them."""
        width = processor.WIDTH

        def block(rows: int, row: int, out: int) -> None:
            shape = (width, 2 * width) if turned else (2 * width, width)
            given = np.stack(
                [self.at(rows + n * row, shape[1], np.float32) for n in range(shape[0])]
            )
            whole = given if turned else given.T
            pairs = [[scalar_math.to_bf16(number) for number in numbers] for numbers in whole]
            found = self.at(out, 2 * width * width, np.uint16)
            found[:] = np.reshape(pairs, (width, width, 2)).transpose(1, 0, 2).ravel()

        return block

    def tiles_in_panels(self, count: int, *, in_panels: bool) -> Any:
        """Some tiles times two panels, as `matmul_blocks.tile_block` documents it."""
        assert in_panels
        multiply = self.block(16 * count, 2, "tiles")

        def block(a: int, a_panel: int, b: int, b_panel: int, *more: int) -> None:
            steps = more[-1]
            panels = [self.at(a + i * a_panel, steps * 512, np.uint16) for i in range(count)]
            rows = np.concatenate(
                [
                    panel.reshape(steps, 16, 32).transpose(1, 0, 2).reshape(16, -1)
                    for panel in panels
                ]
            )
            multiply(rows.ctypes.data, rows.strides[0], b, b_panel, *more)

        return block

    def block(self, count: int, panels: int, kind: str, step: int = 4) -> Any:
        """Some rows times some panels, as `matmul_blocks.vector_block` documents it."""

        bf16 = kind != "float32"

        def read(address: Any, numbers: int) -> Any:
            return self.bf16(address, numbers) if bf16 else self.at(address, numbers, np.float32)

        def block(a: int, a_row: int, b: int, panel: int, *more: int) -> None:
            init, init_row, out, out_row, k = more[:5]
            pair = 2 if bf16 else 1
            steps = k * 16 if count >= 16 else k  # of tiles 16 pairs at once
            for i in range(count):
                size = 4 // pair  # bytes of a number
                row = read(a + i * a_row, (steps - 1) * step // size + pair)
                row = np.lib.stride_tricks.sliding_window_view(row, pair)[:: step // size]
                for j in range(panels):
                    shape = (steps, processor.WIDTH, pair)
                    values = read(b + j * panel, math.prod(shape)).reshape(shape)
                    begin, found = (
                        self.at(start + 4 * processor.WIDTH * j, processor.WIDTH, np.float32)
                        for start in (init + i * init_row, out + i * out_row)
                    )
                    # The spare rows of a tile hold whatever was in memory, which nothing reads.
                    with np.errstate(invalid="ignore", over="ignore"):
                        found[:] = begin + np.einsum("kp,kwp->w", row, values)

        return block


def without_compiler() -> None:
    """Every cell's written functions run as plain Python, with products of all kinds."""
    import torch

    from charrnn.cells import find
    from charrnn.compiler import matmul
    from charrnn.compiler.cell_file import use
    from charrnn.network import fused, fused_loss, layers, weight_gradients

    assert not hasattr(scalar_math.tanh, "py_func")  # the compiler is really off
    assert scalar_math.relu(np.float32(-1)) == 0
    assert scalar_math.positive(np.float32(2)) == 1

    def check(layer: Layer, *, batch: int, zoned: bool = False) -> None:
        torch.manual_seed(0)
        weights = {name: torch.randn(shape) / 2 for name, shape in layer.shapes(3, 4).items()}
        for weight in weights.values():
            weight.requires_grad_()
        state = tuple(torch.randn(batch, 4) for _ in layer.cell.states)
        zone = tuple(torch.rand(2, batch, 4) for _ in state) if zoned else ()
        x = torch.randn(2, batch, 3)
        outcomes = []
        for run in (
            layers.reference,
            partial(fused.sequence, bf16=processor.product_kind(True) != "float32"),
        ):
            y, _ = run(layer, x, state, weights, zone=zone)
            outcomes.append([y, *torch.autograd.grad((y**2).sum(), list(weights.values()))])
        near = 1e-4 if processor.product_kind(True) == "float32" else 0.1
        for wanted, found in zip(*outcomes, strict=True):
            difference, size = (wanted - found).norm(), max(wanted.norm(), wanted.numel() ** 0.5)
            assert difference <= near * size, (layer.cell.name, processor.product_kind(True))

    def check_loss() -> None:
        read = torch.randn(37, 5).to(torch.bfloat16)
        weight, bias, targets = torch.randn(7, 5), torch.randn(7), torch.arange(37) % 7
        targets[::3] = IGNORED
        mean, by_read, *_ = fused_loss.mean_nats(read, targets, weight, bias, 2**20)
        exact = [part.float().requires_grad_() for part in (read, weight.to(torch.bfloat16))]
        wanted = torch.nn.functional.cross_entropy(exact[0] @ exact[1].T + bias, targets)
        assert abs(mean - wanted) <= 1e-6
        right = torch.autograd.grad(wanted, exact)[0]
        assert (by_read - right).norm() <= 5e-3 * right.norm()

    for kind, width, together in (
        ("float32", 16, (12, 4, 1)),
        ("float32", 4, (6, 2, 1)),
        ("dots", 8, (6, 2, 1)),
        ("tiles", 16, (12, 4, 1)),
    ):
        with pytest.MonkeyPatch.context() as monkeypatch:
            for module in (matmul, processor):
                monkeypatch.setattr(module, "WIDTH", width)
            monkeypatch.setattr(matmul, "_ROWS", together)
            monkeypatch.setattr(weight_gradients, "SPARE", 2 * processor.PAIRED * width)
            monkeypatch.setattr(fused_loss, "_COLUMNS", 6 * width)
            monkeypatch.setattr(processor, "product_kind", lambda bf16, kind=kind: kind)
            WithoutCompiler(monkeypatch)
            for cell in [*CELLS.values(), *(find(use(path)) for path in OWN_CELLS)]:
                if not cell.feeds_back:
                    check(Layer(cell), batch=2)
            check(Layer(CELLS["gru"], recurrent_depth=2, layer_norm=True), batch=2, zoned=True)
            check(Layer(CELLS["elman"]), batch=19)
            if kind != "float32":
                check_loss()


def test_the_same_without_the_compiler(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "XDG_CACHE_HOME": str(tmp_path)}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", __file__],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    without_compiler()
