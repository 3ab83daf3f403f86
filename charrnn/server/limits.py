"""What a server accepts at most, so that its memory and its answers' times are bounded."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """The limits of a server.

    Attributes:
        length: characters of a text to write.
        characters: of all texts of a request.
        pattern: characters of a regular expression, or of a stop string.
        stops: stop strings of a request.
        prompts: texts to continue in a request.
        rows: texts that are written side by side; others wait.
        waiting: requests that wait for a model, at most.
        waiting_characters: of their prompts together.
        logprobs: likely tokens that are named for each one written.
        named: tokens that are named in an answer, together.
        short_answer: tokens in a short one.
        long_answers: longer ones that are made or sent at once; others wait.
        waiting_long: requests for long answers that wait, at most.
        body: bytes of a request.
        long_bodies: requests of more than `short_body` bytes that are read at once.
        short_body: bytes.
        score: characters of a text to score.
        seconds: that a request may take.
        body_seconds: in which the whole of a request must have come.
        connections: that are open at once.
        models: that are in memory at once.
    """

    length: int = 100_000
    characters: int = 1_000_000
    pattern: int = 2_000
    stops: int = 64
    prompts: int = 64
    rows: int = 512
    waiting: int = 512
    waiting_characters: int = 2**25
    logprobs: int = 100
    named: int = 1_000_000
    short_answer: int = 10_000
    long_answers: int = 4
    waiting_long: int = 64
    body: int = 2**20
    long_bodies: int = 64
    short_body: int = 2**16
    score: int = 100_000
    seconds: float = 600.0
    body_seconds: float = 20.0
    connections: int = 1024
    models: int = 4
