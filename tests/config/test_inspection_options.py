from __future__ import annotations

from typing import Any

import pytest

from charrnn.config import BeamConfig
from charrnn.config.bench import BenchOptions, GenerationBench, TrainingBench
from charrnn.config.inspection import NextOptions
from charrnn.errors import OptionError


def test_settings_to_preview_are_those_that_were_given_in_the_order_in_which_they_act() -> None:
    assert NextOptions().settings == {}
    given = NextOptions(min_p=0.1, top_p=0.5, typical_p=0.9, top_k=3, temperature=0.0).settings
    assert list(given.items()) == [
        ("temperature", 0.0),
        ("top_k", 3),
        ("typical_p", 0.9),
        ("top_p", 0.5),
        ("min_p", 0.1),
    ]


def test_the_tree_shows_every_text_that_the_search_keeps() -> None:
    assert NextOptions(width=7, length=3).beam == BeamConfig(length=3, width=7, num_return=7)
    assert NextOptions(width=20, length=100).beam.width == 20


@pytest.mark.parametrize("size", [{"width": 21}, {"length": 101}])
def test_a_tree_that_is_too_large_to_show_is_refused(size: Any) -> None:
    with pytest.raises(OptionError, match="a tree of more than 20 prefixes or 100 steps is too"):
        NextOptions(**size)


@pytest.mark.parametrize("kind", [TrainingBench, GenerationBench])
def test_a_cell_to_time_must_be_known(kind: type[BenchOptions]) -> None:
    assert kind(cell=("gru", "lstm")).cell == ("gru", "lstm")
    with pytest.raises(OptionError, match="'lsmt' is not known: did you mean lstm"):
        kind(cell=("gru", "lsmt"))
