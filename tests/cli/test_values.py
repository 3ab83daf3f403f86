"""Every kind of value that a command line can hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import typer.main

from charrnn.cli.app import program


def read(command: str, *words: str) -> dict[str, Any]:
    """Return the parameters that a command would be called with."""
    group: Any = typer.main.get_command(program(command))
    return dict(group.commands[command].make_context(command, list(words)).params)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--seed", "7"], "seed", 7),
        (["--seed", " 7 "], "seed", 7),
        (["--seed", "1_000"], "seed", 1000),
        (["--seed", "100.0"], "seed", 100),
        (["--seed", "-3"], "seed", -3),
        (["--temperature", "1"], "temperature", 1.0),
        (["--temperature", "5e-1"], "temperature", 0.5),
        (["--temperature", "inf"], "temperature", math.inf),
        (["--model", "a b/é"], "model", Path("a b/é")),
        (["--prompt", "12"], "prompt", "12"),
        (["--prompt", "a\udcff"], "prompt", "a\udcff"),  # a byte that is not UTF-8
        (["--stop", "a", "--stop", "1"], "stop", ["a", "1"]),
        (["--unique"], "unique", True),
        ([], "unique", False),
        ([], "seed", None),
    ],
)
def test_words_become_values(words: list[str], name: str, value: object) -> None:
    found = read("sample", *words)[name]
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)


def test_several_words_of_an_argument_become_a_list() -> None:
    assert read("train", "a", "b")["corpus"] == ["a", "b"]
    assert read("train")["corpus"] in ((), None)


@pytest.mark.parametrize("word", ["many", "", "1.5", "1e3", "nan", "9" * 5000])
def test_what_is_not_a_whole_number_is_an_error(word: str) -> None:
    with pytest.raises(typer.BadParameter, match="a whole number, such as 100"):
        read("sample", "--seed", word)


def test_what_is_not_a_number_is_an_error() -> None:
    with pytest.raises(typer.BadParameter, match="a number, such as"):
        read("sample", "--temperature", "warm")
