from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from charrnn.config import ModelReading, Reading, TextOptions, from_json, to_json
from charrnn.errors import CorpusError, OptionError
from charrnn.text import corpus, line_list
from charrnn.text.dataset import Dataset
from charrnn.text.open import dataset_of

PAIRS = TextOptions(pairs=True)


def _pairs(data: Dataset, part: str) -> list[tuple[str, str]]:
    ids, starts = getattr(data, part), data.documents[part].astype(int)
    texts = [data.tokenizer.decode(text) for text in np.split(ids, starts[1:])] if len(ids) else []
    return list(zip(texts[::2], texts[1::2], strict=True))


def _read(folder: Path, text: str, name: str = "pairs.tsv", swap: bool = False) -> list[str]:
    (folder / name).write_text(text)
    read = corpus.read([folder / name], Reading(pairs=True, swap=swap))
    return [piece.data.decode() for piece in read.pieces()]


def test_each_line_is_a_source_and_its_target(tmp_path: Path) -> None:
    assert _read(tmp_path, "one\t1\ntwo\t2") == ["one", "1", "two", "2"]
    assert _read(tmp_path, "one\t1\ntwo\t2\n", swap=True) == ["1", "one", "2", "two"]


def test_line_ends_of_windows_and_blank_lines_belong_to_no_pair(tmp_path: Path) -> None:
    assert _read(tmp_path, "one\t1\r\n\r\ntwo\t2\r\n") == ["one", "1", "two", "2"]


def test_escapes_stand_for_a_tab_a_line_end_and_a_backslash(tmp_path: Path) -> None:
    assert _read(tmp_path, "a\\tb\tc\\nd\\\\n\n") == ["a\tb", "c\nd\\n"]


def test_json_lines_hold_what_tsv_escapes(tmp_path: Path) -> None:
    lines = [{"source": "a\tb", "target": "é\n"}, {"target": "2", "source": "x", "id": 7}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    assert _read(tmp_path, text, "p.jsonl") == ["a\tb", "é\n", "x", "2"]


def test_json_lines_need_no_name_that_says_so(tmp_path: Path) -> None:
    """Those of a pipe have none; nor has the copy that a run keeps of them."""
    lines = '{"source": "a", "target": "1"}\nb\t2\n{x}\t{"source": "c"}\n'
    assert _read(tmp_path, lines, "corpus.txt") == ["a", "1", "b", "2", "{x}", '{"source": "c"}']


def test_files_may_be_packed_and_of_both_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"source": "a", "target": "1"}'))
    (tmp_path / "b.tsv").write_text("b\t2")
    read = corpus.read([tmp_path], Reading(pairs=True))
    assert [piece.data for piece in read.pieces()] == [b"a", b"1", b"b", b"2"]
    assert read.characters == 4
    assert "".join(map(chr, read.points)) == "12ab"  # neither tabs nor line ends nor JSON


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no tab here", "no tab in 'no tab here'"),
        ("a,b", "no tab in 'a,b': a pair is SOURCE<TAB>TARGET: write a tab in place of the comma"),
        ("a;b", "write a tab in place of the semicolon"),
        ("a\tb\tc", "2 tabs in"),
        ("{a} b", "no tab, and '{a} b' is not JSON: a pair is SOURCE<TAB>TARGET"),
        ('{"source": "a"}', 'no tab, and no text "target" in the object'),
        ("\tb", "the source is empty"),
        ("a\t", "the target is empty"),
        ("a\\x\tb", r"'\x' is not an escape"),
        ("a\tb\\", "'\\' is not an escape"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(CorpusError) as caught:
        _read(tmp_path, f"fine\t1\n{line}\nfine\t2\n")
    assert f"{tmp_path / 'pairs.tsv'}, line 2: " in caught.value.message
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", 'no text "source"'),
        ('{"source": "a"}', 'no text "target"'),
        ('{"source": 1, "target": "b"}', 'no text "source"'),
        ('{"source": "", "target": "b"}', "the source is empty"),
        ('{"source": "\\ud800", "target": "b"}', "half a character"),
    ],
)
def test_a_json_line_that_is_no_pair_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(CorpusError) as caught:
        _read(tmp_path, f"\n{line}\n", "pairs.jsonl")
    assert ", line 2: " in caught.value.message
    assert said in caught.value.message
    assert len(caught.value.message) < 400


def test_all_targets_of_a_source_stay_together(tmp_path: Path) -> None:
    lines = [f"word {i}\t{i}.{k}" for i in range(100) for k in range(3)]
    (tmp_path / "p.tsv").write_text("\n".join(lines))
    data = dataset_of([tmp_path / "p.tsv"], TextOptions(pairs=True, test_fraction=0.15))
    parts = {part: _pairs(data, part) for part in ("train", "valid", "test")}
    assert {part: len(pairs) for part, pairs in parts.items()} == {
        "train": 225,
        "valid": 30,
        "test": 45,
    }
    sources = [{source for source, _ in pairs} for pairs in parts.values()]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 100
    assert data.split == "by hash of the source"
    assert data.reading == ModelReading(newline="lf", pairs=True)
    assert {name: leak.repeated for name, leak in data.leaks.items()} == {"valid": 0, "test": 0}


def test_labels_are_not_held_out_as_a_whole(tmp_path: Path) -> None:
    lines = [f"name {i}\t{'odd' if i % 2 else 'even'}" for i in range(200)]
    (tmp_path / "p.tsv").write_text("\n".join(lines))
    names = dataset_of([tmp_path / "p.tsv"], PAIRS)
    labels = dataset_of([tmp_path / "p.tsv"], TextOptions(pairs=True, swap=True))
    swapped = [(target, source) for source, target in _pairs(names, "valid")]
    assert _pairs(labels, "valid") == swapped  # the same pairs are held out both ways
    assert {source for source, _ in _pairs(labels, "train")} == {"odd", "even"}
    assert labels.split == "by hash of the target"


def test_sources_that_separate_files_share_are_counted(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a\t1\nb\t2\n")
    (tmp_path / "test.tsv").write_text("b\t1\nc\t1\n")
    data = dataset_of([tmp_path / "train.tsv"], PAIRS, test=tmp_path / "test.tsv")
    assert (data.leaks["test"].documents, data.leaks["test"].repeated) == (2, 1)


def test_one_source_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("a\tb\n" * 9)
    with pytest.raises(CorpusError, match="pairs of one source"):
        dataset_of([tmp_path / "p.tsv"], PAIRS)
    data = dataset_of([tmp_path / "p.tsv"], TextOptions(pairs=True, valid_fraction=0.0))
    assert _pairs(data, "train") == [("a", "b")] * 9


def test_a_prepared_dataset_knows_that_it_is_one_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("".join(f"{i}\t{-i}\n" for i in range(60)))
    made = dataset_of([tmp_path / "p.tsv"], PAIRS, folder=tmp_path / "data")
    again = dataset_of([tmp_path / "data"], TextOptions())
    assert again.reading.pairs
    assert _pairs(again, "train") == _pairs(made, "train")


@pytest.mark.parametrize("options", [{"items": "lines"}, {"document_separator": "x"}])
def test_pairs_are_not_items(options: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="each line is a pair"):
        Reading(pairs=True, **options)


def test_other_splits_are_refused_for_pairs() -> None:
    with pytest.raises(OptionError, match="hash of their source"):
        TextOptions(pairs=True, split="position")
    with pytest.raises(OptionError, match="add `pairs`"):
        Reading(swap=True)


def test_the_reading_of_a_text_says_nothing_of_pairs() -> None:
    assert not {"pairs", "swap"} & to_json(ModelReading()).keys()
    known = ModelReading(newline="lf", pairs=True, swap=True)
    assert from_json(ModelReading, to_json(known), "here") == known
    assert known.options() == Reading(pairs=True, swap=True)


def test_pairs_that_are_read_as_a_text_are_noticed() -> None:
    text = "".join(f"number {i}\t{i}\n" for i in range(60))
    sentence = line_list.advice(corpus.from_text(text, "numbers"))
    assert sentence is not None
    assert sentence.startswith("numbers looks like 60 pairs with a tab between them: --pairs")
    assert line_list.advice(corpus.from_text(text, reading=Reading(pairs=True))) is None
