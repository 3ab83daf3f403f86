"""Random sampling: rows written side by side, each symbol chosen by `filters.choose`.

A row's randomness is its own counter-based generator, and a choice takes one number from it, so
what a row writes does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from charrnn.config import SampleConfig
from charrnn.decoding.filters import ALL_ALLOWED, NO_BIAS, Filters, Integers, Weights, choose
from charrnn.decoding.step import Floats, Network, State, ends_with

NOTHING: Integers = np.zeros(0, np.int64)


def generator(seed: int, index: int) -> np.random.Generator:
    """The randomness of sample `index` under `seed`: Philox, a counter under the key (seed, i)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))


def filters_of(config: SampleConfig) -> Filters:
    """The numbers of a config that a choice depends on, of the types that `Filters` names."""
    kinds = {name: type(value) for name, value in Filters()._asdict().items()}
    return Filters(**{name: kind(getattr(config, name)) for name, kind in kinds.items()})


def sample(
    network: Network,
    logits: Floats,
    state: State,
    config: SampleConfig,
    generators: Sequence[np.random.Generator],
    stops: Sequence[tuple[int, ...]] = (),
    *,
    read: Integers = NOTHING,
    bias: Weights = NO_BIAS,
) -> Iterator[list[tuple[int, int, float]]]:
    """Write `length` symbols in as many rows as there are generators, one batch.

    Args:
        network: reads and selects rows.
        logits: (1, V) for the first symbol, after the prompt.
        state: the state that gave them, one row.
        config: temperature, filters, length.
        generators: the randomness of each row.
        stops: ids of the strings that end a row; it then leaves the batch.
        read: the prompt's ids, at which penalties look.
        bias: (V,), is added to all logits.

    Yields:
        per step (row, symbol, log-probability under the model) of every row still writing.
    """
    filters = filters_of(config)
    rows = np.arange(len(generators))
    texts = [_Ids(read) for _ in generators]
    logits, state = logits[rows * 0], network.select(state, rows * 0)
    for position in range(config.length):
        chosen: list[tuple[int, int, float]] = []
        for row, row_logits in zip(rows.tolist(), logits, strict=True):
            point = generators[row].random()
            with np.errstate(over="ignore"):  # a tiny temperature makes -inf of a far logit
                symbol, log_prob = choose(
                    row_logits, filters, texts[row].ids, bias, ALL_ALLOWED, point
                )
            texts[row].append(symbol)
            chosen.append((row, symbol, log_prob))
        yield chosen
        if stops:
            going_on = np.array([not ends_with(texts[row].written, stops) for row in rows.tolist()])
            rows, state = rows[going_on], network.select(state, going_on)
        if not len(rows) or position == config.length - 1:
            return
        logits, state = network.step(np.array([texts[row].ids[-1] for row in rows]), state)


class _Ids:
    """Ids to which one can be added without copying all: the room grows by doubling."""

    def __init__(self, ids: Integers) -> None:
        self._room = np.concatenate([ids, np.zeros(256, np.int64)])
        self._read = self._length = len(ids)

    @property
    def ids(self) -> Integers:
        return self._room[: self._length]

    @property
    def written(self) -> Integers:
        """Those that were added."""
        return self._room[self._read : self._length]

    def append(self, symbol: int) -> None:
        if self._length == len(self._room):
            self._room = np.concatenate([self._room, self._room])
        self._room[self._length] = symbol
        self._length += 1
