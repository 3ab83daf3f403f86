"""Code tokens with the predictions of a model that learns from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Ids, Integers
from charrnn.compression.coder import CodingProgress
from charrnn.errors import ArchiveError
from charrnn.generator import Generator

_PROBE = 96  # tokens of the fixed text: enough to learn from more than once


def _after(done: int, total: int, progress: CodingProgress) -> Callable[[int], object]:
    """Return what is called with the number of tokens that are coded after `done` others."""
    return lambda read: progress(done + read, total)


class AdaptiveCoder:
    """Codes tokens as words, and decodes them; in one stream, as each is learned from."""

    def __init__(
        self, generator: Generator, separator: str, counted: Ids | None, *, older: bool = False
    ) -> None:
        """Code nothing yet.

        Args:
            generator: the model.
            separator: what ends a document; "" for none.
            counted: tokens to count before the text.
            older: see `charrnn.adaptive.predictor.AdaptivePredictor`.
        """
        self._counted = counted
        self._vocab_size = generator.config.vocab_size
        self._adaptive = partial(generator.adaptive, older=older)
        self._separator = generator.tokenizer.encode(separator).tolist()

    @property
    def counted(self) -> bytes:
        """The hash of what is counted before the text; empty without that."""
        if self._counted is None:
            return b""
        return hashlib.blake2b(self._counted.astype("<i8").tobytes(), digest_size=16).digest()

    def fingerprint(self) -> bytes:
        """Return a hash of what the model predicts for a fixed text that it learns from."""
        probe = (np.arange(_PROBE) ** 2 * 7) % self._vocab_size
        (found,) = self._adaptive(_PROBE).surprisals([probe], count=1)
        digest = hashlib.blake2b(b"adaptive", digest_size=8)
        digest.update(found.nats.tobytes())
        digest.update(found.likeliest_nats.tobytes())
        return digest.digest()

    def _ends_document(self, tokens: list[int], end: int) -> bool:
        """Return whether the tokens before `end` are a separator."""
        size = len(self._separator)
        return size > 0 and tokens[max(0, end - size) : end] == self._separator

    def _ends(self, tokens: list[int]) -> list[int]:
        """Return where documents end, the last one included."""
        inside = range(1, len(tokens))
        return [*(end for end in inside if self._ends_document(tokens, end)), len(tokens)]

    def encode(self, ids: Integers, streams: int, progress: CodingProgress) -> NDArray[np.uint32]:
        """Return the words that code tokens (N,)."""
        assert streams == 1
        predictor = self._adaptive(len(ids), self._counted)
        coder, coded, done = predictor.coder(), bytearray(), 0
        for end in self._ends(ids.tolist()):
            if done:
                predictor.restart()
            coded += predictor.encode(ids[done:end], coder, _after(done, len(ids), progress))
            done = end
        coded += coder.end()
        coded += bytes(-len(coded) % 4)
        return np.frombuffer(coded, "<u4").astype(np.uint32)

    def decode(
        self, words: NDArray[np.uint32], count: int, streams: int, progress: CodingProgress
    ) -> Integers:
        """Return the tokens (N,) that words code.

        Raises:
            ArchiveError: the words do not code this many tokens.
        """
        if streams != 1:
            raise ArchiveError("it is damaged: a model that learns reads one stream")
        predictor = self._adaptive(count, self._counted)
        coder = predictor.coder(np.frombuffer(words.astype("<u4").tobytes(), np.uint8))
        tokens: list[int] = []
        for t in range(count):
            tokens.append(predictor.decode(coder))
            if coder.exhausted:
                raise ArchiveError("it is damaged: its words end before its text does")
            if self._ends_document(tokens, t + 1):
                predictor.restart()
            progress(t + 1, count)
        return np.array(tokens, np.int64)
