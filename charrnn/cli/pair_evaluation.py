"""Show for ``charrnn eval`` how a model of pairs answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.scores import score_lines
from charrnn.errors import counted
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn.inspection.pair_answers import PairResult
    from charrnn.scoring import Score
    from charrnn.scoring.answers import Confusion, Errors


@dataclass(frozen=True)
class PairEvaluation:
    """How well a model answers the sources of pairs, or fills gaps.

    Attributes:
        found: what was measured.
    """

    found: PairResult

    @property
    def score(self) -> Score:
        """The score of the targets, each given its source."""
        return self.found.score

    def fields(self) -> dict[str, Any]:
        """Return the JSON fields besides those of the score."""

        def described(found: Errors) -> dict[str, Any]:
            rates = {"exact": found.exact, "character_error_rate": found.character_error_rate}
            return {**asdict(found), **rates}

        labels = self.found.labels and {
            "names": self.found.labels.names,
            "counts": self.found.labels.counts.tolist(),
            "accuracy": self.found.labels.accuracy,
            "balanced_accuracy": self.found.labels.balanced_accuracy,
        }
        ways = {"greedy": described(self.found.greedy), "beam": described(self.found.beam)}
        return {
            "pairs": self.found.pairs,
            "sources": self.found.beam.sources,
            **ways,
            "labels": labels,
        }

    def lines(self) -> Iterator[str]:
        """Yield lines for a person."""
        from charrnn.inspection.pair_answers import WIDTH

        nats, bpc, _ = score_lines(self.found.score)
        if self.found.gaps:
            yield counted(self.found.pairs, "gap")
            yield f"{nats} that is missing, given both sides"
            what = "gaps filled"
        else:
            sources = counted(self.found.beam.sources, "source")
            yield f"{counted(self.found.pairs, 'pair')} of {sources}"
            yield f"{nats} of the targets, each given its source"
            what = "sources answered"
        yield bpc
        for name, errors in (("greedy", self.found.greedy), (f"beam {WIDTH}", self.found.beam)):
            yield (
                f"{errors.exact:.2%} of the {what} exactly right by {name} "
                f"({errors.sources - errors.right:,} wrong), {errors.character_error_rate:.2%} of "
                "the characters wrong"
            )
        if self.found.labels:
            yield from _label_lines(self.found.labels)


def _label_lines(found: Confusion) -> Iterator[str]:
    """Yield a table: for each label its pairs, the share answered rightly, and what else was."""
    yield f"\n{found.accuracy:.2%} accuracy: pairs that are answered with their own target"
    yield f"{found.balanced_accuracy:.2%} balanced accuracy: the mean over the labels"
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
