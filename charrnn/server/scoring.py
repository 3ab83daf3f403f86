"""Scores of texts, character by character."""

from __future__ import annotations

from typing import Any

from charrnn.errors import RunError
from charrnn.generator import Generator
from charrnn.scoring import total
from charrnn.scoring.results import Surprise
from charrnn.server.completion import surprisals
from charrnn.server.requests import ScoreRequest
from charrnn.server.worker import Breathe


def score(asked: ScoreRequest, generator: Generator, breathe: Breathe) -> dict[str, Any]:
    """Return how well a model predicts a text.

    The result has the totals, the text's units, which are the smallest parts that have a surprisal
    of their own, their nats, and the tokens that were most likely in place of each.

    Args:
        asked: the text, and how many likely tokens to name.
        generator: the model.
        breathe: called now and then.

    Raises:
        CharRNNError: the text has no character that the model knows, or its numbers overflow.
    """
    tokenizer = generator.tokenizer
    text = generator.readable(asked.text, asked.unknown)
    found = surprisals(generator, text, min(asked.logprobs, tokenizer.vocab_size), breathe)
    parts = [Surprise.of("text", each, tokenizer) for each in found]
    whole = total(part.score(tokenizer) for part in found)
    if not whole.characters:
        raise RunError("the text has no character: there is nothing to score")
    names = tokenizer.token_names
    return {
        "characters": whole.characters,
        "bytes": whole.num_bytes,
        "total_nats": whole.total_nats,
        "nats": whole.nats,
        "bpc": whole.bpc,
        "bits_per_byte": whole.bits_per_byte,
        "units": [unit for part in parts for unit in part.units],
        "unit_nats": [nats for part in parts for nats in part.nats.tolist()],
        "likeliest": [
            {names[token]: nats for token, nats in zip(*pair, strict=True)}
            for part in parts
            for pair in zip(part.likeliest.tolist(), part.likeliest_nats.tolist(), strict=True)
        ],
    }
