"""What a model of pairs attends to: for each token of an answer, the weights of the source's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import END, FillConfig
from charrnn.errors import OptionError, PromptError, excerpt
from charrnn.generator import Generator
from charrnn.inference.pair_engine import PairEngine
from charrnn.terminal import one_line

GAP = FillConfig.gap  # what stands for a gap in the tokens of a source


@dataclass(frozen=True)
class Alignment:
    """The weights of attention while a target is written.

    Attributes:
        source: its tokens (S); a gap that is filled is `GAP`.
        target: the tokens that were written (T); the last one is the end, `END`.
        weights: (T, S), of the source's tokens before each token of the target; each row is 1.
        log_prob: of the target, given the source, in nats.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: NDArray[np.floating[Any]]
    log_prob: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON fields; the end of the target is null."""
        target = [None if token == END else token for token in self.target]
        weights = [[round(float(weight), 6) for weight in row] for row in self.weights]
        fields = {"source": self.source, "target": target, "log_prob": self.log_prob}
        return {**fields, "weights": weights}


def alignment(generator: Generator, source: str, target: str | None = None) -> Alignment:
    """Return what a model attends to while it writes a target for a source.

    Args:
        generator: the model.
        source: in any characters; unknown ones are replaced. For a model that fills gaps, a text
            with a gap.
        target: what is written; None for what beam search finds.

    Raises:
        OptionError: the model has no attention, or the text has several gaps.
        PromptError: the source is empty or has no gap, or the target has characters that the model
            does not know.
    """
    config, engine, tokenizer = generator.config, generator.engine, generator.tokenizer
    if generator.reading.fill:
        source, filling = _gap(generator, source)
        target = filling if target is None else target
    source = generator.readable(source, "nearest", of_source=True)
    if target is None:
        target = generator.answer(source).text
    generator.read(target, source=source)  # refuses what cannot be read
    if config.context != "attention":
        raise OptionError("this model has a fixed context: only --context attention has weights")
    assert isinstance(engine, PairEngine)
    read = tokenizer.encode(source).astype(np.int64)
    written = np.append(tokenizer.encode(target).astype(np.int64), config.end_token)
    inputs = np.concatenate([[config.start_token], written[:-1]])[:, None]
    state = engine.encode(read[:, None], np.array([len(read)]))
    nats, _ = engine.nats(inputs, written[:, None], state)
    names = tokenizer.token_names
    return Alignment(
        tuple(GAP if token == config.end_token else names[token] for token in read),
        (*(names[token] for token in written[:-1]), END),
        engine.attention(inputs, state)[:, 0],
        -float(nats.sum(dtype=np.float64)),
    )


def _gap(generator: Generator, text: str) -> tuple[str, str]:
    """Return what a model reads of a text with a gap, and what it writes there."""
    if GAP not in text:
        raise PromptError(
            f"the text '{one_line(excerpt(text))}' has no gap: write {GAP} where something is "
            "missing"
        )
    filled = generator.fill(text)
    if len(filled.sources) > 1:
        raise OptionError(
            f"the text has {len(filled.sources)} gaps, and a map is of one: leave one {GAP}"
        )
    return filled.sources[0], filled.fillings[0].text
