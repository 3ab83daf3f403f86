from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import BeamConfig, ModelConfig
from charrnn.decoding.beam import beam_search, beam_searches
from charrnn.decoding.sampler import generator
from charrnn.decoding.step import log_softmax
from charrnn.errors import PromptError
from charrnn.inference.numpy_pair_engine import NumpyPairEngine
from charrnn.network.noise import Noise
from charrnn.network.pair_module import PairRNN
from charrnn.text.pair_order import batch
from charrnn.text.pairs import PairPart

MakeValues = Callable[..., dict[str, Any]]
SOURCES = [[0, 1, 2, 3, 4], [3], [4, 4, 1], [2, 0]]
FORMS: list[dict[str, Any]] = [
    {"encoder": "bidirectional", "context": "attention"},
    {"encoder": "forward", "context": "attention", "num_layers": 1},
    {"encoder": "bidirectional", "context": "fixed", "skip_connections": True},
    {"encoder": "forward", "context": "fixed", "embedding_size": 0},
    {"encoder": "bidirectional", "context": "attention", "skip_connections": True},
    {"encoder": "bidirectional", "context": "attention", "layer_norm": True, "input_depth": 2},
    {"encoder": "bidirectional", "context": "attention", "output_depth": 2, "zoneout": 0.2},
    {"encoder": "forward", "context": "attention", "tied_output": True},
]


def _config(**form: Any) -> ModelConfig:
    sizes = {"vocab_size": 6, "cell": "lstm", "num_layers": 2, "hidden_size": 6}
    return ModelConfig(**{**sizes, "embedding_size": 3, **form})


@pytest.fixture(params=FORMS, ids=lambda form: "-".join(map(str, form.values())))
def engine(request: pytest.FixtureRequest, make_values: MakeValues) -> NumpyPairEngine:
    config = _config(**request.param)
    return NumpyPairEngine(config, make_values(config))


def _encoded(engine: NumpyPairEngine, sources: list[list[int]]) -> Any:
    pairs = PairPart.of([(source, [0]) for source in sources])
    read = batch(pairs, np.arange(len(sources)), 0, 0)
    return engine.encode(read.sources, read.lengths)


def _ids(*texts: Sequence[int]) -> Any:
    return np.array(texts).T


def test_a_source_reads_the_same_alone_and_among_longer_ones(engine: NumpyPairEngine) -> None:
    start = engine.config.start_token
    targets = _ids(*[[start, 1, 2, row % 5] for row in range(len(SOURCES))])
    together, _ = engine.read(targets, _encoded(engine, SOURCES))
    for row, source in enumerate(SOURCES):
        alone, _ = engine.read(targets[:, row : row + 1], _encoded(engine, [source]))
        np.testing.assert_allclose(together[:, row], alone[:, 0], rtol=0, atol=1e-5)


def test_a_window_gives_what_its_steps_give(engine: NumpyPairEngine) -> None:
    targets = _ids([engine.config.start_token, 3, 1, 0], [engine.config.start_token, 2, 2, 4])
    window, after = engine.read(targets, _encoded(engine, SOURCES[:2]))
    state = _encoded(engine, SOURCES[:2])
    for step, ids in enumerate(targets):
        logits, state = engine.step(ids, state)
        np.testing.assert_allclose(logits, window[step], rtol=0, atol=1e-5)
    for parts, others in zip(after[:-1], state[:-1], strict=True):
        for part, other in zip(parts, others, strict=True):
            np.testing.assert_allclose(part, other, rtol=0, atol=1e-5)


def test_logits_are_those_of_training(engine: NumpyPairEngine, make_values: MakeValues) -> None:
    config = engine.config
    network = PairRNN(config, make_values(config)).eval()
    lengths = [len(source) for source in SOURCES]
    sources = _ids(*[source + [0] * (max(lengths) - len(source)) for source in SOURCES])
    targets = _ids(*[[config.start_token, 1, 2, row % 5] for row in range(len(SOURCES))])
    with torch.no_grad():
        source = network.encode(torch.from_numpy(sources), torch.tensor(lengths))
        outputs, _ = network.run(torch.from_numpy(targets), source.start, Noise(), source=source)
        logits = network.logits(outputs.read)
    found, _ = engine.read(targets, _encoded(engine, SOURCES))
    np.testing.assert_allclose(found, logits.numpy(), rtol=0, atol=1e-5)


def test_rows_that_are_selected_keep_their_sources(engine: NumpyPairEngine) -> None:
    rows = np.array([2, 0, 0, 3])
    ids = np.full(4, engine.config.start_token)
    logits, _ = engine.step(ids, _encoded(engine, SOURCES))
    chosen, _ = engine.step(ids, engine.select(_encoded(engine, SOURCES), rows))
    np.testing.assert_allclose(chosen, logits[rows], rtol=0, atol=1e-5)


def test_a_source_read_backwards_with_its_directions_swapped_is_the_same(
    make_values: MakeValues,
) -> None:
    config = _config(num_layers=1, encoder="bidirectional", context="fixed")
    values = make_values(config)
    half = config.encoder_size
    other = {"forward": "backward", "backward": "forward"}
    swapped = dict(values)
    for name, value in values.items():
        for direction, opposite in other.items():
            if f".{direction}." in name:
                swapped[name.replace(f".{direction}.", f".{opposite}.")] = value
        if name.startswith("context.") and value.ndim == 2:  # reads the two halves exchanged
            swapped[name] = np.concatenate([value[:, half:], value[:, :half]], 1)
    start = np.full(len(SOURCES), config.start_token)
    one, _ = NumpyPairEngine(config, values).step(
        start, _encoded(NumpyPairEngine(config, values), SOURCES)
    )
    turned = NumpyPairEngine(config, swapped)
    two, _ = turned.step(start, _encoded(turned, [source[::-1] for source in SOURCES]))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)


def test_attention_is_a_distribution_over_the_symbols_of_each_source(
    make_values: MakeValues,
) -> None:
    config = _config(encoder="bidirectional", context="attention")
    engine = NumpyPairEngine(config, make_values(config))
    targets = _ids(*[[config.start_token, 1, 2]] * len(SOURCES))
    weights = engine.attention(targets, _encoded(engine, SOURCES))
    assert weights.shape == (3, 4, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    for row, source in enumerate(SOURCES):
        assert (weights[:, row, : len(source)] > 0).all()
        assert (weights[:, row, len(source) :] == 0).all()


def test_a_target_needs_a_source(make_values: MakeValues) -> None:
    config = _config(encoder="forward", context="fixed")
    with pytest.raises(PromptError, match="source"):
        NumpyPairEngine(config, make_values(config)).start_state(1)


@pytest.mark.parametrize(
    "options", [{}, {"groups": 2, "diversity": 0.5}, {"length_penalty": 0.6, "num_return": 3}]
)
def test_searches_side_by_side_find_what_each_finds_alone(
    make_values: MakeValues, options: dict[str, Any]
) -> None:
    config = _config(encoder="bidirectional", context="attention")
    engine = NumpyPairEngine(config, make_values(config, scale=1.5))
    beam = BeamConfig(width=4, length=7, **options)
    start = np.full(len(SOURCES), config.start_token)
    stops = [(config.end_token,)]
    logits, state = engine.step(start, _encoded(engine, SOURCES))
    together = beam_searches(engine, logits, state, beam, stops=stops)
    assert len({found[0].ids for found in together}) > 1
    for row, found in enumerate(together):
        logits, state = engine.step(start[:1], _encoded(engine, SOURCES[row : row + 1]))
        alone = beam_search(engine, logits, state, beam, stops=stops)
        assert [each.ids for each in found] == [each.ids for each in alone]
        assert [each.log_prob for each in found] == pytest.approx([e.log_prob for e in alone], 1e-5)


def test_stochastic_searches_are_random_each_by_itself(make_values: MakeValues) -> None:
    config = _config(encoder="bidirectional", context="attention")
    engine = NumpyPairEngine(config, make_values(config))
    beam = BeamConfig(width=3, length=5, stochastic=True)
    start = np.full(2, config.start_token)
    logits, state = engine.step(start, _encoded(engine, SOURCES[:2]))
    rngs = [generator(7, row) for row in range(2)]
    together = beam_searches(engine, logits, state, beam, rngs=rngs)
    alone = beam_search(engine, logits[1:], engine.select(state, [1]), beam, rng=generator(7, 1))
    assert [each.ids for each in together[1]] == [each.ids for each in alone]


def test_beam_search_finds_the_best_answer_of_all(make_values: MakeValues) -> None:
    config = _config(vocab_size=4, encoder="bidirectional", context="attention")
    engine = NumpyPairEngine(config, make_values(config, scale=1.5))
    end, length = config.end_token, 4

    def log_prob(source: list[int], target: tuple[int, ...]) -> float:
        inputs = _ids([config.start_token, *target[:-1]])
        logits, _ = engine.read(inputs, _encoded(engine, [source]))
        steps = log_softmax(logits[:, 0])
        return float(steps[np.arange(len(target)), list(target)].sum())

    for source in ([0, 1], [2], [1, 1, 0]):
        ended = [
            (*text, end) for n in range(length) for text in itertools.product(range(end), repeat=n)
        ]
        targets = [*ended, *itertools.product(range(end), repeat=length)]
        scores = {target: log_prob(source, target) for target in targets}
        best = max(scores, key=lambda target: scores[target] / len(target))
        logits, state = engine.step(np.array([config.start_token]), _encoded(engine, [source]))
        wide = BeamConfig(width=300, length=length)
        found = beam_search(engine, logits, state, wide, stops=[(end,)])[0]
        assert found.ids == best
        assert found.log_prob == pytest.approx(scores[best], rel=1e-4)
