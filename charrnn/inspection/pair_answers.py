"""Measure how a model answers the sources of pairs, or fills the gaps of a text."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config import BeamConfig, FillConfig, SampleConfig
from charrnn.generator import Generator
from charrnn.inference.pair_engine import PairEngine
from charrnn.scoring import Score
from charrnn.scoring.answers import Confusion, Errors, confusion, errors, score_pairs
from charrnn.text.pairs import PairPart

WIDTH = 5  # of the beam search


@dataclass(frozen=True)
class PairResult:
    """How well a model answers the sources of pairs.

    Attributes:
        score: of the targets, each given its source.
        pairs: how many there are.
        greedy: errors of the answers of the most likely token at each step.
        beam: errors of the answers of a beam search.
        labels: which labels the beam search confuses; None if the targets are no labels.
        gaps: whether the pairs are gaps of a text.
    """

    score: Score
    pairs: int
    greedy: Errors
    beam: Errors
    labels: Confusion | None
    gaps: bool = False


def evaluate_pairs(generator: Generator, pairs: PairPart) -> PairResult:
    """Answer the source of each pair, once greedily and once by beam search, and score all.

    Of a model that fills gaps, the pairs are gaps.
    """
    engine, decode = generator.engine, generator.tokenizer.decode
    assert isinstance(engine, PairEngine)
    sources = [decode(pairs.source(index)) for index in range(len(pairs))]
    targets = [decode(pairs.target(index)) for index in range(len(pairs))]
    wanted: dict[str, list[str]] = {}
    for source, target in zip(sources, targets, strict=True):
        wanted.setdefault(source, []).append(target)
    length = 2 * int(pairs.target_lengths.max()) + 10  # a model that never ends its answer is wrong

    def answers(config: SampleConfig | BeamConfig) -> list[str]:
        processes = generator.processes(len(wanted), config)
        return [found[0].text for found in generator.answers(wanted, config, processes=processes)]

    greedy = answers(SampleConfig(temperature=0.0, length=length))
    gaps = generator.reading.fill
    penalty = (FillConfig if gaps else BeamConfig).length_penalty
    searched = answers(BeamConfig(width=WIDTH, length=length, length_penalty=penalty))
    answer_of = dict(zip(wanted, searched, strict=True))
    return PairResult(
        score_pairs(engine, pairs, generator.tokenizer),
        len(pairs),
        errors(greedy, list(wanted.values())),
        errors(searched, list(wanted.values())),
        None if gaps else confusion([answer_of[source] for source in sources], targets),
        gaps,
    )
