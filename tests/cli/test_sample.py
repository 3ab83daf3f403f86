from __future__ import annotations

import json
import os
import re
import shutil

import pytest

from .conftest import Cli, Run

PROMPT = "the café "


def seed(err: str) -> str:
    found = re.search(r"^seed: (\d+)$", err, re.MULTILINE)
    assert found, err
    return found[1]


def test_the_same_seed_writes_the_same_text(tiny: Run, cli: Cli) -> None:
    first, again, other = (
        cli("sample", "-m", tiny.folder, "--length", 200, "--seed", number).out
        for number in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_a_text_can_be_repeated_by_the_seed_that_was_printed(tiny: Run, cli: Cli) -> None:
    done = cli("sample", "-m", tiny.folder, "--length", 200)
    again = cli("sample", "-m", tiny.folder, "--length", 200, "--seed", seed(done.err))
    assert again.out == done.out


def test_two_runs_without_a_seed_differ(tiny: Run, cli: Cli) -> None:
    first, other = (cli("sample", "-m", tiny.folder, "--length", 200).out for _ in range(2))
    assert first != other


@pytest.mark.parametrize("length", [0, 1, 123])
def test_prompt_and_then_exactly_so_many_characters(length: int, tiny: Run, cli: Cli) -> None:
    out = cli("sample", "-m", tiny.folder, "--prompt", PROMPT, "--length", length).out
    assert out.startswith(PROMPT)
    assert len(out) == len(PROMPT) + length


def test_writes_from_nothing(tiny: Run, cli: Cli) -> None:
    out = cli("sample", "-m", tiny.folder, "--length", 50).out
    assert len(out) == 50
    assert set(out) <= set(tiny.text.read_text("utf-8"))


def test_prompt_may_hold_any_script_and_line_feeds(tiny: Run, cli: Cli) -> None:
    prompt = "日本 🙂.\nthe"
    assert cli("sample", "-m", tiny.folder, "-p", prompt, "-n", 5).out.startswith(prompt)


def test_prompt_changes_what_follows(tiny: Run, cli: Cli) -> None:
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
    assert done.json["chars_per_second"] > 0
    assert PROMPT + sample["text"] == cli("sample", "-m", tiny.folder, *words).out


def test_many_samples_are_many_texts_and_the_first_is_as_if_alone(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 60, "--seed", 3)
    texts = [sample["text"] for sample in cli(*words, "--num-samples", 3, "--json").json["samples"]]
    assert len(set(texts)) == 3
    assert texts[0] == cli(*words).out


def test_many_samples_are_told_apart_on_stdout(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 60, "--seed", 3, "--num-samples", 3)
    done, texts = cli(*words, "-p", PROMPT), cli(*words, "-p", PROMPT, "--json").json["samples"]
    blocks = re.split(r"^=== \d of 3 ===\n", done.out, flags=re.MULTILINE)
    assert blocks[0] == ""
    assert [block.removesuffix("\n") for block in blocks[1:3]] + [blocks[3]] == [
        PROMPT + sample["text"] for sample in texts
    ]
    for number, sample in enumerate(texts, start=1):
        assert f"{number} of 3: log-probability {sample['log_prob']:.2f} nats" in done.err


def test_stops_before_a_stop_string(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 5000, "--seed", 3)
    (sample,) = cli(*words, "--stop", ".\n", "--json").json["samples"]
    assert sample["finished_by"] == "stop"
    whole = cli(*words).out
    assert sample["text"] == whole[: whole.index(".\n")]
    assert cli(*words, "--stop", ".\n").out == sample["text"]


def test_temperature_zero_is_greedy(tiny: Run, cli: Cli) -> None:
    words = ("-m", tiny.folder, "--prompt", PROMPT, "--length", 80)
    sampled = cli("sample", *words, "--temperature", 0).out
    assert sampled == cli("greedy", *words).out


@pytest.mark.parametrize("filter_", [("--top-k", 1), ("--top-p", 1e-9), ("--min-p", 1)])
def test_the_tightest_filter_is_greedy(filter_: tuple[str, float], tiny: Run, cli: Cli) -> None:
    words = ("-m", tiny.folder, "--prompt", PROMPT, "--length", 80)
    assert cli("sample", *words, *filter_).out == cli("greedy", *words).out


def test_a_hot_temperature_is_wilder(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 300, "--seed", 1, "--json")
    cold, hot = (cli(*words, "-t", t).json["samples"][0]["log_prob"] for t in (0.3, 3))
    assert cold > hot


def test_run_folder_or_model_file(tiny: Run, cli: Cli) -> None:
    words = ("--length", 60, "--seed", 3)
    folder, file = (cli("sample", "-m", m, *words).out for m in (tiny.folder, tiny.model))
    assert folder == file


def test_without_a_model_the_newest_run_is_used_and_named(tiny: Run, cli: Cli) -> None:
    for number, name in enumerate(("a", "c", "b")):
        run = shutil.copytree(tiny.folder, cli.folder / "runs" / name)
        os.utime(run / "model.safetensors", (1e9 + number, 1e9 + number))
    (cli.folder / "runs" / "d-without-a-model").mkdir()
    done = cli("sample", "--length", 20)
    assert f"model: {os.path.join('runs', 'b', 'model.safetensors')}\n" in done.err  # noqa: PTH118
    assert len(done.out) == 20


def test_a_named_model_is_not_named_again(tiny: Run, cli: Cli) -> None:
    done = cli("sample", "-m", tiny.folder, "--length", 20, "--seed", 4)
    assert done.err == "seed: 4\n"


def test_json_is_unescaped_text(tiny: Run, cli: Cli) -> None:
    done = cli("sample", "-m", tiny.folder, "-p", "日本", "-n", 3, "--json")
    assert "日本" in done.out
    assert json.loads(done.out)["prompt"] == "日本"
