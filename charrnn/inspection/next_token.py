"""Trace how a model continues a prompt: the next token's distribution, the beam search tree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats
from charrnn.config import BeamConfig, SampleConfig
from charrnn.decoding.beam import beam_search
from charrnn.decoding.filters import ALL_ALLOWED, NO_BIAS, adjust_logits, filter_tokens
from charrnn.decoding.step import log_softmax
from charrnn.generator import Generator
from charrnn.inference.engine import Engine
from charrnn.model.saved_state import Prompted

Prefix = tuple[int, ...]  # ids

MODEL = "model"  # the name of the unchanged distribution among the settings
# Compared if no setting is given: the effect of each setting alone.
DEFAULT_SETTINGS: Mapping[str, Mapping[str, float]] = {
    "temperature 0.5": {"temperature": 0.5},
    "temperature 2": {"temperature": 2.0},
    "top-k 5": {"top_k": 5},
    "top-p 0.9": {"top_p": 0.9},
}


@dataclass(frozen=True)
class Choice:
    """A distribution of the next token.

    Attributes:
        probabilities: (V,), of all tokens; 0 for a token that cannot be drawn.
    """

    probabilities: NDArray[np.float64]

    @property
    def possible(self) -> int:
        """The number of tokens that can be drawn."""
        return int(np.count_nonzero(self.probabilities))

    @property
    def entropy(self) -> float:
        """The entropy in nats; its exponential is the perplexity."""
        p = self.probabilities[self.probabilities > 0]
        return max(0.0, -float((p * np.log(p)).sum()))

    def likeliest(self, count: int) -> list[int]:
        """Return the ids of the `count` most probable tokens, most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")
        return [int(token) for token in order[:count]]

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the distribution for JSON, most probable first; `names` are of all tokens."""
        probabilities = zip(names, self.probabilities.tolist(), strict=True)
        possible = {name: p for name, p in probabilities if p > 0}
        ordered = dict(sorted(possible.items(), key=lambda item: -item[1]))
        return {"entropy": self.entropy, "possible": self.possible, "probabilities": ordered}


def settings(given: Mapping[str, float]) -> dict[str, SampleConfig]:
    """Return what to compare: the model at temperature 1, each setting alone, all together."""
    alone = {f"{name.replace('_', '-')} {value:g}": {name: value} for name, value in given.items()}
    columns: dict[str, Mapping[str, Any]] = {MODEL: {}, **(alone or DEFAULT_SETTINGS)}
    if len(given) > 1:
        columns["together"] = given
    return {
        name: SampleConfig(**{"temperature": 1.0, **values}) for name, values in columns.items()
    }


def choices(read: Prompted, configs: Mapping[str, SampleConfig]) -> dict[str, Choice]:
    """Return the distribution of the next token under each of the named settings."""
    return {name: Choice(_distribution(read, config)) for name, config in configs.items()}


def _distribution(read: Prompted, config: SampleConfig) -> NDArray[np.float64]:
    """Return what `decoding.filters.choose` draws from, without XTC, which acts only sometimes."""
    recent = np.array(read.ids, np.int64)
    scores = adjust_logits(read.logits[0], config, recent, NO_BIAS, ALL_ALLOWED)
    if config.temperature == 0:
        return np.asarray(np.arange(len(scores)) == scores.argmax(), np.float64)
    weights = filter_tokens(scores, config)
    return np.asarray(weights / weights.sum())


@dataclass
class TreeNode:
    """A prefix that beam search kept at some step.

    Attributes:
        symbol: its last token; empty for the root, which is the prompt.
        log_prob: log-probability of the whole prefix after the prompt, in nats.
        probability: of the last token after those before it.
        rank: of the best result that starts with the prefix, from 1; 0 if there is none.
        children: prefixes one token longer, most probable first.
    """

    symbol: str
    log_prob: float
    probability: float
    rank: int = 0
    children: list[TreeNode] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """The number of steps from here to the deepest node."""
        return 1 + max(child.depth for child in self.children) if self.children else 0

    @property
    def num_leaves(self) -> int:
        """The number of nodes without children."""
        return sum(child.num_leaves for child in self.children) if self.children else 1

    def to_json(self) -> dict[str, Any]:
        """Return the tree for JSON."""
        children = [child.to_json() for child in self.children]
        return {**vars(self), "children": children}


def beam_tree(generator: Generator, read: Prompted, config: BeamConfig) -> TreeNode:
    """Return the tree of all prefixes that a beam search keeps."""
    engine, read = _RecordingEngine(generator.engine), generator.exact(read)
    start = _RecordedState(read.state, [()], np.zeros(1), log_softmax(read.logits))
    found = beam_search(cast("Engine", engine), read.logits, start, config)
    kept = dict(engine.kept)
    ranks: dict[Prefix, int] = {}
    for rank, hypothesis in enumerate(found, start=1):
        kept[hypothesis.ids] = hypothesis.log_prob
        for length in range(len(hypothesis.ids) + 1):
            ranks.setdefault(hypothesis.ids[:length], rank)

    nodes: dict[Prefix, TreeNode] = {(): TreeNode("", 0.0, 1.0, ranks[()])}
    for ids, log_prob in sorted(kept.items(), key=lambda item: (len(item[0]), -item[1])):
        before = nodes[ids[:-1]]
        token = generator.tokenizer.token_names[ids[-1]]
        probability = math.exp(log_prob - before.log_prob)
        nodes[ids] = TreeNode(token, log_prob, probability, ranks.get(ids, 0))
        before.children.append(nodes[ids])
    return nodes[()]


@dataclass(frozen=True)
class _RecordedState:
    """The state of some rows with what they have read since the prompt.

    Attributes:
        state: of the engine.
        prefixes: what each row has read.
        log_probs: (B,) of the prefixes.
        following: (B, V) log-probabilities of the next token.
    """

    state: Any
    prefixes: list[Prefix]
    log_probs: NDArray[np.float64]
    following: NDArray[np.float64]


class _RecordingEngine:
    """An engine that records each prefix that it reads, with its log-probability.

    A search lets the engine read only the prefixes that it keeps. Of an engine's methods this one
    has those that a search uses.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.kept: dict[Prefix, float] = {}

    def step(
        self, ids: NDArray[np.integer[Any]], state: _RecordedState
    ) -> tuple[Floats, _RecordedState]:
        log_probs = state.log_probs + state.following[np.arange(len(ids)), ids]
        prefixes = [
            (*prefix, token) for prefix, token in zip(state.prefixes, ids.tolist(), strict=True)
        ]
        self.kept.update(zip(prefixes, log_probs.tolist(), strict=True))
        logits, inner = self._engine.step(ids, state.state)
        return logits, _RecordedState(inner, prefixes, log_probs, log_softmax(logits))

    def select(self, state: _RecordedState, rows: Any) -> _RecordedState:
        numbers = np.arange(len(state.prefixes))[rows]
        return _RecordedState(
            self._engine.select(state.state, rows),
            [state.prefixes[number] for number in numbers.tolist()],
            state.log_probs[rows],
            state.following[rows],
        )
