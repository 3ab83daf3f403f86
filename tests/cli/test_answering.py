"""Models of pairs on the command line: sources, lines, columns, JSON, files, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model

from .conftest import Cli, Run

WAYS = ("sample --temperature 0", "greedy", "beam")


@pytest.fixture
def model(make_pair_model: Callable[..., Model], cli: Cli) -> Model:
    made = make_pair_model("\tabc\\\n", seed=4)
    model_file.save(cli.folder / "pairs.safetensors", made)
    return made


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_sources_gives_one_answer_a_line(way: str, model: Model, cli: Cli) -> None:
    sources = ["abc", "a\tb", "c\n", "\\"]
    written = "abc\na\\tb\nc\\n\n\\\\\n"
    (cli.folder / "sources").write_text(written)
    words = (*way.split(), "-m", "pairs.safetensors", "-n", 9)
    found = cli(*words, "--source-file", "sources")
    assert found == cli(*words, "--source-file", "-", stdin=written.encode())
    lines = found.out.split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(sources)
    for source, line in zip(sources, lines, strict=True):
        alone = cli(*words, "--source", source, "--json").json["samples"][0]
        assert alone["source"] == source
        text = alone["text"].replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
        assert line == text


def test_a_single_source_shows_its_answers_as_they_are(model: Model, cli: Cli) -> None:
    given = ("-m", "pairs.safetensors", "--source", "cab", "-n", 9)
    expected = Generator(model).answer("cab", length=9).text
    assert cli("beam", *given).out == expected + "\n"
    several = cli("sample", *given, "--num-samples", 3, "--seed", 1)
    assert "seed: 1" in several.err
    texts = cli("sample", *given, "--num-samples", 3, "--seed", 1, "--json").json["samples"]
    assert several.out == "".join(f"{sample['text']}\n" for sample in texts)
    assert "log-probability" not in several.err
    best = cli("beam", *given, "--num-return", 2)
    first, second = cli("beam", *given, "--num-return", 2, "--json").json["samples"]
    assert best.out == f"{first['text']}\n{second['text']}\n"
    assert f"1 of 2: log-probability {first['log_prob']:.2f} nats" in best.err
    assert f"2 of 2: log-probability {second['log_prob']:.2f} nats" in best.err


def test_several_answers_to_each_source_are_columns(model: Model, cli: Cli) -> None:
    (cli.folder / "sources").write_text("abc\ncc\n")
    given = ("-m", "pairs.safetensors", "--source-file", "sources", "-n", 9, "--num-return", 2)
    rows = [line.split("\t") for line in cli("beam", *given).out.splitlines()]
    found = cli("beam", *given, "--json").json["samples"]
    assert [len(row) for row in rows] == [4, 4]
    assert [float(row[column]) for row in rows for column in (1, 3)] == pytest.approx(
        [sample["log_prob"] for sample in found], abs=1e-4
    )


@pytest.mark.parametrize("way", ["sample --seed 3 --num-samples 2", "greedy", "beam"])
def test_an_output_that_was_interrupted_goes_on(way: str, model: Model, cli: Cli) -> None:
    (cli.folder / "sources").write_text("abc\ncc\na\nb\n")
    given = (*way.split(), "-m", "pairs.safetensors", "--source-file", "sources", "-n", 9)
    whole = cli(*given).out.splitlines(keepends=True)
    assert len(whole) == 4
    assert cli(*given, "--skip", 3).out == whole[3]
    assert "2 sources" in cli(*given, "--skip", 2, "--out", "rest").err
    assert (cli.folder / "rest").read_text() == "".join(whole[2:])
    assert "--skip 4 leaves none of 4 sources" in cli(*given, "--skip", 4, code=2).sentence


def test_many_sources_are_answered_by_all_cores(model: Model, cli: Cli) -> None:
    """The answers are those of one process, and end quietly with whoever reads them."""
    (cli.folder / "sources").write_text("abc\ncc\na\nb\n" * 10_000)
    (cli.folder / "few").write_text("abc\ncc\na\nb\n" * 100)
    given = ("sample", "-m", "pairs.safetensors", "-n", 90, "--seed", 3)
    alone = cli(*given, "--source-file", "few").out
    line = " ".join(map(str, ("charrnn", *given, "--source-file sources", "| head -n 300")))
    many = cli.shell(f'cd "$1"; {line}', cli.folder)
    assert len(many.out.splitlines()) == 300
    assert alone.startswith(many.out)
    assert many.err == "seed: 3\n"


def test_the_prompt_begins_each_answer(model: Model, cli: Cli) -> None:
    given = ("greedy", "-m", "pairs.safetensors", "--source", "abc", "-p", "ca", "-n", 5)
    assert cli(*given).out.startswith("ca")
    assert "ca" + cli(*given, "--no-prompt").out == cli(*given).out
    assert cli(*given, "--json").json["prompt"] == "ca"


def test_answers_go_to_a_file(model: Model, cli: Cli) -> None:
    given = ("beam", "-m", "pairs.safetensors", "--source", "abc", "-n", 5)
    cli(*given, "--out", "answers")
    assert (cli.folder / "answers").read_text() == cli(*given).out
    assert "--out answers exists" in cli(*given, "--out", "answers", code=2).sentence
    early = cli(*given[:2], "none", *given[3:], "--out", "answers", code=2)  # before the model
    assert "--out answers exists" in early.sentence
    cli(*given, "--out", "answers", "--force", "--json")
    assert (cli.folder / "answers").read_text().startswith('{"prompt": ""')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--source a --source-file b", "--source and --source-file both give a source"),
        ("--source a -p b PROMPT", "PROMPT and --prompt both give a prompt"),
        ("--source a --prompts b", "--prompts is for texts"),
        ("--source a --save-state b", "--save-state is for texts"),
        ("--source a --novelty", "--novelty is for texts"),
        ("--source a --unique --num-samples 2", "--unique is for texts"),
        ("--source a --separator x", "--separator is for texts"),
        ("--source ''", "the source '' is empty"),
        ("--source-file none", "--source-file none: No such file"),
        ("--source-file empty", "--source-file empty is empty"),
        ("--source-file tab", "--source-file tab, line 2 has a tab"),
        ("--source-file blank", "--source-file blank, line 1 is empty"),
        ("--source-file escape", r"--source-file escape, line 1: '\x' is not an escape"),
    ],
)
def test_what_has_no_meaning_is_refused(words: str, said: str, model: Model, cli: Cli) -> None:
    files = {"empty": "", "tab": "a\na\tb\n", "blank": "\na\n", "escape": "a\\xb\n"}
    for name, text in files.items():
        (cli.folder / name).write_text(text)
    given = [word.strip("'") for word in words.split()]
    assert said in cli("sample", "-m", "pairs.safetensors", *given, code=2).sentence


@pytest.mark.parametrize("more", [(), ("--stochastic", "--seed", 1)], ids=str)
def test_the_end_of_an_answer_waits_for_the_minimum_length(
    more: tuple[object, ...], model: Model, cli: Cli
) -> None:
    (cli.folder / "sources").write_text("a\nbc\n")
    penalty = () if more else ("--length-penalty", 0)
    given = ("beam", "-m", "pairs.safetensors", "--source-file", "sources", "-n", 30, *penalty)
    plain = cli(*given, *more, "--json").json["samples"]
    late = cli(*given, *more, "--min-length", 12, "--json").json["samples"]
    assert min(len(sample["text"]) for sample in plain) < 12
    assert min(len(sample["text"]) for sample in late) >= 12


def test_a_text_model_has_no_source(tiny: Run, cli: Cli) -> None:
    done = cli("greedy", "-m", tiny.folder, "--source", "the", code=2)
    assert "this model goes on with a text" in done.sentence


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample", "this model answers sources: use 'charrnn beam --source TEXT'"),
        ("sample --novelty", "this model answers sources"),  # no text is indexed before
        ("greedy", "this model answers sources"),
        ("beam", "this model answers sources"),
        ("inspect next", "this model answers sources"),
        ("fill a___b", "this model fills no gaps: 'charrnn train TEXT --fill' trains one"),
        ("compress p.tsv out", "compression reads texts, and this is a model of pairs"),
        *(
            (f"inspect {what} p.tsv", "a model of pairs: use a model of texts, or 'charrnn inspect")
            for what in ("gradients", "memory", "cells")
        ),
        *((f"{what} p.tsv --dynamic", "--dynamic is for texts") for what in ("eval", "score")),
        ("eval p.tsv --exact", "--exact is for texts, and this is a model of pairs"),
    ],
)
def test_other_uses_of_a_model_of_pairs_are_refused(
    words: str, said: str, model: Model, cli: Cli
) -> None:
    (cli.folder / "p.tsv").write_text("a\tb\n")
    assert said in cli(*words.split(), "-m", "pairs.safetensors", code=2).sentence


def test_eval_counts_right_answers_and_labels(model: Model, cli: Cli) -> None:
    sources = ["abc", "ca", "cc", "b", "acb", "bb"]
    answers = [Generator(model).answer(source, length=30).text for source in sources]
    lines = [f"{source}\t{'ab' if index % 2 else 'c'}\n" for index, source in enumerate(sources)]
    (cli.folder / "labels.tsv").write_text("".join(lines))
    found = cli("eval", "labels.tsv", "-m", "pairs.safetensors", "--json").json
    assert (found["pairs"], found["sources"], found["characters"]) == (6, 6, 9)
    targets = [line.split("\t")[1][:-1] for line in lines]
    right = sum(answer == target for answer, target in zip(answers, targets, strict=True))
    assert found["beam"]["right"] == right
    assert sorted(found["labels"]["names"]) == ["ab", "c"]
    assert sum(map(sum, found["labels"]["counts"])) == 6
    assert found["labels"]["accuracy"] == pytest.approx(right / 6)
    out = cli("eval", "labels.tsv", "-m", "pairs.safetensors").out
    assert "6 pairs of 6 sources" in out
    assert f"{right / 6:.2%} accuracy" in out
    assert "balanced accuracy" in out
    for option in ("--exact", "--dynamic"):
        given = ("eval", "labels.tsv", "-m", "pairs.safetensors", option)
        assert f"{option} is for texts" in cli(*given, code=2).sentence


def test_eval_names_the_line_that_is_no_pair(model: Model, cli: Cli) -> None:
    (cli.folder / "p.tsv").write_text("a\tb\nab\n")
    done = cli("eval", "p.tsv", "-m", "pairs.safetensors", code=2)
    assert "p.tsv, line 2: no tab" in done.sentence


def test_the_folder_of_a_file_of_answers_must_exist(model: Model, cli: Cli) -> None:
    given = ("beam", "-m", "pairs.safetensors", "--source", "a", "--out", Path("no") / "file")
    assert "is not a folder" in cli(*given, code=2).sentence


def test_inspect_attention_shows_a_map(model: Model, cli: Cli) -> None:
    given = ("inspect", "attention", "-m", "pairs.safetensors", "--source", "abc")
    out = cli(*given, "--target", "cb").out.splitlines()
    assert [line.split()[0] for line in out[1:4]] == ["c", "b", "end"]
    found = cli(*given, "--target", "cb", "--json", "--html", "a.html", "--plot", "a.svg").json
    assert found["target"] == ["c", "b", None]
    assert [len(row) for row in found["weights"]] == [3, 3, 3]
    assert "<table>" in (cli.folder / "a.html").read_text()
    assert (cli.folder / "a.svg").stat().st_size > 1000
    assert "--source TEXT" in cli(*given[:-2], code=2).sentence


def test_score_ranks_targets_by_their_sources(model: Model, cli: Cli) -> None:
    (cli.folder / "p.tsv").write_text("abc\tca\ncc\tb\nab\\tc\tabc\n")
    found = cli("score", "p.tsv", "-m", "pairs.safetensors", "--json").json
    assert found["characters"] == 6
    assert [entry["file"] for entry in found["documents"]] == ["abc", "cc", "ab\tc"]
    out = cli("score", "p.tsv", "-m", "pairs.safetensors", "--by", "character").out
    assert "6 characters" in out
