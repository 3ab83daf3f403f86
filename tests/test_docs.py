"""What the documents say about the program is true."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import typer
from test_layers import MODULES, OWN

import charrnn
from charrnn.cli.app import program
from charrnn.errors import DISTRIBUTION

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = (ROOT / "tests" / "benchmarks" / "RESULTS.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
CORPORA = (ROOT / "corpora" / "README.md").read_text("utf-8")
DOCUMENTS = {
    ROOT: README,
    ROOT / "tests" / "benchmarks": RESULTS,
    ROOT / "corpora": CORPORA,
}
PROGRAM = typer.main.get_command(program())


@cache
def blocks(language: str) -> list[str]:
    """Return the fenced code of a language in README.md."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def without_wraps(text: str) -> str:
    """Return a document whose inline code is on one line each."""
    paragraphs = re.split(r"(\n\n|^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        re.sub(r"`[^`]+`", lambda code: " ".join(code[0].split()), paragraph)
        for paragraph in paragraphs
    )


@cache
def command_lines() -> list[list[str]]:
    """Return every ``charrnn ...`` that a document shows as a command, split into words."""
    text = "\n".join(map(without_wraps, [*DOCUMENTS.values(), MAKEFILE]))
    lines = re.findall(r"(?:^    |^\$ |^|`|/)(charrnn [a-z].*?)(?:`|$)", text, re.M)
    split = [shlex.split(line.split("  #")[0].replace("$(DEMO)", "demo")) for line in lines]
    return [words for words in split if words[1] in PROGRAM.commands]


@cache
def full_names() -> list[str]:
    """Return the names of all commands and subcommands, such as ``inspect next``."""
    names = []
    for name, command in PROGRAM.commands.items():
        below = getattr(command, "commands", None)
        if not below or command.invoke_without_command:
            names.append(name)
        names += [f"{name} {word}" for word in below or ()]
    return names


def test_commands_are_found_in_the_documents() -> None:
    assert len(command_lines()) >= len(full_names())


def test_inline_code_may_wrap() -> None:
    assert without_wraps("a `b\n  c` d\n\n`e\nf`") == "a `b c` d\n\n`e f`"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


def test_the_table_of_commands_has_every_command() -> None:
    rows = re.findall(r"^\| `charrnn ([a-z ]+?)(?: [A-Z-].*?)?` \|", README, re.MULTILINE)
    assert set(rows) == set(full_names())


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_command_shown_is_one_that_can_be_given(words: list[str]) -> None:
    command: Any = PROGRAM
    for name in words[1:]:
        if not hasattr(command, "commands"):
            break
        command = command.commands[name]
    visible = [option for option in command.params if not getattr(option, "hidden", False)]
    known = {"--help", *(spelling for option in visible for spelling in option.opts)}
    given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given <= known


@pytest.mark.parametrize("text", [README, RESULTS], ids=["README", "RESULTS"])
def test_every_flag_named_in_a_document_exists(text: str) -> None:
    commands = list(PROGRAM.commands.values())
    commands += [
        c for group in commands if hasattr(group, "commands") for c in group.commands.values()
    ]
    known = {spelling for command in commands for p in command.params for spelling in p.opts}
    # Flags of other programs appear only in their own command lines.
    named = set(re.findall(r"`(--[a-z][\w-]*)", text))
    assert named
    assert named <= known | {"--help"}


def test_the_map_names_every_module_in_the_order_of_imports() -> None:
    package = ROOT / "charrnn"
    files = {path.name for path in package.glob("*.py") if path.stem not in OWN}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    mapped = re.findall(r"^\| `([\w./]+)` \|", README, re.MULTILINE)
    assert sorted(mapped) == sorted(files | folders)
    assert [re.sub(r"/|\.py", "", name) for name in mapped] == MODULES


def test_the_docstring_of_the_package_names_every_module_in_the_same_order() -> None:
    items = re.findall(r"^- (.*?):", charrnn.__doc__ or "", re.MULTILINE)
    assert re.findall(r"``(\w+)``", " ".join(items)) == MODULES


def test_files_named_in_the_documents_exist() -> None:
    made_by_readers = {"mgu.py", "my_cell.py", "model.cell.py"}
    for text in (README, RESULTS, CORPORA):
        paths = set(re.findall(r"[\w.]+(?:/[\w.]+)*\.(?:py|toml)\b", text))
        for path in {path.removeprefix("./") for path in paths} - made_by_readers:
            folders = (ROOT, ROOT / "charrnn", ROOT / "charrnn" / "cells", ROOT / "corpora")
            folders += (ROOT / "tests" / "benchmarks",)
            assert any((folder / path).is_file() for folder in folders), path


def test_every_benchmark_script_is_named_and_has_the_options_shown() -> None:
    text = without_wraps(RESULTS + README + MAKEFILE)
    for script in (ROOT / "tests" / "benchmarks").glob("*.py"):
        assert f"tests/benchmarks/{script.name}" in text
        source = script.read_text("utf-8")
        for line in re.findall(rf"benchmarks/{script.name}([^`\n]*)", text):
            assert all(f'"{flag}"' in source for flag in re.findall(r"--[a-z-]+", line)), line


def test_figures_of_the_readme_are_those_of_the_results() -> None:
    table = re.search(r"^\| measured \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    assert table
    rows = [row.split("|")[2:4] for row in table[0].strip().splitlines()[2:]]
    assert len(rows) >= 8
    for cells in filter(None, map(str.strip, (cell for row in rows for cell in row))):
        figure = cells.split(":")[0].removesuffix(" s")
        assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d.,]*\d)", RESULTS), figure


@pytest.mark.parametrize("text", [README, RESULTS], ids=["README", "RESULTS"])
def test_a_document_has_no_gaps(text: str) -> None:
    assert re.findall(r"@@\w*@@|\{\{|TODO|TBD|XXX", text) == []


def test_the_demo_ends_by_telling_how_to_write_in_a_browser() -> None:
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe
    last = recipe[1].splitlines()[-1]
    assert last.startswith("\t@echo ")
    assert last.endswith("charrnn serve --model $(DEMO) --open")


def test_every_target_of_make_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", README + RESULTS, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def anchors(text: str) -> set[str]:
    """Return the anchors that a browser makes of the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    for folder, text in DOCUMENTS.items():
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            document = (folder / path).resolve() if path else None
            assert document is None or document.exists(), target
            if anchor:
                there = document.read_text("utf-8") if document else text
                assert anchor in anchors(there), target


def test_every_picture_is_shown() -> None:
    pictures = {path.name for path in (ROOT / "tests" / "pictures").iterdir()}
    assert set(re.findall(r"pictures/(\w+\.png)", README + RESULTS)) == pictures


@cache
def examples() -> dict[str, str]:
    """Return the Python that README.md and docstrings show, by where it is."""
    (shown,) = [block for block in blocks("python") if "charrnn.train" in block]
    found = {"README.md": shown}
    call = re.compile(r"charrnn\.(train|load)\(")
    sources = {path: path.read_text("utf-8") for path in sorted((ROOT / "charrnn").rglob("*.py"))}
    for path in filter(lambda path: call.search(sources[path]), sources):
        for node in ast.walk(ast.parse(sources[path])):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                paragraphs = re.split(r"\n\n(?=\S)", ast.get_docstring(node) or "")
                for code in (each.partition("\n\n    ")[2] for each in paragraphs):
                    if call.search(code):
                        name = path.relative_to(ROOT).as_posix()
                        found[f"{name}:{getattr(node, 'lineno', 1)}"] = dedent("    " + code)
    return found


def test_docstrings_have_examples() -> None:
    files = {name.partition(":")[0] for name in examples()}
    assert files >= {"README.md", "charrnn/__init__.py", "charrnn/api.py", "charrnn/generator.py"}


@pytest.mark.parametrize("where", examples())
def test_examples_run(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "To be, or not to be. It was! ROMEO:\n" * 40
    Path("corpus.txt").write_text(text)
    small = "steps=2, hidden_size=8"
    if "runs/shakespeare-1" in examples()[where]:
        charrnn.train(text=text, out="runs/shakespeare-1", steps=2, hidden_size=8)
    code = examples()[where].replace("minutes=3", small)
    assert code != examples()[where] or "charrnn.train(" not in code
    exec(code, {"charrnn": charrnn})
    out = capsys.readouterr().out
    assert len(out) > 1000  # a sample
    if bpc := re.search(r"\n(\d+\.\d+)\n$", out):
        assert 1 < float(bpc[1]) < 10
    assert bool(bpc) == (".bpc" in code)


def test_the_cell_of_the_readme_is_the_one_that_the_stories_train() -> None:
    (shown,) = [block for block in blocks("python") if "CELL = " in block]
    assert shown == (ROOT / "tests" / "own_cells" / "mgu.py").read_text("utf-8")


def test_no_text_names_a_package_of_the_index_that_is_not_ours() -> None:
    """There, charrnn is another project's name."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert extras["name"] == DISTRIBUTION != "charrnn"
    sources = {path: path.read_text("utf-8") for path in (ROOT / "charrnn").rglob("*.py")}
    sources |= {ROOT / "README.md": README, ROOT / "RESULTS.md": RESULTS}
    wrong = [
        path
        for path, text in sources.items()
        if re.search(r"install\W+charrnn(?!-text)|rnn\[", text)
    ]
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
    needed = [name for name in needed if not name.startswith(f"{DISTRIBUTION}[")]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {re.split(r"[><=\[ ]", requirement)[0] for requirement in needed} <= pins.keys()
    assert all(re.fullmatch(r"[\d.]+", version) for version in pins.values())


def test_the_readme_names_the_pythons_that_the_package_takes() -> None:
    """The upper bound is the first version for which PyTorch has no packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    least, above = re.findall(r"[\d.]+", project["requires-python"])
    assert project["requires-python"] == f">={least},<{above}"
    minors = range(int(least.split(".")[1]), int(above.split(".")[1]))
    listed = [line for line in project["classifiers"] if ":: Python ::" in line]
    assert listed == [f"Programming Language :: Python :: 3.{minor}" for minor in minors]
    text = " ".join(README.split())
    assert f"Python {least} to 3.{minors[-1]}." in text
    assert f"PyTorch has none for macOS on Intel, Windows on ARM or Python {above}." in text


def test_sentencepiece_comes_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert any(name.startswith("sentencepiece>") for name in project["dependencies"])
