"""What jobs send, on its way to a client that may be slow or leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from charrnn.server.answers import CompletionAnswer, error_body, server_sent
from charrnn.server.completion import Completion, End, Event, Piece
from charrnn.server.requests import RequestError

T = TypeVar("T")
_CHUNK = 2**16  # bytes of a whole answer that are given to the connection at a time


class Written:
    """What the jobs of a request send, up to the ends of all texts or an error."""

    def __init__(
        self, jobs: Iterable[Completion], events: asyncio.Queue[Event], texts: int
    ) -> None:
        """Wait for as many texts from these jobs."""
        self._jobs, self._events, self._left = list(jobs), events, texts

    def leave(self) -> None:
        """Say that nobody waits for the texts any more."""
        for job in self._jobs:
            job.gone = True

    async def next(self) -> list[Event]:
        """Return what has been sent since the last call, at least one event; after the end none."""
        found: list[Event] = []
        while self._left and not (found and self._events.empty()):
            event = await self._events.get()
            found.append(event)
            self._left -= isinstance(event, End)
            if isinstance(event, RequestError):
                self.leave()
                self._left = 0
        return found

    async def rest(self) -> list[Event]:
        """Return all that is still to come."""
        found: list[Event] = []
        while new := await self.next():
            found += new
        return found


def succeeded(events: Iterable[Event]) -> list[Piece | End]:
    """Return what was written, or raise the error among the events."""
    written = []
    for event in events:
        if isinstance(event, RequestError):
            raise event
        written.append(event)
    return written


class Sending(StreamingResponse):
    """An answer in parts, each of which waits for a client that is slow.

    What the answer holds is given back when it has been sent, or cannot be.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        kind: str,
        held: contextlib.AsyncExitStack,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send parts of this media type."""
        super().__init__(parts, media_type=kind, headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        async with self._held:
            await super().__call__(scope, receive, send)


def whole(body: bytes, held: contextlib.AsyncExitStack) -> Sending:
    """Return an answer of JSON whose length is known."""

    async def parts() -> AsyncIterator[bytes]:
        for begin in range(0, len(body), _CHUNK):
            yield body[begin : begin + _CHUNK]

    return Sending(parts(), "application/json", held, {"Content-Length": str(len(body))})


async def streamed(
    answer: CompletionAnswer, first: list[Event], written: Written, *, usage: bool
) -> AsyncIterator[bytes]:
    """Yield the events of a stream, those that are there together at once.

    Args:
        answer: puts them into the protocol's form.
        first: events.
        written: has the others.
        usage: whether the stream ends with the number of characters.
    """
    events = first
    while events:
        parts = [
            error_body(event) if isinstance(event, RequestError) else answer.chunk(event)
            for event in events
        ]
        yield b"".join(map(server_sent, parts))
        if isinstance(events[-1], RequestError):
            return
        events = await written.next()
    if usage:
        yield server_sent(answer.usage_chunk())
    yield server_sent("[DONE]")


async def while_there(request: Request, waited: Awaitable[T]) -> T | None:
    """Return what is waited for; None if the client goes away before."""
    result = asyncio.ensure_future(waited)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([result, gone], return_when=asyncio.FIRST_COMPLETED)
        return result.result() if result.done() else None
    finally:
        result.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
