from __future__ import annotations

import pytest
from typer.testing import CliRunner

from charrnn.cells import CELLS
from charrnn.cli.app import program

from .conftest import Cli


@pytest.fixture
def offered(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    """Return a function: what bash offers after some words, of which the last is incomplete."""
    (cli.folder / "tune book.txt").write_text("text")
    run = cli.folder / "runs" / "harbour-2"
    run.mkdir(parents=True)
    (run / "model.safetensors").touch()
    (cli.folder / "runs" / "empty").mkdir()
    begun = cli.folder / "runs" / "hill-1"  # killed before it had a model
    begun.mkdir()
    (begun / "config.json").touch()
    monkeypatch.chdir(cli.folder)

    def ask(*words: str) -> list[str]:
        shown = CliRunner().invoke(program(), prog_name="charrnn", env=variables(*words))
        assert (shown.exit_code, shown.stderr) == (0, "")
        return shown.stdout.split()

    return ask


def variables(*words: str) -> dict[str, str]:
    """Return what bash tells a program that it asks."""
    return {
        "_CHARRNN_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["charrnn", *words]),
        "COMP_CWORD": str(len(words)),
    }


def test_choices_are_offered(offered) -> None:
    assert offered("train", "x", "--cell", "gr") == [name for name in CELLS if name[:2] == "gr"]
    assert offered("sample", "--weights", "") == ["float32", "bfloat16", "int8"]
    assert offered("train", "x", "--tokenizer", "s") == ["sentencepiece"]
    assert offered("sample", "--device", "") == ["cpu", "cuda"]
    assert offered("bench", "train", "--cell", "el") == ["elman"]
    assert offered("inspect", "gradients", "--cell", "el") == ["elman"]
    assert offered("inspect", "memory", "--task", "b") == ["brackets"]
    assert offered("cells", "mi") == [name for name in CELLS if name[:2] == "mi"]
    assert offered("train", "x", "--items", "") == ["lines", "blank-lines"]
    assert offered("eval", "--part", "t") == ["train", "test"]
    assert offered("plot", "--over", "e") == ["epoch"]


def test_corpora_and_files_are_offered(offered) -> None:
    assert offered("train", "har") == ["harbour"]
    assert offered("train", "tun") == []  # the shell offers "tune book.txt"
    assert offered("corpora", "path", "har") == ["harbour"]


def test_runs_with_a_model_are_offered(offered) -> None:
    assert offered("sample", "--model", "") == ["harbour-2"]
    assert offered("info", "h") == ["harbour-2"]
    assert offered("sample", "--model", "runs/h") == []  # the shell offers files


def test_a_training_starts_from_a_run_or_the_base_model(offered) -> None:
    assert offered("train", "x", "--init-from", "") == ["harbour-2", "english"]
    assert offered("train", "x", "--init-from", "en") == ["english"]
    assert offered("train", "x", "--init-from", "./m") == []


def test_what_needs_no_model_is_offered_every_run(offered) -> None:
    assert offered("runs", "remove", "") == ["harbour-2", "hill-1"]
    assert offered("runs", "remove", "harbour-2", "hi") == ["hill-1"]
    assert offered("train", "--config", "h") == ["harbour-2", "hill-1"]
    assert offered("plot", "hi") == ["hill-1"]


def test_commands_are_offered(offered, cli: Cli) -> None:
    assert cli(env=variables("de")).out == "decompress\n"  # by the program as a shell starts it
    assert offered("inspect", "ne") == ["next"]
