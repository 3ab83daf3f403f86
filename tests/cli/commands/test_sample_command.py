from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from cli.conftest import Cli, Run

PROMPT = "日本 🙂.\nthe café "


@pytest.fixture(scope="module")
def greedy(tiny: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return 80 characters of greedy text after the prompt."""
    cli = Cli(tmp_path_factory.mktemp("greedy"))
    return cli("greedy", "-m", tiny.folder, "--prompt", PROMPT, "--length", 80).out


def test_texts_differ_and_the_printed_seed_repeats_them(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 200)
    first, other = cli(*words), cli(*words)
    assert first.out != other.out
    printed = re.fullmatch(r"seed: (\d+)\n", first.err)
    assert printed, first.err
    assert cli(*words, "--seed", printed[1]) == first


@pytest.mark.parametrize("length", [0, 1, 123])
def test_length_counts_characters_after_the_prompt(length: int, tiny: Run, cli: Cli) -> None:
    out = cli("sample", "-m", tiny.folder, "--prompt", PROMPT, "--length", length).out
    assert out.startswith(PROMPT)
    assert len(out) == len(PROMPT) + length


def test_the_prompt_changes_the_text(tiny: Run, cli: Cli) -> None:
    written = [
        cli("greedy", "-m", tiny.folder, "-p", prompt, "-n", 30).out.removeprefix(prompt)
        for prompt in ("the harb", "the caf")
    ]
    assert written[0] != written[1]


def test_json_has_the_fields_of_the_contract(tiny: Run, cli: Cli) -> None:
    words = ("--prompt", PROMPT, "--length", 60, "--seed", 3)
    done = cli("sample", "-m", tiny.folder, *words, "--json")
    (sample,) = done.json["samples"]
    assert sample.keys() >= {"text", "seed", "log_prob", "finished_by"}
    assert len(sample["text"]) == 60
    assert sample["seed"] == 3
    assert sample["log_prob"] < 0
    assert sample["finished_by"] == "length"
    assert done.json["prompt"] == PROMPT
    assert done.json["chars_per_second"] > 0
    assert "日本" in done.out
    assert PROMPT + sample["text"] == cli("sample", "-m", tiny.folder, *words).out


def test_several_samples_are_separated_and_the_first_is_unchanged(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 60, "--seed", 3, "-p", PROMPT)
    samples = cli(*words, "--num-samples", 3, "--json").json["samples"]
    assert len({sample["text"] for sample in samples}) == 3

    done = cli(*words, "--num-samples", 3)
    blocks = re.split(r"^=== \d of 3 ===\n", done.out, flags=re.MULTILINE)
    assert blocks[0] == ""
    assert [blocks[1][:-1], blocks[2][:-1], blocks[3]] == [
        PROMPT + sample["text"] for sample in samples
    ]
    for number, sample in enumerate(samples, start=1):
        assert f"{number} of 3: log-probability {sample['log_prob']:.2f} nats" in done.err
    assert cli(*words).out == blocks[1][:-1]


def test_stops_before_a_stop_string(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 1000, "--seed", 3)
    (sample,) = cli(*words, "--stop", ".\n", "--json").json["samples"]
    assert sample["finished_by"] == "stop"
    whole = cli(*words).out
    assert sample["text"] == whole[: whole.index(".\n")]
    assert cli(*words, "--stop", ".\n").out == sample["text"]


@pytest.mark.parametrize(
    "filter_", [("--temperature", 0), ("--top-k", 1), ("--top-p", 1e-9), ("--min-p", 1)]
)
def test_the_tightest_filter_is_greedy(
    filter_: tuple[str, float], greedy: str, tiny: Run, cli: Cli
) -> None:
    words = ("-m", tiny.folder, "--prompt", PROMPT, "--length", 80)
    assert cli("sample", *words, *filter_).out == greedy


def test_every_filter_changes_the_text(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 120, "--seed", 3, "--temperature", 1.5)
    filters = {
        "--top-k": 3,
        "--typical-p": 0.5,
        "--top-p": 0.5,
        "--min-p": 0.3,
        "--xtc-probability": 1,
        "--mirostat-ent": 0.5,
        "--repeat-penalty": 2,
        "--presence-penalty": 2,
        "--frequency-penalty": 2,
        "--no-repeat-ngram-size": 2,
        "--logit-bias": "e=5",
    }
    outs = [cli(*words).out, *(cli(*words, *filter_).out for filter_ in filters.items())]
    assert len(set(outs)) == len(outs)


def test_mirostat_with_save_state_is_refused(tiny: Run, cli: Cli) -> None:
    state = ("--mirostat-ent", 2, "--save-state", cli.folder / "state")
    done = cli("sample", "-m", tiny.folder, *state, code=2)
    assert done.out == ""
    assert "leave out --mirostat-ent" in done.err
    assert not (cli.folder / "state").exists()


def test_a_hot_temperature_is_wilder(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 300, "--seed", 1, "--json")
    cold, hot = (cli(*words, "-t", t).json["samples"][0]["log_prob"] for t in (0.3, 3))
    assert cold > hot


def test_a_given_model_is_not_printed(tiny: Run, cli: Cli) -> None:
    folder, file = (
        cli("sample", "-m", m, "-n", 60, "--seed", 3) for m in (tiny.folder, tiny.model)
    )
    assert folder == file
    assert file.err == "seed: 3\n"


def test_without_a_model_the_newest_run_is_used_and_named(tiny: Run, cli: Cli) -> None:
    for number, name in enumerate(("a", "c", "b")):
        run = shutil.copytree(tiny.folder, cli.folder / "runs" / name)
        os.utime(run / "model.safetensors", (1e9 + number, 1e9 + number))
    (cli.folder / "runs" / "d-without-a-model").mkdir()
    done = cli("sample", "--length", 50)
    assert f"model: {Path('runs', 'b', 'model.safetensors')}\n" in done.err
    assert len(done.out) == 50
    assert set(done.out) <= set(tiny.text.read_text("utf-8"))
