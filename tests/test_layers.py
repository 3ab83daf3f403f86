"""The modules of charrnn/ in the order of imports, and the rules that keep the package simple.

Each module imports only those above it. Files, functions and signatures stay short.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from waiting import HANGS

import charrnn
from charrnn import config
from charrnn.cells import CELLS
from charrnn.cli.app import COMMANDS, GROUPS
from charrnn.config import ModelConfig, TrainOptions, training
from charrnn.model import model_file, parameters
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import CharTokenizer

PACKAGE = Path(charrnn.__file__).parent
MODULES = [
    "errors",
    "terminal",
    "arrays",
    "config",
    "storage",
    "cells",
    "compiler",
    "text",
    "counts",
    "model",
    "network",
    "inference",
    "decoding",
    "run_dir",
    "scoring",
    "adaptive",
    "export",
    "generator",
    "compression",
    "training",
    "inspection",
    "server",
    "bench",
    "cli",
]
OWN = {"__init__", "__main__", "api", "llm_plugin"}  # the doors of the package: no modules
# Packages that only these files may import.
ONLY = {
    "torch": (
        "network/",
        "adaptive/network.py",
        "inference/cuda_engine.py",
        "training/",
        "inspection/gradients.py",
        "bench/",
        "cli/display/tensorboard.py",
    ),
    # Only what is compiled imports it: a command that loads compiled code starts without numba.
    "numba": (
        "compiler/",
        "inference/row_functions.py",
        "inference/select.py",  # its errors, where something does not compile
        "inference/pair_functions.py",
        "inference/count_functions.py",
        "decoding/choice_rows.py",
    ),
    "llvmlite": ("compiler/", "inference/row_functions.py"),
    "constriction": ("compression/",),
    "typer": ("cli/",),
    "filelock": ("run_dir/lock.py", "text/named/fetch.py"),
    "rich": ("cli/",),
    "prompt_toolkit": ("cli/display/editor",),
    "matplotlib": ("cli/display/",),
    "uniplot": ("cli/display/",),
    "lxml": ("text/extract.py", "text/markup.py"),
    "striprtf": ("text/rich_text.py",),
    "starlette": ("server/",),
    "uvicorn": ("server/serving.py",),
    "tensorboard": ("cli/run_options.py",),
    "onnx": ("export/onnx_graph.py",),
    "llm": ("llm_plugin.py",),
    "pydantic": ("llm_plugin.py",),
}
# Where an `except` may catch everything, and why. Anything else would hide bugs.
CATCH_ALL = {
    "compiler/cell_file.py": "whatever a user's cell raises is reported with its line",
    "compiler/thread_pool.py": "threads that wait for each other must not wait for a missing one",
    "inspection/novelty.py": "a half-written index must not stay in the cache",
    "server/models.py": "whatever a thread raises is raised again where it is awaited",
    "server/worker.py": "a bug in one request is reported and must not end those of others",
    "storage/files.py": "a half-written temporary file must not stay",
    "training/background_writer.py": "a bug in the thread is raised again in the training's",
}
TESTS = Path(__file__).parent
# 28: counts, server and export came later, each with a purpose that no other module has.
MAX_MODULES, MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 28, 500, 60, 12
TAG = re.compile(r"</[a-z]+|<[a-z]+ [a-z]+=|<!doctype", re.IGNORECASE)
DOCUMENT = re.compile(r"<!doctype|</?(?:html|head|body|script|style)\b", re.IGNORECASE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """A name that a file imports, anywhere in the file."""

    file: str
    line: int
    name: str

    @property
    def importer(self) -> str:
        return top_module(self.file.removesuffix(".py").replace("/", "."))

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


def top_module(module: str) -> str:
    return module.split(".")[0]


@cache
def imports() -> list[Import]:
    return list(_imports())


def inside() -> list[Import]:
    return [found for found in imports() if found.name.startswith("charrnn.")]


def _imports() -> Iterator[Import]:
    for file, tree in trees().items():
        for node in ast.walk(tree):
            for name in imported(node):
                yield Import(file, node.lineno, name)


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of every file of the package."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text("utf-8")) for p in paths}


def file_imports() -> dict[str, set[str]]:
    """Return which files of the package each file imports, anywhere in the file."""
    files = {}
    for file in trees():
        name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        files["charrnn" if name == "__init__" else f"charrnn.{name}"] = file
    found: dict[str, set[str]] = {file: set() for file in trees()}
    for each in inside():
        # The name is a module, or something that a module defines.
        wanted = files.get(each.name) or files[each.name.rpartition(".")[0]]
        found[each.file].add(wanted)
    return found


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return []


def test_every_file_belongs_to_a_module() -> None:
    found = {path.stem for path in PACKAGE.glob("*.py")}
    found |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found - OWN == set(MODULES)


def test_each_module_imports_only_those_above_it() -> None:
    wrong = []
    for found in inside():
        wanted = top_module(found.name.removeprefix("charrnn."))
        if found.importer in OWN or found.importer == wanted:
            continue
        if wanted not in MODULES or MODULES.index(wanted) > MODULES.index(found.importer):
            wrong.append(str(found))
    # `charrnn --version` prints the version, which belongs to no module.
    assert wrong == [str(found) for found in inside() if found.name == "charrnn.__version__"]


def test_only_the_command_line_imports_the_version() -> None:
    importers = {found.importer for found in inside() if found.name == "charrnn.__version__"}
    assert importers == {"cli"}


def test_imports_can_be_read() -> None:
    assert len(inside()) > 50
    assert [str(found) for found in imports() if found.name.startswith(".")] == []
    # Imports by name are not seen here: one file imports the code that it generated, one what it
    # compiles, one the command that runs, and others check whether a package is installed and in
    # which version.
    computed = {found.file for found in imports() if top_module(found.name) == "importlib"}
    allowed = {"cli/app.py", "compiler/codegen.py", "network/layers.py"}
    allowed |= {"compiler/cache.py", "compiler/object_code.py"}
    allowed |= {"compiler/cell_file.py"}  # asks which packages have cells
    allowed |= {"cli/start_up.py"}  # asks where torch is
    allowed |= {"errors.py", "storage/machine.py"}
    assert computed <= allowed
    assert [str(found) for found in imports() if found.name == "charrnn"] == []


def test_no_files_import_each_other() -> None:
    """Imports inside functions and for type checkers count, too, and so do longer cycles."""
    waiting = file_imports()
    while ready := {file for file, wanted in waiting.items() if not wanted & set(waiting)}:
        waiting = {file: wanted for file, wanted in waiting.items() if file not in ready}
    assert waiting == {}


def test_no_command_imports_another_command() -> None:
    commands = {file for file in trees() if file.startswith("cli/commands/")}
    assert len(commands) > 20
    importers = {file for file, wanted in file_imports().items() if wanted & commands}
    assert importers == set()


def test_every_command_is_on_the_command_line() -> None:
    files = [file for file in trees() if file.startswith("cli/commands/")]
    modules = {Path(file).stem for file in files} - {"__init__"}
    tables = [COMMANDS, *(group.commands for group in GROUPS.values())]
    named = [where for table in tables for where in table.values()]
    named += [group.alone for group in GROUPS.values() if group.alone]
    assert {where.split(".")[0] for where in named} == modules


def test_everything_is_caught_only_where_it_must_be() -> None:
    found = set()
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                names = {n.id for n in ast.walk(node.type or tree) if isinstance(n, ast.Name)}
                if node.type is None or names & {"Exception", "BaseException"}:
                    found.add(file)
    assert found == set(CATCH_ALL)


def test_html_lies_in_files_of_its_own() -> None:
    """Only the modules that fill a page write tags, and no document, script or style."""
    pages, documents = set(), set()
    for file, tree in trees().items():
        text = "\n".join(
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        pages |= {file} if file.startswith("cli/") and TAG.search(text) else set()
        documents |= {file} if DOCUMENT.search(text) else set()
    assert pages <= {f"cli/display/{name}_page.py" for name in ("attention", "surprisal", "unit")}
    assert documents == set()


def test_files_and_functions_are_short() -> None:
    long = []
    for file, tree in trees().items():
        lines = len((PACKAGE / file).read_text("utf-8").splitlines())
        long += [f"{file} has {lines} lines"] if lines > MAX_FILE_LINES else []
        for node in ast.walk(tree):
            if not isinstance(node, Function):
                continue
            lines = (node.end_lineno or 0) - node.lineno + 1
            count = len([n for n in ast.walk(node.args) if isinstance(n, ast.arg)])
            if lines > MAX_FUNCTION_LINES:
                long.append(f"{file}:{node.lineno} {node.name} has {lines} lines")
            if count > MAX_PARAMETERS:
                long.append(f"{file}:{node.lineno} {node.name} has {count} parameters")
    assert long == []


def test_modules_are_few() -> None:
    folders = {Path(file).parent.as_posix() for file in trees()} - {"."}
    assert len(folders | set(MODULES)) <= MAX_MODULES


def test_the_tests_have_the_folders_of_the_package_and_unique_names() -> None:
    files = sorted(TESTS.rglob("test_*.py"))
    assert len(files) > 80
    names = [path.name for path in files]
    assert sorted(set(names)) == sorted(names)
    folders = {path.parent.relative_to(TESTS).as_posix() for path in files} - {"stories"}
    assert [folder for folder in folders if not (PACKAGE / folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("package", ONLY)
def test_a_package_is_imported_where_it_belongs(package: str) -> None:
    importers = {found.file for found in imports() if top_module(found.name) == package}
    assert importers
    assert {file for file in importers if not file.startswith(ONLY[package])} == set()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an untrained model of four letters; making it needs no torch."""
    path = tmp_path_factory.mktemp("layers") / "model.safetensors"
    made = ModelConfig(vocab_size=4, hidden_size=8)
    model_file.save(path, Model(made, CharTokenizer("ehlo"), parameters.initial(made, seed=1)))
    (path.parent / "text.txt").write_text("hello" * 100)
    return path


@pytest.mark.parametrize("line", ["--help", "train --help", "sample --help"])
def test_a_help_text_loads_nothing_slow(line: str) -> None:
    names = loaded("-m", "charrnn", *line.split())
    assert "charrnn.config.training" in names
    assert not names & {"torch", "numpy", "numba"}
    assert not names & {"importlib.metadata", "pydantic", "secrets", "tomllib"}


def test_preparing_a_text_loads_no_torch(model: Path) -> None:
    line = ("prepare", "text.txt", "--out", "dataset", "--tokenizer", "sentencepiece")
    names = loaded("-m", "charrnn", *line, folder=model.parent)
    assert "sentencepiece" in names
    assert not names & {"torch", "numba"}


WITHOUT_TORCH = [
    *("sample -m", "greedy -m", "beam -m", "eval text.txt -m", "score text.txt -m"),
    *("compress text.txt text.crnn --force -m", "info", "inspect next -m"),
    *("inspect cells text.txt -m", "inspect memory text.txt --longest 64 -m"),
]
RUN_ALL = """
import sys
from charrnn.__main__ import main

model, *lines = sys.argv[1:]
for line in lines:
    sys.argv = ["charrnn", *line.split(), model]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, line
    assert "numpy" in sys.modules and "torch" not in sys.modules, line
"""


def test_writing_and_scoring_load_no_torch(model: Path) -> None:
    names = loaded("-c", RUN_ALL, str(model), *WITHOUT_TORCH, folder=model.parent)
    assert "charrnn.inspection.memory" in names
    assert "torch" not in names


@pytest.mark.parametrize("module", ["charrnn.inspection.novelty", "charrnn.cli.display.editor"])
def test_novelty_and_the_editor_load_no_torch(module: str) -> None:
    assert "torch" not in loaded("-c", f"import {module}")


def test_profiling_a_text_loads_no_torch(model: Path) -> None:
    names = loaded("-m", "charrnn", "corpora", "stats", "text.txt", folder=model.parent)
    assert "charrnn.inspection.profile" in names
    assert "torch" not in names


def test_importing_the_package_loads_nothing_else() -> None:
    names = loaded("-c", "import charrnn; charrnn.CharRNNError")
    assert "charrnn.errors" in names
    assert not names & {"torch", "numpy", "typer", "safetensors"}


IMPORT_ALL = """
import importlib, os, pkgutil, warnings
import numba, numpy, torch
def state():
    threads, random = torch.get_num_threads(), torch.get_rng_state().tolist()
    numbers = numpy.geterr(), numba.config.CACHE_DIR
    return dict(os.environ), list(warnings.filters), threads, random, numbers
before = state()
import charrnn
from charrnn.cli.app import COMMANDS, GROUPS
names = [found.name for found in pkgutil.walk_packages(charrnn.__path__, "charrnn.")]
for name in names:
    try:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name in ("llm", "onnx")  # an environment may lack them
assert state() == before
assert len(names) > 100
"""


def test_importing_every_module_writes_no_file_and_changes_no_global_state(tmp_path: Path) -> None:
    folders = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(tmp_path))
    environment = os.environ | folders | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", IMPORT_ALL]
    before = set(PACKAGE.rglob("*.nb[ic]"))  # numba keeps code beside its source if none stops it
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=HANGS)
    assert list(tmp_path.iterdir()) == []
    assert set(PACKAGE.rglob("*.nb[ic]")) == before


def loaded(*words: str, folder: Path | None = None) -> set[str]:
    """Return every module that a run of Python imported; coverage's own are left out."""
    command = [sys.executable, "-X", "importtime", *words]
    unmeasured = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    ended = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env=unmeasured | {"OMP_NUM_THREADS": "1"},
        timeout=HANGS,
    )
    assert ended.returncode == 0, ended.stderr[-1000:]
    return set(re.findall(r"\| +([\w.]+)$", ended.stderr, re.MULTILINE))


def test_cell_names_are_those_of_the_cells() -> None:
    assert get_args(config.CellName) == tuple(CELLS)
    assert [cell.name for cell in CELLS.values()] == list(CELLS)
    assert {ModelConfig.cell, training.PLANNED_CELL, training.FASTER_CELL} <= set(CELLS)


def test_optimizer_names_are_those_of_torch() -> None:
    from charrnn.network.module import CharRNN
    from charrnn.training import optimizer, plan

    for name in get_args(config.OptimizerName):
        asked = TrainOptions(optimizer=name, steps=1, hidden_size=4)
        made = plan.make(asked, 1000, 4, lambda model, train: 1.0)
        network = CharRNN(made.model, parameters.initial(made.model, 1))
        assert type(optimizer.make(network.weights(), made.train)).__name__.lower() == name
    assert TrainOptions.optimizer in get_args(config.OptimizerName)


def test_validation_of_options_needs_no_numpy() -> None:
    """A wrong flag is refused at once."""
    names = loaded("-c", "from charrnn.config import *; from charrnn.terminal import *")
    assert not names & {"torch", "numpy"}
