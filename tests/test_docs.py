"""What is written about the program is true of the program."""

from __future__ import annotations

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from charrnn.cells import CELLS
from charrnn.cells.base import Cell
from charrnn.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
CORPORA = (ROOT / "corpora" / "README.md").read_text("utf-8")
PROGRAM = typer.main.get_command(app)


@cache
def blocks(language: str) -> list[str]:
    """Fenced code of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@cache
def command_lines() -> list[list[str]]:
    """Every ``charrnn ...`` that a document shows as a command, in words."""
    lines = re.findall(r"(?:^    |^\$ |^|`|/)(charrnn [a-z].*?)(?:`|$)", README + MAKEFILE, re.M)
    split = [shlex.split(line.split("  #")[0].replace("$(DEMO)", "demo")) for line in lines]
    return [words for words in split if words[1] in PROGRAM.commands]


def test_commands_are_found_in_the_documents() -> None:
    assert len(command_lines()) >= len(PROGRAM.commands)


@pytest.mark.parametrize("name", PROGRAM.commands)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"\bcharrnn {name}\b", README)


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_command_shown_is_one_that_can_be_given(words: list[str]) -> None:
    command: Any = PROGRAM
    for name in words[1:]:
        if not hasattr(command, "commands"):
            break
        command = command.commands[name]
    known = {"--help", *(spelling for option in command.params for spelling in option.opts)}
    given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given <= known


def test_every_flag_named_in_the_readme_exists() -> None:
    commands = list(PROGRAM.commands.values())
    commands += [
        c for group in commands if hasattr(group, "commands") for c in group.commands.values()
    ]
    known = {spelling for command in commands for p in command.params for spelling in p.opts}
    # The documents speak of other programs' flags in command lines of theirs alone.
    named = set(re.findall(r"`(--[a-z][\w-]*)", README))
    assert named
    assert named <= known | {"--help"}


def test_the_file_map_names_every_room() -> None:
    package = ROOT / "charrnn"
    files = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    mapped = re.findall(r"^\| `([\w./]+)` \|", README, re.MULTILINE)
    assert sorted(mapped) == sorted(files | folders)


def test_the_readme_has_no_gaps() -> None:
    assert re.findall(r"@@\w*@@|TODO|TBD|XXX", README) == []


def test_every_target_of_make_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_links_lead_somewhere() -> None:
    for folder, text in ((ROOT, README), (ROOT / "corpora", CORPORA)):
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (folder / target).exists(), target


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("To be, or not to be. It was!\n" * 40)
    (shown,) = [block for block in blocks("python") if "charrnn.train" in block]
    assert "minutes=3" in shown
    exec(shown.replace("minutes=3", "steps=2, hidden_size=8"), {})
    out = capsys.readouterr().out
    assert len(out) > 3000  # a sample of 1,000 characters and a stream of 2,000
    bpc = re.search(r"\d+\.\d+\n$", out)
    assert bpc
    assert 1 < float(bpc[0]) < 10


def test_the_cell_of_the_readme_is_the_one_in_the_package() -> None:
    (shown,) = [block for block in blocks("python") if "CELL = " in block]
    names: dict[str, Any] = {"Cell": Cell}
    exec(shown, names)
    here, there = names["CELL"], CELLS["elman"]
    for field in ("name", "title", "equation", "stages", "states", "two_biases", "bias"):
        assert getattr(here, field) == getattr(there, field)
    for cell in (here, there):
        unit = cell.equations(None, lambda x: 3 * x, None)
        assert unit((1.0,), lambda h: (4.0 * h,), (2.0,)) == (27.0,)  # 3 (1 + 4 * 2)


def test_no_text_names_a_package_of_the_index_that_is_not_ours() -> None:
    """There, charrnn is another project: extras are installed from a clone."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    sources = {path: path.read_text("utf-8") for path in (ROOT / "charrnn").rglob("*.py")}
    sources[ROOT / "README.md"] = README
    wrong = [path for path, text in sources.items() if re.search(r"install\W+charrnn|rnn\[", text)]
    assert wrong == []
    called = "".join(sources.values())
    named = re.findall(r'missing_package\(\s*[^()]*(?:\([^()]*\)[^()]*)*"(\w+)"\s*\)', called)
    assert len(named) == called.count("missing_package(") - 1  # but for its definition
    assert set(named) | set(re.findall(r"install '\.\[(\w+)\]'", called)) <= {
        *extras["optional-dependencies"]
    }


def test_sizes_of_the_texts_are_as_the_table_says() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| ([\d,]+) \|", CORPORA, re.MULTILINE)
    sizes = {name: int(size.replace(",", "")) for name, size in rows}
    assert sizes == {
        path.name: path.stat().st_size
        for path in (ROOT / "corpora").iterdir()
        if path.suffix in (".txt", ".abc")
    }


def test_every_package_that_is_needed_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    needed = [name for names in (project["dependencies"], *extras) for name in names]
    needed = [name for name in needed if not name.startswith("charrnn[")]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {re.split(r"[><=\[ ]", requirement)[0] for requirement in needed} <= pins.keys()
    assert all(re.fullmatch(r"[\d.]+", version) for version in pins.values())
