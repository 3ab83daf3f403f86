"""Texts by the names that a user gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import TextOptions
from charrnn.errors import CorpusError, OptionError
from charrnn.text import dataset
from charrnn.text.open import command_words, dataset_of, read_corpus, texts_of


def test_a_named_corpus_is_opened_by_its_name() -> None:
    text = read_corpus(["hello"])
    assert text.name == "hello"
    assert text.text == "hello" * 2000


def test_a_file_wins_over_a_corpus_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hello").write_text("a file of this name")
    assert read_corpus(["hello"]).text == "a file of this name"


def test_paths_folders_and_patterns_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.txt").write_text("second")
    for names in ([tmp_path], [str(tmp_path / "*.txt")], [tmp_path / "a.txt", tmp_path / "b.txt"]):
        assert read_corpus(names).text == "firstsecond"


def test_named_corpora_and_files_can_be_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first")
    text = read_corpus([tmp_path / "a.txt", "hello"])
    assert text.name == "a"
    assert text.text == "first" + "hello" * 2000


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        read_corpus(["no-such-corpus"])


def test_notices_go_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    notices: list[str] = []
    text = read_corpus([tmp_path / "a.txt"], notify=notices.append)
    assert tuple(notices) == text.notices
    assert len(notices) == 2


def test_separate_validation_and_test_texts(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("validate")
    texts = texts_of(["hello"], TextOptions(), valid=tmp_path / "v.txt", test="hello")
    assert texts.valid is not None
    assert texts.test is not None
    assert (texts.valid.text, texts.test.name) == ("validate", "hello")


def test_a_dataset_is_opened_by_its_folder(tmp_path: Path) -> None:
    made = dataset_of(["hello"], TextOptions(), folder=tmp_path / "data")
    for name in (tmp_path / "data", str(tmp_path / "data")):
        opened = dataset_of([name], TextOptions())
        assert isinstance(texts_of([name], TextOptions()).corpus, dataset.Dataset)
        assert opened.sha256 == made.sha256
        assert opened.train.tolist() == made.train.tolist()


def test_a_dataset_is_named_alone_and_without_options_of_a_text(tmp_path: Path) -> None:
    dataset_of(["hello"], TextOptions(), folder=tmp_path / "data")
    with pytest.raises(OptionError, match="name it alone"):
        texts_of([tmp_path / "data", "hello"], TextOptions())
    with pytest.raises(OptionError, match="decided when it was prepared"):
        texts_of([tmp_path / "data"], TextOptions(newline="lf"), given=["newline"])
    with pytest.raises(OptionError, match="decided when it was prepared"):
        texts_of([tmp_path / "data"], TextOptions(), valid="hello")


@pytest.mark.parametrize("name", [None, b"a.txt", ["a.txt"], 3])
def test_what_names_no_file_gets_a_sentence(name: Any) -> None:
    for open_text in (lambda: read_corpus([name]), lambda: texts_of([name], TextOptions())):
        with pytest.raises(CorpusError, match="a corpus must be the name of a file, not"):
            open_text()
    if name is not None:
        with pytest.raises(CorpusError, match="a corpus must be the name of a file, not"):
            texts_of(["hello"], TextOptions(), valid=name)


@pytest.mark.parametrize("text", ["hello world\n" * 200, "one line\nand another"])
def test_a_text_is_not_a_name(text: str) -> None:
    with pytest.raises(CorpusError, match=r"that is a text, not a file \('") as caught:
        read_corpus([text])
    assert len(str(caught.value)) < 200


def test_the_words_of_a_command_line_name_and_read_the_same_texts(tmp_path: Path) -> None:
    reading = TextOptions(newline="lf", exclude=("*.c", "x"), document_separator="\n\t")
    words = command_words(["-", "-x.txt", tmp_path], reading, valid="my valid")
    assert words == (
        *("-", f".{os.sep}-x.txt", str(tmp_path), "--valid", "my valid", "--newline", "lf"),
        *("--exclude", "*.c", "--exclude", "x", "--document-separator", r"\n\t"),
    )
    assert command_words(["a"], TextOptions(items="lines")) == ("a", "--items", "lines")
    assert command_words(["a"], TextOptions(pairs=True)) == ("a", "--pairs")
    pairs = TextOptions(pairs=True, swap=True, encoding="cp1252")
    assert command_words(["a"], pairs) == ("a", "--encoding", "cp1252", "--pairs", "--swap")
