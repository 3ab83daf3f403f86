"""Beam search: keep the k most probable prefixes, extend them by every token, keep the best k.

All beams are one batch: a step reads B rows, and the rows of the state are gathered by the parents
that survived. Texts are not gathered but followed back through a tree of prefixes. The prompt is
read once, before. A hypothesis is finished when a stop string ends it or when it has its length;
finished ones are ranked by ``log p / length^alpha``. The search ends when no live beam can still
enter the results. Searches after several prompts run side by side: a group of beams belongs to one
of them, and is chosen from by itself.

Two other searches share that loop. In diverse beam search (Vijayakumar et al. 2018) the beam is
divided into groups, and a token loses `diversity` nats for every beam of an earlier group that
takes it at the same step; this affects the choice only, log-probabilities stay the model's. In
stochastic beam search (Kool et al. 2019) prefixes are ranked by Gumbel-perturbed
log-probabilities, a child's never above its parent's: the result is a sample without replacement
of texts from the model at this temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.arrays import Floats, Floats64, Integers
from charrnn.config import BeamConfig
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.hypotheses import Beams, Finished, Hypothesis, Mask, PrefixTree
from charrnn.decoding.step import log_softmax
from charrnn.errors import OptionError, RunError
from charrnn.inference.engine import Engine
from charrnn.storage import machine

_SETTLED_EVERY = 8  # steps at least; checking more often costs more than it shows
_BEAM_BYTES = 72  # of memory for each beam and token, at most


def beam_search(
    network: Engine,
    logits: Floats,
    state: Any,
    config: BeamConfig,
    *,
    stops: Sequence[tuple[int, ...]] = (),
    openings: Sequence[tuple[int, ...]] = (),
    constraint: Constraint | None = None,
    rng: np.random.Generator | None = None,
    on_settled: Callable[[list[int]], None] = lambda ids: None,
) -> list[Hypothesis]:
    """Return the `num_return` best hypotheses, best first; fewer if there are no more.

    Args:
        network: reads tokens and gathers rows.
        logits: (1, V) for the first token, after the prompt.
        state: the state after the prompt, one row.
        config: width, lengths, length penalty, number of results, groups.
        stops: ids of the strings that end a text.
        openings: ids of those that end it only where it begins with one.
        constraint: what every text must match.
        rng: the randomness of a stochastic search.
        on_settled: called from time to time with the next tokens of the prefix that all live
            texts and the best finished one share, which no later step can change; may raise.

    Raises:
        OptionError: the beam is too wide for the machine's memory.
        RunError: every text would break a rule.
    """
    rngs = None if rng is None else [rng]
    search = _Search(config, 1, stops, openings, constraint, rngs, on_settled)
    return _run(network, logits, state, config, search)[0]


def beam_searches(
    network: Engine,
    logits: Floats,
    state: Any,
    config: BeamConfig,
    *,
    stops: Sequence[tuple[int, ...]] = (),
    constraint: Constraint | None = None,
    rngs: Sequence[np.random.Generator] | None = None,
) -> list[list[Hypothesis]]:
    """Return what `beam_search` finds after each of N prompts; the searches share their steps.

    Args:
        network: as in `beam_search`.
        logits: (N, V) for the first tokens.
        state: the state after the prompts, N rows.
        config: as in `beam_search`.
        stops: likewise.
        constraint: likewise.
        rngs: the randomness of each stochastic search.

    Raises:
        OptionError, RunError: as `beam_search`.
    """
    search = _Search(config, len(logits), stops, (), constraint, rngs)
    return _run(network, logits, state, config, search)


def _run(
    network: Engine, logits: Floats, state: Any, config: BeamConfig, search: _Search
) -> list[list[Hypothesis]]:
    """Run searches side by side, one for each row of logits and state; return their results."""
    _check_memory(config.width * len(logits), logits.shape[1])
    beams = search.begin()
    rows = np.repeat(np.arange(len(logits)), config.groups)
    logits, state = logits[rows], network.select(state, rows)
    for length in range(1, config.length + 1):
        beams = search.extend(beams, log_softmax(logits), length)
        search.settle(beams, length)
        if not len(beams.rows):
            break
        if length < config.length:
            logits, state = network.step(beams.tokens, network.select(state, beams.rows))
    return search.finish(beams)


@dataclass(frozen=True)
class _Extensions:
    """What the beams could become, (B, V): as in `Beams`, one column for each token."""

    log_probs: Floats64
    tempered: Floats64
    keys: Floats64


class _Search:
    """The steps of searches side by side, without the network."""

    def __init__(
        self,
        config: BeamConfig,
        count: int,
        stops: Sequence[tuple[int, ...]],
        openings: Sequence[tuple[int, ...]],
        constraint: Constraint | None,
        rngs: Sequence[np.random.Generator] | None,
        on_settled: Callable[[list[int]], None] | None = None,
    ) -> None:
        """Begin nothing yet.

        Args:
            config: as in `beam_search`.
            count: how many searches there are.
            stops: as in `beam_search`.
            openings: likewise.
            constraint: likewise.
            rngs: the randomness of each stochastic search.
            on_settled: as in `beam_search`; for one search alone.
        """
        self._config, self._count, self._stops, self._openings = config, count, stops, openings
        self._constraint, self._rngs, self._on_settled = constraint, rngs, on_settled
        self._tree, self._finished = PrefixTree(), Finished(config, count)
        self._settled, self._due = 0, _SETTLED_EVERY  # lengths

    def begin(self) -> Beams:
        """Return the empty text, once for each group of each search."""
        longest = max(map(len, [*self._stops, *self._openings]), default=0)
        return Beams.begin(self._count * self._config.groups, longest)

    def extend(self, beams: Beams, log_probs: Floats64, length: int) -> Beams:
        """Extend beams of `length` - 1 tokens; return those that go on, and record what ends.

        Args:
            beams: the live texts.
            log_probs: (B, V) of their next tokens; changed.
            length: in tokens, after this step.
        """
        stops = [*self._stops, *(each for each in self._openings if len(each) == length)]
        _forbid_early_stops(log_probs, beams.tails, stops, length, self._config.min_length)
        extensions = self._extensions(beams, log_probs, self._config.length - length + 1)
        if self._constraint is not None:
            ending, extensions = _ended_and_others(beams, extensions)
            self._finished.add(length - 1, ending, "constraint")
        extended = self._best_extensions(beams, extensions)
        self._tree.extend(beams.nodes[extended.rows], extended.tokens)
        beams = extended
        if self._constraint is not None:
            beams = replace(beams, states=self._constraint.advance(beams.states, beams.tokens))
        ended = _ended(beams.tails, stops)
        if ended.any():
            self._finished.add(length, beams.at(ended), "stop")
            beams = beams.at(~ended)
        return self._finished.prune(beams)

    def settle(self, beams: Beams, length: int) -> None:
        """Report the tokens that no later step can change, if a check is due."""
        if self._on_settled is None or length != self._due or not len(beams.rows):
            return
        common, node = self._tree.common_prefix(beams.nodes, self._finished.best, self._settled)
        if common > self._settled:
            self._on_settled(self._tree.text(common, node, self._settled))
            self._settled = common
        # A check follows the tree back to the settled prefix: wait for as many steps as it takes.
        self._due = length + max(_SETTLED_EVERY, length - self._settled)

    def finish(self, beams: Beams) -> list[list[Hypothesis]]:
        """Return the results of each search; the beams that are left have the full length."""
        self._finished.add(self._config.length, beams, "length")
        found = [self._finished.ranked(self._tree, search) for search in range(self._count)]
        if not all(found):
            raise RunError(
                "no text can be written: every token is forbidden after the possible first ones; "
                "lower --min-length, or change --stop"
            )
        return found

    def _extensions(self, beams: Beams, log_probs: Floats64, left: int) -> _Extensions:
        """Return every extension (B, V) of every beam; with a constraint, (B, V + 1): its end.

        Args:
            beams: the live texts.
            log_probs: (B, V) of their next tokens.
            left: how many tokens a text may still get.
        """
        constraint, allowed = self._constraint, None
        if constraint is not None:
            allowed = constraint.allowed(beams.states, left)

        def constrained(steps: Floats64) -> Floats64:
            if constraint is None or allowed is None:
                return steps
            ending = constraint.ending(steps, beams.states, left)
            return np.concatenate([np.where(allowed, steps, -np.inf), ending[:, None]], 1)

        totals = beams.log_probs[:, None] + constrained(log_probs)
        if self._rngs is None:
            return _Extensions(totals, totals, totals)
        if constraint is not None:
            log_probs = np.where(constraint.choices(beams.states, left), log_probs, -np.inf)
        # One expression: a name for each part would keep it in memory.
        tempered = beams.tempered[:, None] + constrained(
            _tempered(log_probs, self._config.temperature)
        )
        noise = self._noise(beams, tempered.shape[1])
        return _Extensions(totals, tempered, _perturbed(tempered, beams.keys, noise))

    def _noise(self, beams: Beams, size: int) -> Floats64:
        """Return Gumbel noise (B, size), for each search from its own random numbers."""
        assert self._rngs is not None
        counts = np.bincount(beams.groups // self._config.groups, minlength=self._count).tolist()
        drawn = zip(self._rngs, counts, strict=True)
        return np.concatenate([rng.gumbel(size=(count, size)) for rng, count in drawn])

    def _best_extensions(self, beams: Beams, extensions: _Extensions) -> Beams:
        """Return the best extensions as beams, whose automaton states are still their parents'."""
        rows, tokens = _chosen(extensions.keys, beams.groups, self._config)
        tails = beams.tails[rows]
        if tails.shape[1]:
            tails = np.concatenate([tails[:, 1:], tokens[:, None]], 1)
        return Beams(
            rows=rows,
            tokens=tokens,
            nodes=np.arange(len(rows)),
            groups=beams.groups[rows],
            log_probs=extensions.log_probs[rows, tokens],
            tempered=extensions.tempered[rows, tokens],
            keys=extensions.keys[rows, tokens],
            tails=tails,
            states=beams.states[rows],
        )


def _ended_and_others(beams: Beams, extensions: _Extensions) -> tuple[Beams, _Extensions]:
    """Return the beams that may end here, with the log-probability of ending, and the rest."""
    totals, tempered, keys = (column[:, -1] for column in vars(extensions).values())
    ending = replace(beams, log_probs=totals, tempered=tempered, keys=keys)
    return ending.at(np.flatnonzero(keys > -np.inf)), _Extensions(
        *(column[:, :-1] for column in vars(extensions).values())
    )


def _chosen(keys: Floats64, groups: Integers, config: BeamConfig) -> tuple[Integers, Integers]:
    """Return rows and tokens of the extensions (B, V) that each group keeps, best first."""
    width = config.width // config.groups
    if config.groups == 1:
        return _best(keys, groups, width)
    searches, numbers = np.divmod(groups, config.groups)
    taken = np.zeros((int(searches[-1]) + 1, keys.shape[1]))
    chosen = []
    for number in range(config.groups):
        own = np.flatnonzero(numbers == number)
        if len(own):
            penalties = config.diversity * taken[searches[own]]
            rows, tokens = _best(keys[own] - penalties, groups[own], width)
            np.add.at(taken, (searches[own][rows], tokens), 1)
            chosen.append((own[rows], tokens))
    rows, tokens = (np.concatenate(column) for column in zip(*chosen, strict=True))
    order = np.argsort(groups[rows], kind="stable")
    return rows[order], tokens[order]


def _best(keys: Floats64, groups: Integers, count: int) -> tuple[Integers, Integers]:
    """Return rows and tokens of each group's `count` largest finite keys (B, V), largest first.

    Among equals the better parent and then the lower id comes first, as in greedy decoding.

    Args:
        keys: of the extensions.
        groups: of the beams (B,), in ascending order.
        count: how many a group keeps.
    """
    if groups[0] == groups[-1]:  # of one group, faster
        best = _largest(keys.ravel(), count)
        return best // keys.shape[1], best % keys.shape[1]
    changes = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    starts = np.concatenate([[0], changes])
    sizes = np.diff(np.append(starts, len(groups)))
    most, vocab_size = int(sizes.max()), keys.shape[1]
    if (sizes < most).any():  # a table with a row for each group
        table = np.full((len(starts), most, vocab_size), -np.inf)
        group = np.repeat(np.arange(len(starts)), sizes)
        table[group, np.arange(len(keys)) - starts[group]] = keys
        keys = table
    keys = keys.reshape(len(starts), most * vocab_size)
    candidates = keys > -np.inf
    if keys.shape[1] > count:  # sort only what can be among the best
        candidates &= keys >= np.partition(keys, -count, 1)[:, -count, None]
    group, column = np.nonzero(candidates)
    order = np.lexsort((-keys[group, column], group))
    group, column = group[order], column[order]
    kept = np.arange(len(group)) - np.searchsorted(group, group) < count
    rows, tokens = np.divmod(column[kept], vocab_size)
    return starts[group[kept]] + rows, tokens


def _largest(keys: Floats64, count: int) -> Integers:
    """Return the indices of the `count` largest finite keys (N,), the first of equals first."""
    # Sort only what can be among the best.
    least = np.partition(keys, -count)[-count] if len(keys) > count else -np.inf
    candidates = np.flatnonzero((keys >= least) & (keys > -np.inf))
    return candidates[np.argsort(-keys[candidates], kind="stable")[:count]]


def _tempered(log_probs: Floats64, temperature: float) -> Floats64:
    """Return log-probabilities (B, V) at a temperature; -inf stays -inf."""
    peak = log_probs.max(1, keepdims=True)
    peak[np.isneginf(peak)] = 0  # a row in which every token is forbidden stays all -inf
    with np.errstate(over="ignore"):  # a tiny temperature turns distant values into -inf
        scaled = (log_probs - peak) / temperature
    totals = np.exp(scaled).sum(1, keepdims=True)
    return np.asarray(scaled - np.log(np.maximum(totals, 1e-300)))


def _perturbed(log_probs: Floats64, parents: Floats64, noise: Floats64) -> Floats64:
    """Return log-probabilities (B, V) with Gumbel noise whose maximum in each row is given.

    Args:
        log_probs: of whole prefixes.
        parents: (B,) these maxima, the parents' own perturbed log-probabilities.
        noise: (B, V), of any maximum; changed.
    """
    noise += log_probs
    noisy = noise
    highest = noisy.max(1, keepdims=True)
    above = parents[:, None]
    # Appendix B.3 of the paper, which avoids cancellation.
    with np.errstate(divide="ignore", invalid="ignore"):
        v = above - noisy + np.log1p(-np.exp(noisy - highest))
        keys = above - np.maximum(v, 0) - np.log1p(np.exp(-np.abs(v)))
    keys[np.isneginf(noisy)] = -np.inf
    return np.asarray(keys)


def _forbid_early_stops(
    log_probs: Floats64,
    tails: Integers,
    stops: Sequence[tuple[int, ...]],
    length: int,
    min_length: int,
) -> None:
    """Forbid, in place, the tokens that would complete a stop string before the minimum length."""
    for stop in stops:
        if length - len(stop) < min_length:
            begun = (tails[:, tails.shape[1] - len(stop) + 1 :] == stop[:-1]).all(1)
            log_probs[begun, stop[-1]] = -np.inf


def _ended(tails: Integers, stops: Sequence[tuple[int, ...]]) -> Mask:
    """Return which texts end with a stop string."""
    ended = np.zeros(len(tails), np.bool_)
    for stop in stops:
        ended |= (tails[:, tails.shape[1] - len(stop) :] == stop).all(1)
    return ended


def _check_memory(width: int, vocab_size: int) -> None:
    """Refuse a beam that cannot fit into memory, before anything is allocated.

    Raises:
        OptionError: the beam is too wide.
    """
    needed, installed = _BEAM_BYTES * width * vocab_size, machine.installed()
    if installed is not None and needed > installed:
        raise OptionError(
            f"--width {width:,} with {vocab_size:,} tokens would take about {needed / 1e9:,.0f} "
            f"GB, and the machine has {installed / 1e9:,.0f}: lower --width"
        )
