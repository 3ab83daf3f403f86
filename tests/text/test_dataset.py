"""Datasets: files on disk, splits, the cache, damage."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import threading
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_json
from damage import flips, truncations
from hypothesis import example, given
from hypothesis import strategies as st
from waiting import HANGS

from charrnn.config import ModelReading, Reading, TextOptions
from charrnn.errors import CorpusError, ModelError, OptionError, PromptError, RunError
from charrnn.storage.cache_dir import CacheWarning
from charrnn.text import (
    alphabet,
    corpus,
    dataset,
    dataset_cache,
    id_file,
    sources,
    split,
    tokenizer,
)
from charrnn.text import manifest as manifests
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.reader import Reader, silent
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer

any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def _make(text: str, *others: Corpus | None, separator: str = "", **options: Any) -> Dataset:
    options = {"valid_fraction": 0.0} | options
    made = corpus.from_text(text, separator=separator)
    return dataset.make(made, TextOptions(**options), *others)


def _texts(data: Dataset) -> list[str]:
    return [data.tokenizer.decode(part.tolist()) for part in (data.train, data.valid, data.test)]


def test_the_last_part_is_held_out() -> None:
    data = _make("aaaaaaaabé", valid_fraction=0.2)
    assert _texts(data) == ["aaaaaaaa", "bé", ""]
    assert data.sizes["valid"] == (2, 3)
    assert data.sha256 == {"corpus": corpus.from_text("aaaaaaaabé").sha256}
    assert data.split == "by position"


def test_the_test_part_comes_last() -> None:
    data = _make("0123456789", valid_fraction=0.2, test_fraction=0.1)
    assert _texts(data) == ["0123456", "78", "9"]


def test_the_alphabet_has_the_characters_of_all_parts() -> None:
    data = _make("aabb" + "zy", valid_fraction=0.2, test_fraction=0.2)
    assert data.tokenizer == CharTokenizer("abyz")


def test_with_separate_texts_all_of_the_corpus_is_training_text() -> None:
    others = corpus.from_text("czé", "valid"), corpus.from_text("q", "test")
    data = _make("abab", *others, valid_fraction=0.5)
    assert data.tokenizer == CharTokenizer("abcqzé")
    assert _texts(data) == ["abab", "czé", "q"]
    assert data.sizes["valid"] == (3, 4)
    assert set(data.sha256) == {"corpus", "valid", "test"}
    assert data.split == "valid is a text of its own; test is a text of its own"


@given(st.integers(2, 10**7), st.floats(0.0, 0.45), st.floats(0.0, 0.45))
def test_the_split_is_inside_the_text_and_at_the_fractions(
    length: int, valid: float, test: float
) -> None:
    first, second = split.split_positions(length, valid, test)
    assert 0 <= first <= second <= length
    assert (second == length) == (test == 0)  # a character at least is held out if any is asked
    assert (first == second) == (valid == 0 or second == 0)
    assert abs(second - length * (1 - test)) <= 1
    assert abs(first - length * (1 - valid - test)) <= 2


@pytest.mark.parametrize(
    ("text", "fraction", "left"), [("a", 0.0, 1), ("ab", 0.1, 1), ("a", 0.1, 0), ("abc", 0.9, 0)]
)
def test_a_text_that_leaves_too_little_is_refused(text: str, fraction: float, left: int) -> None:
    with pytest.raises(CorpusError, match=rf"text leaves {left} character.*at least 2"):
        _make(text, valid_fraction=fraction)


@pytest.mark.parametrize("kind", ["char", "byte", "sentencepiece"])
def test_every_tokenizer_decodes_the_ids_on_disk_to_the_text(kind: str, tiny_text: str) -> None:
    text = tiny_text + "▁▅\r\n\ufeff😀\x00 end"
    data = _make(text, tokenizer=kind, valid_fraction=0.3, test_fraction=0.1)
    assert "".join(_texts(data)) == text
    for name, part in zip(split.PARTS, _texts(data), strict=True):
        assert data.sizes[name] == (len(part), len(part.encode()))
        assert data.tokenizer.measure(getattr(data, name)) == data.sizes[name]


def test_rare_characters_are_encoded_as_their_bytes() -> None:
    data = _make("aaabbé漢", min_count=2)
    assert isinstance(data.tokenizer, CharTokenizer)
    assert (data.tokenizer.alphabet, data.tokenizer.byte_fallback) == ("ab", True)
    assert data.train.tolist() == [0, 0, 0, 1, 1, *(2 + byte for byte in "é漢".encode())]
    assert _texts(data)[0] == "aaabbé漢"
    assert data.characters_per_token == 7 / 10


def test_without_rare_characters_there_are_no_byte_tokens() -> None:
    assert _make("aabb", min_count=2).tokenizer == CharTokenizer("ab")


def test_the_manifest_describes_the_ids_on_disk(tmp_path: Path) -> None:
    data = dataset.make(
        corpus.from_text("hello\nworld"), TextOptions(valid_fraction=0.3), folder=tmp_path / "new"
    )
    manifest = strict_json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert manifest["kind"] == "charrnn dataset"
    assert manifest["tokenizer"] == {"kind": "char", "symbols": "\ndehlorw"}
    assert manifest["parts"]["train"]["ids"] == len(data.train) == 7
    assert (tmp_path / "new" / "train.bin").read_bytes() == bytes(data.train.tolist())
    again = dataset.load(tmp_path / "new")
    assert _texts(again) == _texts(data) == ["hello\nw", "orld", ""]
    assert isinstance(again.train.base, np.memmap)  # mapped, not read
    with pytest.raises(ValueError, match="read-only"):
        again.train[0] = 1


def test_a_dataset_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _make("made once " * 10, valid_fraction=0.25)
    monkeypatch.setattr(dataset, "IdWriter", None)  # making it again would fail
    assert _make("made once " * 10, valid_fraction=0.25).folder == first.folder


def test_the_key_depends_on_text_and_settings_but_not_on_names(tmp_path: Path) -> None:
    def folder(name: str = "a", text: str = "ab\n\nab", **options: Any) -> Path:
        (tmp_path / name).write_text(text)
        made = corpus.read([tmp_path / name], TextOptions(**options))
        return dataset.make(made, TextOptions(**options)).folder

    assert folder("a") == folder("b")
    different: list[dict[str, Any]] = [
        {},
        {"text": "ab\n\nac"},
        {"valid_fraction": 0.2},
        {"test_fraction": 0.2},
        {"tokenizer": "byte"},
        {"min_count": 2},
        {"document_separator": "\n\n"},
    ]
    assert len({folder(**options) for options in different}) == len(different)


def test_two_threads_that_prepare_at_once_both_get_the_dataset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = threading.Barrier(2)
    rename = Path.rename

    def meet(self: Path, target: Path) -> Path:
        together.wait(HANGS)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", meet)
    found: list[Dataset] = []
    threads = [
        threading.Thread(target=lambda: found.append(_make("both at once", min_count=3)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0].folder == found[1].folder
    assert _texts(found[0])[0] == _texts(found[1])[0] == "both at once"
    assert [path for path in found[0].folder.parent.iterdir() if path.suffix == ".tmp"] == []


@pytest.mark.parametrize("name", ["train.bin", "valid.bin", "train.documents.bin", "manifest.json"])
@pytest.mark.parametrize("how", ["gone", "cut", "changed"])
def test_a_damaged_dataset_is_refused_and_made_again_in_the_cache(
    name: str, how: str, tmp_path: Path
) -> None:
    text = corpus.from_text("some text to damage " * 5)
    folder = dataset.make(text, TextOptions(valid_fraction=0.2)).folder
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    for path in (folder / name, damaged / name):
        data = bytearray(path.read_bytes())
        if how == "gone":
            path.unlink()
        elif how == "cut":
            path.write_bytes(data[: len(data) // 2])
        else:
            data[0] ^= 1
            path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        dataset.load(damaged)
    again = dataset.make(text, TextOptions(valid_fraction=0.2))
    assert "".join(_texts(again)) == text.text
    assert again.folder == folder
    assert len(dataset.load(folder).train) == 80


def test_a_dataset_knows_how_its_text_was_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"Se\xf1or\r\nMu\xf1oz\r\n" * 5)
    (tmp_path / "b.txt").write_text("Señor\nMuñoz\n" * 5, "utf-8", newline="")
    options = TextOptions(encoding="cp1252", newline="lf", document_separator="\n")
    wanted = ModelReading(encoding="cp1252", newline="lf", document_separator="\n")
    text = corpus.read([tmp_path / "a.txt"], options)
    prepared = dataset.make(text, options, folder=tmp_path / "set")
    assert prepared.reading == dataset.load(tmp_path / "set").reading == wanted
    # The same text in another file: the dataset in the cache is that of the first one.
    cached = dataset.make(text, options)
    other = dataset.make(corpus.read([tmp_path / "b.txt"], Reading(document_separator="\n")))
    assert other.folder == cached.folder
    assert cached.reading == wanted
    assert other.reading == ModelReading(document_separator="\n")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three documents in three parts."""
    options = TextOptions(valid_fraction=0.2, test_fraction=0.2)
    made = corpus.from_text("one. two. three. " * 9, separator=". ")
    return dataset.make(made, options, folder=tmp_path_factory.mktemp("sound") / "set").folder


def _content(data: Dataset) -> tuple[list[str], list[list[int]]]:
    return _texts(data), [starts.tolist() for starts in data.documents.values()]


def test_truncated_files_and_flipped_bits_are_errors(
    sound: Path, times: Callable[[int, int], int], report_trials: Any
) -> None:
    before = _content(dataset.load(sound))
    files = [path for path in sorted(sound.iterdir()) if path.stat().st_size]
    trials = 0
    for path in files:
        data = path.read_bytes()
        flipped = [] if path.name == "manifest.json" else flips(data)  # see the test of its bits
        damages = chain(truncations(data.rstrip(b"\n")), flipped)
        for content in islice(damages, 0, None, times(3, 1)):
            trials += 1
            path.write_bytes(content)
            with pytest.raises(ModelError, match="damaged"):
                dataset.load(sound)
        path.write_bytes(data)
    assert _content(dataset.load(sound)) == before
    report_trials("a file of a dataset truncated, or a bit flipped, in each byte", trials)


def _sealed(manifest: dict[str, Any]) -> str:
    """Return an invented manifest with the hash that belongs to it."""
    return json.dumps(manifest | {"manifest_sha256": manifests.digest(manifest)})


def test_a_flipped_bit_in_any_byte_of_a_manifest_is_an_error(sound: Path) -> None:
    """Unless the content stays the same: hexadecimal digits may be of either case in an escape."""
    path = sound / "manifest.json"
    data = path.read_bytes()
    content = strict_json.loads(data)
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        path.write_bytes(flipped)
        with contextlib.suppress(ModelError):
            dataset.load(sound, check_hashes=False)
            assert strict_json.loads(flipped) == content
    path.write_bytes(data)


def test_an_old_manifest_without_its_hash_is_read(sound: Path) -> None:
    path = sound / "manifest.json"
    data = path.read_bytes()
    before = _content(dataset.load(sound))
    manifest = strict_json.loads(data)
    del manifest["manifest_sha256"]
    path.write_text(json.dumps(manifest))
    assert _content(dataset.load(sound)) == before
    path.write_bytes(data)


@given(data=st.data())
def test_any_manifest_is_read_or_refused(sound: Path, data: st.DataObject) -> None:
    path = sound / "manifest.json"
    before = path.read_bytes()
    manifest = strict_json.loads(before)
    del manifest["manifest_sha256"]
    inside, key = manifest, data.draw(st.sampled_from(sorted(manifest)))
    while isinstance(inside[key], dict) and inside[key] and data.draw(st.booleans()):
        inside = inside[key]
        key = data.draw(st.sampled_from(sorted(inside)))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    value = data.draw(scalars | st.lists(scalars, max_size=2) | st.just({}))
    inside[key] = value
    try:
        path.write_text(_sealed(manifest))
        with contextlib.suppress(ModelError):
            found = dataset.load(sound)
            assert found.tokenizer.measure(found.valid)
    finally:
        path.write_bytes(before)


def test_a_manifest_that_is_too_large_is_not_read(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "_MAX_BYTES", 100)
    with pytest.raises(ModelError, match=r"its manifest.json is too large"):
        dataset.load(sound)


def test_a_dataset_of_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    folder = dataset.make(corpus.from_text("abc"), folder=tmp_path / "new").folder
    manifest = strict_json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ModelError, match=r"format 99.*upgrade"):
        dataset.load(folder)


def test_a_folder_with_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="already holds something else"):
        dataset.make(corpus.from_text("abc"), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_replacement_leaves_the_old_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dataset.make(corpus.from_text("abc"), folder=tmp_path / "data").folder
    rename, renamed = Path.rename, []

    def interrupted(path: Path, target: Path) -> Path:
        renamed.append(path)
        if len(renamed) == 2:  # the old one is away, the new one is not there yet
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dataset.make(corpus.from_text("xyz"), folder=folder, force=True)
    assert dataset.load(folder).tokenizer == CharTokenizer("abc")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_interrupt_as_its_folder_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def interrupted(path: Path, *given: Any, **named: Any) -> None:
        mkdir(path, *given, **named)
        if path.suffix == ".tmp":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dataset.make(corpus.from_text("abc"), folder=tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHARRNN_DATASETS", str(tmp_path / "file" / "inside"))
    with pytest.warns(CacheWarning, match="inside cannot be written"):
        assert _texts(_make("no cache"))[0] == "no cache"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, ids: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(id_file.IdWriter, "_put", full)
    with pytest.raises(RunError, match="could not be written: No space left on device"):
        dataset.make(corpus.from_text("abc"), folder=tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_the_cache_removes_what_was_used_longest_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_DATASETS", str(tmp_path))
    folders = [_make(f"{number} text", min_count=1).folder for number in range(3)]
    unfinished = tmp_path / ".old.tmp"
    unfinished.mkdir()
    for age, folder in zip((300, 100, 200, 10**6), [*folders, unfinished], strict=True):
        os.utime(folder, (0, folder.stat().st_mtime - age))
    monkeypatch.setattr(dataset_cache, "MAX_BYTES", 3 * dataset_cache.size(folders[1]))
    newest = _make("3 text").folder
    assert {path.name for path in tmp_path.iterdir()} == {
        newest.name,
        folders[1].name,
        folders[2].name,
    }


DOCUMENTS = "one|two|three|four|five|"


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ((0.2, 0.0), ["one|two|three|four|", "five|", ""]),
        ((0.5, 0.0), ["one|two|three|", "four|five|", ""]),
        ((0.2, 0.2), ["one|two|three|", "four|", "five|"]),
        ((0.01, 0.01), ["one|two|three|", "four|", "five|"]),  # one each at least
    ],
)
def test_documents_are_not_cut(fractions: tuple[float, float], expected: list[str]) -> None:
    valid, test = fractions
    asked = {"split": "document", "valid_fraction": valid, "test_fraction": test}
    data = _make(DOCUMENTS, separator="|", **asked)
    assert _texts(data) == expected


def test_document_starts_are_indices_of_ids() -> None:
    data = _make("é|ab|c", separator="|", tokenizer="byte")
    assert data.documents["train"].tolist() == [0, 3, 6]


@given(st.lists(st.sampled_from(["a|", "bb|", "c c|", "dé|"]), min_size=2, max_size=40))
def test_the_hash_split_keeps_equal_documents_together(parts: list[str]) -> None:
    asked = {"split": "hash", "valid_fraction": 0.3, "test_fraction": 0.3}
    try:
        data = _make("".join(parts), separator="|", **asked)
    except CorpusError as error:
        message = str(error)
        assert "to train on" in message
        return
    found = [set(text.split("|")[:-1]) for text in _texts(data)]
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
    assert sum(map(len, _texts(data))) == len("".join(parts))
    assert {leak.repeated for leak in data.leaks.values()} <= {0}


def test_the_hash_split_has_about_the_fractions() -> None:
    text = "".join(f"document {number}|" for number in range(2000))
    data = _make(text, separator="|", split="hash", valid_fraction=0.2)
    assert 0.17 < len(data.documents["valid"]) / 2000 < 0.23


def test_items_are_held_out_by_hash_as_many_as_asked() -> None:
    lines = sorted(f"item {number}\n" for number in range(200))
    options = TextOptions(items="lines", valid_fraction=0.2, test_fraction=0.05)
    text = corpus.from_text("".join([*lines, *lines]), reading=options)
    data = dataset.make(text, options)
    train, valid, test = (set(part.splitlines()) for part in _texts(data))
    assert (len(train), len(valid), len(test)) == (150, 40, 10)
    assert {leak.repeated for leak in data.leaks.values()} == {0}  # equal items share a part
    assert valid != {line.strip() for line in lines[-40:]}
    few = TextOptions(items="lines")
    three = dataset.make(corpus.from_text("a\nb\nc\n", reading=few), few)
    assert len(three.valid) == 2
    with pytest.raises(CorpusError, match=r"has 1 item ending at '\\n', and 2 are needed"):
        dataset.make(corpus.from_text("abc", reading=few), few)


def test_a_split_by_documents_needs_several_documents() -> None:
    with pytest.raises(CorpusError, match="has 1 document: `split` document needs 2"):
        _make("only one", split="document", valid_fraction=0.1)


def test_documents_in_two_parts_are_counted_as_leaks() -> None:
    data = _make("a|b|c|a|b|", separator="|", split="document", valid_fraction=0.4)
    assert _texts(data)[:2] == ["a|b|c|", "a|b|"]
    assert data.leaks == {"valid": split.Leak(documents=2, repeated=2)}
    given_text = corpus.from_text("x|a|", "valid", separator="|")
    assert _make("a|b|", given_text, separator="|").leaks["valid"] == split.Leak(2, 1)


def test_files_are_documents(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "two"), ("c", "one")):
        (tmp_path / name).write_text(text)
    data = dataset.make(corpus.read([tmp_path]), TextOptions(split="document", valid_fraction=0.3))
    assert data.documents["train"].tolist() == [0, 3]
    assert data.leaks["valid"] == split.Leak(1, 1)


@given(any_text, st.integers(1, 7), st.sampled_from(["char", "byte"]), st.floats(0, 0.9))
@example("é" * 50, 3, "byte", 0.5)
def test_files_in_chunks_of_any_size_give_the_same_ids(
    text: str, chunk: int, kind: str, fraction: float
) -> None:
    """Wherever blocks and parts are cut, the parts together are the text."""
    fraction = min(fraction, 0.85)
    folder = Path(os.environ["CHARRNN_DATASETS"])
    (folder / "text").write_bytes(text.encode())
    options = TextOptions(tokenizer=kind, valid_fraction=fraction, test_fraction=0.05 * fraction)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.sources.CHUNK", chunk)
        try:
            data = dataset.make(corpus.read([folder / "text"]), options)
        except CorpusError as error:
            message = str(error)
            assert "to train on" in message or "0 characters" in message
            return
        shutil.rmtree(data.folder)
    assert "".join(_texts(data)) == text.removeprefix("\ufeff")


def test_a_text_that_changed_between_its_readings_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("before")
    text = corpus.read([path])
    path.write_text("beyond")
    with pytest.raises(CorpusError, match="text changed since it was read first"):
        dataset.make(text)


def test_absurdly_many_characters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alphabet, "MAX_CHARACTERS", 5)
    assert _make("abcde").tokenizer.vocab_size == 5
    with pytest.raises(CorpusError, match=r"6 different characters.*`min_count`"):
        _make("abcdef")
    assert _make("abcdef", tokenizer="byte").tokenizer == ByteTokenizer()
    assert _make("aabcdef", min_count=2).tokenizer.vocab_size == 257


def test_another_text_is_encoded_with_a_given_tokenizer() -> None:
    with id_file.encoded(corpus.from_text("abba", separator="b"), CharTokenizer("ab")) as (
        ids,
        starts,
    ):
        assert starts.tolist() == [0, 2, 3]
        assert ids.tolist() == [0, 1, 1, 0]
    unknown = id_file.encoded(corpus.from_text("abc"), CharTokenizer("ab"))
    with pytest.raises(PromptError, match=r"'c' \(U\+0063\)"), unknown:
        pass


def test_stdin_is_copied_into_the_run_folder(tmp_path: Path) -> None:
    source = sources.copied("standard input", io.BytesIO(b"from a pipe"))
    read = corpus.survey("stdin", "standard input", Reader([source], Reading(), silent, "reading"))
    assert read.files == ("-",)
    files = dataset.make(read).source_files(tmp_path)
    assert files == {"corpus": ("corpus.txt",)}  # in the run's folder, which may be moved
    assert corpus.read([tmp_path / "corpus.txt"]).sha256 == read.sha256


def test_the_source_of_a_loaded_dataset_is_its_folder(tmp_path: Path) -> None:
    folder = dataset.make(corpus.from_text("abc"), folder=tmp_path / "new").folder
    assert dataset.load(folder).source_files(tmp_path) == {"corpus": (str(folder.resolve()),)}
    assert manifests.is_dataset(folder)
    assert not manifests.is_dataset(tmp_path)


def test_pieces_are_learned_from_the_training_part_only() -> None:
    text = "abcabcabc\n" * 40 + "xyzxyzxyz\n" * 40
    data = _make(text, tokenizer="sentencepiece", valid_fraction=0.5, vocab_size=300)
    assert isinstance(data.tokenizer, tokenizer.SentencePieceTokenizer)
    letters = b"".join(data.tokenizer.token_bytes[256:])
    assert b"abc" in letters
    assert b"x" not in letters
    assert "".join(_texts(data)) == text
    assert len(data.valid) > 3 * len(data.train)


def test_tiny_shakespeare_is_split_as_in_the_literature(corpora_folder: Path) -> None:
    text = corpus.read([corpora_folder / "tinyshakespeare.txt"])
    data = dataset.make(text)
    # nanoGPT's prepare.py prints: vocab size 65, train has 1,003,854 tokens, val has 111,540
    assert (data.tokenizer.vocab_size, len(data.train), len(data.valid)) == (65, 1003854, 111540)
    assert data.train.dtype == np.uint8
