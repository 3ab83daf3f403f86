"""The alphabet of a text: which of its characters are tokens, and which are written as bytes.

A character that is seen a few times is hardly learned, but costs a row of the output layer at every
step. Written as its bytes, it is predicted from what all rare characters have in common. The plan
(``--min-count auto``) writes characters as bytes that occur fewer than `LEARNED` times in the
training text, also those that only occur in what is held out. Where these are more than
`RARE_SHARE` of it, as in short texts, they must be rarer. It does so where the vocabulary gets
smaller: where they are more than the 256 bytes that take their place. A training that starts from
a model with bytes writes those characters as bytes that this model writes so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from charrnn.arrays import Integers
from charrnn.config import AUTO, TextOptions
from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Piece
from charrnn.text.tokenizer import BYTES, CharTokenizer, Tokenizer
from charrnn.text.utf8 import CodePointCounter

# Validation losses at equal CPU seconds, by the number of occurrences (in brackets the share of the
# text that is in bytes). One run each, on a busy machine; tests/benchmarks/rare_symbols.py compares
# them at equal minutes. 2 x 128, a tied output, 50 to 60 seconds (about 31 of unicode-mixed):
#   10: 4.440 (0.5 %)   30: 4.385 (1.5 %)   100: 4.443 (5 %)   Chinese, 1,789,806 characters
#                       30: 2.650 (1.7 %)   100: 2.727 (5 %)   unicode-mixed, 939,192
# 2 x 96, another output matrix, 10 or 12 seconds:
#   5: 4.833 (2 %)   20: 4.876 (8 %)                           Chinese, its first 150,000
#   1: 5.406 (0 %)    5: 5.552 (13 %)                          its first 20,000
LEARNED = 100
RARE_SHARE = 0.02
MAX_CHARACTERS = 200_000  # different ones: more than any language needs


def of(
    texts: Sequence[Corpus], options: TextOptions, held_out: Iterable[Piece]
) -> tuple[CharTokenizer, int]:
    """Return the tokenizer of texts, and how many of their characters it writes as bytes.

    Args:
        texts: all that it will encode; a part of the first one is trained on.
        options: decide which characters are rare.
        held_out: the rest of the first one; only read where `may_be_rare`.

    Raises:
        CorpusError: there are more characters than any language needs.
    """
    points, counts = _counts(texts)
    min_count = options.min_count
    if options.known_symbols and min_count == AUTO:
        known = np.frombuffer(options.known_symbols.encode("utf-32-le"), "<u4")
        counts, min_count = np.isin(points, known).astype(np.int64), 1
    elif min_count == AUTO:
        _check(texts[0], len(points))
        if may_be_rare(texts):
            counts = _in_training(texts[0], held_out)[points]
        learned = _learned(counts)
        min_count = learned if np.count_nonzero(counts < learned) > BYTES else 0
    made = CharTokenizer.from_counts(points, counts, int(min_count))
    _check(texts[0], len(made.alphabet))
    return made, len(points) - len(made.alphabet)


def options_of(known: Tokenizer) -> dict[str, Any]:
    """Return the options that write as bytes what a tokenizer writes so, and nothing else."""
    if isinstance(known, CharTokenizer) and known.byte_fallback:
        return {"known_symbols": known.alphabet}
    return {"min_count": 1}


def _learned(counts: Integers) -> int:
    """Return how often a character must occur to be a token, given how often each does (N,)."""
    most = RARE_SHARE * counts.sum()
    return next(n for n in range(LEARNED, 0, -1) if counts[counts < n].sum() <= most)


def _check(text: Corpus, count: int) -> None:
    """Refuse a text of so many characters that something must be wrong with it."""
    if count > MAX_CHARACTERS:
        raise CorpusError(
            f"{text.name} has {count:,} different characters, more than any language needs: is it "
            "text, and is --encoding right? If so, use --min-count or --tokenizer byte"
        )


def may_be_rare(texts: Iterable[Corpus]) -> bool:
    """Return whether texts have so many characters that the plan may write some as bytes."""
    return len(_counts(texts)[0]) > BYTES


def _counts(texts: Iterable[Corpus]) -> tuple[Integers, Integers]:
    """Return the code points of texts (N,), sorted, and how often each occurs (N,)."""
    texts = list(texts)
    points, index = np.unique(np.concatenate([text.points for text in texts]), return_inverse=True)
    counts = np.zeros(len(points), np.int64)
    np.add.at(counts, index, np.concatenate([text.counts for text in texts]))
    return points, counts


def _in_training(text: Corpus, held_out: Iterable[Piece]) -> Integers:
    """Return how often each code point occurs in the part to train on (0x110000,)."""
    counter = CodePointCounter()
    for piece in held_out:
        counter.add(piece.data)
    counts = -counter.finish()
    counts[text.points] += text.counts
    return counts
