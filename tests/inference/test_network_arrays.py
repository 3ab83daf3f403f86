from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from charrnn.config import ModelConfig
from charrnn.inference.network_arrays import NetworkArrays, multiply
from charrnn.model import parameters

THREADS = (1, 2, 3)


def _blas_threads() -> list[int]:
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


def test_products_do_not_depend_on_the_number_of_threads() -> None:
    chance = np.random.default_rng(1)
    x = chance.normal(size=(66, 64)).astype(np.float32)
    weight = chance.normal(size=(960, 64)).astype(np.float32)
    found = set()
    for threads in THREADS:
        with threadpool_limits(threads, "blas"):
            before = _blas_threads()
            product = multiply(x, weight.T)
            assert _blas_threads() == before
        found.add(product.tobytes())
    np.testing.assert_allclose(product, x.astype(np.float64) @ weight.T, atol=1e-4)
    assert len(found) == 1


@pytest.mark.parametrize("more", [{}, {"skip_connections": True, "tied_output": True}])
def test_nor_do_tables(more: dict[str, bool]) -> None:
    config = ModelConfig(
        vocab_size=300,
        hidden_size=160,
        num_layers=2,
        embedding_size=64,
        cell="lstm-coupled",
        **more,
    )
    values = parameters.initial(config, 1)
    found = set()
    for threads in THREADS:
        with threadpool_limits(threads, "blas"):
            arrays = NetworkArrays.of(config, values)
        found.add(arrays.table.tobytes() + arrays.output_weight.tobytes())
    assert len(found) == 1
