"""Answers in the form of OpenAI's protocol."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from charrnn.server.completion import End, Piece
from charrnn.server.requests import CompletionRequest, RequestError
from charrnn.storage.files import json_text


def as_json(content: Any, status: int = 200) -> Response:
    """Return JSON; a number that is not finite is null."""
    return Response(json_text(content), status, media_type="application/json")


def refused(error: RequestError) -> Response:
    """Return an error."""
    return as_json(error_body(error), error.status)


def error_body(error: RequestError) -> dict[str, Any]:
    """Return an error as the protocol says it."""
    return {
        "error": {
            "message": str(error),
            "type": error.kind,
            "param": error.param,
            "code": {401: "invalid_api_key", 404: "not_found"}.get(error.status),
        }
    }


def server_sent(content: dict[str, Any] | str) -> bytes:
    """Return an event of a stream."""
    text = content if isinstance(content, str) else json_text(content)
    return f"data: {text}\n\n".encode()


class CompletionAnswer:
    """The answer to one request for texts, at once or in pieces."""

    def __init__(self, model: str, asked: CompletionRequest, notices: list[list[str]]) -> None:
        """Begin an answer.

        Args:
            model: its name.
            asked: what was asked for.
            notices: of each prompt, as they become known.
        """
        self._asked, self._notices = asked, notices
        self._written = 0
        self._head = {
            "id": f"cmpl-{uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }

    def chunk(self, event: Piece | End) -> dict[str, Any]:
        """Return the part of a stream that says what happened."""
        return {**self._head, "choices": [self._choice(event)], **self._said()}

    def usage_chunk(self) -> dict[str, Any]:
        """Return the last part of a stream, if it was asked for."""
        return {**self._head, "choices": [], "usage": self._usage()}

    def whole(self, events: Iterable[Piece | End]) -> dict[str, Any]:
        """Return the answer that has all texts at once."""
        choices: dict[int, dict[str, Any]] = {}
        for event in events:
            new = self._choice(event)
            before = choices.get(event.index)
            if before is not None:
                new["text"] = before["text"] + new["text"]
                new["logprobs"] = _joined(before["logprobs"], new["logprobs"])
            choices[event.index] = new
        ordered = [choices[index] for index in sorted(choices)]
        return {**self._head, "choices": ordered, "usage": self._usage(), **self._said()}

    def _said(self) -> dict[str, Any]:
        """Return what was said about the prompts, once."""
        if not any(self._notices):
            return {}
        sentences = list(dict.fromkeys(each for notices in self._notices for each in notices))
        for notices in self._notices:
            notices.clear()
        return {"notices": sentences}

    def _choice(self, event: Piece | End) -> dict[str, Any]:
        shared = {"index": event.index, "finish_reason": None}
        if isinstance(event, Piece):
            return {**shared, "text": event.text, "logprobs": event.logprobs}
        sample = event.sample
        self._written += len(sample.text)
        return {
            **shared,
            "text": "",
            "logprobs": None,
            "finish_reason": event.reason,
            "finished_by": event.finished_by,
            "seed": sample.seed,
            "log_prob": sample.log_prob,
        }

    def _usage(self) -> dict[str, int]:
        read = sum(map(len, self._asked.prompts))
        return {
            "prompt_tokens": read,
            "completion_tokens": self._written,
            "total_tokens": read + self._written,
        }


def _joined(
    one: dict[str, list[Any]] | None, other: dict[str, list[Any]] | None
) -> dict[str, list[Any]] | None:
    if one is None or other is None:
        return one or other
    return {name: values + other[name] for name, values in one.items()}
