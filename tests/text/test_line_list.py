from __future__ import annotations

import random

import pytest

from charrnn.config import Reading
from charrnn.text import corpus, line_list


def _names(count: int) -> list[str]:
    chance = random.Random(3)
    parts = ("an", "bo", "car", "do", "emi", "fan", "gus", "ha", "il", "jo")
    return ["".join(chance.choices(parts, k=3)).title() for _ in range(count)]


def test_a_list_of_short_lines_is_noticed() -> None:
    sentence = line_list.advice(corpus.from_text("\n".join(_names(200)), "names"))
    assert sentence is not None
    assert sentence.startswith("names looks like a list of 199 lines: --items lines would train")


@pytest.mark.parametrize("suffix", ["", " is a word whose explanation is a long one." * 4])
def test_a_sorted_list_is_noticed_however_long_its_lines_are(suffix: str) -> None:
    lines = sorted({name + suffix for name in _names(200)}, key=str.casefold)
    sentence = line_list.advice(corpus.from_text("".join(f"{line}\n" for line in lines)))
    assert sentence is not None
    assert f"looks like a sorted list of {len(lines):,} lines" in sentence


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(_names(40)),  # too few to tell
        "the same line\n" * 200,
        "".join(f"{name} went to the sea,\nand stayed there.\n" for name in _names(100)),
        "".join(f"{name}:\n    return {name}\n" for name in _names(100)),
        "".join(f"{name}\nof a song\n\n" for name in _names(100)),
        " ".join(_names(400)),
    ],
)
def test_no_other_text_is_taken_for_a_list(text: str) -> None:
    assert line_list.advice(corpus.from_text(text)) is None


def test_nothing_is_said_of_a_text_whose_documents_are_known() -> None:
    text = "\n".join(_names(200))
    for reading in (Reading(items="lines"), Reading(document_separator="\n")):
        assert line_list.advice(corpus.from_text(text, reading=reading)) is None
