"""Texts with many rare characters: what is said of them, and that every command reads them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from charrnn.config import ModelConfig
from charrnn.model import model_file, parameters
from charrnn.text.tokenizer import CharTokenizer
from cli.conftest import BY_LIBRARY, Cli

RARE = [chr(0x4E00 + 7 * index) for index in range(300)]
WORDS = ["the", "sea", "is", "near", "and", "the", "cat", "goes", "home"]
SMALL = ("--hidden-size", 8, "--num-layers", 1, *BY_LIBRARY)
SAID = "300 rare symbols are written as bytes (--min-count 1 makes each a token)"
LETTERS = CharTokenizer("".join(sorted(set("\n " + "".join(WORDS)))), byte_fallback=True)


@pytest.fixture
def text(cli: Cli) -> Path:
    """Return a text in which each rare character occurs twice, in both parts."""
    chance = random.Random(3)
    lines = []
    for index in range(1300):
        words = chance.choices(WORDS, k=6)
        rare = RARE[index % 300] if index < 600 else ""
        lines.append(" ".join(words) + rare)
    chance.shuffle(lines)
    path = cli.folder / "text.txt"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_rare_symbols_are_planned_and_named(text: Path, cli: Cli) -> None:
    planned = cli("train", text, "--dry-run", "--steps", 3, *SMALL, "--json")
    assert SAID in planned.err
    assert planned.json["rare_symbols"] == 300
    assert planned.json["model"]["vocab_size"] == LETTERS.vocab_size
    whole = cli("train", text, "--dry-run", "--min-count", 1, "--steps", 3, *SMALL, "--json")
    assert "rare symbols" not in whole.err
    assert (whole.json["rare_symbols"], whole.json["model"]["vocab_size"]) == (
        0,
        len(LETTERS.alphabet) + 300,
    )
    prepared = cli("prepare", text, "--out", "set", "--json").json
    assert (prepared["rare_symbols"], prepared["vocab_size"]) == (300, LETTERS.vocab_size)
    assert SAID in cli("prepare", text, "--out", "set", "--force").out
    assert SAID in cli("train", "set", "--dry-run", *SMALL).err


def test_a_model_of_a_text_partly_in_bytes_is_used_like_any_other(text: Path, cli: Cli) -> None:
    trained = cli("train", text, "--out", "run", "--steps", 6, *SMALL, "--json")
    assert trained.json["valid_window256_nats"] is not None
    model = model_file.load(cli.folder / "run" / "model.safetensors")
    assert model.tokenizer == LETTERS
    assert model.training["corpus"]["rare_symbols"] == 300
    assert "corpus.rare_symbols: 300\n" in cli("info", "run").out
    resumed = cli("train", text, "--out", "run", "--resume", "--steps", 8)
    assert SAID in resumed.err
    scored = cli("eval", "-m", "run", "--json").json
    assert scored["window256_nats"] == pytest.approx(trained.json["valid_window256_nats"], rel=0.3)
    matched = cli("sample", "-m", "run", "-n", 12, "--regex", f"a[{RARE[5]}é]+").out.rstrip("\n")
    assert set(matched[1:]) <= {RARE[5], "é"}
    (cli.folder / "part.txt").write_text(text.read_text("utf-8")[:6000], "utf-8")
    cli("compress", "part.txt", "small", "-m", "run")
    cli("decompress", "small", "again.txt", "-m", "run")
    assert (cli.folder / "again.txt").read_bytes() == (cli.folder / "part.txt").read_bytes()
    # A text that is trained on from there: what the model writes as bytes stays so.
    (cli.folder / "new.txt").write_text(f"the cat is {RARE[0]}日本\n" * 60, "utf-8")
    tuned = cli("train", "new.txt", "--init-from", "run", "--out", "tuned", "--steps", 2)
    assert "3 rare symbols are written as bytes" in tuned.err
    assert "0 added, " in tuned.err
    assert "256 bytes kept" in tuned.err
    resumed = cli("train", "new.txt", "--out", "tuned", "--resume", "--steps", 3)
    assert "3 rare symbols are written as bytes" in resumed.err
    repeated = cli("train", "--config", "tuned", "--out", "repeated", "--dry-run")
    assert "3 rare symbols are written as bytes" in repeated.err


def test_the_output_of_a_large_alphabet_is_tied_to_its_embedding(cli: Cli) -> None:
    many = "".join(chr(0x4E00 + index) for index in range(600)) + "\n"
    (cli.folder / "many.txt").write_text(many * 20, "utf-8")
    asked = ("train", "many.txt", "--min-count", 1, "--steps", 4, *SMALL)
    planned = cli(*asked, "--dry-run", "--json")
    assert "1 x 8, embedding 128, tied output, " in planned.err
    assert planned.json["model"]["tied_output"] is True
    free = cli(*asked, "--dry-run", "--embedding-size", 128, "--json")
    assert free.json["model"]["tied_output"] is False
    counts = [parameters.count(ModelConfig(**run.json["model"])) for run in (free, planned)]
    assert counts[0] - counts[1] == (601 - 128) * 8
    assert f"tied output, {counts[1]:,} parameters" in planned.err
    trained = cli(*asked, "--out", "run", "--json").json
    model = model_file.load(cli.folder / "run" / "model.safetensors")
    assert model.values["output.weight"].shape == (128, 8)
    assert f"embedding 128, tied output, {counts[1]:,} parameters" in cli("info", "run").out
    scored = cli("eval", "-m", "run", "--json").json
    assert scored["nats"] == pytest.approx(trained["valid_nats"], abs=1e-4)
    assert len(cli("sample", "-m", "run", "-n", 9).out.rstrip("\n")) <= 9
    # What is trained on from there keeps its form, however few its symbols are.
    (cli.folder / "few.txt").write_text(many[:30] * 60, "utf-8")
    tuned = cli("train", "few.txt", "--init-from", "run", "--out", "few", "--steps", 2, "--json")
    assert "30 symbols kept, 0 added, 571 dropped" in tuned.err
    assert model_file.load(cli.folder / "few" / "model.safetensors").config.tied_output
    repeated = cli("train", "many.txt", "--config", "run", "--out", "again", "--json").json
    assert repeated["valid_nats"] == trained["valid_nats"]


def test_pairs_gaps_and_validation_texts_have_rare_symbols(text: Path, cli: Cli) -> None:
    lines = [f"{word * 30}{rare}\t{rare}{word * 30}\n" for word in ("ab", "ba") for rare in RARE]
    (cli.folder / "pairs.tsv").write_text("".join(lines), "utf-8")
    cli("train", "pairs.tsv", "--pairs", "--out", "pairs", "--steps", 2, *SMALL)
    answer = cli("beam", "-m", "pairs", "--source", f"ab{RARE[1]}", "-n", 20, "--json").json
    assert answer["samples"][0]["source"] == f"ab{RARE[1]}"
    (cli.folder / "few.tsv").write_text("".join(lines[::20]), "utf-8")
    assert cli("eval", "few.tsv", "-m", "pairs", "--json").json["nats"] > 0
    tuned = cli("train", "pairs.tsv", "--init-from", "pairs", "--out", "more", "--steps", 1)
    assert "2 symbols kept, 0 added, 0 dropped, 256 bytes kept" in tuned.err
    cli("train", text, "--fill", "--out", "gaps", "--steps", 1, *SMALL)
    assert cli("fill", f"the {RARE[0]} ___ home", "-m", "gaps").out.startswith(f"the {RARE[0]} ")
    (cli.folder / "valid.txt").write_text("the cat 日本 is home\n" * 20, "utf-8")
    apart = cli("train", text, "--valid", "valid.txt", "--out", "apart", "--steps", 1, *SMALL)
    assert "302 rare symbols are written as bytes" in apart.err
