"""``--counts`` on the command line: every command that reads the model uses its counts."""

from __future__ import annotations

import random

import pytest

from cli.conftest import TEXT_CHARACTERS, TINY, Cli, Run, story


def test_a_model_with_counts_is_used_by_all_commands(tiny: Run, cli: Cli) -> None:
    sentences = story(1000).splitlines(keepends=True)
    known = "".join(random.Random(1).choices(sentences, k=500))  # what counts know by heart
    (cli.folder / "known.txt").write_text(known, "utf-8", newline="")
    trained, told, gained = cli.each(
        [
            ("train", tiny.text, *TINY, "--counts", "on", "--out", "counted", "--json"),
            ("train", tiny.text, *TINY, "--counts", "on", "--out", "words"),
            ("train", "known.txt", *TINY, "--counts", "on", "--out", "known", "--json"),
        ]
    )
    assert gained.json["valid_counts_nats"] < gained.json["valid_nats"] - 0.1
    result = trained.json
    # The last 80th of the text is kept back to fit the counts.
    assert result["valid_nats"] == pytest.approx(tiny.done.json["valid_nats"], abs=0.02)
    assert tiny.done.json["valid_counts_nats"] is None
    shown = f"{result['valid_counts_nats']:.4f} nats"
    assert any(
        shown in line and "with counts of the training text" in line
        for line in told.err.splitlines()
    )
    held_out = tiny.text.read_text("utf-8")[int(0.9 * TEXT_CHARACTERS) :]
    (cli.folder / "held-out.txt").write_text(held_out, "utf-8", newline="")
    scored, info, sampled, greedy, beam, adapted, *packed = cli.each(
        [
            ("eval", "held-out.txt", "-m", "counted", "--json"),
            ("info", "counted", "--json"),
            ("sample", "-m", "counted", "--seed", 1, "--length", 40, "--with-counts"),
            ("greedy", "-m", "counted", "--length", 40, "--with-counts"),
            ("beam", "-m", "counted", "--length", 40),
            ("sample", "-m", "counted", "--seed", 1, "--adapt", "held-out.txt", "--with-counts"),
            ("compress", "-m", "counted", "held-out.txt", "a", "--json"),
            ("decompress", "-m", "counted", "a", "b.txt"),
        ]
    )
    assert scored.json["nats"] == pytest.approx(result["valid_counts_nats"], abs=1e-5)
    assert info.json["format"] == 3
    counts = info.json["training"]["counts"]
    assert counts["contexts"] > 100
    assert counts["mixed_nats"] < counts["network_nats"] - 0.005
    assert all(len(done.out) > 30 for done in (sampled, greedy, beam, adapted))
    assert adapted.out[:40] != sampled.out[:40]
    assert (cli.folder / "b.txt").read_text("utf-8") == held_out
    promised = scored.json["bits_per_byte"] * len(held_out.encode()) / 8
    assert packed[0].json["compressed_bytes"] < 1.1 * promised + 110


def test_counts_of_pairs_are_refused(cli: Cli) -> None:
    (cli.folder / "pairs.tsv").write_text("cat\tCAT\ndog\tDOG\n" * 200)
    done = cli("train", "pairs.tsv", "--pairs", "--steps", 2, "--counts", "on", code=2)
    assert "--counts is for texts" in done.err
