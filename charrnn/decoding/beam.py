"""Beam search: the k most probable prefixes are kept, extended by every symbol, and cut to k again.

All beams are one batch: a step reads B rows, and the state's rows are gathered by the parents that
survived; texts are not, they are followed back from their last symbol. The prompt is read once,
before. A hypothesis is finished when a stop string ends it or when it has its length; finished ones
are ranked by ``log p / length^alpha``. The search ends when none of the live ones can still come
among those to be returned.

Two other searches share that loop. In diverse beam search (Vijayakumar et al. 2018) the beam is
made of groups, and in a group a symbol loses `diversity` nats for every beam of the groups before
it that takes the symbol at the same step; this steers the choice alone, log-probabilities stay the
model's. In stochastic beam search (Kool et al. 2019) prefixes rank by Gumbel-perturbed
log-probabilities, a child's never above its parent's: what is returned is a sample of texts without
replacement, drawn one after the other from the model at this temperature.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats, Integers
from charrnn.config import BeamConfig
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.step import log_softmax
from charrnn.errors import OptionError, RunError
from charrnn.inference.engine import Engine
from charrnn.storage import machine

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SETTLED_EVERY = 8  # steps at least; looking more often costs more than it shows
_BYTES = 72  # of memory for each beam and symbol, at most


@dataclass(frozen=True)
class Hypothesis:
    """A finished text.

    Attributes:
        ids: its symbols, a stop string included.
        log_prob: the sum of their log-probabilities under the model, in nats.
        score: by which hypotheses are ranked: log_prob / length^alpha, or what a stochastic search
            made of log_prob.
        ended: by "stop" (a stop string), "constraint" or "length".
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float
    ended: str


@dataclass(frozen=True)
class _Beams:
    """Live texts, best first within a group; every array has one row for each.

    Attributes:
        rows: those of the texts that they extend.
        symbols: their last symbols.
        nodes: where these are in the tree.
        groups: the groups that they belong to.
        log_probs: under the model.
        tempered: under what is drawn from; the same where nothing is drawn.
        keys: by which they rank.
        tails: (B, n) their last symbols, enough to recognise a stop string; -1 before the first.
        places: their places in the constraint's automaton.
    """

    rows: Integers
    symbols: Integers
    nodes: Integers
    groups: Integers
    log_probs: Numbers
    tempered: Numbers
    keys: Numbers
    tails: Integers
    places: Integers

    def at(self, rows: NDArray[np.integer] | Mask) -> _Beams:
        return _Beams(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True)
class _Offers:
    """What the beams could become, (B, V): as in `_Beams`, one column for each symbol."""

    log_probs: Numbers
    tempered: Numbers
    keys: Numbers


@dataclass(frozen=True, order=True)
class _Leaf:
    """A finished text, by the place of its last symbol in the tree; the best is the smallest."""

    cost: float  # -score
    length: int
    node: int
    log_prob: float
    ended: str


class _Tree:
    """All prefixes that were kept: per step, their last symbols and the nodes that they extend."""

    def __init__(self) -> None:
        self._parents: list[Integers] = []
        self._symbols: list[Integers] = []

    def extend(self, parents: Integers, symbols: Integers) -> None:
        self._parents.append(parents)
        self._symbols.append(symbols)

    def text(self, length: int, node: int, start: int = 0) -> list[int]:
        """The symbols from `start` on of the prefix that ends in this node of this length."""
        ids = []
        for step in range(length - 1, start - 1, -1):
            ids.append(int(self._symbols[step][node]))
            node = int(self._parents[step][node])
        return ids[::-1]

    def shared(self, nodes: Integers, leaf: _Leaf | None, start: int) -> tuple[int, int]:
        """Length and node of the longest prefix of all these texts; (start, 0) if none is longer.

        Args:
            nodes: of the live texts.
            leaf: the finished text that belongs to them.
            start: the length of a prefix that all are known to share.
        """
        for length in range(len(self._parents), start, -1):
            if leaf is not None and leaf.length == length:
                nodes = np.append(nodes, leaf.node)
            if (leaf is None or leaf.length >= length) and (nodes == nodes[0]).all():
                return length, int(nodes[0])
            nodes = self._parents[length - 1][nodes]
        return start, 0


class _Finished:
    """The best finished texts of each group, as many as may be returned."""

    def __init__(self, config: BeamConfig) -> None:
        self._config = config
        self._groups: list[list[_Leaf]] = [[] for _ in range(config.groups)]
        self._needed = -(-config.num_return // config.groups)

    def add(self, length: int, beams: _Beams, ended: str) -> None:
        """The beams as they are, `length` symbols long."""
        scores = _scores(beams, max(length, 1), self._config)
        columns = (beams.groups, scores, beams.nodes, beams.log_probs)
        for group, score, node, log_prob in zip(*(c.tolist() for c in columns), strict=True):
            insort(self._groups[group], _Leaf(-score, length, node, log_prob, ended))
            del self._groups[group][self._config.num_return :]

    def hopeful(self, beams: _Beams) -> _Beams:
        """The beams whose groups can still find what would be returned.

        A log-probability only falls, and dividing by the full length is the kindest penalty.
        """
        for group, leaves in enumerate(self._groups):
            if len(leaves) >= self._needed:
                own = beams.groups == group
                bounds = _scores(beams.at(own), self._config.length, self._config)
                if not (bounds > -leaves[self._needed - 1].cost).any():
                    beams = beams.at(~own)
        return beams

    @property
    def best(self) -> _Leaf | None:
        return min((leaves[0] for leaves in self._groups if leaves), default=None)

    def ranked(self, tree: _Tree) -> list[Hypothesis]:
        """What is returned, best first: the best text of each group, then the second best, ..."""
        places: dict[tuple[int, ...], tuple[int, _Leaf]] = {}
        for leaves in self._groups:
            for place, leaf in enumerate(leaves):
                ids = tuple(tree.text(leaf.length, leaf.node))
                places[ids] = min(places.get(ids, (place, leaf)), (place, leaf))
        chosen = sorted(places, key=places.__getitem__)[: self._config.num_return]
        found = [(ids, places[ids][1]) for ids in chosen]
        return [
            Hypothesis(ids, leaf.log_prob, -leaf.cost, leaf.ended)
            for ids, leaf in sorted(found, key=lambda item: item[1])
        ]


def beam_search(
    network: Engine,
    logits: Floats,
    state: Any,
    config: BeamConfig,
    *,
    stops: Sequence[tuple[int, ...]] = (),
    constraint: Constraint | None = None,
    rng: np.random.Generator | None = None,
    on_settled: Callable[[list[int]], None] = lambda ids: None,
) -> list[Hypothesis]:
    """The `num_return` best hypotheses, best first; fewer where there are no more.

    Args:
        network: reads and gathers rows.
        logits: (1, V) for the first symbol, after the prompt.
        state: the state that gave them, one row.
        config: width, lengths, length penalty, number returned, groups.
        stops: ids of the strings that end a text.
        constraint: what every text must be.
        rng: the randomness of a stochastic search.
        on_settled: called now and then with the next symbols that no longer depend on what comes:
            all live texts and the best finished one share them; may raise.

    Raises:
        OptionError: so wide a beam does not fit into the machine's memory.
        RunError: every text would break a rule.
    """
    _check_memory(config.width, logits.shape[1])
    tree, finished = _Tree(), _Finished(config)
    settled, due = 0, _SETTLED_EVERY
    beams = _begin(config.groups, max(map(len, stops), default=0))
    logits, state = logits[beams.rows], network.select(state, beams.rows)
    for length in range(1, config.length + 1):
        log_probs = log_softmax(logits)
        _keep_from_stopping(log_probs, beams.tails, stops, length, config.min_length)
        left = config.length - length + 1
        extended, ending = _extend(beams, log_probs, config, constraint, left, rng)
        if ending is not None:
            finished.add(length - 1, ending, "constraint")
        tree.extend(beams.nodes[extended.rows], extended.symbols)
        beams = extended
        if constraint is not None:
            beams = replace(beams, places=constraint.advance(beams.places, beams.symbols))
        ended = _ended(beams.tails, stops)
        if ended.any():
            finished.add(length, beams.at(ended), "stop")
            beams = beams.at(~ended)
        beams = finished.hopeful(beams)
        if not len(beams.rows):
            break
        if length == due:
            shared, node = tree.shared(beams.nodes, finished.best, settled)
            if shared > settled:
                on_settled(tree.text(shared, node, settled))
                settled = shared
            # The way back to what is settled is not gone more often than it is long.
            due = length + max(_SETTLED_EVERY, length - settled)
        if length < config.length:
            logits, state = network.step(beams.symbols, network.select(state, beams.rows))
    finished.add(config.length, beams, "length")
    if finished.best is None:
        raise RunError(
            "no text can be written: every symbol is forbidden after those that may come first; "
            "lower --min-length, or change --stop"
        )
    return finished.ranked(tree)


def _begin(groups: int, longest: int) -> _Beams:
    """The empty text, once for each group."""
    none, zeros = np.zeros(groups, np.int64), np.zeros(groups)
    return _Beams(
        rows=none,
        symbols=none,
        nodes=none,
        groups=np.arange(groups),
        log_probs=zeros,
        tempered=zeros,
        keys=zeros,
        tails=np.full((groups, longest), -1),
        places=none,
    )


def _offers(
    beams: _Beams,
    log_probs: Numbers,
    config: BeamConfig,
    constraint: Constraint | None,
    left: int,
    rng: np.random.Generator | None,
) -> _Offers:
    """What every symbol (B, V) would make of every beam; with a constraint, its end as well."""
    allowed = choices = None
    if constraint is not None:
        allowed = constraint.allowed(beams.places, left)
        choices = constraint.choices(beams.places, left)

    def open_to(steps: Numbers) -> Numbers:
        if constraint is None or allowed is None:
            return steps
        ending = constraint.ending(steps, beams.places, left)
        return np.concatenate([np.where(allowed, steps, -np.inf), ending[:, None]], 1)

    totals = beams.log_probs[:, None] + open_to(log_probs)
    if rng is None:
        return _Offers(totals, totals, totals)
    if choices is not None:
        log_probs = np.where(choices, log_probs, -np.inf)
    tempered = beams.tempered[:, None] + open_to(_tempered(log_probs, config.temperature))
    return _Offers(totals, tempered, _perturbed(tempered, beams.keys, rng))


def _split(beams: _Beams, offers: _Offers) -> tuple[_Beams, _Offers]:
    """The beams that may end here, with the log-probability of ending, and all that goes on."""
    totals, tempered, keys = (column[:, -1] for column in vars(offers).values())
    ending = replace(beams, log_probs=totals, tempered=tempered, keys=keys)
    return ending.at(np.flatnonzero(keys > -np.inf)), _Offers(
        *(column[:, :-1] for column in vars(offers).values())
    )


def _extend(
    beams: _Beams,
    log_probs: Numbers,
    config: BeamConfig,
    constraint: Constraint | None,
    left: int,
    rng: np.random.Generator | None,
) -> tuple[_Beams, _Beams | None]:
    """The best of all extensions, and the beams as they are where the constraint may end them."""
    offers = _offers(beams, log_probs, config, constraint, left, rng)
    ending = None
    if constraint is not None:
        ending, offers = _split(beams, offers)
    best = np.concatenate(list(_chosen(offers.keys, beams.groups, config)))
    rows, symbols = np.divmod(best, offers.keys.shape[1])
    tails = beams.tails[rows]
    if tails.shape[1]:
        tails = np.concatenate([tails[:, 1:], symbols[:, None]], 1)
    extended = _Beams(
        rows=rows,
        symbols=symbols,
        nodes=np.arange(len(best)),
        groups=beams.groups[rows],
        log_probs=offers.log_probs.ravel()[best],
        tempered=offers.tempered.ravel()[best],
        keys=offers.keys.ravel()[best],
        tails=tails,
        places=beams.places[rows],
    )
    return extended, ending


def _chosen(keys: Numbers, groups: Integers, config: BeamConfig) -> Iterable[Integers]:
    """What each group keeps of the extensions (B, V), as places in their flattened array."""
    symbols = keys.shape[1]
    if config.groups == 1:
        yield _best(keys.ravel(), config.width)
        return
    taken = np.zeros(symbols)
    for group in range(config.groups):
        rows = np.flatnonzero(groups == group)
        places = _best(
            (keys[rows] - config.diversity * taken).ravel(), config.width // config.groups
        )
        yield rows[places // symbols] * symbols + places % symbols
        taken += np.bincount(places % symbols, minlength=symbols)


def _best(keys: Numbers, count: int) -> Integers:
    """The `count` largest that are possible, largest first.

    Among equals the better parent and then the lower id comes first, as in greedy decoding.
    """
    least = -np.inf
    if len(keys) > count:  # sort only what can be among the best
        least = np.partition(keys, -count)[-count]
    candidates = np.flatnonzero((keys >= least) & (keys > -np.inf))
    return candidates[np.argsort(-keys[candidates], kind="stable")[:count]]


def _tempered(log_probs: Numbers, temperature: float) -> Numbers:
    """Log-probabilities (B, V) at a temperature, of what is not forbidden."""
    peak = log_probs.max(1, keepdims=True)
    peak[np.isneginf(peak)] = 0  # a row with nothing to draw stays one
    with np.errstate(over="ignore"):  # a tiny temperature makes -inf of what is far
        scaled = (log_probs - peak) / temperature
    totals = np.exp(scaled).sum(1, keepdims=True)
    return np.asarray(scaled - np.log(np.maximum(totals, 1e-300)))


def _perturbed(log_probs: Numbers, parents: Numbers, rng: np.random.Generator) -> Numbers:
    """Log-probabilities (B, V) with Gumbel noise whose maximum in each row is known.

    Args:
        log_probs: of whole prefixes.
        parents: (B,) these maxima, the parents' own perturbed log-probabilities.
        rng: draws B * V numbers.
    """
    noisy = log_probs + rng.gumbel(size=log_probs.shape)
    highest = noisy.max(1, keepdims=True)
    above = parents[:, None]
    # Appendix B.3 of the paper: neither the largest nor an impossible one loses its digits.
    with np.errstate(divide="ignore", invalid="ignore"):
        v = above - noisy + np.log1p(-np.exp(noisy - highest))
        keys = above - np.maximum(v, 0) - np.log1p(np.exp(-np.abs(v)))
    keys[np.isneginf(noisy)] = -np.inf
    return np.asarray(keys)


def _scores(beams: _Beams, length: int, config: BeamConfig) -> Numbers:
    """What the beams are worth if they end with this length."""
    if config.stochastic:
        return beams.keys
    with np.errstate(over="ignore"):  # so strong a penalty makes all texts equal
        return np.asarray(beams.log_probs / np.float64(length) ** config.length_penalty)


def _keep_from_stopping(
    log_probs: Numbers,
    tails: Integers,
    stops: Sequence[tuple[int, ...]],
    length: int,
    min_length: int,
) -> None:
    """Forbid, in place, what would end a text of `length` symbols before its minimum."""
    for stop in stops:
        if length - len(stop) < min_length:
            begun = (tails[:, tails.shape[1] - len(stop) + 1 :] == stop[:-1]).all(1)
            log_probs[begun, stop[-1]] = -np.inf


def _ended(tails: Integers, stops: Sequence[tuple[int, ...]]) -> Mask:
    """Which texts end with a stop string."""
    ended = np.zeros(len(tails), np.bool_)
    for stop in stops:
        ended |= (tails[:, tails.shape[1] - len(stop) :] == stop).all(1)
    return ended


def _check_memory(width: int, symbols: int) -> None:
    """Refuse what cannot fit, before anything is made."""
    needed, installed = _BYTES * width * symbols, machine.installed()
    if installed is not None and needed > installed:
        raise OptionError(
            f"--width {width:,} with {symbols:,} symbols would take about {needed / 1e9:,.0f} GB, "
            f"and the machine has {installed / 1e9:,.0f}: lower --width"
        )
