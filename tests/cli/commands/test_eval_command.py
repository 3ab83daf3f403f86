from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator

import pytest
import strict_json

import charrnn
from cli.conftest import Cli, Run, story

FIELDS = {
    "characters": int,
    "bytes": int,
    "nats": float,
    "bpc": float,
    "bits_per_byte": float,
    "window256_nats": float,
    "dynamic": bool,
    "tokenizer": str,
}


def test_json_has_the_fields_of_the_contract(tiny: Run, cli: Cli) -> None:
    result = cli("eval", "-m", tiny.folder, tiny.text, "--json").json
    text = tiny.text.read_text("utf-8")
    assert {name: type(result[name]) for name in FIELDS} == FIELDS
    assert result["characters"] == len(text)
    assert result["bytes"] == len(text.encode())
    assert result["bpc"] == pytest.approx(result["nats"] / math.log(2))
    assert result["bits_per_byte"] == pytest.approx(result["bpc"] * len(text) / len(text.encode()))
    assert result["dynamic"] is False
    assert result["tokenizer"] == "char"


def test_the_default_text_is_the_run_s_validation_text(tiny: Run, cli: Cli) -> None:
    result = cli("eval", "-m", tiny.folder, "--json").json
    summary = strict_json.loads((tiny.folder / "summary.json").read_text("utf-8"))
    assert result["characters"] == 1200
    assert result["nats"] == pytest.approx(summary["valid_nats"], abs=1e-5)
    assert result["bits_per_byte"] == pytest.approx(summary["valid_bits_per_byte"], abs=1e-5)
    assert result["window256_nats"] == pytest.approx(summary["valid_window256_nats"], abs=1e-5)


def test_output_without_json(tiny: Run, cli: Cli) -> None:
    done = cli("eval", "-m", tiny.folder)
    result = cli("eval", "-m", tiny.folder, "--json").json
    assert f"{result['nats']:.4f} nats per character (1,200 characters)" in done.out
    assert f"{result['bpc']:.4f} bits per character" in done.out
    assert f"{result['bits_per_byte']:.4f} bits per byte ({result['bytes']:,} bytes)" in done.out
    assert f"{result['window256_nats']:.4f} nats per character in windows of 256" in done.out
    assert done.err == f"model: {tiny.model}\n"


def test_a_short_text_has_no_window_score(tiny: Run, cli: Cli) -> None:
    result = cli("eval", "-m", tiny.folder, "-", "--json", stdin=b"the sea").json
    assert result["window256_nats"] is None
    assert result["characters"] == 7


def test_text_from_standard_input(tiny: Run, cli: Cli) -> None:
    piped = cli("eval", "-m", tiny.folder, "-", "--json", stdin=tiny.text.read_bytes()).json
    assert piped == cli("eval", "-m", tiny.folder, tiny.text, "--json").json


def test_exact_reads_in_one_stream(tiny: Run, cli: Cli) -> None:
    text = story(2000)
    (cli.folder / "text.txt").write_text(text, "utf-8", newline="")
    exact, streams = (
        cli("eval", "-m", tiny.folder, "text.txt", "--json", *flags).json["nats"]
        for flags in (["--exact"], [])
    )
    model = charrnn.load(tiny.folder)
    assert exact == model.score(text, exact=True).nats
    assert streams == model.score(text).nats
    assert exact != streams
    assert exact == pytest.approx(streams, abs=1e-3)


def test_a_text_unlike_the_corpus_scores_worse(tiny: Run, cli: Cli) -> None:
    shuffled = "".join(sorted(story(2000)))
    (cli.folder / "sorted.txt").write_text(shuffled, "utf-8", newline="")
    odd = cli("eval", "-m", tiny.folder, "sorted.txt", "--json").json["nats"]
    assert odd > cli("eval", "-m", tiny.folder, "--json").json["nats"] + 0.5


@pytest.fixture
def changed(tiny: Run) -> Iterator[Run]:
    """Yield the run while its text has one more character than in training."""
    before = tiny.text.read_bytes()
    tiny.text.write_bytes(before + b"!")
    yield tiny
    tiny.text.write_bytes(before)


def test_a_text_that_changed_since_training_is_refused(changed: Run, cli: Cli) -> None:
    done = cli("eval", "-m", changed.folder, "--json", code=2)
    assert str(changed.text) in done.sentence
    assert "changed" in done.sentence
    assert done.out == ""


def test_unknown_characters_are_listed_with_their_file(tiny: Run, cli: Cli) -> None:
    (cli.folder / "odd.txt").write_text("the sea Ж@", "utf-8")
    done = cli("eval", "-m", tiny.folder, "odd.txt", code=2)
    for words in ("odd.txt", "'Ж' (U+0416)", "'@' (U+0040)"):
        assert words in done.sentence
    assert done.out == ""


def test_a_model_without_a_run_needs_a_text(tiny: Run, cli: Cli) -> None:
    shutil.copy(tiny.model, cli.folder / "lonely.safetensors")
    done = cli("eval", "-m", "lonely.safetensors", code=2)
    assert "lonely.safetensors" in done.sentence
    assert "name a text" in done.sentence


def test_a_damaged_run_config_is_reported(tiny: Run, cli: Cli) -> None:
    run = shutil.copytree(tiny.folder, cli.folder / "run")
    (run / "config.json").write_text('{"files": 3}')
    assert "config.json is damaged" in cli("eval", "-m", run, code=2).sentence


def test_newline_option(tiny: Run, cli: Cli) -> None:
    (cli.folder / "windows.txt").write_bytes(b"the sea\r\nwas old\r\n")
    done = cli("eval", "-m", tiny.folder, "windows.txt", code=2)
    assert "windows.txt: lines end in CR LF, which is kept (--newline lf" in done.err
    assert "U+000D" in done.sentence
    done = cli("eval", "-m", tiny.folder, "windows.txt", "--newline", "lf", "--json")
    assert done.json["characters"] == len("the sea\nwas old\n")
    assert "CR LF" in done.err


def test_a_run_from_standard_input_needs_a_text(tiny: Run, cli: Cli) -> None:
    shutil.copytree(tiny.folder, cli.folder / "run")
    config = cli.folder / "run" / "config.json"
    config.write_text(json.dumps({**strict_json.loads(config.read_text()), "files": ["-"]}))
    done = cli("eval", "-m", cli.folder / "run", code=2)
    assert "standard input" in done.sentence
    assert "name a text" in done.sentence


def test_a_text_that_is_gone_is_asked_for_once(tiny: Run, cli: Cli) -> None:
    shutil.copytree(tiny.folder, cli.folder / "run")
    config = cli.folder / "run" / "config.json"
    gone = str(cli.folder / "gone.txt")
    config.write_text(json.dumps({**strict_json.loads(config.read_text()), "files": [gone]}))
    sentence = cli("eval", "-m", cli.folder / "run", code=2).sentence
    assert f"{gone} does not exist" in sentence
    assert sentence.count("name a text") == 1


def test_documents_are_scored_separately_after_separate_training(cli: Cli) -> None:
    names = cli.folder / "names.txt"
    names.write_text("anna\nbob\nclara\ndora\nemil\nfanny\n" * 30)
    small = ("--steps", 40, "--hidden-size", 8, "--cell", "lstm", "--out", "run")
    apart = ("--reset-at-documents", "--document-separator", r"\n")
    trained = cli("train", "names.txt", *small, *apart, "--json")
    assert "windows of 8, state reset at documents" in trained.err
    valid = trained.json["valid_nats"]
    found = cli("eval", "-m", "run", "--json").json["nats"]
    assert abs(found - valid) < 1e-5
    (cli.folder / "held.txt").write_text(
        "".join(names.read_text()[-len(names.read_text()) // 10 :])
    )
    assert abs(cli("eval", "held.txt", "-m", "run", "--json").json["nats"] - valid) < 1e-5
    as_one = ("--document-separator", "", "--json")
    together = cli("eval", "held.txt", "-m", "run", *as_one).json["nats"]
    assert abs(together - valid) > 1e-3
    learned = cli("eval", "-m", "run", "--dynamic", "--json").json
    assert learned["dynamic"] is True
    named = cli("eval", "held.txt", "-m", "run", "--dynamic", "--json").json
    assert named["nats"] == learned["nats"] < valid


def test_dynamic_evaluation(tiny: Run, cli: Cli) -> None:
    (cli.folder / "part.txt").write_text(story(5000)[::-1], "utf-8")
    static = cli("eval", "-m", tiny.folder, "part.txt", "--json", "--exact").json
    learnt = cli("eval", "-m", tiny.folder, "part.txt", "--json", "--dynamic").json
    assert learnt["dynamic"] is True
    assert learnt["characters"] == static["characters"]
    assert learnt["nats"] < static["nats"]
    assert learnt["window256_nats"] is None
    (cli.folder / "short.txt").write_text(story(500), "utf-8")
    shown = cli("eval", "-m", tiny.folder, "short.txt", "--dynamic")
    assert "with --dynamic: each token was scored before the model learnt from it" in shown.out
    assert "--recall" not in shown.out


def test_the_training_text_can_be_counted_first(tiny: Run, cli: Cli) -> None:
    words = ("eval", "-m", tiny.folder, "--dynamic")
    plain, recalled = (cli(*words, *more, "--json").json for more in ((), ("--recall",)))
    assert (plain["recall"], recalled["recall"]) == (False, True)
    assert recalled["nats"] < plain["nats"] - 0.01
    shown = cli(*words, "--recall").out
    assert "with --recall: the training text was counted first" in shown


def test_dynamic_evaluation_needs_float32_weights(tiny: Run, cli: Cli) -> None:
    refused = cli("eval", "-m", tiny.folder, "--dynamic", "--weights", "int8", code=2)
    assert "--dynamic changes the weights" in refused.err


def test_options_without_effect_are_refused(tiny: Run, cli: Cli) -> None:
    for more, reason in [
        (["--dynamic", "--exact"], "--dynamic always reads in one stream: leave out --exact"),
        ([tiny.text, "--part", "test"], "--part is of the model's own text"),
        (["--newline", "lf", "--errors", "replace"], "name a text for --errors and --newline"),
    ]:
        refused = cli("eval", "-m", tiny.folder, *more, code=2)
        assert reason in refused.sentence
