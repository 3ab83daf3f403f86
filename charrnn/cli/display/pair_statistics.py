"""Print for ``charrnn corpora stats --pairs``: the profile of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charrnn.cli.display.text_statistics import sign_lines
from charrnn.errors import counted, excerpt
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn.inspection.pair_lengths import Lengths, PairStatistics

SHOWN = 5  # targets of the source that has most


def pair_lines(name: str, found: PairStatistics, max_targets: int) -> Iterator[str]:
    """Yield what pairs are like, with their most frequent targets."""
    yield (
        f"{name}: {counted(found.pairs, 'pair')} of {counted(found.sources, 'different source')} "
        f"and {counted(found.targets, 'different target')}"
    )
    if found.repeated:
        yield f"  {found.repeated:,} of the pairs repeat an earlier one"
    yield f"  {counted(len(found.symbols), 'different character')}"
    yield from sign_lines(found.signs)
    yield "\nlengths in characters"
    yield f"  sources: {_lengths(found.source_lengths)}"
    yield f"  targets: {_lengths(found.target_lengths)}"
    if max_targets:
        yield "\nmost frequent targets"
        for target, count in list(found.frequent_targets.items())[:max_targets]:
            yield f"  {count:>12,} {count / found.pairs:7.2%}  {one_line(excerpt(target))}"
        if found.targets > max_targets:
            yield f"  and {found.targets - max_targets:,} more"
    yield "\nsources with several targets"
    yield f"  {found.several:,} ({found.several / found.sources:.2%} of the sources)"
    if found.several:
        source, targets = found.most
        yield f"  most: {one_line(excerpt(source))} has {_listed(targets)}"


def _lengths(found: Lengths) -> str:
    return (
        f"{found.shortest:,} to {found.longest:,}, median {found.median:g}, mean {found.mean:.1f}"
    )


def _listed(targets: Sequence[str]) -> str:
    shown = ", ".join(one_line(excerpt(target)) for target in targets[:SHOWN])
    more = len(targets) - SHOWN
    return f"{len(targets):,}: {shown}" + (f" and {more:,} more" if more > 0 else "")
