"""The units of a network that track a feature of a text, and the saturation of its gates.

Shapes: L layers, N tokens read, H hidden units. The layers of an ensemble are those of its first
network, then those of the second, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.cells import find
from charrnn.errors import CorpusError, OptionError, excerpt
from charrnn.inspection import features
from charrnn.inspection.activations import (
    Activations,
    Saturation,
    activations,
    check_reads_text,
    saturation,
)
from charrnn.inspection.features import Tracker
from charrnn.model.model_file import Model
from charrnn.text import corpus, id_file

TRACKERS_PER_FEATURE = 3
MIN_TOKENS = 200  # no feature is searched for in a shorter text
LIMIT_QUANTILE = 0.995


@dataclass(frozen=True)
class Unit:
    """One unit of a layer; layer and number count from 1."""

    layer: int
    part: str
    number: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.part}.{self.number}"


@dataclass(frozen=True)
class TrackedUnits:
    """The activations of a model on a text, and the units that track a feature of it.

    Attributes:
        tokens: names of the tokens of the text (N).
        activations: of all units.
        trackers: for each feature the units that track it, best first; the feature that is tracked
            best comes first.
        too_rare: features that occur too rarely in this text to be searched for.
        networks: how many networks the layers belong to, as many to each.
    """

    tokens: Sequence[str]
    activations: Activations
    trackers: Mapping[str, Sequence[tuple[Unit, Tracker]]]
    too_rare: Sequence[str]
    networks: int = 1

    @cached_property
    def saturation(self) -> dict[str, Saturation]:
        """The saturation of each gate."""
        return saturation(self.activations)

    def values(self, unit: Unit) -> NDArray[Any]:
        """Return the activations of a unit, (N,)."""
        return self.activations.parts[unit.part][unit.layer - 1, :, unit.number - 1]

    def limits(self, unit: Unit) -> tuple[float, float]:
        """Return the range of a unit's activations: 0 and 1 of a gate, else symmetric around 0."""
        if unit.part in self.activations.gates:
            return 0.0, 1.0
        limit = float(absolute_limit(self.values(unit)))
        return -limit, limit

    def to_json(self, unit: Unit | None) -> dict[str, Any]:
        """Return trackers and saturation for JSON, and the activations of `unit` if it is given."""
        result: dict[str, Any] = {
            "symbols": len(self.tokens),
            "networks": self.networks,
            "trackers": [
                {
                    "feature": name,
                    "unit": str(found),
                    "score": one.score,
                    "chosen_by": one.chosen_by,
                }
                for name, several in self.trackers.items()
                for found, one in several
            ],
            "too_rare": list(self.too_rare),
            "gates": [
                {
                    "layer": layer + 1,
                    "gate": gate,
                    "left_saturated": saturated.left[layer].tolist(),
                    "right_saturated": saturated.right[layer].tolist(),
                }
                for gate, saturated in self.saturation.items()
                for layer in range(len(saturated.left))
            ],
        }
        if unit:
            values = self.values(unit).tolist()
            result |= {"unit": str(unit), "text": list(self.tokens), "values": values}
        return result


def absolute_limit(values: NDArray[Any], axis: int | None = None) -> NDArray[np.float64]:
    """Return what 99.5 % of the absolute values lie below, along an axis; 1 where all are 0."""
    limits = np.quantile(np.abs(values), LIMIT_QUANTILE, axis=axis)
    return np.where(limits > 0, limits, 1.0)


def parse_unit(text: str, model: Model) -> Unit:
    """Return the unit named LAYER.PART.UNIT, or LAYER.UNIT of the last part of the state."""
    config, states = model.config, find(model.config.cell).states
    match = re.fullmatch(r"(\d{1,9})\.(?:([a-z]+)\.)?(\d{1,9})", text)
    if not match:
        raise OptionError(
            f"--unit {excerpt(text)} is not a unit: write LAYER.UNIT or LAYER.PART.UNIT, as 1.c.37"
        )
    unit = Unit(int(match[1]), match[2] or states[-1], int(match[3]))
    sizes = config.state_sizes
    if not (1 <= unit.layer <= len(sizes) and 1 <= unit.number <= sizes[0]):
        raise OptionError(
            f"--unit {text}: layers of this model are 1 to {len(sizes)}, their units 1 to "
            f"{sizes[0]}"
        )
    return unit


def track_units(model: Model, text: str, length: int) -> TrackedUnits:
    """Return what the units do while a model reads the first `length` tokens of a text.

    A model of separate documents reads each of them from the start state.

    Raises:
        CorpusError: the text is empty.
        PromptError: the text has characters that the model does not know.
    """
    check_reads_text(model)
    tokenizer = model.tokenizer
    if not text:
        raise CorpusError("the text is empty (0 characters): there is nothing to read")
    documents: list[int] = []
    if model.reading.documents_apart:
        read = corpus.from_text(text, reading=model.reading.options())
        text = read.text
        with id_file.encoded(read, tokenizer) as (mapped, starts):
            ids, documents = np.array(mapped), starts.tolist()
    else:
        ids = tokenizer.encode(text)
    last = features.last_characters([tokenizer.token_bytes[index] for index in ids], text)
    ids, last = ids[:length], last[:length]
    found = activations(model, ids, documents)
    trackers: dict[str, list[tuple[Unit, Tracker]]] = {}
    too_rare = []
    columns = _columns(found)
    for feature in features.features(text):
        at_tokens = features.at_tokens(feature, last)
        if len(ids) < MIN_TOKENS or not features.is_frequent_enough(at_tokens):
            too_rare.append(feature.name)
            continue
        best = features.trackers(columns, at_tokens, TRACKERS_PER_FEATURE)
        trackers[feature.name] = [(_unit(found, one.unit), one) for one in best]
    ordered = dict(sorted(trackers.items(), key=lambda item: -abs(item[1][0][1].score)))
    names = tokenizer.token_names
    tokens, networks = [names[index] for index in ids], model.config.ensemble
    return TrackedUnits(tokens, found, ordered, too_rare, networks)


def _columns(found: Activations) -> NDArray[Any]:
    """Return the states of all layers side by side, (N, L * states * H)."""
    layers = range(len(found.parts[found.states[0]]))
    parts = [found.parts[part][layer] for layer in layers for part in found.states]
    return np.concatenate(parts, 1)


def _unit(found: Activations, column: int) -> Unit:
    """Return the unit that a column of `_columns` belongs to."""
    block, number = divmod(column, found.parts[found.states[0]].shape[2])
    layer, part = divmod(block, len(found.states))
    return Unit(layer + 1, found.states[part], number + 1)
