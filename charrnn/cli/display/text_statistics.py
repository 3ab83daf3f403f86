"""Print for ``charrnn corpora stats``: the profile of a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charrnn.config import TrainOptions
from charrnn.errors import counted
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from charrnn.inspection.profile import Counting, Issue, Repetition, Statistics
    from charrnn.training.plan import Plan

FEW = 10  # a network learns little about a character that occurs less often


def statistics_lines(name: str, found: Statistics, max_symbols: int) -> Iterator[str]:
    """Yield what a text is like, with its most frequent characters."""
    from charrnn.inspection.characters import rows

    few = sum(count < FEW for count in found.symbols.values())
    yield (
        f"{name}: {counted(found.characters, 'character')}, {counted(found.bytes, 'byte')}, "
        f"{counted(found.lines, 'line')}, the longest of "
        f"{counted(found.longest_line, 'character')} (line {found.longest_line_number:,})"
    )
    different = counted(len(found.symbols), "different character")
    yield f"\n{different}, {few:,} of them fewer than {FEW} times"
    for row in rows(dict(list(found.symbols.items())[:max_symbols])):
        share = found.symbols[row["symbol"]] / found.characters
        shown = one_line(row["symbol"])
        yield f"  {row['count']:>12,} {share:7.2%}  {row['code_point']:<8} {shown:<2} {row['name']}"
    if len(found.symbols) > max_symbols > 0:
        yield f"  and {len(found.symbols) - max_symbols:,} more"
    yield from sign_lines(found.signs)
    yield from _repetition_lines(found.repetition)
    yield from _counting_lines(found.counting)


def sign_lines(signs: Sequence[Issue]) -> Iterator[str]:
    """Yield what suggests that a text is damaged."""
    yield "\nsuspicious"
    for sign in signs:
        yield f"  {sign.text}"
    if not signs:
        yield "  nothing"


def _repetition_lines(found: Repetition) -> Iterator[str]:
    which = "" if found.one_in == 1 else f", estimated from one in {found.one_in}"
    yield "\nrepeated"
    yield f"  {found.share:.2%} of all passages of {found.window} characters occur earlier{which}"
    yield f"  {found.held_out_share:.2%} of those in the held-out part occur before it"
    for passage in found.longest:
        beginning = one_line(passage.excerpt)
        yield (
            f"  {counted(passage.length, 'character')} in line {passage.line:,} are in line "
            f"{passage.before_line:,} too: {beginning}"
        )


def _counting_lines(found: Counting | None) -> Iterator[str]:
    if found is None:
        return
    yield "\nn-gram models, which a network must beat"
    yield (
        f"  fitted to {counted(found.counted, 'character')}, scored on the {found.measured:,} held "
        "out after them"
    )
    for order, (nats, bits) in enumerate(zip(found.nats, found.bpc, strict=True)):
        yield f"  order {order}: {nats:.4f} nats ({bits:.3f} bpc)"


def largest_plan(found: Statistics) -> Plan | None:
    """Return the plan for an infinitely fast machine; None if the text is too short."""
    from charrnn.text.split import split_positions
    from charrnn.training import plan

    length, _ = split_positions(found.characters, TrainOptions.valid_fraction, 0.0)
    if length < 2:
        return None
    return plan.make(TrainOptions(), length, len(found.symbols), lambda model, train: math.inf)


def plan_lines(plan: Plan | None) -> Iterator[str]:
    """Yield what 'charrnn train' would do with the text."""
    from charrnn.model import parameters

    yield "\n'charrnn train' would"
    if plan is None:
        yield "  refuse this text: it is too short"
        return
    model, train = plan.model, plan.train
    yield (
        f"  train for {counted(train.minutes or 0, 'minute')} or "
        f"{counted(train.epochs or 0, 'epoch')}, in "
        f"{counted(train.batch_size, 'stream')} and windows of {train.seq_len}"
    )
    yield (
        f"  choose {model.cell}, at most {model.size_words} "
        f"({parameters.count(model):,} parameters), depending on this machine's speed: see "
        "--dry-run"
    )
