from __future__ import annotations

import inspect
import re

import keywords as script
import pytest

import charrnn
from charrnn.config import BeamConfig, SampleConfig, TrainOptions
from charrnn.config.signature import BEAMS, GREEDY, SAMPLES, TRAIN, Keywords
from charrnn.generator import Generator


def test_the_file_of_types_is_what_the_fields_give() -> None:
    """If not, run `make keywords`."""
    assert script.FILE.read_text("utf-8") == script.source()


@pytest.mark.parametrize(
    ("function", "keywords"),
    [
        (charrnn.train, TRAIN),
        (Generator.samples, SAMPLES),
        (Generator.greedy, GREEDY),
        (Generator.beams, BEAMS),
    ],
)
def test_signature_and_help_name_every_keyword_with_its_type_and_default(
    function: object, keywords: Keywords
) -> None:
    shown = inspect.signature(function)  # type: ignore[arg-type]
    assert [p for p in shown.parameters.values() if p.kind is p.VAR_KEYWORD] == []
    for keyword in keywords:
        parameter = shown.parameters[keyword.name]
        assert (repr(parameter.annotation), parameter.default) == (keyword.type, keyword.default)
        assert f"\n    {keyword.name}: {keyword.type}\n" in (inspect.getdoc(function) or "")
    assert "--" not in re.sub(r"charrnn --\w+", "", inspect.getdoc(function) or "")


def test_the_signature_of_training_names_flags_and_the_runs_options() -> None:
    shown = str(inspect.signature(charrnn.train))
    assert shown.startswith("(*names: 'str | PathLike[str]', text: 'str | None' = None, callback: ")
    for part in (
        "minutes: float | None = None",
        'window_state: Literal["carry", "reset"] = \'carry\'',
        "out: str | PathLike[str] | None = None",
        "seq_len: int | str | None = None",
    ):
        assert part in shown
    assert " state:" not in shown
    assert set(TRAIN.check("train", {"window_state": "reset"})) == {"state"}
    assert set(TRAIN.check("train", {"state": "reset"})) == {"state"}  # as it was once called


def test_keywords_are_the_fields_of_the_config_classes() -> None:
    assert {each.field for each in SAMPLES} == set(SampleConfig.__dataclass_fields__)
    assert {each.field for each in BEAMS} == set(BeamConfig.__dataclass_fields__)
    declared = set(TrainOptions.__dataclass_fields__) - {"known_symbols"}  # nobody gives these
    assert {each.field for each in TRAIN} > declared
    assert {each.field for each in GREEDY} < {each.field for each in SAMPLES}
