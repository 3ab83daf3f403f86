"""Messages advise only options that exist, and that the command has which prints them."""

from __future__ import annotations

import ast
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

import charrnn
from cli.advice import flags, lacking, options
from cli.conftest import Cli, Run


def strings() -> Iterator[tuple[str, str]]:
    """Yield every text in the package that is not a docstring, after its file and line."""
    folder = Path(charrnn.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in docstrings:
                yield f"{path.relative_to(folder)}:{node.lineno}", node.value


def test_every_option_in_a_message_exists() -> None:
    known = {"--version", *set().union(*options().values())}
    wrong = [
        f"{where} {flag}"
        for where, text in strings()
        for flag in flags(text)
        # What people call an option elsewhere is no advice.
        if flag not in known and not where.startswith("cli/hints.py")
    ]
    assert wrong == []


def test_an_option_that_a_command_lacks_is_found() -> None:
    said = "charrnn: u.txt is not UTF-8: name its encoding with --encoding\n"
    assert lacking(["info", "u.txt"], said) == {"--encoding"}
    assert lacking(["train", "u.txt"], said) == set()
    assert lacking(["inspect", "cells", "u.txt"], "use --lags 3") == {"--lags"}
    shown = "run 'charrnn train x --out y'\nnow: charrnn sample --model r"
    assert lacking(["info"], shown) == set()


READERS = (
    *("train", "prepare --out data", "corpora stats", "eval -m model", "score -m model"),
    *("inspect cells -m model", "inspect memory -m model", "inspect gradients -m model"),
)
TEXTS = {  # what cannot be read, and what the sentence about it advises
    "odd.txt": (b"caf\x81\xfe\xff \x00\x01 au lait\n" * 20, "--encoding"),
    "bomb.txt.gz --max-unpacked 1000": (gzip.compress(b"a line\n" * 9999), "--max-unpacked"),
    "cut.txt --encoding utf-8": ("café".encode()[:-1], "--errors"),
}


@pytest.mark.parametrize("given", TEXTS)
def test_a_command_that_reads_a_text_has_what_its_errors_advise(
    given: str, tiny: Run, cli: Cli
) -> None:
    data, advised = TEXTS[given]
    (cli.folder / given.split()[0]).write_bytes(data)
    (cli.folder / "model").symlink_to(tiny.folder)
    lines = [(*command.split(), *given.split()) for command in READERS]
    for done in cli.each(lines, code=2):  # which checks the options
        assert advised in [*flags(done.sentence)]


def test_a_command_without_a_model_has_what_its_error_advises(cli: Cli) -> None:
    commands = ("info", "plot", "sample", "eval", "inspect cells")
    for done in cli.each((command.split() for command in commands), code=2):
        assert "charrnn train FILE" in done.sentence
