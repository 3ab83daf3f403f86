"""Measure for ``charrnn eval`` how a model of pairs answers, and show the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.scores import score_lines
from charrnn.config import BeamConfig, FillConfig, SampleConfig
from charrnn.errors import counted
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn.generator import Generator
    from charrnn.scoring import Score
    from charrnn.scoring.answers import Confusion, Errors
    from charrnn.text.pairs import PairPart

WIDTH = 5  # of the beam search


@dataclass(frozen=True)
class PairEvaluation:
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

    def fields(self) -> dict[str, Any]:
        """Return the JSON fields besides those of the score."""

        def described(found: Errors) -> dict[str, Any]:
            rates = {"exact": found.exact, "character_error_rate": found.character_error_rate}
            return {**asdict(found), **rates}

        labels = self.labels and {
            "names": self.labels.names,
            "counts": self.labels.counts.tolist(),
            "balanced_accuracy": self.labels.balanced_accuracy,
        }
        ways = {"greedy": described(self.greedy), "beam": described(self.beam)}
        return {"pairs": self.pairs, "sources": self.beam.sources, **ways, "labels": labels}

    def lines(self) -> Iterator[str]:
        """Yield lines for a person."""
        nats, bpc, _ = score_lines(self.score)
        if self.gaps:
            yield counted(self.pairs, "gap")
            yield f"{nats} that is missing, given both sides"
            what = "gaps filled"
        else:
            yield f"{counted(self.pairs, 'pair')} of {counted(self.beam.sources, 'source')}"
            yield f"{nats} of the targets, each given its source"
            what = "sources answered"
        yield bpc
        for name, found in (("greedy", self.greedy), (f"beam {WIDTH}", self.beam)):
            yield (
                f"{found.exact:.2%} of the {what} exactly right by {name} "
                f"({found.sources - found.right:,} wrong), {found.character_error_rate:.2%} of the "
                "characters wrong"
            )
        if self.labels:
            yield from _label_lines(self.labels)


def _label_lines(found: Confusion) -> Iterator[str]:
    """Yield a table: for each label its pairs, the share answered rightly, and what else was."""
    yield f"\n{found.balanced_accuracy:.2%} balanced accuracy: the mean of the labels' shares"
    width = max(map(len, found.names))
    for row, name in enumerate(found.names):
        total, right = int(found.counts[row].sum()), int(found.counts[row, row])
        others = [
            (int(count), [*found.names, "no label"][column])
            for column, count in enumerate(found.counts[row])
            if column != row and count
        ]
        taken = ", ".join(f"{one_line(other)} {count:,}" for count, other in sorted(others)[:-4:-1])
        yield f"  {one_line(name):<{width}} {total:>7,} {right / total:>7.1%}  {taken}".rstrip()


def evaluate_pairs(generator: Generator, pairs: PairPart) -> PairEvaluation:
    """Answer the source of each pair, once greedily and once by beam search, and score all.

    Of a model that fills gaps, the pairs are gaps.
    """
    from charrnn.inference.pair_engine import PairEngine
    from charrnn.scoring.answers import confusion, errors, score_pairs

    engine, decode = generator.engine, generator.tokenizer.decode
    assert isinstance(engine, PairEngine)
    sources = [decode(pairs.source(index)) for index in range(len(pairs))]
    targets = [decode(pairs.target(index)) for index in range(len(pairs))]
    wanted: dict[str, list[str]] = {}
    for source, target in zip(sources, targets, strict=True):
        wanted.setdefault(source, []).append(target)
    length = 2 * int(pairs.target_lengths.max()) + 10  # a model that never ends its answer is wrong

    def answers(config: SampleConfig | BeamConfig) -> list[str]:
        return [found[0].text for found in generator.answers(wanted, config)]

    greedy = answers(SampleConfig(temperature=0.0, length=length))
    gaps = generator.reading.fill
    penalty = (FillConfig if gaps else BeamConfig).length_penalty
    searched = answers(BeamConfig(width=WIDTH, length=length, length_penalty=penalty))
    answer_of = dict(zip(wanted, searched, strict=True))
    return PairEvaluation(
        score_pairs(engine, pairs, generator.tokenizer),
        len(pairs),
        errors(greedy, list(wanted.values())),
        errors(searched, list(wanted.values())),
        None if gaps else confusion([answer_of[source] for source in sources], targets),
        gaps,
    )
