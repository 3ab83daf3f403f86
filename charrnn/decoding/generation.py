"""Generates texts after a prompt, by sampling or beam search: from options to samples."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from charrnn.config import MAX_LENGTH, BeamConfig, SampleConfig
from charrnn.decoding import sampler, vocabulary
from charrnn.decoding.beam import beam_search
from charrnn.decoding.output_text import Sample, Write, output_text
from charrnn.decoding.sampler import Sampler
from charrnn.decoding.vocabulary import ConstraintCache
from charrnn.inference.engine import Engine
from charrnn.model.saved_state import Prompted
from charrnn.text.tokenizer import Tokenizer

# Texts that are written for each one that is wanted, if some may not be returned; and at least.
_TRIES, _MIN_TRIES = 50, 500


class SampleBatch:
    """Texts that are sampled side by side.

    Attributes:
        chooser: chooses their tokens.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Prompted,
        config: SampleConfig,
        constraints: ConstraintCache,
        write: Write,
        first: int = 0,
    ) -> None:
        """Start empty texts.

        Without a given seed, the randomness of the prompt continues, if it has any.

        Args:
            tokenizer: of the model.
            prompt: what was read before the texts.
            config: number and length of the texts, and how their tokens are chosen.
            constraints: those of the model.
            write: gets the first text's characters as they are generated.
            first: how many texts of this seed there are before.
        """
        given = prompt.seed if config.seed is None else config.seed
        seed = secrets.randbits(32) if given is None else given
        drawn = prompt.drawn if seed == prompt.seed else 0
        rows = range(first, first + config.num_samples)
        self._prompt = prompt
        self._seed = seed if config.temperature else None  # None: nothing is random
        self._max_tokens, length = vocabulary.max_tokens_and_characters(tokenizer, config)
        writers = [write, *(unwatched for _ in rows[1:])]
        self._texts = [
            output_text(tokenizer, config.stop, length, write, keep_stop=config.keep_stop)
            for write in writers
        ]
        self.chooser = Sampler(
            config,
            [sampler.generator(seed, row, drawn) for row in rows],
            self._max_tokens,
            read=prompt.ids,
            bias=vocabulary.logit_bias(tokenizer, dict(config.logit_bias)),
            constraint=constraints.get(config.limits, self._max_tokens),
        )

    def steps(self, engine: Engine) -> Iterator[None]:
        """Write the texts to their ends; yield whenever some tokens have been written."""
        start = (engine, self._prompt.logits, self._prompt.state)
        return sampler.write(*start, self.chooser, self._texts, self._max_tokens)

    def finish(self) -> list[Sample]:
        """Return the finished texts."""
        return [text.finish(self._seed) for text in self._texts]


def accepted(
    write_batch: Callable[[int], Sequence[Sample]],
    config: SampleConfig,
    accept: Callable[[str], bool],
) -> tuple[list[Sample], int]:
    """Write batches until there are enough texts that are accepted, and different if asked for.

    Args:
        write_batch: returns `config.num_samples` texts; takes how many were written before.
        config: how many texts are wanted, and whether each only once.
        accept: whether a text may be returned.

    Returns:
        the texts, fewer if too many tries failed, and the number of tries.
    """
    wanted, tried = config.num_samples, 0
    limit = max(_TRIES * wanted, _MIN_TRIES) if config.temperature else 1
    found: dict[object, Sample] = {}
    while len(found) < wanted and tried < limit:
        for sample in write_batch(tried):
            tried += 1
            if accept(sample.text):
                found.setdefault(sample.text if config.unique else tried, sample)
    return list(found.values())[:wanted], tried


def search(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: Prompted,
    config: BeamConfig,
    constraints: ConstraintCache,
    write: Write,
) -> list[Sample]:
    """Return the texts that beam search finds, best first.

    `write` gets characters of the best one as soon as no later step can change them.
    """
    keep = config.keep_stop
    best = output_text(tokenizer, config.stop, MAX_LENGTH, write, keep_stop=keep)
    seed = None
    if config.stochastic:
        seed = secrets.randbits(32) if config.seed is None else config.seed
    hypotheses = beam_search(
        engine,
        prompt.logits,
        prompt.state,
        config,
        stops=vocabulary.stop_ids(tokenizer, config.stop),
        constraint=constraints.get(config.limits, config.length),
        rng=None if seed is None else sampler.generator(seed, 0),
        on_settled=best.show,
    )
    best.show(hypotheses[0].ids[best.num_tokens :])
    best.finish(None)
    samples = []
    for hypothesis in hypotheses:
        text = output_text(tokenizer, config.stop, MAX_LENGTH, unwatched, keep_stop=keep)
        text.show(hypothesis.ids)
        sample = text.finish(seed)
        finished_by = "stop" if sample.finished_by == "stop" else hypothesis.ended
        samples.append(replace(sample, log_prob=hypothesis.log_prob, finished_by=finished_by))
    return samples


def unwatched(piece: str) -> None:
    """Take the characters of a text that nobody watches."""
