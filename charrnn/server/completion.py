"""Requests as jobs of a worker: texts that are written, and whatever else a model is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from charrnn.decoding.continuous import Member, Token
from charrnn.decoding.output_text import Sample
from charrnn.errors import CharRNNError
from charrnn.generator import Generator
from charrnn.scoring.results import Surprisals
from charrnn.server.logprobs import Logprobs
from charrnn.server.requests import CompletionRequest, RequestError, refusal
from charrnn.server.worker import Breathe, Worker

Ask = Callable[[Generator, Breathe], dict[str, Any]]
_UNREAD = 4  # pieces of a text that may wait for its client


@dataclass(frozen=True)
class Piece:
    """Characters that were written.

    Attributes:
        index: of the text.
        text: the characters.
        logprobs: of their tokens, if these were asked for.
    """

    index: int
    text: str
    logprobs: dict[str, Any] | None


@dataclass(frozen=True)
class End:
    """The end of a text.

    Attributes:
        index: of the text.
        reason: length or stop, as the protocol says it.
        sample: the whole text.
        finished_by: what ended it, in our words.
    """

    index: int
    reason: str
    sample: Sample
    finished_by: str


Event = Piece | End | RequestError


class _Request:
    """What all jobs share: who waits for them, and how long."""

    rows = characters = 0

    def __init__(self, worker: Worker, events: asyncio.Queue[Any], seconds: float) -> None:
        self.gone, self.notices = False, list[str]()
        self.deadline = time.monotonic() + seconds
        self._outbox, self._events = worker.outbox, events

    def send(self, event: object) -> None:
        """Send an event to whoever waits."""
        self._outbox.put(self._events, event)

    def fail(self, error: CharRNNError) -> None:
        """Send an error."""
        self.send(refusal(error))

    def leave(self) -> None:
        """Say that nobody waits any more."""
        self.gone = True

    def pace(self) -> None:
        """Nothing is being written."""

    def show(self, *, late: bool) -> bool:
        """Say that nothing is being written."""
        return False


class Question(_Request):
    """Something that a model is asked, besides writing."""

    def __init__(
        self,
        worker: Worker,
        events: asyncio.Queue[Any],
        seconds: float,
        ask: Ask,
    ) -> None:
        """Send the answer of `ask`, which calls its second argument now and then."""
        super().__init__(worker, events, seconds)
        self._ask = ask

    def start(self, worker: Worker, breathe: Breathe) -> bool:
        """Send the answer."""
        self.send((self._ask(worker.generator, breathe), self.notices))
        return False


class Completion(_Request):
    """The texts after one prompt."""

    def __init__(
        self,
        worker: Worker,
        events: asyncio.Queue[Any],
        seconds: float,
        asked: CompletionRequest,
        number: int,
    ) -> None:
        """Write nothing yet.

        Args:
            worker: writes the texts.
            events: get them.
            seconds: that they may take.
            asked: what is asked for.
            number: of the prompt.
        """
        super().__init__(worker, events, seconds)
        self._prompt, self._config = asked.prompts[number], asked.config
        self.rows, self.characters = self._config.num_samples, len(self._prompt)
        self._first = number * self.rows  # the index of the first text
        self._echo, self._logprobs = asked.echo, asked.logprobs
        self._pieces: list[list[str]] = [[] for _ in range(self.rows)]
        self._sent = [0] * self.rows
        self._unread = _UNREAD * asked.texts  # events that may wait for the client

    def start(self, worker: Worker, breathe: Breathe) -> bool:
        """Read the prompt, and let the texts be written."""
        generator, self._crowd = worker.generator, worker.crowd
        tokenizer = generator.tokenizer
        count = None if self._logprobs is None else min(self._logprobs, tokenizer.vocab_size)
        prompt = generator.readable(self._prompt, self._config.unknown)
        read = generator.read(prompt, progress=breathe)
        if count is not None:
            read = generator.exact(read)
        writes = [pieces.append for pieces in self._pieces]
        self._member = Member(generator.start(read, self._config, writes), count)
        self._named = [Logprobs(tokenizer) for _ in self._pieces]
        if self._echo:
            for index, named in enumerate(self._named):
                noted = [] if count is None else noted_tokens(generator, prompt, count, breathe)
                shown = None if count is None else named.take(noted, len(prompt))
                self._sent[index] = len(prompt)
                self.send(Piece(self._first + index, prompt, shown))
        self._crowd.join(self._member)
        return bool(self._member.rows) or self.show(late=False)

    def pace(self) -> None:
        """Write on only while the client reads what was written."""
        waiting, writes = self._events.qsize(), self._member in self._crowd.members
        if writes and waiting > self._unread:
            self._crowd.leave(self._member)
        elif not writes and waiting <= self._unread // 2:
            self._crowd.join(self._member)

    def show(self, *, late: bool) -> bool:
        """Send what was written since the last call; with `late`, end the texts as they are."""
        if self._member.error:
            self.fail(self._member.error)
            return False
        over = late or not self._member.rows
        if over:
            self._crowd.leave(self._member)
            samples = self._member.batch.finish()  # writes what was held back
        for index, pieces in enumerate(self._pieces):
            self._send_piece(index, "".join(pieces))
            pieces.clear()
        if over:
            for index, sample in enumerate(samples):
                by = "time" if late and sample.finished_by == "length" else sample.finished_by
                reason = "length" if by in ("time", "length") else "stop"
                self.send(End(self._first + index, reason, sample, by))
        return not over

    def _send_piece(self, index: int, text: str) -> None:
        self._sent[index] += len(text)
        shown, tokens = None, self._member.tokens[index]
        if self._logprobs is not None:
            shown = self._named[index].take(tokens, self._sent[index])
            tokens.clear()
        if text or (shown and shown["tokens"]):
            self.send(Piece(self._first + index, text, shown))


def noted_tokens(generator: Generator, text: str, count: int, breathe: Breathe) -> list[Token]:
    """Return the tokens of a text that is read from its beginning, with what was expected."""
    return (
        []
        if not text
        else [
            token
            for found in surprisals(generator, text, count, breathe)
            for token in tokens_of(found)
        ]
    )


def surprisals(generator: Generator, text: str, count: int, breathe: Breathe) -> list[Surprisals]:
    """Return the surprisals of a text: of each document where the model reads them apart."""
    texts = generator.scorer.texts(text)
    return generator.scorer.surprisals(texts, count, breathe)


def tokens_of(found: Surprisals) -> list[Token]:
    """Return tokens that were scored as those that are written."""
    columns = (found.ids.tolist(), found.nats.tolist(), found.likeliest, found.likeliest_nats)
    return [Token(*values) for values in zip(*columns, strict=True)]
