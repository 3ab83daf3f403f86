"""The addresses of the server, and what each answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from charrnn.config.serving import ServeOptions
from charrnn.errors import CharRNNError
from charrnn.server import next_character, scoring, training
from charrnn.server.answers import CompletionAnswer, as_json, error_body, refused, server_sent
from charrnn.server.completion import Ask, Completion, End, Piece, Question
from charrnn.server.guard import Guard
from charrnn.server.limits import Limits
from charrnn.server.models import Models, described
from charrnn.server.requests import (
    CompletionRequest,
    RequestError,
    completion_request,
    next_request,
    refusal,
    score_request,
)

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("page", "api", "text", "charts", "write", "score", "training")
_FILES = {  # by address; nothing else is read from the disk for a client
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in _SCRIPTS},
}


def make(
    models: Models, options: ServeOptions, limits: Limits, notify: Callable[[str], object]
) -> Guard:
    """Return the application.

    Args:
        models: that it offers.
        options: who may ask.
        limits: what may be asked.
        notify: gets a sentence where charrnn itself is at fault.
    """
    server = _Server(models, limits, notify)
    routes = [
        Route("/v1/models", server.models),
        Route("/v1/models/{name:path}", server.model),
        Route("/v1/completions", server.completions, methods=["POST"]),
        Route("/v1/score", server.score, methods=["POST"]),
        Route("/v1/next", server.next, methods=["POST"]),
        Route("/v1/runs", server.runs),
        Route("/v1/runs/{name}", server.run),
        *(Route(path, partial(_file, *found)) for path, found in _FILES.items()),
    ]
    handlers: Any = {
        CharRNNError: server.refuse,
        HTTPException: server.refuse_address,
        ClientDisconnect: server.refuse_silently,
        Exception: server.report,
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), options, limits)


async def _file(name: str, kind: str, request: Request) -> Response:
    return Response((_PAGE / name).read_bytes(), media_type=kind)


class _Server:
    """Answers requests."""

    def __init__(self, models: Models, limits: Limits, notify: Callable[[str], object]) -> None:
        self._models, self._limits, self._notify = models, limits, notify
        self._long_bodies = asyncio.Semaphore(limits.long_bodies)

    async def models(self, request: Request) -> Response:
        found = await asyncio.to_thread(self._models.paths)
        return as_json(
            {"object": "list", "data": [described(name, path) for name, path in found.items()]}
        )

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        return as_json(described(*await asyncio.to_thread(self._models.find, name)))

    async def runs(self, request: Request) -> Response:
        return as_json({"object": "list", "data": await asyncio.to_thread(training.runs)})

    async def run(self, request: Request) -> Response:
        return as_json(await asyncio.to_thread(training.run, request.path_params["name"]))

    async def score(self, request: Request) -> Response:
        asked = score_request(await self._body(request), self._limits)
        return await self._answer(request, "score", asked.model, partial(scoring.score, asked))

    async def next(self, request: Request) -> Response:
        asked = next_request(await self._body(request), self._limits)
        ask = partial(next_character.answer, asked)
        return await self._answer(request, "next", asked.model, ask)

    async def _answer(self, request: Request, kind: str, model: str | None, ask: Ask) -> Response:
        """Return what a model is asked besides writing."""
        name, worker = await self._models.get(model)
        events: asyncio.Queue[Any] = asyncio.Queue()
        question = Question(worker, events, self._limits.seconds, ask)
        worker.submit(question)
        found = await self._while_there(request, question, events.get())
        if found is None:
            return Response(status_code=499)
        if isinstance(found, RequestError):
            raise found
        answer, notices = found
        return as_json({"object": kind, "model": name, **answer, "notices": notices})

    async def completions(self, request: Request) -> Response:
        asked = completion_request(await self._body(request), self._limits)
        name, worker = await self._models.get(asked.model)
        events: asyncio.Queue[Any] = asyncio.Queue()
        each = asked.config.num_samples
        jobs = [
            Completion(
                worker,
                events,
                self._limits.seconds,
                prompt,
                asked.config,
                first=number * each,
                echo=asked.echo,
                logprobs=asked.logprobs,
            )
            for number, prompt in enumerate(asked.prompts)
        ]
        answer = CompletionAnswer(name, asked, [job.notices for job in jobs])
        written = _Written(jobs, events, each * len(jobs))
        try:
            for job in jobs:
                worker.submit(job)
        except RequestError:
            written.gone = True
            raise
        first = await self._while_there(request, written, anext(written.pieces, None))
        if isinstance(first, RequestError):
            raise first
        if asked.stream:
            stream = _stream(answer, asked, first, written)
            return StreamingResponse(stream, media_type="text/event-stream")
        rest = await self._while_there(request, written, written.rest())
        if first is None or rest is None:  # the client is gone
            return Response(status_code=499)
        error = next((event for event in rest if isinstance(event, RequestError)), None)
        if error:
            raise error
        return as_json(answer.whole([first, *rest]))

    async def _body(self, request: Request) -> bytes:
        """Return the whole body.

        Raises:
            RequestError: it is not JSON by its header, is too long, or does not come.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestError("send JSON, with the header Content-Type: application/json", 415)
        body, limits, is_short = bytearray(), self._limits, True
        try:
            async with contextlib.AsyncExitStack() as held, asyncio.timeout(limits.body_seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > limits.body:
                        message = f"the body is too long: at most {limits.body:,} bytes"
                        raise RequestError(message, 413)
                    if is_short and len(body) > limits.short_body:
                        is_short = False
                        await held.enter_async_context(self._long_bodies)
        except TimeoutError:
            raise RequestError("the body of the request did not come in time", 408) from None
        return bytes(body)

    async def _while_there(self, request: Request, job: Any, waited: Any) -> Any:
        """Return what is waited for; None if the client goes away before, whose job ends."""
        result = asyncio.ensure_future(waited)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([result, gone], return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
            return None
        finally:
            if not result.done():
                job.gone = True
                result.cancel()
            gone.cancel()

    async def refuse(self, request: Request, error: CharRNNError) -> Response:
        return refused(refusal(error))

    async def refuse_address(self, request: Request, error: HTTPException) -> Response:
        advice = (
            "there are /v1/models, /v1/completions, /v1/score, /v1/next, /v1/runs, and the page /"
        )
        if request.url.path == "/v1/chat/completions":
            advice = "these models continue texts: use /v1/completions"
        method = f"{request.method} " if error.status_code == 405 else ""
        message = f"{method}{request.url.path[:80]} is not an address of this server: {advice}"
        return refused(RequestError(message, error.status_code))

    async def refuse_silently(self, request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)

    async def report(self, request: Request, error: Exception) -> Response:
        self._notify(f"a defect of charrnn: {error!r}")
        return refused(RequestError(f"a defect of charrnn: {error!r}", 500))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Written:
    """What the jobs of a request send, up to the ends of all texts or an error."""

    def __init__(self, jobs: list[Completion], events: asyncio.Queue[Any], texts: int) -> None:
        self._jobs, self._events, self._left = jobs, events, texts
        self.pieces = self._pieces()

    @property
    def gone(self) -> bool:
        return all(job.gone for job in self._jobs)

    @gone.setter
    def gone(self, value: bool) -> None:
        for job in self._jobs:
            job.gone = value

    async def _pieces(self) -> AsyncIterator[Piece | End | RequestError]:
        while self._left:
            event = await self._events.get()
            self._left -= isinstance(event, End)
            if isinstance(event, RequestError):
                self.gone, self._left = True, 0
            yield event

    async def rest(self) -> list[Piece | End | RequestError]:
        return [event async for event in self.pieces]


async def _stream(
    answer: CompletionAnswer, asked: CompletionRequest, first: Any, written: _Written
) -> AsyncIterator[bytes]:
    """Yield the events of a stream; a client that goes away ends it."""
    try:
        with contextlib.suppress(StopAsyncIteration):
            event = first
            while event is not None:
                if isinstance(event, RequestError):
                    yield server_sent(error_body(event))
                    return
                yield server_sent(answer.chunk(event))
                event = await anext(written.pieces, None)
        if asked.usage:
            yield server_sent(answer.usage_chunk())
        yield server_sent("[DONE]")
    finally:
        written.gone = True
