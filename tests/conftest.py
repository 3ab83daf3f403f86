"""What the tests share: one thread, repeatable hypothesis, tiny texts, models and toy networks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from charrnn import parameters
from charrnn.checkpoint import Model
from charrnn.config import ModelConfig
from charrnn.tokenizer import CharTokenizer

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests prepare stays out of the user's cache; commands that they run do the same."""
    before = os.environ.get("CHARRNN_DATASETS")
    os.environ["CHARRNN_DATASETS"] = str(tmp_path_factory.mktemp("datasets"))
    yield
    os.environ.pop("CHARRNN_DATASETS")
    if before is not None:
        os.environ["CHARRNN_DATASETS"] = before


hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def tiny_text() -> str:
    """A few lines with a small alphabet, one symbol of which takes two bytes."""
    return "the cat is home.\nthe café is near the sea.\n" * 12


def random_values(config: ModelConfig, seed: int, scale: float) -> dict[str, NDArray[Any]]:
    """Normal weights everywhere, in biases too: nothing is zero, so nothing can hide."""
    rng = np.random.default_rng(seed)
    return {
        name: (scale * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in parameters.shapes(config).items()
    }


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "skip_connections": {"skip_connections": True},
    "input_depth": {"input_depth": 3},
    "recurrent_depth": {"recurrent_depth": 2},
    "output_depth": {"output_depth": 2},
    "learned_start": {"learned_start": True},
    "layer_norm": {"layer_norm": True},
    "zoneout": {"zoneout": 0.3, "zoneout_cell": 0.15},
    "zoneout_cell": {"zoneout_cell": 0.5},
}
FORMS["all"] = {name: value for form in FORMS.values() for name, value in form.items()}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Every form of a network in turn, as keywords of `ModelConfig`: none, each alone, all."""
    return FORMS[request.param]


@pytest.fixture
def make_values() -> Callable[..., dict[str, NDArray[Any]]]:
    """`make_values(config, seed=0, scale=0.5)`: random float32 parameters of an architecture."""

    def make(config: ModelConfig, seed: int = 0, scale: float = 0.5) -> dict[str, NDArray[Any]]:
        return random_values(config, seed, scale)

    return make


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """`make_model("abc", cell=..., seed=...)`: a model that knows these symbols, random weights."""

    def make(symbols: str = "abc", seed: int = 0, scale: float = 0.5, **config: Any) -> Model:
        tokenizer = CharTokenizer.from_texts(symbols)
        architecture = {"hidden_size": 5, "embedding_size": 3, **config}
        made = ModelConfig(tokenizer.vocab_size, **architecture)
        return Model(made, tokenizer, random_values(made, seed, scale), {"steps": 3})

    return make


@pytest.fixture
def tiny_model(make_model: Callable[..., Model]) -> Model:
    """A two-layer LSTM over seven symbols with random weights."""
    return make_model("helo w\n", num_layers=2)


class Chain:
    """A toy network: the next symbol depends on the last two, the older of which is the state.

    The state is one number per row, so rows that are gathered wrongly give wrong logits.
    """

    def __init__(self, probabilities: Any) -> None:
        """`probabilities[older][last]` is the distribution (V,) of the next symbol."""
        with np.errstate(divide="ignore"):
            self.table = np.log(np.asarray(probabilities, np.float64))
        self.batches: list[int] = []

    def begin(self, older: int = 0, last: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
        """Logits (1, V) and the state after reading these two."""
        return self.table[older, last][None], np.array([last])

    def step(
        self, ids: NDArray[np.integer[Any]], state: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        self.batches.append(len(ids))
        return self.table[state, ids], np.array(ids)

    def select(self, state: NDArray[Any], rows: Any) -> NDArray[Any]:
        return state[rows]

    def log_prob(self, ids: tuple[int, ...], older: int = 0, last: int = 0) -> float:
        """Of a text, one symbol after the other."""
        total = 0.0
        for symbol in ids:
            total += float(self.table[older, last, symbol])
            older, last = last, symbol
        return total


@pytest.fixture
def make_chain() -> Callable[..., Chain]:
    """`make_chain(table)`, or `make_chain(V, seed)` with a random table."""

    def make(table: Any, seed: int | None = None) -> Chain:
        if seed is None:
            return Chain(table)
        rng = np.random.default_rng(seed)
        return Chain(rng.dirichlet(np.ones(table), (table, table)))

    return make


@pytest.fixture
def corpora_folder() -> Path:
    """Real texts beside the checkout; tests of them are skipped where they are absent."""
    folder = Path(__file__).parents[2] / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip(f"no real texts in {folder}")
    return folder
