"""Models that a stranger made: whole files whose numbers or sizes no training would give."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.errors import RunError
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model
from charrnn.model.parameters import shapes
from charrnn.text.tokenizer import CharTokenizer

from .conftest import BY_LIBRARY, Cli, Run

LARGEST = np.finfo(np.float32).max  # a valid weight
OVERFLOW = "the numbers of this network overflow"
Change = Callable[[dict[str, Any]], object]


def spoiled(model: Model, change: Change) -> Model:
    """Return a model with other weights, all of them finite."""
    values = {name: value.copy() for name, value in model.values.items()}
    change(values)
    assert all(np.isfinite(value).all() for value in values.values())
    return replace(model, values=values)


def huge_output(values: dict[str, Any]) -> None:
    """Let every logit overflow, from the first token on."""
    values["output.weight"][:] = LARGEST


def huge_recurrence(values: dict[str, Any]) -> None:
    """Let a state without bounds grow until it overflows, after some tokens."""
    values["layers.0.weight_hh"][:] = 1e3


def far_logits(values: dict[str, Any]) -> None:
    """Let each logit be finite, while the distance of two of them is not."""
    values["output.bias"][:2] = LARGEST, -LARGEST


@pytest.fixture(scope="module")
def folder(tiny: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a text and a model whose logits overflow."""
    made = tmp_path_factory.mktemp("strange")
    (made / "story.txt").write_bytes(tiny.text.read_bytes())
    model_file.save(made / "huge", spoiled(model_file.load(tiny.model), huge_output))
    return made


OVERFLOWING = [
    *("sample -m huge --prompt the", "sample -m huge --weights int8", "greedy -m huge"),
    *("sample -m huge --save-state state", "beam -m huge", "beam -m huge --stochastic"),
    *("eval story.txt -m huge", "eval story.txt -m huge --exact --json"),
    "eval story.txt -m huge --dynamic",
    *("score story.txt -m huge", "compress story.txt story.crnn -m huge"),
    *("inspect next -m huge", "inspect memory story.txt -m huge --longest 16 --symbols 64"),
]


def test_logits_that_overflow_are_an_error(folder: Path) -> None:
    lines = [line.split() for line in OVERFLOWING]
    for words, done in zip(lines, Cli(folder).each(lines, code=1), strict=True):
        assert OVERFLOW in done.sentence, words
        assert done.out == "", words
    assert {path.name for path in folder.iterdir()} == {"story.txt", "huge"}


def huge_outputs(values: dict[str, Any]) -> None:
    """Let some logit overflow, whatever the signs of the units are."""
    values["output.weight"][::2], values["output.weight"][1::2] = LARGEST, -LARGEST
    values["output.bias"][:] = LARGEST


def huge_weights(values: dict[str, Any]) -> None:
    """Let the encoder of a cell without bounds overflow."""
    for value in values.values():
        value *= 1e25


@pytest.mark.parametrize(("cell", "change"), [("lstm", huge_outputs), ("irnn", huge_weights)])
def test_numbers_of_a_model_of_pairs_that_overflow_are_an_error(
    cell: str, change: Change, make_pair_model: Callable[..., Model], cli: Cli
) -> None:
    huge = spoiled(make_pair_model("abc", cell=cell), change)
    model_file.save(cli.folder / "huge", huge)
    model_file.save(cli.folder / "gaps", replace(huge, training={"reading": {"fill": True}}))
    (cli.folder / "p.tsv").write_text("abc\tcab\nc\tb\n")
    (cli.folder / "sources").write_text("abc\nc\n")
    (cli.folder / "g.txt").write_text("abcab" * 40)
    for line in (
        *("sample -m huge --source abc", "greedy -m huge --source-file sources"),
        *("beam -m huge --source abc", "beam -m huge --source abc --stochastic --json"),
        *("eval p.tsv -m huge --json", "score p.tsv -m huge", "eval g.txt -m gaps"),
        *("inspect attention -m huge --source abc", "fill -m gaps a___c"),
    ):
        done = cli(*line.split(), code=1)
        assert OVERFLOW in done.sentence, line
        assert done.out == "", line


def test_no_training_starts_from_such_a_model(folder: Path, cli: Cli) -> None:
    given = (folder / "story.txt", "--init-from", folder / "huge", "--steps", 5, "--out", "new")
    done = cli("train", *given, *BY_LIBRARY, code=1)
    assert "no learning rate helps" in done.err
    assert "restarting" not in done.err


def test_an_earlier_run_is_kept_if_the_one_to_replace_it_makes_no_step(
    tiny: Run, folder: Path, cli: Cli
) -> None:
    run = shutil.copytree(tiny.folder, cli.folder / "run")
    given = (folder / "story.txt", "--init-from", folder / "huge", "--steps", 5)
    done = cli("train", *given, *BY_LIBRARY, "--out", run, "--force", code=1)
    assert done.sentence.endswith(f"; the earlier run in {run} is kept")
    files = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    assert {"model.safetensors", "config.json"} <= {str(path) for path in files}
    for path in set(files) - {Path(".lock")}:
        assert (run / path).read_bytes() == (tiny.folder / path).read_bytes()


def test_gradients_are_measured_in_float64_and_do_not_overflow(folder: Path) -> None:
    words = ("gradients", "story.txt", "-m", "huge", "--lags", 2, "--windows", 2, "--json")
    networks = Cli(folder)("inspect", *words).json["networks"]  # strict JSON
    norms = [layer["norms"] for network in networks for layer in network["layers"]]
    assert len(norms) == 2
    assert norms[1][0] > 1e9 > norms[0][0]


def test_such_a_model_is_described(folder: Path) -> None:
    assert "tokens" in Cli(folder)("info", "huge").out


@pytest.mark.parametrize("change", [huge_output, huge_recurrence])
def test_a_caller_gets_an_error_where_numbers_overflow(
    change: Change, make_model: Callable[..., Model]
) -> None:
    model = Generator(spoiled(make_model("helo w\n", cell="irnn"), change))
    for call in (
        lambda: model.sample("he", length=200, seed=1),
        lambda: "".join(model.stream("he", length=200, seed=1)),
        lambda: model.sample("he", length=200, seed=1, top_p=0.9, no_repeat_ngram_size=5),
        lambda: model.greedy("he", length=200),
        lambda: model.beams("he", length=200, width=2, num_return=2),
        lambda: model.score("hello " * 200),
        lambda: model.score("hello " * 200, exact=True),
        lambda: model.read("hello " * 200),
    ):
        with pytest.raises(RunError, match=OVERFLOW):
            call()


def test_logits_that_are_too_far_apart_write_but_have_no_score(
    make_model: Callable[..., Model],
) -> None:
    model = Generator(spoiled(make_model("helo w\n"), far_logits))
    assert model.sample("he", length=9, seed=1).text == "\n" * 9
    assert model.greedy("he", length=9).text == model.beam("he", length=9).text == "\n" * 9
    with pytest.raises(RunError, match=OVERFLOW):
        model.score("he lo")


def test_a_vocabulary_of_all_characters_is_read(
    make_model: Callable[..., Model], tmp_path: Path
) -> None:
    symbols = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    model = make_model("ab", hidden_size=1, embedding_size=0)
    config = replace(model.config, vocab_size=len(symbols))
    values = {name: np.zeros(size, np.float32) for name, size in shapes(config).items()}
    path = tmp_path / "all"
    model_file.save(path, Model(config, CharTokenizer(symbols), values))
    assert model_file.load(path).tokenizer.vocab_size == 0x110000 - 0x800
