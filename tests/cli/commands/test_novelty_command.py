from __future__ import annotations

import re
import shutil
from pathlib import Path

import platformdirs
import pytest

from cli.conftest import TEXT_CHARACTERS, Cli, Run

WRITE = ("--length", 100, "--novelty")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user with an empty cache, except for compiled code."""
    ours = tmp_path / "cache" / "charrnn"
    ours.mkdir(parents=True)
    kernels = platformdirs.user_cache_path("charrnn") / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    (ours / "kernels").symlink_to(kernels)
    return {"XDG_CACHE_HOME": str(ours.parent)}


def test_json_reports_the_copies_of_every_sample(tiny: Run, cli: Cli, env: dict[str, str]) -> None:
    words = ("sample", "-m", tiny.folder, "--seed", 3, "--num-samples", 2, "--json")
    samples = cli(*words, *WRITE, env=env).json["samples"]
    trained = tiny.text.read_text("utf-8")[: TEXT_CHARACTERS * 9 // 10]
    for sample in samples:
        found = sample["novelty"]
        run, offset = found["run"], found["corpus_offset"]
        assert 0 < found["longest_run"] == len(run) < 100
        assert sample["text"][found["sample_offset"] :].startswith(run)
        assert trained[offset:].startswith(run)
        assert found["corpus_line"] == 1 + trained[:offset].count("\n")
        assert found["min_run"] == 20
        assert 0 <= found["copied_share"] <= 1
        # The longest run is maximal: no run that is one character longer is in the text.
        runs = [sample["text"][i : i + len(run) + 1] for i in range(100 - len(run))]
        assert not any(longer in trained for longer in runs)
    bare = cli(*words, "--length", 100).json["samples"]
    assert [{**sample, "novelty": None} for sample in bare] == [
        {**sample, "novelty": None} for sample in samples
    ]


@pytest.mark.parametrize("command", ["sample --seed 3", "greedy", "beam --num-return 2"])
def test_a_line_on_stderr_for_every_text(
    command: str, tiny: Run, cli: Cli, env: dict[str, str]
) -> None:
    words = (*command.split(), "-m", tiny.folder, *WRITE)
    done = cli(*words, env=env)
    assert done.out == cli(*words[:-1]).out
    lines = [line for line in done.err.splitlines() if line.startswith("novelty: ")]
    assert re.fullmatch(r"novelty: indexing [\d,]+ characters, once", lines.pop(0))
    which = ["1 of 2: ", "2 of 2: "] if "num-return" in command else [""]
    assert len(lines) == len(which)
    for line, number in zip(lines, which, strict=True):
        assert re.fullmatch(
            rf"novelty: {number}the longest copied passage has \d+ characters \(training text, "
            r"line [\d,]+, offset [\d,]+\): '.+'; "
            r"\d+% of the text is in copied passages of 20 or more",
            line,
        )


def test_an_empty_text_copies_nothing(tiny: Run, cli: Cli, env: dict[str, str]) -> None:
    done = cli("greedy", "-m", tiny.folder, "-n", 0, "--novelty", env=env)
    assert "no text shared with the training corpus" in done.err


def test_without_the_training_text_nothing_is_written(
    tiny: Run, cli: Cli, env: dict[str, str]
) -> None:
    shutil.copy(tiny.model, cli.folder / "alone.safetensors")
    done = cli("sample", "-m", "alone.safetensors", *WRITE, env=env, code=2)
    assert done.out == ""
    assert "is not available: there is no config.json beside the model" in done.sentence


def test_the_training_text_can_be_named_where_it_is_now(
    apart: Run, cli: Cli, env: dict[str, str]
) -> None:
    shutil.copytree(apart.folder, cli.folder / "run")
    (cli.folder / "run" / "config.json").unlink()
    (cli.folder / "moved").mkdir()
    shutil.copy(apart.text, cli.folder / "moved" / "list.txt")
    words = ("sample", "-m", "run", "--seed", 1, "--novelty")
    sentence = cli(*words, code=2, env=env).sentence
    assert "if it is somewhere else now, name it with --training-text" in sentence
    (cli.folder / "other.txt").write_text("another text\n" * 20)
    refused = cli(*words, "--training-text", "other.txt", code=2, env=env)
    assert "other is not the text that the model was trained on" in refused.sentence
    done = cli(*words, "--training-text", "moved/list.txt", env=env)
    assert done.err.count("novelty: ") == 2
    assert done.out == cli("sample", "-m", apart.folder, "--seed", 1).out
    # The index is in the cache now; the text that is named is checked all the same.
    assert cli(*words, "--training-text", "moved/list.txt", env=env).err.count("novelty: ") == 1
    refused = cli(*words, "--training-text", "other.txt", code=2, env=env)
    assert "other is not the text that the model was trained on" in refused.sentence
    assert "--novelty or --new" in cli(*words[:-1], "--training-text", "x", code=2).sentence
