from __future__ import annotations

import re
from functools import cache

import pytest
import typer

import charrnn
from charrnn.cli.app import program

from .conftest import Cli

ROOT = typer.main.get_command(program())


def commands(group: typer.core.TyperGroup, *above: str) -> list[tuple[str, ...]]:
    """Return the words of every command: ("train",), ("corpora", "list"), ..."""
    found = []
    for name, command in group.commands.items():
        found.append((*above, name))
        if isinstance(command, typer.core.TyperGroup):
            found += commands(command, *above, name)
    return found


COMMANDS = commands(ROOT)
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Return a function: the help of a command on a wide terminal, and its imports."""
    cli = Cli(tmp_path_factory.mktemp("help"))
    wide = {"COLUMNS": "200", "PYTHONPROFILEIMPORTTIME": "1"}
    return cache(lambda *words: cli(*words, "--help", env=wide))


def options(text: str) -> dict[str, str]:
    """Return the text of each option in a command's help, by its first name."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        row = line.strip("│ *")  # a star marks required options
        if row.startswith("-"):
            name = row.split()[0]
            found[name] = row
        elif line.startswith("│") and name:
            found[name] += " " + row
        else:
            name = ""
    return found


def parameters(words: tuple[str, ...]) -> list[object]:
    command = ROOT
    for word in words:
        command = command.commands[word]
    return [p for p in command.params if p.param_type_name == "option"]


def visible(words: tuple[str, ...]) -> list[object]:
    return [p for p in parameters(words) if not p.hidden]


@every_command
def test_only_old_spellings_are_hidden(words: tuple[str, ...]) -> None:
    spellings = {"train": ["--log-to", "--state", "--pieces"], "prepare": ["--pieces"]}
    hidden = [p.opts for p in parameters(words) if p.hidden]
    assert sorted(hidden) == sorted([name] for name in spellings.get(words[0], ()))


@every_command
def test_help_says_what_a_command_does(words: tuple[str, ...], helped) -> None:
    out = helped(*words).out
    assert f"Usage: charrnn {' '.join(words)}" in out
    sentence = out.splitlines()[3].strip()
    assert re.fullmatch(r"[A-Z].+\.", sentence), sentence


@every_command
def test_help_explains_every_option_and_names_its_default(words: tuple[str, ...], helped) -> None:
    shown = options(helped(*words).out)
    for parameter in visible(words):
        text = shown[parameter.opts[0]]
        assert all(spelling in text for spelling in parameter.opts)
        assert parameter.help
        assert parameter.help in text
        assert not re.search("<[A-Z]", text), "a type that typer names by its class"
        said = "[required]" if parameter.required else "[default: "
        assert parameter.is_flag or said in text, f"{parameter.opts[0]} has no default"


@every_command
def test_flags_are_off_where_they_are_not_given(words: tuple[str, ...]) -> None:
    flags = [p for p in parameters(words) if p.is_flag]
    assert [p.opts for p in flags if p.default is not False] == []


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_help_loads_neither_torch_nor_numpy(words: tuple[str, ...], helped) -> None:
    imported = set(re.findall(r"\| +([\w.]+)$", helped(*words).err, re.MULTILINE))
    assert "typer" in imported
    assert not imported & {"torch", "numpy", "safetensors"}


def test_help_of_all_lists_every_command(helped) -> None:
    out = helped().out
    for name in ROOT.commands:
        assert re.search(rf"^│ {name} +\w", out, re.MULTILINE)


def test_no_command_prints_the_help(cli: Cli) -> None:
    assert "Usage: charrnn" in "".join(cli(code=2).out)


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"charrnn {charrnn.__version__}\n"


def test_the_first_box_of_train_has_the_options_that_people_use(helped) -> None:
    first = helped("train").out.split("─ Options ─")[1].split("╰")[0]
    names = [row.split()[1] for row in first.splitlines() if row.startswith("│ --")]
    assert names[:4] == ["--minutes", "--epochs", "--steps", "--out"]
    assert names[-2:] == ["--json", "--help"]
    assert 20 <= len(names) <= 26
