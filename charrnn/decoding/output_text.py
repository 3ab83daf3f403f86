"""Texts as they grow, token by token, up to their length, a stop string or a constraint's end.

What may still become part of a stop string is held back until that is certain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from charrnn.arrays import Floats64, Integers
from charrnn.decoding.step import ENDED
from charrnn.decoding.vocabulary import stop_ids
from charrnn.errors import counted
from charrnn.terminal import visible
from charrnn.text.tokenizer import Decoder, Tokenizer

MAX_REPR = 60  # characters that `repr` shows of a text

Write = Callable[[str], object]


def unwatched(piece: str) -> None:
    """Take the characters of a text that nobody watches."""


@dataclass(frozen=True, repr=False)
class Sample:
    """A text that a model wrote; ``str(sample)`` is the text.

    Attributes:
        text: what was written after the prompt; a stop string at its end only if it was to stay.
        seed: the seed that repeats it; None where nothing is random.
        log_prob: log-probability in nats that the model gives to what it wrote after the prompt
            (at temperature 1, including a stop string).
        finished_by: "length", "stop" or "constraint" (the pattern or the number of lines).
        ids: all tokens that were chosen, including a stop string.
        prompt: what was read before, as far as it is known: without what came before a saved state
            or before the document that was begun.
    """

    text: str
    seed: int | None
    log_prob: float
    finished_by: str
    ids: tuple[int, ...] = ()
    prompt: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= MAX_REPR else f"{self.text[:MAX_REPR]}…"
        return f"<Sample {shown!r}: {self._described()}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the prompt in bold, and the text."""
        import html

        prompt, text = (html.escape(visible(part)) for part in (self.prompt, self.text))
        return (
            f'<pre style="white-space: pre-wrap"><b>{prompt}</b>{text}</pre>'
            f"<small>{self._described()}</small>"
        )

    def _described(self) -> str:
        seed = "" if self.seed is None else f"seed {self.seed}, "
        return (
            f"{counted(len(self.text), 'character')}, {seed}"
            f"log-probability {self.log_prob:.2f} nats, ended by {self.finished_by}"
        )


class OutputText(Protocol):
    """A text that grows."""

    @property
    def num_tokens(self) -> int:
        """Return how many tokens the text has."""
        ...

    def extend(self, ids: Integers, log_probs: Floats64) -> bool:
        """Add chosen tokens up to the end of the text; return whether the text continues.

        Args:
            ids: (T,) tokens, or `ENDED` and `OVER` where a constraint has ended the text.
            log_probs: (T,) their log-probabilities.
        """
        ...

    def show(self, tokens: Sequence[int]) -> None:
        """Add tokens without log-probabilities, and write the characters that are certain."""
        ...

    def finish(self, seed: int | None, prompt: str = "") -> Sample:
        """Write what was held back, but no stop string that is to go; return the whole text.

        Args:
            seed: the seed that repeats it.
            prompt: what was read before.
        """
        ...


def text_maker(
    tokenizer: Tokenizer,
    stop: Sequence[str],
    length: int,
    *,
    keep_stop: bool = False,
    openings: Sequence[str] = (),
) -> Callable[[Write], OutputText]:
    """Return a function that makes an empty text, given what gets its characters once certain.

    Args:
        tokenizer: decodes the tokens.
        stop: strings before which a text ends.
        length: maximum number of characters; without effect where every token is a character.
        keep_stop: whether a text ends after the string instead.
        openings: strings that end a text only where it begins with one: what is left of a stop
            string that the prompt began.

    Raises:
        PromptError: a stop string has a character that is not in the vocabulary.
    """
    if tokenizer.whole_characters:
        ids = stop_ids(tokenizer, stop), stop_ids(tokenizer, openings)
        return lambda write: _CharacterText(tokenizer, *ids, write, keep_stop)
    strings = stop, openings
    return lambda write: _DecodedText(tokenizer, strings, length, write, keep_stop)


class _CharacterText:
    """A text whose tokens are characters: stop strings are searched for among the ids."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stops: Sequence[tuple[int, ...]],
        openings: Sequence[tuple[int, ...]],
        write: Write,
        keep_stop: bool,
    ) -> None:
        self._tokenizer = tokenizer
        self._stops, self._openings = stops, openings
        self._write = write
        self._keep_stop = keep_stop
        self._max_held = max(map(len, [*stops, *openings]), default=0)
        self._ids: list[int] = []
        self._num_written = 0
        self._log_prob = 0.0
        self._finished_by = "length"
        self._end: int | None = None  # where a stop string begins that is to go

    @property
    def num_tokens(self) -> int:
        return len(self._ids)

    def extend(self, ids: Integers, log_probs: Floats64) -> bool:
        tokens = ids.tolist()
        count = next((index for index, token in enumerate(tokens) if token < 0), len(tokens))
        if count < len(tokens):
            self._finished_by = "constraint"
        stop = self._find_stop(tokens[:count])
        counted = count
        if stop is not None:
            counted = count = stop
            self._finished_by = "stop"
        elif count < len(tokens) and tokens[count] == ENDED:
            counted += 1  # ending has a probability, too
        self._log_prob = sum(log_probs[:counted].tolist(), self._log_prob)
        self.show(tokens[:count])
        return self._finished_by == "length"

    def _find_stop(self, tokens: Sequence[int]) -> int | None:
        """Return how many of these tokens there are up to the end of the first stop string."""
        if not self._stops:
            return None
        before = self._ids[len(self._ids) - min(self._max_held, len(self._ids)) :]
        window = "".join(map(chr, [*before, *tokens]))
        matches: list[tuple[int, int]] = []  # end and start: the first one is the smallest
        for stop in self._stops:
            start = window.find("".join(map(chr, stop)), max(len(before) - len(stop) + 1, 0))
            if start >= 0:
                matches.append((start + len(stop), start))
        if len(before) == len(self._ids):  # the window is the whole text
            found = (o for o in self._openings if window.startswith("".join(map(chr, o))))
            matches += [(len(opening), 0) for opening in found]
        if not matches:
            return None
        end, start = min(matches)
        if not self._keep_stop:
            self._end = len(self._ids) - len(before) + start
        return end - len(before)

    def show(self, tokens: Sequence[int]) -> None:
        self._ids.extend(tokens)
        self._write_up_to(len(self._ids) - self._max_held)

    def _write_up_to(self, end: int) -> None:
        if end > self._num_written and self._write is not unwatched:
            self._write(self._tokenizer.decode(self._ids[self._num_written : end]))
            self._num_written = end

    def finish(self, seed: int | None, prompt: str = "") -> Sample:
        end = self._end
        if end is None:
            stops = () if self._keep_stop else self._stops
            lengths = [len(s) for s in stops if tuple(self._ids[-len(s) :]) == s]
            if not self._keep_stop and tuple(self._ids) in self._openings:
                lengths.append(len(self._ids))
            end = len(self._ids) - max(lengths, default=0)
        self._write_up_to(end)
        text = self._tokenizer.decode(self._ids[:end])
        return Sample(text, seed, self._log_prob, self._finished_by, tuple(self._ids), prompt)


class _DecodedText:
    """A text of other tokens: length and stop strings are found in what the tokens decode to."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stops_and_openings: tuple[Sequence[str], Sequence[str]],
        length: int,
        write: Write,
        keep_stop: bool,
    ) -> None:
        self._decoder = Decoder(tokenizer)
        self._keep_stop = keep_stop
        self._stops, self._openings = stops_and_openings
        self._characters_left = length
        self._write = write
        self._max_held = max(map(len, [*self._stops, *self._openings]), default=0)
        self._ids: list[int] = []
        self._written: list[str] = []
        self._tail = ""  # not written yet
        self._log_prob = 0.0
        self._finished_by = "length"

    @property
    def num_tokens(self) -> int:
        return len(self._ids)

    @property
    def _continues(self) -> bool:
        return self._finished_by == "length" and self._characters_left > 0

    def extend(self, ids: Integers, log_probs: Floats64) -> bool:
        for token, log_prob in zip(ids.tolist(), log_probs.tolist(), strict=True):
            if token < 0:
                self._finished_by = "constraint"
                self._log_prob += log_prob if token == ENDED else 0.0
            if not self._continues:
                break
            self._log_prob += log_prob
            self._add(token)
        self._write_up_to(len(self._tail) - self._max_held)
        return self._continues

    def show(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if self._continues:
                self._add(token)
        self._write_up_to(len(self._tail) - self._max_held)

    def _add(self, token: int) -> None:
        self._ids.append(token)
        self._append(self._decoder.feed((token,)))

    def _append(self, piece: str) -> None:
        """Append the characters of a token that still belong to the text."""
        piece = piece[: self._characters_left]
        begin = max(0, len(self._tail) - self._max_held)  # no stop string starts before this
        self._characters_left -= len(piece)
        self._tail += piece
        starts = [(self._tail.find(stop, begin), len(stop)) for stop in self._stops]
        matches = [(start + length, start) for start, length in starts if start >= 0]
        if not self._written:
            found = filter(self._tail.startswith, self._openings)
            matches += [(len(opening), 0) for opening in found]
        if matches:
            self._finished_by = "stop"
            end, start = min(matches)
            self._tail = self._tail[: end if self._keep_stop else start]
            self._max_held = 0

    def _write_up_to(self, end: int) -> None:
        if end > 0:
            self._written.append(self._tail[:end])
            self._tail = self._tail[end:]
            self._write(self._written[-1])

    def finish(self, seed: int | None, prompt: str = "") -> Sample:
        if self._continues:
            self._append(self._decoder.finish())
        self._write_up_to(len(self._tail))
        text = "".join(self._written)
        return Sample(text, seed, self._log_prob, self._finished_by, tuple(self._ids), prompt)
