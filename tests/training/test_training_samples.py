"""Samples that a training keeps in its folder."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import charrnn
from charrnn.config import unescape

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "embedding_size": 4,
    "seq_len": 8,
    "batch_size": 4,
    "learning_rate": 0.02,
    "backend": "library",
    "cell": "lstm",
    "checkpoint_every": 10,
}
TEXT = "the cat is home.\nthe café is near the sea.\n" * 40


def kept(run: Path) -> dict[int, str]:
    """Return the samples of a run by their steps, in order."""
    parts = re.split(r"^=== step (\d+) ===\n", (run / "samples.txt").read_text("utf-8"), flags=re.M)
    assert parts[0] == ""
    return {int(step): text for step, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_samples_are_what_the_checkpoints_write(tmp_path: Path) -> None:
    run = tmp_path / "run"
    charrnn.train(text=TEXT, out=run, steps=25, sample_every=10, **SMALL)
    found = kept(run)
    assert list(found) == [10, 20]
    for step, text in found.items():
        model = charrnn.load(run / "checkpoints" / str(step))
        assert text == model.sample(length=1000, temperature=0.8, seed=1).text + "\n\n"


def test_samples_do_not_change_the_model(tmp_path: Path) -> None:
    models = []
    for name, every in (("with", 5), ("without", None)):
        charrnn.train(text=TEXT, out=tmp_path / name, steps=12, sample_every=every, **SMALL)
        models.append((tmp_path / name / "model.safetensors").read_bytes())
    assert models[0] == models[1]
    assert not (tmp_path / "without" / "samples.txt").exists()


def test_a_resumed_training_replaces_later_samples(tmp_path: Path) -> None:
    run = tmp_path / "run"
    charrnn.train(text=TEXT, out=run, steps=20, sample_every=10, **SMALL)
    early = kept(run)
    with (run / "samples.txt").open("a") as file:
        file.write("=== step 30 ===\nof a training that was killed\n\n")
    charrnn.train(text=TEXT, out=run, steps=40, resume=True, sample_every=10, checkpoint_every=10)
    assert list(kept(run)) == [10, 20, 30, 40]
    assert {step: kept(run)[step] for step in early} == early
    assert "killed" not in (run / "samples.txt").read_text("utf-8")
    charrnn.train(text=TEXT, out=run, steps=5, force=True, **SMALL)
    assert not (run / "samples.txt").exists()


def test_a_file_of_that_name_that_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "samples.txt").write_text("my own samples")
    charrnn.train(text=TEXT, out=tmp_path, steps=2, force=True, **SMALL)
    assert (tmp_path / "samples.txt").read_text() == "my own samples"


def test_a_sample_of_a_list_has_many_entries(tmp_path: Path) -> None:
    charrnn.train(text=TEXT, out=tmp_path, steps=4, sample_every=4, items="lines", **SMALL)
    assert kept(tmp_path)[4].count("\n") > 10


def test_samples_of_pairs_are_sources_with_their_answers(tmp_path: Path) -> None:
    words = ["".join(word) for word in itertools.product("abc", repeat=4)]
    (tmp_path / "pairs.tsv").write_text("".join(f"{word}\\n\t{word[::-1]}\n" for word in words))
    run = tmp_path / "run"
    options = {name: value for name, value in SMALL.items() if name != "seq_len"}
    charrnn.train(tmp_path / "pairs.tsv", pairs=True, out=run, steps=10, sample_every=10, **options)
    (text,) = kept(run).values()
    lines = text.strip("\n").split("\n")
    assert 4 <= len(lines) <= 20
    model = charrnn.load(run / "checkpoints" / "10")
    for line in lines:
        source, answer = line.split("\t")
        assert source.removesuffix("\\n") in words
        assert model.answer(unescape(source), width=1, length=100).text == answer
