from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
import typer
from waiting import HANGS

import charrnn
from charrnn.cli.app import program

from .conftest import Cli, environment

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
Helped = Callable[..., tuple[str, set[str]]]
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


# One program for all commands, which forks for each: what it has imported, every help text needs.
DRIVER = """
import json, os, sys
import charrnn.cli.app, typer.rich_utils

for number, words in enumerate(json.load(open("commands.json"))):
    child = os.fork() if hasattr(os, "fork") else 0
    if child:
        os.waitpid(child, 0)
        continue
    sys.stdout = open(f"{number}.out", "w", encoding="utf-8")
    sys.argv = ["charrnn", *words, "--help"]
    try:
        charrnn.cli.app.run()
    except SystemExit as ended:
        assert not ended.code
    sys.stdout.close()
    with open(f"{number}.modules", "w") as file:
        json.dump(list(sys.modules), file)
    if hasattr(os, "fork"):
        os._exit(0)
"""


@pytest.fixture(scope="session")
def helped(tmp_path_factory: pytest.TempPathFactory) -> Helped:
    """Return a function: the help of a command on a wide terminal, and what was imported for it."""
    folder = tmp_path_factory.mktemp("help")
    lines = [(), *COMMANDS]
    (folder / "commands.json").write_text(json.dumps(lines))
    command = [sys.executable, "-c", DRIVER]
    wide = environment() | {"COLUMNS": "200"}
    ended = subprocess.run(command, cwd=folder, env=wide, check=False, timeout=HANGS)
    assert ended.returncode == 0

    def of(*words: str) -> tuple[str, set[str]]:
        names = [folder / f"{lines.index(words)}.{kind}" for kind in ("out", "modules")]
        out, modules = (path.read_text("utf-8") for path in names)
        return out, set(json.loads(modules))

    return of


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
def test_help_says_what_a_command_does(words: tuple[str, ...], helped: Helped) -> None:
    out, _ = helped(*words)
    assert f"Usage: charrnn {' '.join(words)}" in out
    sentence = out.splitlines()[3].strip()
    assert re.fullmatch(r"[A-Z].+\.", sentence), sentence


@every_command
def test_help_explains_every_option_and_names_its_default(
    words: tuple[str, ...], helped: Helped
) -> None:
    shown = options(helped(*words)[0])
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
def test_help_loads_neither_torch_nor_numpy(words: tuple[str, ...], helped: Helped) -> None:
    _, imported = helped(*words)
    assert "charrnn.cli.app" in imported
    assert not imported & {"torch", "numpy", "safetensors"}


def test_help_of_all_lists_every_command(helped: Helped) -> None:
    out, _ = helped()
    for name in ROOT.commands:
        assert re.search(rf"^│ {name} +\w", out, re.MULTILINE)


def test_no_command_prints_the_help(cli: Cli) -> None:
    assert "Usage: charrnn" in "".join(cli(code=2).out)


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"charrnn {charrnn.__version__}\n"


def test_the_first_box_of_train_has_the_options_that_people_use(helped: Helped) -> None:
    first = helped("train")[0].split("─ Options ─")[1].split("╰")[0]
    names = [row.split()[1] for row in first.splitlines() if row.startswith("│ --")]
    assert names[:4] == ["--minutes", "--epochs", "--steps", "--out"]
    assert names[-2:] == ["--json", "--help"]
    assert 20 <= len(names) <= 26
