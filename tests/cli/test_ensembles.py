"""Commands that use an ensemble of texts: what each network would say alone tells what is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from charrnn.decoding.step import log_softmax
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model
from cli.conftest import Cli

TEXT = "hello low hole\nwell we lowe hell\n" * 8


@pytest.fixture
def saved(cli: Cli, tiny_ensemble: Model) -> Model:
    model_file.save(cli.folder / "two.safetensors", tiny_ensemble)
    (cli.folder / "text.txt").write_text(TEXT, newline="")
    return tiny_ensemble


def test_commands_read_all_networks(cli: Cli, saved: Model) -> None:
    named = ("text.txt", "-m", "two.safetensors")
    info, cells, gradients, following, scored, dynamic = cli.each(
        [
            ("info", named[2]),
            ("inspect", "cells", *named, "--json"),
            ("inspect", "gradients", *named, "--lags", 3, "--windows", 1, "--json"),
            ("inspect", "next", *named[1:], "--prompt", "hell", "--json"),
            ("eval", *named, "--json"),
            ("eval", *named, "--dynamic", "--json"),
        ]
    )
    assert "lstm, 2 networks of 2 x 5, embedding 3, " in info.out
    assert cells.json["networks"] == 2
    assert {gate["layer"] for gate in cells.json["gates"]} == {1, 2, 3, 4}
    names = [network["name"] for network in gradients.json["networks"]]
    assert names == [f"two network {k}" for k in (1, 1, 2, 2)]

    each = [Generator(network).read("hell").logits for network in saved.networks]
    expected = np.exp(log_softmax(np.mean(each, 0))[0])
    found = following.json["choices"]["model"]["probabilities"]
    assert [found[name] for name in saved.tokenizer.token_names] == pytest.approx(
        expected, rel=1e-4
    )
    assert scored.json["nats"] == pytest.approx(Generator(saved).score(TEXT).nats, rel=1e-5)
    assert dynamic.json["nats"] < 0.9 * scored.json["nats"]


def test_what_followed_a_text_is_saved_and_goes_on(cli: Cli, saved: Model) -> None:
    model = ("-m", "two.safetensors")
    adapted = ("sample", *model, "--adapt", "text.txt", "--seed", 1, "--temperature", 0.7)
    whole, first, rest, packed, unpacked = cli.each(
        [
            (*adapted, "--length", 30),
            (*adapted, "--length", 10, "--save-state", "state"),
            ("sample", *model, "--load-state", "state", "--length", 20, "--temperature", 0.7),
            ("compress", "text.txt", "packed", *model, "--dynamic"),
            ("decompress", "packed", "unpacked", *model),
        ]
    )
    assert first.out + rest.out == whole.out
    assert (cli.folder / "unpacked").read_text() == TEXT
    assert (packed.out, unpacked.out) == ("", "")


def test_a_training_goes_on_from_an_ensemble(cli: Cli, saved: Model) -> None:
    few = replace(saved, training={"steps": 1})
    model_file.save(cli.folder / "two.safetensors", few)
    (cli.folder / "text.txt").write_text(TEXT.replace("e", "a"))
    quick = ("--steps", 1, "--backend", "library", "--out", "run")
    done = cli("train", "text.txt", "--init-from", "two.safetensors", *quick)
    assert "2 networks of 2 x 5, embedding 3" in done.err
    found = model_file.load(cli.folder / "run" / "model.safetensors")
    assert found.config == replace(saved.config, vocab_size=found.config.vocab_size)
    assert "6 symbols kept, 1 added (a), 1 dropped (e)" in done.err
    assert "2 lstm 2x5" in cli("runs", ".").out
