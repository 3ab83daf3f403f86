"""The adaptive predictor: a network and a count memory that learn from a text while it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from charrnn.adaptive import memory, network, reading
from charrnn.adaptive.network import SEGMENT, AdaptiveNetwork
from charrnn.adaptive.reading import DECODE, ENCODE, SCORE, Coder
from charrnn.arrays import Floats32, Ids
from charrnn.compiler import background
from charrnn.inference.network_arrays import OLDER_PRODUCT, multiply
from charrnn.model.model_file import Model
from charrnn.scoring import Surprisals
from charrnn.text.tokenizer import Tokenizer

Progress = Callable[[int], object]  # called with the number of tokens read so far
REHEARSED = 20_000  # tokens of a text that is counted first
_COUNTED_AT_ONCE = 2**16
_Mix = Callable[[Floats32, NDArray[np.int64], slice], None]  # logits, tokens, their positions
_UNUSED = Coder.over(np.zeros(0, np.uint8))


class AdaptivePredictor:
    """Predicts tokens one by one, and learns from each.

    Whoever reads the same texts in the same order makes the same predictions, bit for bit; the
    number of threads does not matter. Where tokens are known, the network learns from a segment
    while a second thread mixes its predictions and counts.
    """

    def __init__(
        self,
        model: Model,
        length: int,
        *,
        threads: int | None = None,
        counted: Ids | None = None,
        progress: Progress = lambda done: None,
        older: bool = False,
    ) -> None:
        """Begin with what the model knows.

        Args:
            model: a model of texts, which does not change.
            length: how many tokens will be read at most.
            threads: 1 if all is done by one thread; else another one mixes, and each network of an
                ensemble has its own.
            counted: tokens of a text to count first, such as that of the training.
            progress: called with the number of these that are counted.
            older: whether to predict as archives of before 30 November 2026 need it: with fewer
                contexts, and numpy's threads, whose number matters, for the tokens' vectors.

        Raises:
            RunError: the network's numbers overflow.
        """
        before = np.zeros(0, np.int64) if counted is None else counted
        self._memory = memory.empty(len(before) + length, _letters(model.tokenizer), older=older)
        self._sums = np.zeros(model.config.vocab_size + 1)
        self._token, self._nats = np.zeros(1, np.int64), np.zeros(1)
        background.share(network.functions(model.config))
        self._compile()  # while another process compiles what the network needs
        self._network = AdaptiveNetwork(
            model, OLDER_PRODUCT if older else multiply, threads=threads
        )
        self._thread = None if threads == 1 else ThreadPoolExecutor(1)
        self._count(before, progress)
        if not older:
            self.restart()

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
            progress: called after every segment.

        Raises:
            RunError: the network's numbers overflow.
        """
        results, done = [], 0
        for ids in texts:
            found = Surprisals(
                ids,
                np.zeros(len(ids)),
                np.zeros((len(ids), count), np.int32),
                np.zeros((len(ids), count), np.float32),
            )
            self.restart()
            self._read(ids, self._scoring(found), _after(done, progress))
            done += len(ids)
            results.append(found)
        return results

    def _scoring(self, found: Surprisals) -> _Mix:
        """Return what fills in the surprisals of a text."""

        def mix(logits: Floats32, tokens: NDArray[np.int64], where: slice) -> None:
            part = found[where]
            if not part.likeliest.shape[1]:
                self._mix(logits, tokens, part.nats, _UNUSED, SCORE)
                return
            for t in range(len(tokens)):  # what is likely is known before the token is learned from
                likeliest = (part.likeliest[t], part.likeliest_nats[t])
                reading.likeliest(self._memory, logits[t], self._sums, *likeliest)
                one = slice(t, t + 1)
                self._mix(logits[one], tokens[one], part.nats[one], _UNUSED, SCORE)

        return mix

    def coder(self, code: NDArray[np.uint8] | None = None) -> Coder:
        """Return what codes tokens, or what decodes the bytes of a code."""
        return Coder.encoder(SEGMENT, len(self._sums) - 1) if code is None else Coder.over(code)

    def encode(self, ids: Ids, coder: Coder, progress: Progress = lambda done: None) -> bytes:
        """Read tokens (N,), and return the bytes that this adds to their code.

        Raises RunError as `surprisals` does; `progress` is called as there.
        """
        code = bytearray()

        def mix(logits: Floats32, tokens: NDArray[np.int64], where: slice) -> None:
            coder.numbers[reading.POSITION] = 0
            self._mix(logits, tokens, np.zeros(len(tokens)), coder, ENCODE)
            code.extend(coder.data[: coder.numbers[reading.POSITION]].tobytes())

        self._read(ids, mix, progress)
        return bytes(code)

    def decode(self, coder: Coder) -> int:
        """Return the next token of a code, and read it."""
        self._mix(self._network.predict(), self._token, self._nats, coder, DECODE)
        token = int(self._token[0])
        self._network.read([token])
        return token

    def _read(self, ids: Ids, mix: _Mix, progress: Progress) -> None:
        """Read known tokens.

        Each segment's predictions are mixed, in order, while the network learns from it.
        """
        mixed, done = None, 0
        for tokens in self._network.segments(ids):
            logits = self._network.predict_known(tokens)
            given = (logits, np.array(tokens), slice(done, done + len(tokens)))
            if self._thread is None:
                mix(*given)
            else:
                if mixed is not None:
                    mixed.result()
                mixed = self._thread.submit(mix, *given)
            self._network.read(tokens)
            done += len(tokens)
            progress(done)
        if mixed is not None:
            mixed.result()

    def _mix(
        self,
        logits: Floats32,
        tokens: NDArray[np.int64],
        nats: NDArray[np.float64],
        coder: Coder,
        mode: int,
    ) -> None:
        """Read tokens (T,) that were predicted (T, V) into the memory; see `reading.read`."""
        reading.read(self._memory, logits, self._sums, tokens, nats, coder, mode)


def _after(done: int, progress: Progress) -> Progress:
    """Return what is called with the number of tokens read after `done` others."""
    return lambda read: progress(done + read)


def _letters(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Return which tokens are parts of words: letters, and bytes of what is not ASCII."""
    tokens = [token.decode("utf-8", "replace") for token in tokenizer.token_bytes]
    return np.array([all(c.isalpha() or c == "\ufffd" for c in token) for token in tokens])
