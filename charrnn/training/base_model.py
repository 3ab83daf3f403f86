"""Offers charrnn's base model of English to a training on a short text that it predicts well."""

from __future__ import annotations

import math

import numpy as np

from charrnn.config import FORM, TrainOptions, given_flags
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model import model_file
from charrnn.model.bases import BASES
from charrnn.text.dataset import Dataset
from charrnn.text.tokenizer import CharTokenizer
from charrnn.text.unknown_symbols import replace

# Texts on which the base model won (base_model.py in tests/benchmarks): English of 2,700 to 180,000
# characters to train on, plain or among markup, of 1.6 to 2.9 nats. Of five such texts with much
# markup it won on three, and was as good as new weights on two. It lost on code (3.1 to 3.7 nats)
# and on tunes. Longer texts were not tried.
MIN_CHARACTERS, MAX_CHARACTERS = 2_500, 180_000
MAX_NATS = 3.0
ROWS, STEPS, CONTEXT = 16, 128, 32  # pieces that are read, their length, and what is not judged
KNOWN = 0.9  # share of their characters that the base model must know, or a near one of
FREQUENT = frozenset("etaoinshrdlu")
# Options of a network or its initial weights, which the base model would bring.
NETWORK = ("cell", "num_layers", "hidden_size", "embedding_size", "ensemble", *FORM)
NETWORK += ("init", "forget_bias")


def offer(data: Dataset, options: TrainOptions) -> str | None:
    """Return a sentence that offers the base model; None where it would not help."""
    tokenizer, reading = data.tokenizer, data.reading
    if reading.pairs or reading.items or options.fill or options.reset_at_documents:
        return None
    if not isinstance(tokenizer, CharTokenizer) or not tokenizer.whole_characters:
        return None
    if given_flags(options, *NETWORK) or not FREQUENT.issubset(tokenizer.alphabet):
        return None
    if not MIN_CHARACTERS <= len(data.train) <= MAX_CHARACTERS or nats(data) > MAX_NATS:
        return None
    return (
        f"{data.name} is short and reads like English: --init-from english starts from a network "
        "that has learned English, and usually learns such a text better, in less time"
    )


def nats(data: Dataset) -> float:
    """Return the mean -ln p of characters of a text under the base model of English.

    It reads a few pieces of the training text, with characters that it does not know replaced by
    the nearest ones; a text of other letters costs infinitely much.
    """
    base = model_file.load(BASES["english"])
    starts = np.linspace(0, max(0, len(data.train) - STEPS), ROWS).astype(int)
    text = "".join(data.tokenizer.decode(data.train[start : start + STEPS]) for start in starts)
    known = set(base.tokenizer.decode(range(base.tokenizer.vocab_size)))
    readable = replace(text, known.issuperset, nearest=True).text
    length = len(readable) // ROWS
    if length < KNOWN * STEPS:
        return math.inf
    ids = base.tokenizer.encode(readable[: length * ROWS]).astype(np.int64).reshape(ROWS, -1).T
    engine = NumpyEngine(base.config, base.values)
    found, _ = engine.nats(ids[:-1], ids[1:], engine.start_state(ROWS))
    return float(found[CONTEXT:].mean())
