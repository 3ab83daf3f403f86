from __future__ import annotations

from .conftest import Cli, Run

PROMPT = "the harb"


def test_nothing_is_random(tiny: Run, cli: Cli) -> None:
    first, again = (cli("greedy", "-m", tiny.folder, "-p", PROMPT, "-n", 80) for _ in range(2))
    assert first == again
    assert first.out.startswith(PROMPT)
    assert len(first.out) == len(PROMPT) + 80
    assert first.err == ""


def test_json_has_the_fields_of_the_contract(tiny: Run, cli: Cli) -> None:
    result = cli("greedy", "-m", tiny.folder, "-p", PROMPT, "-n", 80, "--json").json
    (sample,) = result["samples"]
    assert PROMPT + sample["text"] == cli("greedy", "-m", tiny.folder, "-p", PROMPT, "-n", 80).out
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


def test_one_more_character_only_adds_one(tiny: Run, cli: Cli) -> None:
    short, long = (
        cli("greedy", "-m", tiny.folder, "-n", n, "--json").json["samples"][0] for n in (20, 21)
    )
    assert long["text"][:20] == short["text"]
    assert long["log_prob"] < short["log_prob"]
