"""The addresses of the server, and what each answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from charrnn.config.serving import ServeOptions
from charrnn.errors import CharRNNError
from charrnn.server import next_character, scoring, training
from charrnn.server.answers import CompletionAnswer, as_json, refused
from charrnn.server.completion import Ask, Completion, Question
from charrnn.server.guard import Guard
from charrnn.server.limits import Limits
from charrnn.server.models import Models, described
from charrnn.server.requests import (
    CompletionRequest,
    NextRequest,
    RequestError,
    ScoreRequest,
    completion_request,
    next_request,
    refusal,
    score_request,
)
from charrnn.server.streaming import Sending, Written, streamed, succeeded, while_there, whole
from charrnn.server.worker import Worker
from charrnn.storage.files import json_text

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = (
    *("page", "api", "text", "long_text", "editor", "charts"),
    *("write", "score", "training"),
)
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
        self._long_answers = asyncio.Semaphore(limits.long_answers)
        self._waiting_long = 0

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
        return await self._answer(request, "score", asked, partial(scoring.score, asked))

    async def next(self, request: Request) -> Response:
        asked = next_request(await self._body(request), self._limits)
        return await self._answer(request, "next", asked, partial(next_character.answer, asked))

    async def _answer(
        self, request: Request, kind: str, asked: ScoreRequest | NextRequest, ask: Ask
    ) -> Response:
        """Return what a model is asked besides writing."""
        name, worker = await self._models.get(asked.model)
        async with contextlib.AsyncExitStack() as held:
            await self._take_turn(held, asked.named)
            events: asyncio.Queue[Any] = asyncio.Queue()
            question = Question(worker, events, self._limits.seconds, ask)
            held.callback(question.leave)
            worker.submit(question)
            found = await while_there(request, events.get())
            if found is None:
                return Response(status_code=499)
            if isinstance(found, RequestError):
                raise found
            answer, notices = found
            body = {"object": kind, "model": name, **answer, "notices": notices}
            return whole(json_text(body).encode(), held.pop_all())

    async def completions(self, request: Request) -> Response:
        asked = completion_request(await self._body(request), self._limits)
        name, worker = await self._models.get(asked.model, asked.config)
        async with contextlib.AsyncExitStack() as held:
            await self._take_turn(held, asked.named)
            jobs, written = self._jobs(asked, worker)
            held.callback(written.leave)
            for job in jobs:
                worker.submit(job)
            answer = CompletionAnswer(name, asked, [job.notices for job in jobs])
            first = await while_there(request, written.next())
            if first is None:
                return Response(status_code=499)
            if isinstance(first[0], RequestError):
                raise first[0]
            if asked.stream:
                stream = streamed(answer, first, written, usage=asked.usage)
                return Sending(stream, "text/event-stream", held.pop_all())
            rest = await while_there(request, written.rest())
            if rest is None:
                return Response(status_code=499)
            texts = answer.whole(succeeded([*first, *rest]))
            return whole(json_text(texts).encode(), held.pop_all())

    def _jobs(self, asked: CompletionRequest, worker: Worker) -> tuple[list[Completion], Written]:
        """Return the jobs of a request, one for each prompt, and what they will write."""
        events: asyncio.Queue[Any] = asyncio.Queue()
        jobs = [
            Completion(worker, events, self._limits.seconds, asked, number)
            for number in range(len(asked.prompts))
        ]
        return jobs, Written(jobs, events, asked.texts)

    async def _take_turn(self, held: contextlib.AsyncExitStack, named: int) -> None:
        """Let a request wait whose answer is long; `held` ends its turn.

        Raises:
            RequestError: too many such requests wait.
        """
        if named <= self._limits.short_answer:
            return
        if self._waiting_long >= self._limits.waiting_long:
            raise RequestError(
                f"{self._waiting_long} requests with long answers are waiting already: try again "
                "later",
                429,
                kind="rate_limit_error",
            )
        self._waiting_long += 1
        try:
            await held.enter_async_context(self._long_answers)
        finally:
            self._waiting_long -= 1

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
