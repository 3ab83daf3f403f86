"""The adaptive predictor: a network and a count memory that learn from a text while it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.adaptive import memory, reading
from charrnn.adaptive.network import AdaptiveNetwork
from charrnn.adaptive.reading import DECODE, ENCODE, SCORE, Coder
from charrnn.arrays import Ids
from charrnn.model.model_file import Model
from charrnn.scoring import Surprisals
from charrnn.text.tokenizer import Tokenizer

Progress = Callable[[int], object]  # called with the number of tokens read so far
REHEARSED = 20_000  # tokens of a text that is counted first
_COUNTED_AT_ONCE = 2**16
_UNUSED = Coder.over(np.zeros(0, np.uint8))


class AdaptivePredictor:
    """Predicts tokens one by one, and learns from each.

    Whoever reads the same texts in the same order makes the same predictions, bit for bit; the
    number of threads does not matter.
    """

    def __init__(
        self,
        model: Model,
        length: int,
        *,
        threads: int | None = None,
        counted: Ids | None = None,
        progress: Progress = lambda done: None,
    ) -> None:
        """Begin with what the model knows.

        Args:
            model: a model of texts, which does not change.
            length: how many tokens will be read at most.
            threads: for the network's predictions; None: as many as are worthwhile.
            counted: tokens of a text to count first, such as that of the training.
            progress: called with the number of these that are counted.

        Raises:
            RunError: the network's numbers overflow.
        """
        before = np.zeros(0, np.int64) if counted is None else counted
        self._network = AdaptiveNetwork(model, threads)
        self._memory = memory.empty(len(before) + length, _letters(model.tokenizer))
        self._sums = np.zeros(model.config.vocab_size + 1)
        self._token, self._nats = np.zeros(1, np.int64), np.zeros(1)
        self._compile()
        self._count(before, progress)

    def _compile(self) -> None:
        """Compile or load all that reading needs, by reading nothing."""
        logits = np.zeros((0, len(self._sums) - 1), np.float32)
        no_tokens, no_numbers = np.zeros(0, np.int64), np.zeros(0)
        reading.read(self._memory, logits, self._sums, no_tokens, no_numbers, _UNUSED, SCORE)

    def _count(self, tokens: Ids, progress: Progress) -> None:
        """Count what follows what; read the end of it as a text, so that the mixer learns, too.

        How far contexts and matches can be trusted shows only on tokens that are not counted yet.
        """
        end = len(tokens) - min(REHEARSED, len(tokens) // 10)
        for first in range(0, end, _COUNTED_AT_ONCE):
            some = tokens[first : min(first + _COUNTED_AT_ONCE, end)]
            reading.count(self._memory, some.astype(np.int64))
            progress(first)
        self.surprisals([tokens[end:]], progress=lambda done: progress(end + done))

    def restart(self) -> None:
        """Begin another text: what was learned stays."""
        self._network.restart()

    def surprisals(
        self, texts: Sequence[Ids], count: int = 0, progress: Progress = lambda done: None
    ) -> list[Surprisals]:
        """Read texts one after another, each from the start token.

        Args:
            texts: ids (N,) of each.
            count: K, how many of the most likely tokens to return for each position, at most V.
            progress: called after every token.

        Raises:
            RunError: the network's numbers overflow.
        """
        results, done = [], 0
        for ids in texts:
            self.restart()
            found = Surprisals(
                ids,
                np.zeros(len(ids)),
                np.zeros((len(ids), count), np.int32),
                np.zeros((len(ids), count), np.float32),
            )
            for t, token in enumerate(ids.tolist()):
                likeliest = (found.likeliest[t], found.likeliest_nats[t])
                found.nats[t] = self._read(_UNUSED, SCORE, token, likeliest)
                done += 1
                progress(done)
            results.append(found)
        return results

    def coder(self, code: NDArray[np.uint8] | None = None) -> Coder:
        """Return what codes tokens, or what decodes the bytes of a code."""
        return Coder.encoder(len(self._sums) - 1) if code is None else Coder.over(code)

    def encode(self, token: int, coder: Coder) -> bytes:
        """Read a token, and return the bytes that this adds to its code."""
        coder.numbers[reading.POSITION] = 0
        self._read(coder, ENCODE, token)
        return coder.data[: coder.numbers[reading.POSITION]].tobytes()

    def decode(self, coder: Coder) -> int:
        """Return the next token of a code, and read it."""
        self._read(coder, DECODE, 0)
        return int(self._token[0])

    def _read(
        self,
        coder: Coder,
        mode: int,
        token: int,
        likeliest: tuple[NDArray[np.int32], NDArray[np.float32]] | None = None,
    ) -> float:
        """Read a token, and return -ln p of it."""
        logits = self._network.predict()
        if likeliest is not None and len(likeliest[0]):
            reading.likeliest(self._memory, logits[0], self._sums, *likeliest)
        self._token[0] = token
        given = (self._memory, logits, self._sums, self._token, self._nats)
        reading.read(*given, coder, mode)
        self._network.read(int(self._token[0]))
        return float(self._nats[0])


def _letters(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Return which tokens are parts of words: letters, and bytes of what is not ASCII."""
    tokens = [token.decode("utf-8", "replace") for token in tokenizer.token_bytes]
    return np.array([all(c.isalpha() or c == "\ufffd" for c in token) for token in tokens])
