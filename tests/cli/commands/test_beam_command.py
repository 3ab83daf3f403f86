from __future__ import annotations

import re

import pytest

from cli.conftest import Cli, Run

PROMPT = "the harb"


def test_a_width_of_one_is_greedy(tiny: Run, cli: Cli) -> None:
    words = ("-m", tiny.folder, "-p", PROMPT, "-n", 60, "--json")
    beam, greedy = (
        cli(*command, *words).json["samples"][0] for command in (("beam", "-w", 1), ("greedy",))
    )
    assert beam["text"] == greedy["text"]
    assert beam["log_prob"] == pytest.approx(greedy["log_prob"], abs=1e-4)


def test_texts_are_ranked_by_log_probability(tiny: Run, cli: Cli) -> None:
    words = ("beam", "-m", tiny.folder, "-p", PROMPT, "-n", 30, "--width", 6, "--num-return", 4)
    samples = cli(*words, "--json").json["samples"]
    log_probs = [sample["log_prob"] for sample in samples]
    assert len({sample["text"] for sample in samples}) == 4
    assert log_probs == sorted(log_probs, reverse=True)

    done = cli(*words)
    printed = re.findall(r"^(\d) of 4: log-probability (-[\d.]+) nats", done.err, re.MULTILINE)
    assert printed == [(str(n), f"{p:.2f}") for n, p in enumerate(log_probs, start=1)]
    for sample in samples:
        assert PROMPT + sample["text"] in done.out


def test_a_wide_search_finds_what_greedy_misses(tiny: Run, cli: Cli) -> None:
    """A beam for every text of 3 characters finds the most probable one."""
    words = ("-m", tiny.folder, "-n", 3, "--json")
    symbols = len(set(tiny.text.read_text("utf-8")))
    best = cli("beam", "--width", symbols**2, *words).json["samples"][0]["log_prob"]
    others = [cli("greedy", *words).json["samples"][0]["log_prob"]]
    sampled = cli("sample", "--num-samples", 64, "--seed", 1, *words).json["samples"]
    others += [sample["log_prob"] for sample in sampled]
    assert best >= max(others) - 1e-4


def test_a_single_text_follows_its_prompt(tiny: Run, cli: Cli) -> None:
    words = ("beam", "-m", tiny.folder, "-p", PROMPT, "-n", 40)
    text, result = cli(*words), cli(*words, "--json").json
    (sample,) = result["samples"]
    assert text.out == PROMPT + sample["text"]
    assert len(sample["text"]) == 40
    assert text.err == ""
    assert sample["seed"] is None
    assert sample["finished_by"] == "length"
    assert result["chars_per_second"] > 0


def test_stop_ends_a_text_and_the_length_penalty_ranks(tiny: Run, cli: Cli) -> None:
    words = ("beam", "-m", tiny.folder, "-p", PROMPT, "-n", 20, "--stop", " ", "--json")
    short, long = (cli(*words, "--length-penalty", a).json["samples"][0] for a in (0, 9))
    assert short["finished_by"] == "stop"
    assert " " not in short["text"] + long["text"]
    assert len(short["text"]) < len(long["text"])
    assert short["log_prob"] > long["log_prob"]


def test_stochastic_texts_differ_and_their_seed_repeats_them(tiny: Run, cli: Cli) -> None:
    words = ("beam", "-m", tiny.folder, "-p", PROMPT, "-n", 30, "--num-return", 4, "--stochastic")
    done = cli(*words, "--width", 4)
    printed = re.match(r"seed: (\d+)\n", done.err)
    assert printed, done.err
    assert cli(*words, "--width", 4, "--seed", printed[1]) == done
    # a wider beam only draws other random numbers
    samples = cli(*words, "--seed", 3, "--json").json["samples"]
    assert len({sample["text"] for sample in samples}) == 4
    assert {sample["seed"] for sample in samples} == {3}


def test_groups_write_different_texts(tiny: Run, cli: Cli) -> None:
    words = ("beam", "-m", tiny.folder, "-p", PROMPT, "-n", 30, "--width", 4, "--num-return", 4)
    plain, apart = (
        [sample["text"] for sample in cli(*words, *more, "--json").json["samples"]]
        for more in ((), ("--groups", 4, "--diversity", 3))
    )
    assert len({text[0] for text in apart}) > len({text[0] for text in plain})


def test_a_stop_waits_for_the_minimum_length(tiny: Run, cli: Cli) -> None:
    words = ("beam", "-m", tiny.folder, "-p", PROMPT, "-n", 40, "--stop", " ", "--json")
    (sample,) = cli(*words, "--min-length", 12, "--length-penalty", 0).json["samples"]
    assert sample["finished_by"] == "stop"
    assert len(sample["text"]) >= 12
    assert " " not in sample["text"]


def test_the_end_of_a_document_waits_for_the_minimum_length(apart: Run, cli: Cli) -> None:
    words = ("beam", "-m", apart.folder, "-n", 40, "--length-penalty", 0, "--json")
    (plain,) = cli(*words).json["samples"]
    (late,) = cli(*words, "--min-length", 15).json["samples"]
    assert plain["finished_by"] == late["finished_by"] == "stop"
    assert len(plain["text"]) < 15 <= len(late["text"])


def test_length_zero_is_one_empty_text(tiny: Run, cli: Cli) -> None:
    words = ("beam", "-m", tiny.folder, "-p", PROMPT, "-n", 0)
    assert cli(*words).out == PROMPT
    assert [s["text"] for s in cli(*words, "--num-return", 3, "--json").json["samples"]] == [""]
