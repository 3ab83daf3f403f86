"""Translates decoding options that are given as text into the tokens of a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from charrnn.arrays import Floats64
from charrnn.config import MAX_LENGTH, Limits, SampleConfig
from charrnn.decoding import constraints
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.filters import NO_BIAS
from charrnn.errors import OptionError, PromptError, excerpt
from charrnn.text.notices import Notify, ignore
from charrnn.text.tokenizer import Tokenizer

# What people see as one character: flags, emoji with modifiers or joined to one, letters with
# combining marks.
_SEQUENCE = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}|"
    ".(?:[\u0300-\u036f\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]|\u200d.)+"
)


_MAX_CONSTRAINTS = 16  # that are kept: they may be large


class ConstraintCache:
    """The constraints of a model, of which the last ones are kept: building one takes a moment."""

    def __init__(self, tokenizer: Tokenizer, notify: Notify = ignore) -> None:
        """Build none yet; `notify` gets a sentence when one may not mean what a user expects."""
        self._tokenizer, self._notify = tokenizer, notify
        self._constraints: dict[tuple[Limits, int], Constraint | None] = {}

    def get(self, limits: Limits, length: int) -> Constraint | None:
        """Return the constraint of a text with these limits; see `constraints.build`."""
        key = (limits, length)
        if key not in self._constraints:
            for name, characters in (("--allow", limits.allow), ("--forbid", limits.forbid)):
                for sequence in dict.fromkeys(_SEQUENCE.findall(characters or "")):
                    points = ", ".join(f"U+{ord(point):04X}" for point in sequence)
                    self._notify(
                        f"{name}: {sequence} is {len(sequence)} characters to a model ({points}), "
                        "each of which counts by itself"
                    )
            while len(self._constraints) >= _MAX_CONSTRAINTS:
                del self._constraints[next(iter(self._constraints))]
            end = self._tokenizer.vocab_size - 1 if self._tokenizer.end else None
            self._constraints[key] = constraints.build(token_texts(self._tokenizer), *key, end)
        return self._constraints[key]


def token_texts(tokenizer: Tokenizer) -> Sequence[str] | Sequence[bytes]:
    """Return what each token (V,) writes: characters, if no token is a part of a character."""
    written = tokenizer.token_bytes
    if not tokenizer.whole_characters:
        return written
    return [token.decode() for token in written]


def stop_ids(tokenizer: Tokenizer, stop: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the ids of stop strings; none where a string can be spelled by different tokens.

    Raises:
        PromptError: a string has a character that is not in the vocabulary.
    """
    known = stop if tokenizer.unique_encoding else [text for text in stop if text == tokenizer.end]
    try:
        return [tuple(tokenizer.encode(text).tolist()) for text in known]
    except PromptError as error:
        raise PromptError(f"--stop can never be met: {error.message}") from None


def logit_bias(tokenizer: Tokenizer, bias_of: Mapping[str, float]) -> Floats64:
    """Return what is added to the logits (V,), given by token; `NO_BIAS` if nothing is.

    Raises:
        OptionError: a text is not exactly one token.
        PromptError: it is not in the vocabulary.
    """
    if not bias_of:
        return NO_BIAS
    bias = np.zeros(tokenizer.vocab_size)
    for text, value in bias_of.items():
        ids = tokenizer.encode(text)
        if len(ids) != 1:
            raise OptionError(
                f"--logit-bias {excerpt(text)!a} is {len(ids)} tokens of this model: name a single "
                "one"
            )
        bias[ids[0]] = value
    return bias


def max_tokens_and_characters(tokenizer: Tokenizer, config: SampleConfig) -> tuple[int, int]:
    """Return the maximum numbers of tokens and of characters that a text may have.

    Where tokens are parts of characters, there are as many as the length needs for certain, with
    characters of at most four bytes. A text that must match a pattern may not be cut anywhere, so
    its length counts tokens.
    """
    if tokenizer.whole_characters or config.limits.regex is not None:
        return config.length, MAX_LENGTH
    return min(4 * config.length, MAX_LENGTH), config.length
