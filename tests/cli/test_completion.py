from __future__ import annotations

import pytest

from charrnn.cells import CELLS

from .conftest import Cli


@pytest.fixture
def offered(cli: Cli):
    """Return a function: what bash offers after some words, of which the last is incomplete."""
    (cli.folder / "tune book.txt").write_text("text")
    run = cli.folder / "runs" / "harbour-2"
    run.mkdir(parents=True)
    (run / "model.safetensors").touch()
    (cli.folder / "runs" / "empty").mkdir()

    def ask(*words: str) -> list[str]:
        env = {
            "_CHARRNN_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["charrnn", *words]),
            "COMP_CWORD": str(len(words)),
        }
        return cli(env=env).out.split()

    return ask


def test_choices_are_offered(offered) -> None:
    assert offered("train", "x", "--cell", "gr") == [name for name in CELLS if name[:2] == "gr"]
    assert offered("sample", "--weights", "") == ["float32", "bfloat16", "int8"]
    assert offered("train", "x", "--tokenizer", "s") == ["sentencepiece"]
    assert offered("sample", "--device", "") == ["cpu", "cuda"]
    assert offered("bench", "train", "--cell", "el") == ["elman"]


def test_corpora_and_files_are_offered(offered) -> None:
    assert offered("train", "har") == ["harbour"]
    assert offered("train", "tun") == []  # the shell offers "tune book.txt"
    assert offered("corpora", "path", "har") == ["harbour"]


def test_runs_with_a_model_are_offered(offered) -> None:
    assert offered("sample", "--model", "") == ["harbour-2"]
    assert offered("info", "-m", "runs/h") == []


def test_commands_are_offered(offered) -> None:
    assert offered("de") == ["decompress"]
    assert offered("inspect", "ne") == ["next"]
