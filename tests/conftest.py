"""Shared by all tests: one thread, repeatable hypothesis, tiny texts, models and toy networks."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import hypothesis
import numba.core.compiler
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import charrnn
from charrnn.arrays import Floats64, Integers
from charrnn.compiler import background
from charrnn.config import ModelConfig, SampleConfig
from charrnn.decoding import sampler
from charrnn.decoding.filters import FIELDS
from charrnn.decoding.sampler import Sampler, generator
from charrnn.decoding.step import ENDED, OVER
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.storage.cache_dir import CacheWarning, _substitute, cache_dir, writable
from charrnn.text.tokenizer import CharTokenizer

# A shell starts what it runs in the background so that Ctrl-C does not reach it, nor its children.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Let each test begin with one thread: numba's parallel code, too, changes torch's number."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _compiled_alone() -> Iterator[None]:
    """Let each process compile what it needs: tests already run side by side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "share", lambda functions: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the datasets of tests, and of commands that they run, out of the user's cache."""
    before = os.environ.get("CHARRNN_DATASETS")
    os.environ["CHARRNN_DATASETS"] = str(tmp_path_factory.mktemp("datasets"))
    yield
    os.environ.pop("CHARRNN_DATASETS")
    if before is not None:
        os.environ["CHARRNN_DATASETS"] = before


ROOM = 4 << 30  # bytes, of which tests need a tenth; but then there is memory for the tests, too

# The same few examples in every run; in the long form many, and others each time.
hypothesis.settings.register_profile(
    "few", max_examples=30, derandomize=True, deadline=None, database=None
)
hypothesis.settings.register_profile("many", max_examples=1000, deadline=None, database=None)


def _untraced(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without coverage tracing, which would take half as long again."""

    def compile_extra(*given: Any, **named: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return compile_(*given, **named)
        finally:
            sys.settrace(tracer)

    return compile_extra


numba.core.compiler.compile_extra = _untraced(numba.core.compiler.compile_extra)
_tracer: Any = None  # of coverage
_ran: Counter[str] = Counter()  # how many tests of each function


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop() -> Iterator[object]:
    """Let coverage trace tests and fixtures alone: all else in Python would be slower, too."""
    global _tracer
    _tracer = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(_tracer)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Iterator[object]:
    before = sys.gettrace()
    sys.settrace(_tracer)
    try:
        return (yield)
    finally:
        sys.settrace(before)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[object]:
    """Trace the first, second, fourth, eighth, ... of the tests that are one function.

    Most of the others run the same lines with other numbers.
    """
    name = pyfuncitem.nodeid.split("[")[0]
    _ran[name] += 1
    sys.settrace(_tracer if _ran[name].bit_count() == 1 else None)
    try:
        return (yield)
    finally:
        sys.settrace(None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the long form of tests that repeat")


def pytest_configure(config: pytest.Config) -> None:
    # Programs that tests start run this tree, even where another one is installed.
    source, before = str(Path(charrnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, before]))
    _have_a_cache()
    _write_to_memory()
    hypothesis.settings.load_profile("many" if config.getoption("soak") else "few")


def _have_a_cache() -> None:
    """Name a folder for caches where the user has none, of which every command would speak."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", CacheWarning)
        folder = writable(cache_dir("kernels")).parent
    if seen:
        os.environ["XDG_CACHE_HOME"] = str(folder)
        _substitute.cache_clear()


def _write_to_memory() -> None:
    """Let tests write their files to memory, if there is room: trainings wait long for a disk."""
    memory = Path("/dev/shm")  # of Linux
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        return
    space = os.statvfs(memory)
    if space.f_bavail * space.f_frsize >= ROOM and not space.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the long form tries, and what this machine has no device for."""
    left_out = [] if config.getoption("soak") else ["soak"]
    left_out += [] if torch.cuda.is_available() else ["cuda"]
    items[:] = [item for item in items if not any(map(item.get_closest_marker, left_out))]


def pytest_collection_finish() -> None:
    """Let the garbage collector look no more at what stays until the end, all tests among it."""
    gc.freeze()


@pytest.fixture(scope="session")
def times(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """Return `times(20, 500)`, the number of trials: the second number in the long form."""
    return lambda few, many: many if pytestconfig.getoption("soak") else few


@pytest.fixture
def report_trials(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Return `report_trials("SIGKILL", 500)`, for the table of `tests/soak.py`."""
    return record_property


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hundredth of a second pass at each look at the clock, and no time in between."""
    looks = count(100_000)
    monkeypatch.setattr(time, "perf_counter", lambda: next(looks) / 100)


@pytest.fixture
def tiny_text() -> str:
    """Return lines over a small alphabet, one character of which takes two bytes."""
    return "the cat is home.\nthe café is near the sea.\n" * 12


def random_values(config: ModelConfig, seed: int, scale: float) -> dict[str, NDArray[Any]]:
    """Return normal weights and biases: none is zero, so no mistake can hide."""
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
    """Return each form of a network in turn, as keywords of `ModelConfig`: none, each, all."""
    return FORMS[request.param]


def covering(cells: Iterable[Any]) -> list[Any]:
    """Return a test's values for `cell` and the fixture `form`: all pairs in the long form.

    Otherwise each cell plain and with all at once, and each form alone with every fourth cell.
    A cell may be a `pytest.param`, whose id tests get.
    """
    named = [(cell, cell) if isinstance(cell, str) else (*cell.values, cell.id) for cell in cells]
    return [
        pytest.param(
            cell,
            form,
            marks=[] if form in ("plain", "all") or (a + b) % 4 == 0 else [pytest.mark.soak],
            id=f"{name}-{form}",
        )
        for a, (cell, name) in enumerate(named)
        for b, form in enumerate(FORMS)
    ]


@pytest.fixture
def make_values() -> Callable[..., dict[str, NDArray[Any]]]:
    """Return `make_values(config, seed=0, scale=0.5)`: random float32 parameters."""

    def make(config: ModelConfig, seed: int = 0, scale: float = 0.5) -> dict[str, NDArray[Any]]:
        return random_values(config, seed, scale)

    return make


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """Return `make_model("abc", cell=..., seed=...)`: a random model with this vocabulary."""

    def make(symbols: str = "abc", seed: int = 0, scale: float = 0.5, **config: Any) -> Model:
        tokenizer = CharTokenizer.from_texts(symbols)
        architecture = {"hidden_size": 5, "embedding_size": 3, **config}
        made = ModelConfig(tokenizer.vocab_size, **architecture)
        return Model(made, tokenizer, random_values(made, seed, scale), {"steps": 3})

    return make


@pytest.fixture
def make_pair_model() -> Callable[..., Model]:
    """Return `make_pair_model("abc", context=..., seed=...)`: a random model of pairs."""

    def make(symbols: str = "abc", seed: int = 10, scale: float = 1.2, **config: Any) -> Model:
        tokenizer = CharTokenizer.from_texts(symbols)
        form = {"encoder": "bidirectional", "context": "attention", "num_layers": 2}
        architecture = {"hidden_size": 6, "embedding_size": 3, **form, **config}
        made = ModelConfig(tokenizer.vocab_size + 1, **architecture)
        reading = {"reading": {"newline": "lf", "pairs": True}}
        return Model(made, tokenizer, random_values(made, seed, scale), reading)

    return make


@pytest.fixture
def tiny_model(make_model: Callable[..., Model]) -> Model:
    """Return a two-layer LSTM over seven characters with random weights."""
    return make_model("helo w\n", num_layers=2)


@pytest.fixture
def tiny_ensemble(make_model: Callable[..., Model]) -> Model:
    """Return two two-layer LSTMs over seven characters, whose logits are averaged."""
    return make_model("helo w\n", num_layers=2, hidden_size=10, embedding_size=6, ensemble=2)


@pytest.fixture
def apart_model(make_model: Callable[..., Model]) -> Callable[..., Model]:
    """Return `apart_model("abn\\n", separator="\\n")`: a model of documents that end in it."""

    def make(symbols: str, separator: str, **config: Any) -> Model:
        reading = {"document_separator": separator, "documents_apart": True}
        return replace(make_model(symbols, **config), training={"reading": reading})

    return make


def sample_settings(**fields: Any) -> SampleConfig:
    """Return neutral settings except for these, even combinations that `SampleConfig` refuses."""
    settings = SampleConfig(temperature=1.0)
    for name, value in fields.items():
        object.__setattr__(settings, name, value)
    return settings


class Chain:
    """A toy network: the next token depends on the last two; the older one is the state.

    The state is one number per row, so rows gathered in the wrong order give wrong logits.
    """

    def __init__(self, probabilities: Any) -> None:
        """Take `probabilities[older][last]`, the distribution (V,) of the next token."""
        with np.errstate(divide="ignore"):
            self.table = np.log(np.asarray(probabilities, np.float64))
        self.batches: list[int] = []

    def begin(self, older: int = 0, last: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return logits (1, V) and the state after reading these two tokens."""
        return self.table[older, last][None], np.array([last])

    def step(
        self, ids: NDArray[np.integer[Any]], state: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        self.batches.append(len(ids))
        return self.table[state, ids], np.array(ids)

    write = NumpyEngine.write

    def select(self, state: NDArray[Any], rows: Any) -> NDArray[Any]:
        return state[rows]

    def log_prob(self, ids: tuple[int, ...], older: int = 0, last: int = 0) -> float:
        """Return the log-probability of a text, token by token."""
        total = 0.0
        for symbol in ids:
            total += float(self.table[older, last, symbol])
            older, last = last, symbol
        return total


@pytest.fixture
def make_chain() -> Callable[..., Chain]:
    """Return `make_chain(table)`, or `make_chain(V, seed)` with a random table."""

    def make(table: Any, seed: int | None = None) -> Chain:
        if seed is None:
            return Chain(table)
        rng = np.random.default_rng(seed)
        return Chain(rng.dirichlet(np.ones(table), (table, table)))

    return make


class Written:
    """A text that records the tokens chosen for it; the first stop string ends it."""

    def __init__(self, stops: Sequence[tuple[int, ...]] = ()) -> None:
        self.stops = stops
        self.ids: tuple[int, ...] = ()
        self.log_probs: list[float] = []  # including that of ending
        self.ended = False  # by a constraint

    def extend(self, ids: Integers, log_probs: Floats64) -> bool:
        for symbol, log_prob in zip(ids.tolist(), log_probs.tolist(), strict=True):
            self.ended = self.ended or symbol in (ENDED, OVER)
            if symbol != OVER:
                self.log_probs.append(log_prob)
            if self.ended:
                return False
            self.ids += (symbol,)
            if any(self.ids[-len(stop) :] == stop for stop in self.stops):
                return False
        return True


@pytest.fixture
def write_texts() -> Callable[..., list[Written]]:
    """Return `write_texts(network, length=, rows=1, seed=7, stops=(), begin=None, read=(), ...)`.

    All other arguments go to the chooser: `bias`, `constraint`, and filters by name.
    """

    def write(
        network: Any,
        length: int,
        *,
        rows: int = 1,
        seed: int = 7,
        stops: Sequence[tuple[int, ...]] = (),
        begin: Any = None,
        read: Sequence[int] = (),
        **given: Any,
    ) -> list[Written]:
        chooser = Sampler(
            sample_settings(**{name: given.pop(name) for name in FIELDS if name in given}),
            [generator(seed, index) for index in range(rows)],
            length,
            read=np.array(read, np.int64),
            **given,
        )
        texts = [Written(stops) for _ in range(rows)]
        for _ in sampler.write(network, *(begin or network.begin()), chooser, texts, length):
            pass
        return texts

    return write


@pytest.fixture
def corpora_folder() -> Path:
    """Return a folder of real texts next to the checkout; skip the test if it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip(f"no real texts in {folder}")
    return folder
