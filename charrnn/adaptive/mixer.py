"""The mixer: one probability from those of the network, of contexts and of matches.

Probabilities are added in the logistic domain, as ln(p / (1 - p)), with weights that are learnt as
the text is read. Several sets of weights are selected at a time, each by another property of the
choice; their outputs are mixed once more, and the result is corrected by what such a probability
turned out to be after the last tokens. Sums are made in the written order.
"""

from __future__ import annotations

from charrnn.adaptive.counts import (
    count_choice,
    look_ahead,
    look_up,
    squash,
    stretch,
)
from charrnn.adaptive.memory import (
    BY_CHOICE,
    BY_CONTEXT,
    BY_MATCH,
    BY_NETWORK,
    BY_TOKEN,
    CERTAINTIES,
    CONSTANT,
    CORRECTION_BITS,
    CORRECTIONS,
    FIRST_SETS,
    LEVELS,
    NETWORK,
    READ,
    SEEN,
    SELECTORS,
)
from charrnn.compiler.scalar_math import exact

FAST, SLOW, SLOWING = 0.03, 0.003, 0.02  # steps of the weights: first, last, and how fast they fall
FINAL_STEP, CORRECTION_STEP = 0.002, 0.02
BOUND = 12.0  # of inputs and outputs, in the logistic domain
_SMALLEST = 1.0 / (1 << 18)


@exact
def predict(memory, low, choice, high, p):  # type: ignore[no-untyped-def]
    """Return the probability that the token is in the upper half, `choice` to `high` - 1.

    Args:
        memory: keeps what `learn` needs.
        low: the first token of the lower half.
        choice: the first token of the upper half.
        high: the end of the upper half.
        p: the probability that the network gives.
    """
    inputs = memory.inputs
    inputs[NETWORK] = stretch(min(max(p, _SMALLEST), 1.0 - _SMALLEST))
    inputs[CONSTANT] = 0.3
    known, met = look_up(memory, choice)
    longest = look_ahead(memory, low, choice, high)
    seen = min(met, 2) + (met > 10)
    certainty = min(int(abs(inputs[NETWORK]) * 2), CERTAINTIES - 1)
    memory.selected[BY_MATCH] = FIRST_SETS[BY_MATCH] + longest
    memory.selected[BY_CONTEXT] = FIRST_SETS[BY_CONTEXT] + SEEN * known + seen
    memory.selected[BY_NETWORK] = FIRST_SETS[BY_NETWORK] + certainty
    memory.selected[BY_CHOICE] = FIRST_SETS[BY_CHOICE] + choice
    last = memory.history[memory.numbers[READ] - 1] if memory.numbers[READ] else 0
    memory.selected[BY_TOKEN] = FIRST_SETS[BY_CHOICE] + len(memory.letters) + last
    total = 0.0
    for s in range(SELECTORS):
        weights, output = memory.weights[memory.selected[s]], 0.0
        for i in range(len(inputs)):
            output += weights[i] * inputs[i]
        memory.outputs[s] = min(max(output, -BOUND), BOUND)
        total += memory.final[longest, s] * memory.outputs[s]
    return _corrected(memory, min(max(total, -BOUND), BOUND))


@exact
def _corrected(memory, mixed):  # type: ignore[no-untyped-def]
    """Return the mean of a stretched probability and its corrections, between two levels each."""
    half = LEVELS // 2
    position = min(max(2.0 * mixed, 0.001 - half), half - 0.001) + half
    level = int(position)
    above = position - level
    total, first = 0.5 * squash(mixed), len(memory.keys) + len(memory.least)
    for k in range(CORRECTIONS):
        row, cells = memory.corrected[k], LEVELS * (memory.keys[k] & (2**CORRECTION_BITS - 1))
        p = (1.0 - above) * row[cells + level] + above * row[cells + level + 1]
        total += 0.5 / CORRECTIONS * p
        memory.cells[first + k] = cells + level + (above > 0.5)
    return total


@exact
def learn(memory, choice, p, bit):  # type: ignore[no-untyped-def]
    """Learn whether the token was in the upper half (1) or not (0), after `predict` gave p."""
    first = len(memory.keys) + len(memory.least)  # cell of a correction
    final = memory.final[memory.selected[BY_MATCH] - FIRST_SETS[BY_MATCH]]
    for s in range(SELECTORS):
        row = memory.selected[s]
        weights = memory.weights[row]
        step = max(SLOW, FAST / (1.0 + SLOWING * memory.adjusted[row]))
        memory.adjusted[row] += 1
        error = step * (bit - squash(memory.outputs[s]))
        for i in range(len(memory.inputs)):
            weights[i] += error * memory.inputs[i]
        final[s] += FINAL_STEP * (bit - p) * memory.outputs[s]
    for k in range(CORRECTIONS):
        row, cell = memory.corrected[k], memory.cells[first + k]
        row[cell] += CORRECTION_STEP * (bit - row[cell])
    count_choice(memory, choice, bit)
