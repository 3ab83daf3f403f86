from __future__ import annotations

from cli.conftest import Cli, Run

PROMPT = "the harb"


def test_greedy_is_deterministic(tiny: Run, cli: Cli) -> None:
    words = ("greedy", "-m", tiny.folder, "-p", PROMPT, "-n", 80)
    text, result = cli(*words), cli(*words, "--json").json
    (sample,) = result["samples"]
    assert text.out == PROMPT + sample["text"]
    assert len(sample["text"]) == 80
    assert text.err == ""
    assert sample["seed"] is None
    assert sample["log_prob"] < 0
    assert sample["finished_by"] == "length"
    assert result["chars_per_second"] > 0


def test_stops_before_the_first_of_several_stop_strings(tiny: Run, cli: Cli) -> None:
    words = ("greedy", "-m", tiny.folder, "-p", PROMPT, "-n", 80)
    (sample,) = cli(*words, "--stop", "\n", "--stop", " ", "--json").json["samples"]
    whole = cli(*words).out.removeprefix(PROMPT)
    assert sample["text"] == whole[: min(whole.index(s) for s in "\n " if s in whole)]
    assert sample["finished_by"] == "stop"


def test_penalties_reduce_repetition(tiny: Run, cli: Cli) -> None:
    words = ("greedy", "-m", tiny.folder, "-p", PROMPT, "-n", 300)
    whole = cli(*words, "--no-repeat-ngram-size", 7).out
    runs = [whole[i : i + 7] for i in range(len(whole) - 6)]
    assert len(set(runs)) == len(runs) == 302
    plain = cli(*words).out
    penalised = cli(*words, "--repeat-penalty", 1.5, "--repeat-last-n", -1).out
    assert plain != penalised


def test_a_bias_forbids_a_token(tiny: Run, cli: Cli) -> None:
    words = ("greedy", "-m", tiny.folder, "-p", PROMPT, "-n", 200)
    assert {"r", " "} <= set(cli(*words).out.removeprefix(PROMPT))
    out = cli(*words, "--logit-bias", "r=-100", "--logit-bias", " =-100").out
    assert set(out.removeprefix(PROMPT)).isdisjoint("r ")
    assert cli(*words, "--logit-bias", r"\u0072=-100", "--logit-bias", r"\x20=-100").out == out


def test_one_more_character_only_adds_one(tiny: Run, cli: Cli) -> None:
    short, long = (
        cli("greedy", "-m", tiny.folder, "-n", n, "--json").json["samples"][0] for n in (20, 21)
    )
    assert long["text"][:20] == short["text"]
    assert long["log_prob"] < short["log_prob"]
