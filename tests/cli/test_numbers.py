"""Odd numbers for every option that takes a number, from the definitions of the options."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import typer

import charrnn.config
from charrnn.config import BeamConfig, ModelConfig, SampleConfig, TrainOptions
from charrnn.config.fields import Option, Options, flag, option_of
from charrnn.config.inspection import (
    ContextOptions,
    TaskOptions,
    UnitOptions,
    UntrainedOptions,
)
from charrnn.errors import OptionError

from .conftest import Cli
from .test_help import COMMANDS, parameters

# What a text means where a whole number is expected, and where any number is; None is an error.
TEXTS: dict[str, tuple[int | None, float | None]] = {
    "5": (5, 5.0),
    "+5": (5, 5.0),
    " 5": (5, 5.0),
    "5.0": (5, 5.0),
    "1_000": (1000, 1000.0),
    "-0": (0, 0.0),
    "9223372036854775808": (2**63, 2.0**63),
    "1e3": (None, 1000.0),
    "1e-400": (None, 0.0),
    "1e400": (None, None),
    "-1e400": (None, None),
    "9" * 5000: (None, None),
    "0x10": (None, None),
    "0b1": (None, None),
    "1__0": (None, None),
    "1,000": (None, None),
    "1 000": (None, None),
    "\u0665": (None, None),  # Arabic-Indic
    "\uff15": (None, None),  # full-width
    "\u0967\u0966": (None, None),  # Devanagari
    "\u00b2": (None, None),
    "": (None, None),
    "inf": (None, math.inf),
    "-inf": (None, -math.inf),
    "nan": (None, math.nan),
}
ENDLESS = (  # the values of Python that TOML, JSON or a caller may give
    *(math.nan, math.inf, -math.inf, 10**400, -(10**400), 10**5000, True, "5", "", [5], {}, 5j),
)


def numeric() -> list[Any]:
    """Return every field that takes a number, of every class of options."""
    kinds = {kind for kind in vars(charrnn.config).values() if isinstance(kind, type)}
    kinds |= {UnitOptions, ContextOptions, UntrainedOptions, TaskOptions}
    found = {}
    for kind in sorted(kinds, key=lambda each: each.__name__):
        if issubclass(kind, Options):
            for field in dataclasses.fields(kind):
                option = option_of(field)
                if option is not None and option.type in (int, float):
                    found[f"{kind.__name__}.{field.name}"] = (field.name, option, field.default)
    return [pytest.param(*value, id=name) for name, value in found.items()]


def accepted(name: str, option: Option, value: Any) -> Any:
    """Return the value that an option keeps, or None if a sentence refuses it."""
    try:
        return option.check(name, value)
    except OptionError as error:
        message = error.message
    assert "must be a" in message
    assert flag(name) in message
    assert len(message) < 300
    return None


def test_many_options_take_a_number() -> None:
    assert len(numeric()) > 80
    classes = {ModelConfig, TrainOptions, SampleConfig, BeamConfig}
    assert {kind.__name__ for kind in classes} <= {each.id.split(".")[0] for each in numeric()}


@pytest.mark.parametrize(("name", "option", "default"), numeric())
def test_an_option_refuses_what_is_no_number_of_its_range(
    name: str, option: Option, default: Any
) -> None:
    for value in ENDLESS:
        kept = accepted(name, option, value)
        endless = name == "clip_norm" and isinstance(value, float) and value == math.inf
        assert kept is None or endless, (value, kept)
    for whole, any_number in TEXTS.values():
        value = whole if option.type is int else any_number
        kept = accepted(name, option, value) if value is not None else None
        assert kept is None or kept == value
        assert kept is None or type(kept) in (int, float)
    assert (
        default is None
        or default is dataclasses.MISSING
        or accepted(name, option, default) in (default,)
    )


def numbers_of_commands() -> list[Any]:
    """Return every numeric option of every command, with how it reads a text."""
    return [
        pytest.param(parameter, id=" ".join((*words, parameter.opts[0])))
        for words in COMMANDS
        for parameter in parameters(words)
        if parameter.type_descriptor.annotation in (int, float)
    ]


def test_many_flags_take_a_number() -> None:
    assert len(numbers_of_commands()) > 100


@pytest.mark.parametrize("parameter", numbers_of_commands())
def test_a_command_reads_a_number_in_plain_digits_only(parameter: Any) -> None:
    whole = parameter.type_descriptor.annotation is int
    for text, (integer, number) in TEXTS.items():
        expected = integer if whole else number
        if expected is None:
            with pytest.raises(typer.BadParameter, match="must be a"):
                parameter.get_runtime_param().coerce(text, param=parameter, ctx=None)
            continue
        found = parameter.get_runtime_param().coerce(text, param=parameter, ctx=None)
        assert found == expected or (math.isnan(found) and math.isnan(expected))
        assert type(found) is (int if whole else float)


ODD = (
    *("sample --length 0x10", "sample --seed \u0665", "sample --temperature 1e400"),
    *("sample --temperature \uff10.5", "sample --seed 9223372036854775808", "beam -w 1,000"),
    *("train a --steps 1e3", "train a --seq-len \u0665", "train a --clip-norm 1e400"),
    *("train a --minutes nan", "train a --minutes -0"),
    *("train a --hidden-size 9223372036854775808", "sample --logit-bias e=\u0661"),
    *("sample --logit-bias e=1e400", "inspect gradients --cell irnn:\u0661"),
    *("inspect gradients --cell irnn:1e400", "inspect gradients --lags 9223372036854775808"),
    *("bench train --rounds 0", "bench train --batch-size 9223372036854775808"),
    *("inspect next --symbols 0", "inspect next --width 0", "corpora stats a --symbols -1"),
)


def test_an_odd_number_is_refused_in_words(cli: Cli) -> None:
    (cli.folder / "a").write_text("a line\n" * 50)
    for line, done in zip(ODD, cli.each([line.split() for line in ODD], code=2), strict=True):
        assert done.out == "", line
        assert len(done.err) < 1500, line
        assert any(word in done.err for word in ("must be", "is not", "not known", "range")), line
    assert {path.name for path in cli.folder.iterdir()} == {"a"}


def test_the_numbers_of_toml_are_checked_like_flags(cli: Cli) -> None:
    (cli.folder / "a").write_text("a line\n" * 50)
    for content in (
        "minutes = 1e400",
        "dropout = nan",
        "steps = 1.5",
        "steps = '5'",
        "seed = -0.0",
        f"minutes = {'9' * 400}",
        "clip-norm = -inf",
        "hidden-size = 0x100000000",
    ):
        (cli.folder / "options.toml").write_text(content)
        assert "must be a" in cli("train", "a", "--config", "options.toml", code=2).sentence
