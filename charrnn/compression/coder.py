"""Code tokens as the words of a range coder, with a model's probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.arrays import Integers
from charrnn.errors import ArchiveError, OptionError, missing_package
from charrnn.generator import Generator
from charrnn.inference.engine import check_finite

_MAX_READ_AHEAD = 128  # bits: twice what the coder holds in addition to the unread words
_PROBE = (48, 17)  # steps and rows of the fixed text: products with row groups of every size

Frequencies = NDArray[np.float32]
CodingProgress = Callable[[int, int], object]


class Coder:
    """Codes tokens as words with a model's probabilities, and decodes them."""

    def __init__(self, generator: Generator, separator: str, *, older: bool = False) -> None:
        """Code nothing yet.

        Args:
            generator: the model.
            separator: what ends a document; "" for none.
            older: whether to round as archives of before 30 November 2026 need it.

        Raises:
            OptionError: a package is missing, or the compiled engine is not available here.
        """
        try:
            import constriction
        except ImportError:
            raise OptionError(missing_package("compression", "constriction", "compress")) from None
        if generator.config.encoder:
            kind = generator.reading.kind
            raise OptionError(
                f"compression reads texts, and this is a model of {kind}: use another"
            )
        engine = generator.scorer.engine
        if not engine.reproducible:
            raise OptionError(
                "compression needs the compiled engine, which is not available here: the sums of "
                "the numpy engine are not the same on every machine"
            )
        from charrnn.inference.distribution import frequencies

        self._engine = generator.scorer.older_engine() if older else engine
        self._frequencies = frequencies
        self._start, self._vocab_size = generator.config.start_token, generator.config.vocab_size
        self._separator = generator.tokenizer.encode(separator).astype(np.int64)[:, None]
        self._queue = constriction.stream.queue
        self._family = constriction.stream.model.Categorical(perfect=False)

    def _frequencies_of(self, logits: NDArray[np.float32]) -> Frequencies:
        """Return whole numbers (B, V) in proportion to the probabilities of logits (B, V).

        Raises:
            RunError: the logits overflow.
        """
        check_finite(logits)
        table = self._frequencies(logits)
        if self._vocab_size == 1:  # the library needs two alternatives
            table = np.concatenate([table, np.ones_like(table)], 1)
        return table

    def fingerprint(self) -> bytes:
        """Return a hash of all that the words depend on: logits, frequencies and the library."""
        steps, rows = _PROBE
        probe = (np.arange(steps)[:, None] * 7 + np.arange(rows) * 3) % self._vocab_size
        digest = hashlib.blake2b(digest_size=8)
        encoder = self._queue.RangeEncoder()
        tokens, state = np.full(rows, self._start), self._engine.start_state(rows)
        for targets in probe:
            logits, state = self._engine.step(tokens, state)
            table = self._frequencies_of(logits)
            digest.update(logits.tobytes())
            digest.update(table.tobytes())
            encoder.encode(targets.astype(np.int32), self._family, table)
            tokens = targets
        digest.update(encoder.get_compressed().astype("<u4").tobytes())
        return digest.digest()

    def encode(self, ids: Integers, streams: int, progress: CodingProgress) -> NDArray[np.uint32]:
        """Return the words that code tokens (N,), cut into this many streams."""
        encoder = self._queue.RangeEncoder()
        length = -(-len(ids) // streams)
        padded = np.zeros(length * streams, np.int64)
        padded[: len(ids)] = ids
        columns = padded.reshape(streams, length)
        rows = np.ascontiguousarray(columns.T)
        for t, (table, active) in enumerate(self._steps(len(ids), streams, rows)):
            encoder.encode(rows[t, :active].astype(np.int32), self._family, table[:active])
            progress(min(len(ids), (t + 1) * streams), len(ids))
        words: NDArray[np.uint32] = encoder.get_compressed()
        return words

    def decode(
        self, words: NDArray[np.uint32], count: int, streams: int, progress: CodingProgress
    ) -> Integers:
        """Return the tokens (N,) that words code; memory grows only with what is decoded.

        Raises:
            ArchiveError: the words do not code this many tokens.
        """
        decoder = self._queue.RangeDecoder(words)
        rows: list[Integers] = []
        beyond = 0.0  # bits decoded after the last word was read
        for table, active in self._steps(count, streams, rows):
            row, at_end = np.zeros(streams, np.int64), decoder.maybe_exhausted()
            try:
                row[:active] = decoder.decode(self._family, table[:active])
            except AssertionError:  # raised by the library
                raise ArchiveError("it is damaged: its words code no text") from None
            if at_end:
                beyond += _bits(table[:active], row[:active])
                if beyond > _MAX_READ_AHEAD:
                    raise ArchiveError("it is damaged: its words end before its text does")
            rows.append(row)
            progress(min(count, len(rows) * streams), count)
        return np.array(rows, np.int64).T.ravel()[:count]

    def _steps(
        self, count: int, streams: int, rows: Integers | list[Integers]
    ) -> Iterator[tuple[Frequencies, int]]:
        """Yield the frequencies (K, V) of each step, and how many streams still have tokens.

        The step's tokens are read next from `rows` (T, K), where the caller has put them by then;
        coding and decoding both use this.
        """
        length = -(-count // streams)
        tokens, state = np.full(streams, self._start), self._engine.start_state(streams)
        size = len(self._separator)
        for t in range(length):
            logits, state = self._engine.step(tokens, state)
            yield self._frequencies_of(logits), -(-(count - t) // length)
            tokens = rows[t]
            if 0 < size <= t + 1:
                ended = (np.array(rows[t + 1 - size : t + 1]) == self._separator).all(0)
                scoring.reset(self._engine, state, np.flatnonzero(ended))
                tokens = np.where(ended, self._start, tokens)


def _bits(table: Frequencies, tokens: Integers) -> float:
    """Return how many bits tokens (B,) take with frequencies (B, V)."""
    chosen = table[np.arange(len(tokens)), tokens]
    return float(np.log2(table.sum(-1, dtype=np.float64) / chosen).sum())
