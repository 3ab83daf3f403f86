"""Lists: `--items` from the text to the model that writes one item at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

import charrnn
from charrnn.model import model_file
from cli.conftest import BY_LIBRARY, Cli, names

QUICK = ("--steps", 60, "--hidden-size", 16, "--num-layers", 1, *BY_LIBRARY, "--json")
SORTED = "".join(f"{line}\n" for line in sorted({*names(600).split(), *"abcdefghijklmno"}))
SORTED += "".join(f"z{line}\n" for line in SORTED.split())  # the end is unlike the rest


@pytest.fixture
def text(cli: Cli) -> Path:
    path = cli.folder / "names.txt"
    path.write_text(SORTED, newline="")
    return path


def test_a_sorted_list_is_noticed_and_items_learn_it_better(text: Path, cli: Cli) -> None:
    plain = cli("train", text, *QUICK, "--out", "plain")
    notice = "names looks like a sorted list of "
    assert plain.err.count(notice) == 1
    items = cli("train", text, "--items", "lines", *QUICK, "--out", "items")
    assert notice not in items.err
    assert r"items ending at '\n', in a new order at every epoch" in items.err
    assert "(by hash)" in items.err
    assert items.json["valid_nats"] < plain.json["valid_nats"] - 0.2


def test_a_model_of_items_writes_whole_items_and_reads_them_apart(text: Path, cli: Cli) -> None:
    trained = cli("train", text, "--items", "lines", *QUICK, "--out", "run").json
    found = cli("sample", "-m", "run", "--num-samples", 50, "--seed", 1, "--json").json
    assert {sample["finished_by"] for sample in found["samples"]} == {"stop"}
    assert not any("\n" in sample["text"] for sample in found["samples"])
    evaluated = cli("eval", "-m", "run", "--json").json
    assert evaluated["nats"] == pytest.approx(trained["valid_nats"], abs=2e-4)
    of_file = cli("eval", text, "-m", "run", "--json").json
    scored = cli("score", text, "-m", "run", "--json").json
    assert of_file["nats"] == pytest.approx(scored["nats"], abs=2e-4)
    assert scored["by"] == "document"


def test_paragraphs_are_items(cli: Cli) -> None:
    verses = SORTED.replace("a\n", "a\n\n").replace("o\n", "o\n\n\n").replace("\n", "\r\n")
    (cli.folder / "verses.txt").write_text(verses, newline="")
    cli("train", "verses.txt", "--items", "blank-lines", *QUICK, "--out", "run")
    reading = model_file.load(cli.folder / "run" / "model.safetensors").reading
    assert (reading.items, reading.newline, reading.separator) == ("blank-lines", "lf", "\n\n")
    found = cli("sample", "-m", "run", "--num-samples", 20, "--seed", 1, "--json").json
    texts = [sample["text"] for sample in found["samples"] if sample["finished_by"] == "stop"]
    assert len(texts) > 10
    assert not any("\n\n" in text or text.startswith("\n") or "\r" in text for text in texts)


def test_a_dataset_knows_its_items(text: Path, cli: Cli) -> None:
    made = cli("prepare", text, "--items", "lines", "--out", "set", "--json").json
    assert (made["items"], made["split"]) == ("lines", "by hash")
    plain = cli("prepare", text, "--out", "plain")
    assert "names looks like a sorted list of" in plain.err
    cli("train", "set", *QUICK, "--out", "of-dataset")
    cli("train", text, "--items", "lines", *QUICK, "--out", "of-text")
    models = [cli.folder / run / "model.safetensors" for run in ("of-dataset", "of-text")]
    assert model_file.load(models[0]).reading.items == "lines"
    values = [model_file.load(path).values for path in models]
    assert all((values[0][name] == values[1][name]).all() for name in values[0])
    resumed = cli("train", "set", "--out", "of-dataset", "--resume", "--steps", 70)
    assert "in a new order at every epoch" in resumed.err


def test_a_resumed_run_reads_its_text_as_before(text: Path, cli: Cli) -> None:
    text.write_bytes(SORTED.replace("\n", "\r\n").encode())
    cli("train", text, "--items", "lines", *QUICK, "--out", "run")
    done = cli("train", text, "--out", "run", "--resume", "--steps", 70)
    assert "resumed  at step 60" in done.err
    other = ("--encoding", "latin-1", "--out", "run", "--resume")
    assert "cannot be resumed" in cli("train", text, *other, code=2).sentence
    charrnn.train(text, out=cli.folder / "run", resume=True, steps=80)


def test_items_from_python(text: Path, tmp_path: Path) -> None:
    options = {"hidden_size": 8, "num_layers": 1, "cell": "lstm", "backend": "library"}
    result = charrnn.train(text, items="lines", steps=20, out=tmp_path / "run", **options)
    model = charrnn.load(result.model)
    assert model.reading.items == "lines"
    assert "\n" not in str(model.sample(length=200, seed=1))
    apart = [model.score(line + "\n").total_nats for line in ("anna", "bob", "dora")]
    assert model.score("anna\r\nbob\ndora\n").total_nats == pytest.approx(sum(apart), rel=1e-5)


def test_a_text_without_two_items_is_refused_in_one_sentence(text: Path, cli: Cli) -> None:
    refused = cli("train", text, "--items", "%%", code=2)
    assert refused.sentence == (
        "charrnn: names has 1 item ending at '%%', and 2 are needed: is --items right?"
    )
