"""The state of a beam search: live beams, the tree of their prefixes, and finished texts."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats64, Integers
from charrnn.config import BeamConfig

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Hypothesis:
    """A finished text.

    Attributes:
        ids: its tokens, including a stop string.
        log_prob: the sum of their log-probabilities under the model, in nats.
        score: what hypotheses are ranked by: log_prob / length^alpha, or in a stochastic search
            the perturbed log_prob.
        ended: what ended it: "stop" (a stop string), "constraint" or "length".
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float
    ended: str


@dataclass(frozen=True)
class Beams:
    """Live texts, best first within a group; every array has one row for each.

    Attributes:
        rows: the rows of the beams that they extend.
        tokens: their last tokens.
        nodes: the nodes of these in the tree.
        groups: the groups that they belong to.
        log_probs: their log-probabilities under the model.
        tempered: the same at the temperature of a stochastic search; else equal to `log_probs`.
        keys: what they are ranked by.
        tails: (B, n) their last tokens, enough to recognize a stop string; -1 before the first.
        states: their states in the constraint's automaton.
    """

    rows: Integers
    tokens: Integers
    nodes: Integers
    groups: Integers
    log_probs: Floats64
    tempered: Floats64
    keys: Floats64
    tails: Integers
    states: Integers

    @classmethod
    def begin(cls, groups: int, tail_length: int) -> Beams:
        """Return the empty text, once for each group."""
        none, zeros = np.zeros(groups, np.int64), np.zeros(groups)
        return cls(
            rows=none,
            tokens=none,
            nodes=none,
            groups=np.arange(groups),
            log_probs=zeros,
            tempered=zeros,
            keys=zeros,
            tails=np.full((groups, tail_length), -1),
            states=none,
        )

    def at(self, rows: NDArray[np.integer] | Mask) -> Beams:
        """Return some of the beams, by index or mask."""
        return Beams(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True, order=True)
class Leaf:
    """A finished text, as the node of its last token; the best one is the smallest."""

    cost: float  # -score
    length: int
    node: int
    log_prob: float
    ended: str


class PrefixTree:
    """All prefixes that were kept: for each step their last tokens and their parents' nodes."""

    def __init__(self) -> None:
        self._parents: list[Integers] = []
        self._tokens: list[Integers] = []

    def extend(self, parents: Integers, tokens: Integers) -> None:
        """Add one step: node i extends node `parents[i]` by `tokens[i]`."""
        self._parents.append(parents)
        self._tokens.append(tokens)

    def text(self, length: int, node: int, start: int = 0) -> list[int]:
        """Return the tokens from `start` on of the prefix that has this length and last node."""
        ids = []
        for step in range(length - 1, start - 1, -1):
            ids.append(int(self._tokens[step][node]))
            node = int(self._parents[step][node])
        return ids[::-1]

    def common_prefix(self, nodes: Integers, leaf: Leaf | None, start: int) -> tuple[int, int]:
        """Return length and node of the longest prefix that all texts share; at least (start, 0).

        Args:
            nodes: the last nodes of the live texts.
            leaf: a finished text that must share it, too.
            start: the length of a prefix that all are known to share.
        """
        for length in range(len(self._parents), start, -1):
            if leaf is not None and leaf.length == length:
                nodes = np.append(nodes, leaf.node)
            if (leaf is None or leaf.length >= length) and (nodes == nodes[0]).all():
                return length, int(nodes[0])
            nodes = self._parents[length - 1][nodes]
        return start, 0


class Finished:
    """The best finished texts of each group of each search, as many as may be returned."""

    def __init__(self, config: BeamConfig, searches: int = 1) -> None:
        self._config = config
        count = config.groups * searches
        self._groups: list[list[Leaf]] = [[] for _ in range(count)]
        self._needed = -(-config.num_return // config.groups)
        # The score of the last text that is needed, and of the last that is kept; of each group.
        self._needed_score, self._kept_score = np.full((2, count), -np.inf)

    def add(self, length: int, beams: Beams, ended: str) -> None:
        """Add the beams as they are, texts of `length` tokens."""
        scores = self._scores(beams, max(length, 1))
        useful = np.flatnonzero(scores >= self._kept_score[beams.groups])
        columns = (beams.groups, scores, beams.nodes, beams.log_probs)
        for group, score, node, log_prob in zip(
            *(c[useful].tolist() for c in columns), strict=True
        ):
            leaves, kept = self._groups[group], self._config.num_return
            insort(leaves, Leaf(-score, length, node, log_prob, ended))
            del leaves[kept:]
            if len(leaves) >= self._needed:
                self._needed_score[group] = -leaves[self._needed - 1].cost
            if len(leaves) == kept:
                self._kept_score[group] = -leaves[-1].cost

    def prune(self, beams: Beams) -> Beams:
        """Return the beams without the groups that cannot improve their finished texts any more.

        A log-probability only falls, and dividing by the full length is the mildest penalty.
        """
        bounds = self._scores(beams, self._config.length)
        improving = np.zeros(len(self._groups), np.bool_)
        improving[beams.groups[bounds > self._needed_score[beams.groups]]] = True
        return beams if improving[beams.groups].all() else beams.at(improving[beams.groups])

    def _scores(self, beams: Beams, length: int) -> Floats64:
        """Return the scores of the beams if they end with this length."""
        if self._config.stochastic:
            return beams.keys
        with np.errstate(over="ignore"):  # so strong a penalty makes all texts equal
            return np.asarray(beams.log_probs / np.float64(length) ** self._config.length_penalty)

    @property
    def best(self) -> Leaf | None:
        """The best finished text of a search that is alone."""
        return min((leaves[0] for leaves in self._groups if leaves), default=None)

    def ranked(self, tree: PrefixTree, search: int) -> list[Hypothesis]:
        """Return the results of a search, best first; empty if nothing is finished.

        Each group's best text comes before each one's second best.
        """
        first = search * self._config.groups
        ranks: dict[tuple[int, ...], tuple[int, Leaf]] = {}
        for leaves in self._groups[first : first + self._config.groups]:
            for rank, leaf in enumerate(leaves):
                ids = tuple(tree.text(leaf.length, leaf.node))
                ranks[ids] = min(ranks.get(ids, (rank, leaf)), (rank, leaf))
        chosen = sorted(ranks, key=ranks.__getitem__)[: self._config.num_return]
        results = [(ids, ranks[ids][1]) for ids in chosen]
        return [
            Hypothesis(ids, leaf.log_prob, -leaf.cost, leaf.ended)
            for ids, leaf in sorted(results, key=lambda item: item[1])
        ]
