"""Fills the gaps of a text with a model that was trained on texts with gaps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from charrnn.config import END, BeamConfig, FillConfig, SampleConfig, new_seed
from charrnn.decoding.generation import Writer
from charrnn.decoding.output_text import Sample
from charrnn.errors import PromptError, excerpt
from charrnn.inference.prompt import PromptReader
from charrnn.model.saved_state import Prompted
from charrnn.terminal import one_line
from charrnn.text import gaps
from charrnn.text.tokenizer import Tokenizer

_ROWS = 2**16  # more than texts that are filled side by side: each gap has its own random numbers
_LONG = 4  # characters of most tokens, at most


@dataclass(frozen=True, repr=False)
class Filled:
    """A text whose gaps a model has filled; ``str(filled)`` is the text.

    Attributes:
        parts: the text around the gaps: one part more than there are gaps.
        fillings: what was written into each gap, from left to right.
        sources: what the model has read before it filled each: left context, `END`, right context.
    """

    parts: tuple[str, ...]
    fillings: tuple[Sample, ...]
    sources: tuple[str, ...]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Filled {self.text!r}: log-probability {self.log_prob:.2f} nats>"

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(piece for piece, _ in self.pieces())

    @property
    def log_prob(self) -> float:
        """The log-probability of all fillings, in nats."""
        return sum(sample.log_prob for sample in self.fillings)

    @property
    def seed(self) -> int | None:
        """The seed that repeats it; None where nothing is random."""
        return self.fillings[0].seed

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """Yield the pieces of the text in order, each with whether it fills a gap."""
        yield self.parts[0], False
        for sample, part in zip(self.fillings, self.parts[1:], strict=True):
            yield sample.text, True
            yield part, False


class Filler:
    """Fills gaps with one model, each given what is left and right of it."""

    def __init__(self, reader: PromptReader, writer: Writer, tokenizer: Tokenizer) -> None:
        """Fill nothing yet.

        Args:
            reader: reads the contexts.
            writer: writes the fillings.
            tokenizer: of the model.
        """
        self._reader, self._writer, self._tokenizer = reader, writer, tokenizer

    def fill(self, text: str, config: FillConfig) -> list[Filled]:
        """Return `num_samples` texts with the gaps of `text` filled, one after the other.

        What fills a gap counts as left context of the next one; the right context of a gap ends
        where the next gap begins.

        Raises:
            PromptError: the text has no gap, or characters that the model does not know.
        """
        parts = self._parts(text, config)
        how, count = self._decoding(config), config.num_samples
        lefts = [parts[0]] * count
        fillings: list[list[Sample]] = [[] for _ in range(count)]
        read: list[list[str]] = [[] for _ in range(count)]
        for number, after in enumerate(parts[1:]):
            right = self._nearest(after, lambda text: text[:-1], slice(_LONG * gaps.MAX_CONTEXT))
            sources = [self._left(left) + END + right for left in lefts]
            written = self._writer.answers(sources, self._read, how, first=number * _ROWS)
            for row, (sample, *_) in enumerate(written):
                fillings[row].append(replace(sample, prompt=""))
                read[row].append(sources[row])
                lefts[row] += sample.text + after
        own = zip(fillings, read, strict=True)
        return [Filled(parts, tuple(written), tuple(sources)) for written, sources in own]

    def _parts(self, text: str, config: FillConfig) -> tuple[str, ...]:
        """Return the text around the gaps, in characters that the model knows."""
        if not isinstance(text, str):
            raise PromptError(f"`text` must be a str, not {type(text).__name__}")
        if END in text:
            raise PromptError(
                f"the text has the character U+{ord(END):04X}, which no text can have"
            )
        mark = re.escape(config.gap)
        if len(set(config.gap)) == 1:  # a longer line means the same gap
            mark += f"{re.escape(config.gap[0])}*"
        parts = re.split(mark, text)
        if len(parts) == 1:
            raise PromptError(
                f"the text '{one_line(excerpt(text))}' has no gap: write {config.gap} where "
                "something is missing (--gap names another mark)"
            )
        return tuple(self._reader.readable(part, config.unknown) for part in parts)

    def _read(self, sources: Sequence[str]) -> Prompted:
        return self._reader.read_sources(sources, "error")

    def _left(self, text: str) -> str:
        return self._nearest(text, lambda text: text[1:], slice(-_LONG * gaps.MAX_CONTEXT, None))

    def _nearest(self, text: str, shorter: Callable[[str], str], near: slice) -> str:
        """Return of a context what training has used at most."""
        text = text[near]
        while len(self._tokenizer.encode(text)) > gaps.MAX_CONTEXT:
            text = shorter(text)
        return text

    def _decoding(self, config: FillConfig) -> BeamConfig | SampleConfig:
        """Return how each gap is filled."""
        limits, length = config.limits, 2 * gaps.MAX_GAP
        if config.length is not None:
            each = 1 if self._tokenizer.whole_characters else _LONG
            limits = replace(limits, regex=f"[^{END}]{{{config.length}}}{END}")
            length = each * config.length + 1
        if config.temperature is None:
            return BeamConfig(
                length=length,
                width=config.width,
                length_penalty=config.length_penalty,
                **vars(limits),
            )
        return SampleConfig(
            length=length,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            min_p=config.min_p,
            seed=new_seed() if config.seed is None else config.seed,
            **vars(limits),
        )
