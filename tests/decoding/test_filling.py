"""Filling the gaps of texts, with a model that has learned a cycle of letters and random ones."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.config import END, BeamConfig, FillConfig
from charrnn.decoding import filling
from charrnn.errors import OptionError, PromptError
from charrnn.generator import Generator
from charrnn.model.model_file import Model
from charrnn.text import gaps

CYCLE = "abcdefghijkl"


SHORT = {"MAX_GAP": 7, "MAX_CONTEXT": 6, "PER_GAP": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """Return a model that knows what is missing in a cycle, trained on short gaps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setattr(gaps, name, value)
        result = charrnn.train(
            text=CYCLE * 80,
            fill=True,
            steps=240,
            cell="lstm",
            backend="library",
            num_layers=1,
            hidden_size=32,
            batch_size=32,
            learning_rate=0.02,
            dropout=0.0,
            out=tmp_path_factory.mktemp("fill") / "run",
        )
        return charrnn.load(result)


@pytest.fixture
def learned(trained: Generator, monkeypatch: pytest.MonkeyPatch) -> Generator:
    """Return that model, with contexts as short as in its training."""
    for name, value in SHORT.items():
        monkeypatch.setattr(gaps, name, value)
    return trained


@pytest.fixture
def random(make_pair_model: Callable[..., Model]) -> Generator:
    """Return a random model of gaps."""
    made = make_pair_model("abcd é\n", seed=3)
    return Generator(dataclasses.replace(made, training={"reading": {"fill": True}}))


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("abc___ghi", "abcdefghi"),
        ("kl___def", "klabcdef"),
        ("bcd_____g", "bcdefg"),  # a longer line is the same gap
        ("bc___ijk___def", "bcdefghijklabcdef"),
        ("abcdefghijklabcdef___jklabcdefghijkl", "abcdefghijklabcdefghijklabcdefghijkl"),
    ],
)
def test_what_fits_is_written(learned: Generator, text: str, filled: str) -> None:
    found = learned.fill(text)
    assert str(found) == found.text == filled
    assert found.log_prob > -1
    assert [each.finished_by for each in found.fillings] == ["stop"] * (len(found.parts) - 1)
    assert repr(found).startswith(f"<Filled '{filled}': log-probability -0.")
    assert learned.fill(text, temperature=0).text == filled
    assert learned.fill(text, width=1).text == filled


def test_another_mark_can_be_named(learned: Generator) -> None:
    assert learned.fill("abc?ghi", gap="?").text == "abcdefghi"
    assert learned.fill("abc<x>ghi", gap="<x>").text == "abcdefghi"


@pytest.mark.parametrize("length", [1, 2, 9])
def test_the_length_is_what_was_asked_for(random: Generator, length: int) -> None:
    for options in ({}, {"temperature": 1.0, "seed": 1}, {"temperature": 0.0}):
        found = random.fill("ab ___ c___", length=length, **options)  # type: ignore[arg-type]
        assert [len(each.text) for each in found.fillings] == [length, length]
        assert {each.finished_by for each in found.fillings} == {"stop"}


@pytest.mark.parametrize(
    ("limits", "pattern"),
    [
        ({"regex": "[ab]{2}|d"}, "[ab]{2}|d"),
        ({"allow": "ab"}, "[ab]*"),
        ({"allow": "ab", "length": 3}, "[ab]{3}"),
        ({"forbid": r"a-c\s", "length": 2}, r"[^a-c\s]{2}"),
        ({"max_lines": 1}, r"[^\n]*\n?"),
        ({"max_lines": 1, "length": 4}, r"[^\n]{3}(?s:.)"),
    ],
)
def test_fillings_keep_limits(random: Generator, limits: dict[str, Any], pattern: str) -> None:
    for options in ({}, {"temperature": 1.0, "seed": 1, "num_samples": 9}):
        for found in random.fills("ab ___ c___", **limits, **options):
            for each in found.fillings:
                assert re.fullmatch(pattern, each.text)
                assert each.log_prob > -40
    with pytest.raises(OptionError, match="both say how long a filling is"):
        FillConfig(regex="a", length=2)


@pytest.mark.parametrize("tokenizer", ["byte", "sentencepiece"])
def test_the_length_counts_characters_whatever_the_tokens_are(
    tokenizer: str, tmp_path: Path
) -> None:
    words = [f"{first}{second}ß" for first in "äbcdé" for second in "中ghi"]
    result = charrnn.train(
        text=" ".join(words[index * index % 19] for index in range(1500)),
        fill=True,
        tokenizer=tokenizer,
        vocab_size=310 if tokenizer == "sentencepiece" else None,
        steps=2,
        cell="lstm",
        backend="library",
        num_layers=1,
        hidden_size=8,
        out=tmp_path / "run",
    )
    model = charrnn.load(result)
    for options in ({}, {"temperature": 1.0, "seed": 1}):
        found = model.fill("bgß ___ chß", length=3, **options)  # type: ignore[arg-type]
        assert len(found.fillings[0].text) == 3
        assert found.parts == ("bgß ", " chß")
    assert model.fill("bgß ___ chß").text.endswith(" chß")


def test_a_wide_search_finds_the_most_probable_filling(random: Generator) -> None:
    found = random.fill("ab___c", length=2, width=49)
    letters = "abcd é\n"
    source = f"ab{END}c"
    config = BeamConfig(length=3, width=1)
    every = {}
    for text in (first + second for first in letters for second in letters):
        scored = random._weights.own.writer.answers(
            [source],
            lambda sources: random._weights.own.reader.read_sources(sources, "error"),
            dataclasses.replace(config, regex=f"{text}{END}"),
        )
        every[text] = next(scored)[0].log_prob
    best = max(every, key=every.__getitem__)
    assert found.fillings[0].text == best
    assert found.log_prob == pytest.approx(every[best], abs=1e-4)


def test_gaps_are_filled_from_left_to_right(
    random: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    reader = random._weights.own.reader
    original = reader.read_sources
    monkeypatch.setattr(
        reader, "read_sources", lambda sources, how: read.append(sources) or original(sources, how)
    )
    found = random.fills("a ___ b___c", num_samples=2, temperature=1.0, seed=5)
    firsts = [each.fillings[0].text for each in found]
    assert read == [[f"a {END} b"] * 2, [f"a {first} b{END}c" for first in firsts]]
    assert [each.sources for each in found] == list(zip(*read, strict=True))
    for each in found:
        first, second = (filling.text for filling in each.fillings)
        assert each.text == f"a {first} b{second}c"
        assert each.log_prob == sum(filling.log_prob for filling in each.fillings)


def test_random_fillings_follow_from_the_seed(random: Generator) -> None:
    options = {"temperature": 1.0, "seed": 5}
    found = random.fills("a ___ b___c", num_samples=4, **options)  # type: ignore[arg-type]
    alone = random.fill("a ___ b___c", **options)  # type: ignore[arg-type]
    assert [each.ids for each in found[0].fillings] == [each.ids for each in alone.fillings]
    assert len({each.text for each in found}) > 1
    assert found[0].seed == 5
    assert random.fill("a ___ b").seed is None
    assert random.fill("a ___ b", temperature=1.0).seed is not None


def test_a_context_is_cut_around_the_gap(random: Generator) -> None:
    long = "ab" * 200
    near = "ab" * (gaps.MAX_CONTEXT // 2)
    assert random.fill(f"{long}___{long}").fillings == random.fill(f"{near}___{near}").fillings
    assert random.fill(f"{near}___b").fillings != random.fill("ab___b").fillings


def test_a_context_of_bytes_is_cut_between_characters(random: Generator) -> None:
    class Bytes:
        def encode(self, text: str) -> bytes:
            return text.encode()

    filler = filling.Filler(random._weights.own.reader, random._weights.own.writer, Bytes())  # type: ignore[arg-type]
    assert filler._left("é" * 100) == "é" * 32
    assert filler._left("a" + "中" * 21) == "a" + "中" * 21
    assert filler._left("aa" + "中" * 21) == "a" + "中" * 21


def test_unknown_characters_are_replaced_or_refused(random: Generator) -> None:
    with pytest.warns(UserWarning, match="unknown characters"):
        found = random.fill("á___b")
    assert found.parts == ("a", "b")
    with pytest.raises(PromptError, match="has never seen 'x'"):
        random.fill("ax___b", unknown="error")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the text '' has no gap: write ___ where something is missing"),
        ("a __ b", "the text 'a __ b' has no gap"),
        (f"a{END}___", r"has the character U\+FDD0"),
        (7, "`text` must be a str, not int"),
    ],
)
def test_a_text_without_a_gap_is_refused(random: Generator, text: str, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        random.fill(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gap": ""}, "`gap` '' is empty"),
        ({"length": 0}, "`length` must be"),
        ({"seed": 1}, "`seed` has no effect where nothing is random"),
        ({"top_p": 0.5, "temperature": 0.0}, "`top_p` has no effect"),
        ({"width": 3, "temperature": 1.0}, "`width` is for beam search"),
        ({"length_penalty": 1.0, "temperature": 1.0}, "`length_penalty` is for beam search"),
    ],
)
def test_options_without_effect_are_refused(
    random: Generator, options: dict[str, float], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        random.fill("a___b", **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        FillConfig(**options)  # type: ignore[arg-type]


def test_only_a_model_of_gaps_fills_them_and_it_does_nothing_else(
    random: Generator, make_pair_model: Callable[..., Model], make_model: Callable[..., Model]
) -> None:
    for other in (make_pair_model("ab"), make_model("ab")):
        with pytest.raises(PromptError, match="this model fills no gaps"):
            Generator(other).fill("a___b")
    for use in (
        lambda: random.sample("a"),
        lambda: random.greedy(),
        lambda: random.beam("a"),
        lambda: random.read("a"),
        lambda: random.answer("ab"),
    ):
        with pytest.raises(PromptError, match="this model fills gaps in texts"):
            use()


def test_a_text_of_a_gap_alone_is_filled(random: Generator, tmp_path: Path) -> None:
    assert random.fill("___", length=3).parts == ("", "")
