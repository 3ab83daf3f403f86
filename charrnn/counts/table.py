"""The table of a count model: contexts, and the counts of the tokens that followed them.

A context is the last 1 to K tokens. Its key is a hash: the low bits name a bucket, the next 16 bits
check which context of the bucket it is.

Shapes: V tokens, K the highest order, C contexts, E entries, 2^b buckets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats32
from charrnn.errors import ModelError
from charrnn.storage.tensors import Arrays, Spec

PREFIX = "counts."  # of the tensors in a model file
MAX_ORDER = 10
CHECK_BITS = 16
KINDS = 3  # classes of contexts: one, two or more different tokens have followed
KNOTS = 6  # levels of the network's certainty
_MAX_BITS = 30
_TOKEN_TYPES = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32}
# What a stored count stands for: up to SMALL itself; then steps of 8 %.
SMALL = 127
COUNTS = np.concatenate([np.arange(SMALL + 1), np.rint(SMALL * 1.08 ** np.arange(1, 129))])

Keys = TypeVar("Keys", NDArray[np.uint64], np.uint64)


def extended(keys: Keys, tokens: Keys) -> Keys:
    """Return the keys of contexts with one more token before them; compiled code calls it, too."""
    mixed = (keys ^ (tokens + np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32))


@dataclass(frozen=True, eq=False)
class CountTable:
    """A count model.

    Attributes:
        unigram: the probability of each token without a context (V,).
        discounts: what is subtracted from counts of 1, 2 and more, by order (K + 1, 4).
        weights: the share of the counts in the mixture, by order of the longest known context, its
            kind, and the network's certainty (K + 1, KINDS, KNOTS).
        index: the first context of each bucket (2^b + 1,).
        checks: the check of each context (C,).
        starts: the first entry of each context (C + 1,).
        tokens: the token of each entry (E,).
        codes: its count (E,), an index of `COUNTS`.
    """

    unigram: Floats32
    discounts: Floats32
    weights: Floats32
    index: NDArray[np.uint32]
    checks: NDArray[np.uint16]
    starts: NDArray[np.uint32]
    tokens: NDArray[Any]
    codes: NDArray[np.uint8]

    @property
    def order(self) -> int:
        """K, the most tokens of a context."""
        return len(self.discounts) - 1

    @property
    def bits(self) -> int:
        """The logarithm of the number of buckets."""
        return (len(self.index) - 1).bit_length() - 1

    @property
    def contexts(self) -> int:
        """C, the number of contexts."""
        return len(self.checks)

    @property
    def bytes(self) -> int:
        """The size of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> Arrays:
        """Return the tensors of a model file."""
        return {f"{PREFIX}{field.name}": getattr(self, field.name) for field in fields(self)}

    def to_json(self) -> dict[str, int]:
        """Return the sizes that a model file states."""
        sizes = {"order": self.order, "bits": self.bits, "contexts": self.contexts}
        return {**sizes, "entries": len(self.tokens)}


def token_type(vocab_size: int) -> str:
    """Return the type of the tokens of entries, as safetensors spells it."""
    return "U8" if vocab_size <= 2**8 else "U16" if vocab_size <= 2**16 else "U32"


def token_dtype(vocab_size: int) -> Any:
    """Return the same as numpy names it."""
    return _TOKEN_TYPES[token_type(vocab_size)]


def specs(sizes: Any, vocab_size: int) -> dict[str, Spec]:
    """Return the tensors of a table of these sizes, which a file states.

    Raises:
        ValueError: they are no sizes of a table.
    """
    names = ("order", "bits", "contexts", "entries")
    if not isinstance(sizes, Mapping) or set(sizes) != set(names):
        raise ValueError("the sizes of its counts are missing")
    order, bits, contexts, entries = (sizes[name] for name in names)
    limits = zip(
        (order, bits, contexts, entries),
        ((1, MAX_ORDER), (0, _MAX_BITS), (0, 2**32 - 1), (0, 2**32 - 1)),
        strict=True,
    )
    if any(type(size) is not int or not low <= size <= high for size, (low, high) in limits):
        raise ValueError("the sizes of its counts are out of range")
    shapes = {
        "unigram": Spec("F32", (vocab_size,)),
        "discounts": Spec("F32", (order + 1, 4)),
        "weights": Spec("F32", (order + 1, KINDS, KNOTS)),
        "index": Spec("U32", (2**bits + 1,)),
        "checks": Spec("U16", (contexts,)),
        "starts": Spec("U32", (contexts + 1,)),
        "tokens": Spec(token_type(vocab_size), (entries,)),
        "codes": Spec("U8", (entries,)),
    }
    return {f"{PREFIX}{name}": spec for name, spec in shapes.items()}


def of_arrays(path: object, arrays: Arrays) -> CountTable:
    """Return the table that a file's tensors hold, whose types and shapes have been checked.

    Raises:
        ModelError: its numbers are not those of a table.
    """
    table = CountTable(**{f.name: arrays[f"{PREFIX}{f.name}"] for f in fields(CountTable)})
    if not _is_sound(table):
        raise ModelError(f"{path} is damaged: its table of counts contradicts itself")
    return table


def _is_sound(table: CountTable) -> bool:
    """Return whether all numbers are in range, so that no lookup leaves the table."""
    floats = (table.unigram, table.discounts, table.weights)
    if not all(np.isfinite(values).all() for values in floats):
        return False
    counts, discounts = table.codes, table.discounts
    return bool(
        (table.unigram > 0).all()
        and abs(float(table.unigram.sum(dtype=np.float64)) - 1) < 1e-3
        and (discounts[:, 0] == 0).all()
        and (discounts[:, 1:] > 0).all()
        and (discounts <= np.arange(4)).all()
        and (table.weights >= 0).all()
        and (table.weights <= 1).all()
        and _divides(table.index, table.contexts)
        and _divides(table.starts, len(table.tokens))
        and (np.diff(table.starts.astype(np.int64)) > 0).all()
        and (table.tokens < len(table.unigram)).all()
        and (counts > 0).all()
    )


def _divides(bounds: NDArray[np.uint32], count: int) -> bool:
    """Return whether these are the bounds of consecutive parts of `count` things."""
    steps = np.diff(bounds.astype(np.int64))
    return bool(bounds[0] == 0 and bounds[-1] == count and (steps >= 0).all())
