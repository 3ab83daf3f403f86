"""The modules of charrnn/ in the order of imports: each imports only those above it."""

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

import charrnn
from charrnn import config
from charrnn.cells import CELLS
from charrnn.config import ModelConfig, TrainOptions
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
    "model",
    "network",
    "inference",
    "decoding",
    "run_dir",
    "scoring",
    "generator",
    "compression",
    "training",
    "inspection",
    "bench",
    "cli",
]
OWN = {"__init__", "__main__"}  # the package's own files, which belong to no module
# Packages that only these files may import.
ONLY = {
    "torch": (
        "network/",
        "inference/cuda_engine.py",
        "training/",
        "inspection/gradients.py",
        "bench/",
        "cli/commands/bench.py",
        "cli/display/tensorboard.py",
    ),
    "numba": (
        "compiler/",
        "inference/",
        "network/",
        "decoding/compiled.py",
        "text/suffix_array.py",
    ),
    "llvmlite": ("compiler/", "inference/instructions.py"),
    "constriction": ("compression.py",),
    "typer": ("cli/",),
    "filelock": ("training/lock.py", "text/named/fetch.py"),
    "rich": ("cli/",),
    "prompt_toolkit": ("cli/display/editor",),
    "matplotlib": ("cli/display/",),
    "uniplot": ("cli/display/",),
    "tensorboard": ("cli/run_options.py",),
}


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
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for name in imported(node):
                yield Import(file, node.lineno, name)


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


def test_only_the_command_line_reads_the_version() -> None:
    importers = {found.importer for found in inside() if found.name == "charrnn.__version__"}
    assert importers == {"cli"}


def test_imports_can_be_read() -> None:
    assert len(inside()) > 50
    assert [str(found) for found in imports() if found.name.startswith(".")] == []
    # Imports by name are not seen here: one file imports the code that it generated, another one
    # checks whether a package is installed.
    computed = {found.file for found in imports() if top_module(found.name) == "importlib"}
    assert computed <= {"compiler/codegen.py", "network/layers.py"}
    assert [str(found) for found in imports() if found.name == "charrnn"] == []


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


def test_preparing_a_text_loads_no_torch(model: Path) -> None:
    line = ("prepare", "text.txt", "--out", "dataset", "--tokenizer", "sentencepiece")
    names = loaded("-m", "charrnn", *line, folder=model.parent)
    assert "sentencepiece" in names
    assert not names & {"torch", "numba"}


@pytest.mark.parametrize(
    "line",
    [
        *("sample -m", "greedy -m", "beam -m", "eval text.txt -m", "score text.txt -m"),
        *("compress text.txt text.crnn --force -m", "info", "inspect next -m"),
        *("inspect cells text.txt -m", "inspect memory text.txt --longest 64 -m"),
    ],
)
def test_writing_and_scoring_load_no_torch(line: str, model: Path) -> None:
    names = loaded("-m", "charrnn", *line.split(), str(model), folder=model.parent)
    assert "numpy" in names
    assert "torch" not in names


@pytest.mark.parametrize("module", ["charrnn.inspection.novelty", "charrnn.cli.display.editor"])
def test_novelty_and_the_editor_load_no_torch(module: str) -> None:
    assert "torch" not in loaded("-c", f"import {module}")


def test_profiling_a_text_loads_no_torch(model: Path) -> None:
    names = loaded("-m", "charrnn", "corpora", "stats", "text.txt", folder=model.parent)
    assert "charrnn.text.profile" in names
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
names = [found.name for found in pkgutil.walk_packages(charrnn.__path__, "charrnn.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
assert state() == before
assert len(names) > 100
"""


def test_importing_every_module_writes_no_file_and_changes_no_global_state(tmp_path: Path) -> None:
    folders = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(tmp_path))
    environment = os.environ | folders | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", IMPORT_ALL]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=100)
    assert list(tmp_path.iterdir()) == []


def loaded(*words: str, folder: Path | None = None) -> set[str]:
    """Return every module that a run of Python imported."""
    command = [sys.executable, "-X", "importtime", *words]
    ended = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr[-1000:]
    return set(re.findall(r"\| +([\w.]+)$", ended.stderr, re.MULTILINE))


def test_cell_names_are_those_of_the_cells() -> None:
    assert get_args(config.CellName) == tuple(CELLS)
    assert [cell.name for cell in CELLS.values()] == list(CELLS)
    assert {ModelConfig.cell, TrainOptions.cell} <= set(CELLS)


def test_optimizer_names_are_those_of_torch() -> None:
    from charrnn.network.module import CharRNN
    from charrnn.training import optimizer, plan

    for name in get_args(config.OptimizerName):
        asked = TrainOptions(optimizer=name, steps=1, hidden_size=4)
        made = plan.make(asked, 1000, 4, lambda model, train: 1.0)
        network = CharRNN(made.model, parameters.initial(made.model, 1))
        assert type(optimizer.make(network, made.train)).__name__.lower() == name
    assert TrainOptions.optimizer in get_args(config.OptimizerName)


def test_validation_of_options_needs_no_numpy() -> None:
    """A wrong flag is refused at once."""
    names = loaded("-c", "from charrnn.config import *; from charrnn.terminal import *")
    assert not names & {"torch", "numpy"}
