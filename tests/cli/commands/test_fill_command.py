"""``charrnn train --fill``, ``charrnn fill`` and ``charrnn eval`` of what it trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model
from cli.conftest import Cli, Run

MODEL = ("-m", "gaps.safetensors")


@pytest.fixture
def model(make_pair_model: Callable[..., Model], cli: Cli) -> Generator:
    made = make_pair_model("abcd é\n", seed=3)
    made = dataclasses.replace(made, training={"reading": {"fill": True}})
    model_file.save(cli.folder / "gaps.safetensors", made)
    return Generator(made)


def test_the_text_is_printed_with_its_gap_filled(model: Generator, cli: Cli) -> None:
    expected = model.fill("a ___ b").text
    done = cli("fill", "a ___ b", *MODEL)
    assert done.out == f"{expected}\n"
    assert done.err == ""
    assert cli("fill", "--prompt", "a ___ b", *MODEL) == done
    assert cli("fill", *MODEL, stdin=b"a ___ b") == done
    (cli.folder / "text").write_text("a ___ b\n")
    from_file = cli("fill", "--prompt-file", "text", *MODEL)
    assert from_file.out == model.fill("a ___ b\n").text
    assert cli("fill", "--prompt-file", "-", *MODEL, stdin=b"a ___ b\n") == from_file


def test_json_has_the_fillings(model: Generator, cli: Cli) -> None:
    text = "a ___ b___c"
    expected = model.fill(text)
    found = cli("fill", text, *MODEL, "--json").json
    assert found["prompt"] == text
    (sample,) = found["samples"]
    assert sample["text"] == expected.text
    assert sample["seed"] is None
    assert sample["log_prob"] == pytest.approx(expected.log_prob, abs=1e-4)
    assert [each["text"] for each in sample["fillings"]] == [
        each.text for each in expected.fillings
    ]
    assert sample["log_prob"] == pytest.approx(
        sum(each["log_prob"] for each in sample["fillings"]), abs=1e-9
    )
    assert {each["finished_by"] for each in sample["fillings"]} <= {"stop", "length"}


def test_fillings_are_sampled_with_a_temperature(model: Generator, cli: Cli) -> None:
    words = ("fill", "a ___ b", *MODEL, "-t", 1, "--num-samples", 3)
    done = cli(*words, "--seed", 4)
    texts = model.fills("a ___ b", temperature=1.0, num_samples=3, seed=4)
    assert "seed: 4" in done.err
    lines = "".join(f"{each.text}\n" + "\n" * ("\n" in each.text) for each in texts)
    assert done.out == lines
    found = cli(*words, "--seed", 4, "--json").json
    assert [each["text"] for each in found["samples"]] == [each.text for each in texts]
    assert "seed: " in cli(*words).err


def test_the_length_and_the_mark_can_be_chosen(model: Generator, cli: Cli) -> None:
    done = cli("fill", "a ? b", *MODEL, "--gap", "?", "-n", 7)
    assert len(done.out) == len("a  b\n") + 7
    assert done.out == model.fill("a ? b", gap="?", length=7).text + "\n"


def test_the_text_goes_to_a_file(model: Generator, cli: Cli) -> None:
    cli("fill", "a ___ b", *MODEL, "--out", "filled")
    assert (cli.folder / "filled").read_text("utf-8") == model.fill("a ___ b").text + "\n"
    assert "exists" in cli("fill", "a ___ b", *MODEL, "--out", "filled", code=2).sentence
    cli("fill", "a ___ b", *MODEL, "--out", "filled", "--force", "--json")
    assert (cli.folder / "filled").read_text("utf-8").startswith('{"prompt": "a ___ b"')


REFUSED = [
    (("abc",), "the text 'abc' has no gap: write ___ where something is missing"),
    ((), "the text '' has no gap"),
    (("ax___", "--unknown", "error"), "the model has never seen 'x'"),
    (("a___", "--seed", 1), "--seed has no effect where nothing is random"),
    (("a___", "--prompt", "b___"), "PROMPT and --prompt both give a prompt"),
    (("gaps.safetensors",), "is a model, and this argument is the prompt itself"),
    (("a___", "-n", 2000), "--length must be"),
]


def test_what_cannot_be_filled_is_refused(model: Generator, cli: Cli) -> None:
    ended = cli.each((("fill", *words, *MODEL) for words, _ in REFUSED), code=2)
    for done, (words, said) in zip(ended, REFUSED, strict=True):
        assert said in done.err, words
        assert done.out == "", words


def test_unknown_characters_are_named_and_replaced(model: Generator, cli: Cli) -> None:
    done = cli("fill", "á___b", *MODEL)
    assert "unknown characters" in done.err
    assert done.out.startswith("a")


def test_a_model_of_gaps_does_not_go_on_with_a_text(model: Generator, cli: Cli) -> None:
    lines = [("sample",), ("greedy",), ("beam", "-p", "a"), ("beam", "--source", "ab")]
    for done in cli.each(((*words, *MODEL) for words in lines), code=2):
        assert done.sentence == "charrnn: this model fills gaps in texts: use 'charrnn fill TEXT'"


READING = [
    ("score text", "this model fills gaps in texts"),
    ("compress text out", "compression reads texts, and this is a model of gaps"),
    ("inspect next", "this model fills gaps in texts"),
    ("inspect cells text", "this is a model of gaps: use a model of texts"),
    ("inspect gradients text", "this is a model of gaps: use a model of texts"),
    ("inspect memory text", "this is a model of gaps: use a model of texts"),
    ("inspect attention --source ab", "the text 'ab' has no gap"),
    ("sample --novelty", "this model fills gaps in texts: use 'charrnn fill TEXT'"),
    ("eval text --exact", "--exact is for texts, and this is a model of gaps"),
    ("eval text --dynamic", "--dynamic is for texts"),
]


def test_commands_that_read_a_text_refuse_the_model(model: Generator, cli: Cli) -> None:
    (cli.folder / "text").write_text("abcd" * 400)
    ended = cli.each(((*words.split(), *MODEL) for words, _ in READING), code=2)
    for done, (_, said) in zip(ended, READING, strict=True):
        assert said in done.sentence


def test_other_models_fill_no_gaps(
    tiny: Run, make_pair_model: Callable[..., Model], cli: Cli
) -> None:
    model_file.save(cli.folder / "pairs.safetensors", make_pair_model("ab"))
    for other in (tiny.folder, "pairs.safetensors"):
        done = cli("fill", "a___b", "-m", other, code=2)
        assert "this model fills no gaps: 'charrnn train TEXT --fill' trains one" in done.sentence


def test_a_text_is_enough_to_train_fill_and_judge(cli: Cli) -> None:
    (cli.folder / "text").write_text("the cat sat on the mat. a dog ran in the fog! " * 30)
    words = ("--steps", 3, "--hidden-size", 8, "--num-layers", 1, "--cell", "lstm")
    trained = cli("train", "text", "--fill", *words, "--backend", "library", "--out", "run")
    assert "that are missing" in trained.err
    assert "next     charrnn fill --model run 'one ___ three'" in trained.err
    summary = cli("info", "run", "--json").json
    assert summary
    assert cli("fill", "the cat ___ on the mat", "-m", "run").out.startswith("the cat ")
    judged = cli("eval", "-m", "run", "--json").json
    valid = cli("eval", "-m", "run")
    assert f"{judged['nats']:.4f} nats" in valid.out
    assert f"{judged['pairs']} gaps" in valid.out
    assert "gaps filled exactly right by beam 5" in valid.out
    assert judged["greedy"]["sources"] <= judged["pairs"]
    assert judged["labels"] is None
    again = cli("eval", "text", "-m", "run", "--json").json
    assert again["pairs"] > judged["pairs"]
    assert f"valid    {judged['nats']:.4f} nats" in trained.err
    assert "charrnn: --exact is for texts" in cli("eval", "-m", "run", "--exact", code=2).err
    for written in (cli.folder / "run").glob("samples.txt"):
        assert "[" in written.read_text()


def test_limits_are_about_what_is_written(model: Generator, cli: Cli) -> None:
    done = cli("fill", "a ___ b", *MODEL, "--regex", "[cd]{2,3}", "--forbid", "c")
    assert done.out in ("a dd b\n", "a ddd b\n")
    given = ("fill", "a ___ b", *MODEL, "--regex", "c", "-n", 3)
    assert "--regex and --length both say" in cli(*given, code=2).sentence
