from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import strict_json
from damage import flips, truncations
from hypothesis import example, given
from hypothesis import strategies as st
from waiting import HANGS

import charrnn
from charrnn.config import TextOptions, to_json
from charrnn.errors import CorpusError, ModelError, OptionError
from charrnn.inspection import novelty, text_index
from charrnn.inspection.text_index import Index
from charrnn.model import model_file
from charrnn.model.model_file import Model
from charrnn.storage import cache_dir
from charrnn.text import corpus

# Characters of one to four bytes, two of which begin with the same three.
texts = st.text("ab\n\r\x85\u2028é日🙂🙃", max_size=40)


def naive(text: str, sample: str, min_run: int) -> tuple[int, int, float]:
    """Return by definition the longest run, its position in the sample and the copied share."""
    runs = [
        max((n for n in range(len(sample) - i + 1) if sample[i : i + n] in text), default=0)
        for i in range(len(sample))
    ]
    covered = {at for i, run in enumerate(runs) if run >= min_run for at in range(i, i + run)}
    longest = max(runs, default=0)
    where = runs.index(longest) if runs else 0
    return longest, where, len(covered) / max(len(sample), 1)


@given(texts, texts, st.integers(1, 6), st.integers(1, 50))
@example("", "", 1, 1)
@example("", "a", 1, 9)
@example("ab", "abababab", 2, 9)
def test_equals_its_definition_for_any_block_size(
    text: str, sample: str, min_run: int, block: int
) -> None:
    found = Index.of(text, block, overlap=200).compare(sample, min_run)
    longest, where, share = naive(text, sample, min_run)
    assert (found.longest_run, found.sample_offset) == (longest, where)
    assert found.copied_share == pytest.approx(share)
    assert found.run == sample[where : where + longest]
    assert found.min_run == min_run
    if not longest:
        assert (found.corpus_offset, found.corpus_line) == (None, None)
        return
    assert found.corpus_offset is not None
    assert text[found.corpus_offset : found.corpus_offset + longest] == found.run
    before = text[: found.corpus_offset]
    ended = len(re.findall("\r\n|[\n\r\x85\u2028]", before))
    between = before.endswith("\r") and found.run.startswith("\n")  # the CR does not end a line
    assert found.corpus_line == 1 + ended - between


@given(texts, texts, st.integers(1, 20), st.integers(0, 8))
def test_runs_longer_than_the_overlap_are_found_up_to_it(
    text: str, sample: str, block: int, overlap: int
) -> None:
    found = Index.of(text, block, overlap).compare(sample)
    longest, _, _ = naive(text, sample, 20)
    assert found.longest_run <= longest
    assert len(found.run.encode()) >= min(len(sample[:longest].encode()) and 1, overlap)
    if found.longest_run < longest:
        assert len(found.run.encode()) + 3 >= overlap
    assert found.run in text


def test_all_fields_of_the_result() -> None:
    text = "The cat is home.\nThe dog is near the sea.\n"
    found = Index.of(text).compare("A dog is near the cat is home?", min_run=10)
    assert asdict(found) == {
        "longest_run": 17,
        "run": " dog is near the ",
        "sample_offset": 1,
        "corpus_offset": 20,
        "corpus_line": 2,
        "min_run": 10,
        # " dog is near the " and "he cat is home": all but the "A" and the "?"
        "copied_share": pytest.approx(28 / 30),
        "entry": None,
    }


def test_a_sample_may_be_longer_than_the_text() -> None:
    found = Index.of("abc").compare("abc" * 1000, min_run=3)
    assert (found.longest_run, found.copied_share) == (3, 1.0)


def test_a_lone_surrogate_matches_nothing() -> None:
    assert Index.of("abc").compare("a\udcffb").longest_run == 1


@pytest.mark.parametrize("block", [4, 1000])
def test_entries_of_a_list_are_known(block: int) -> None:
    index = Index.of("anna\nbob\njoanna\nbob\ncarla", block)
    assert index.compare("bob").entry is None
    assert not index.is_new("oann")
    assert index.is_new("oanns")
    index.separator = "\n"
    known = {"anna": 0, "bob": 5, "joanna": 9, "carla": 20}
    for name, offset in known.items():
        found = index.compare(name)
        assert (found.entry, found.longest_run) == (True, len(name))
        assert found.corpus_offset in (offset, 16 if name == "bob" else offset)
        assert not index.is_new(name)
        assert not index.is_new(f"{name}\n")
    for name in ("nna", "ann", "joan", "arla", "car", "bob\njoanna\nx"):
        assert index.compare(name).entry is False
        assert index.is_new(name)
    assert not index.is_new("")


def test_min_run_must_be_at_least_one() -> None:
    with pytest.raises(OptionError, match="min_run must be 1 or more, not 0"):
        Index.of("abc").compare("abc", min_run=0)


LINES = [f"{n} was the best of times,\nit was the worst of times.\n" for n in range(30)]
TEXT = "".join(LINES)
TRAINED = 1000  # characters; the rest is held out


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of indexes, empty for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: folder / name)
    return folder / "charrnn" / "novelty"


@pytest.fixture
def run(tmp_path: Path, tiny_model: Model, cache: Path) -> Path:
    """Return the folder of a run on `TEXT` with its last part held out."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT, "utf-8", newline="")
    read = corpus.read([text])
    described = {
        "name": "text",
        "sha256": {"corpus": read.sha256},
        "train_characters": TRAINED,
        "valid_characters": len(TEXT) - TRAINED,
    }
    folder = tmp_path / "run"
    folder.mkdir()
    model = replace(tiny_model, training={"corpus": described})
    model_file.save(folder / model_file.MODEL_NAME, model)
    options = TextOptions(valid_fraction=1 - (TRAINED + 0.5) / len(TEXT))
    fields = {
        "corpus": described,
        "files": [str(text)],
        "valid_files": [],
        "test_files": [],
        "text": to_json(options),
    }
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {"items": "lines"},
        {"split": "hash", "document_separator": "\n", "valid_fraction": 0.3},
        {"split": "document", "document_separator": "\n"},
        {"split": "position", "newline": "lf"},
    ],
    ids=str,
)
def test_a_text_that_has_moved_is_read_and_split_as_it_was(
    options: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    lines = [f"entry number {n * n}\n" for n in range(40)]
    text, moved = tmp_path / "list.txt", tmp_path / "moved.txt"
    text.write_text("".join(lines), "utf-8", newline="")
    small = {"hidden_size": 4, "num_layers": 1, "backend": "library", "cell": "lstm", "steps": 1}
    run = tmp_path / "run"
    charrnn.train(text, out=run, batch_size=2, seq_len=4, **small, **options)
    expected = novelty.for_model(run)
    known = [line.strip() for line in lines if not expected.is_new(line)]
    assert 0 < len(known) < 40
    shutil.rmtree(cache)
    text.rename(moved)
    with pytest.raises(CorpusError, match="name it with `training_text`"):
        novelty.for_model(run)
    index = novelty.for_model(run, training_text=[moved])
    assert [line.strip() for line in lines if not index.is_new(line)] == known
    shutil.rmtree(cache)
    (run / "config.json").unlink()
    if options.get("valid_fraction"):
        with pytest.raises(CorpusError, match=r"keep config\.json beside the model"):
            novelty.for_model(run, training_text=[moved])
        return
    index = novelty.for_model(run, training_text=[moved])
    assert [line.strip() for line in lines if not index.is_new(line)] == known


def opened(run: Path) -> tuple[Index, list[str]]:
    """Return the index of a run, and the notices."""
    notices: list[str] = []
    return novelty.for_model(run, notices.append), notices


def works(index: Index) -> bool:
    run = "the worst of times.\n12 was the best"
    found = index.compare(f"xx {run}é")
    return (found.run, found.corpus_offset, found.corpus_line) == (
        f" {run}",
        TEXT.index(f" {run}"),
        24,
    )


def test_an_index_is_built_once_and_then_mapped(run: Path, cache: Path, tmp_path: Path) -> None:
    index, notices = opened(run)
    assert works(index)
    assert notices == ["novelty: indexing 1,000 characters, once"]
    (kept,) = cache.iterdir()
    assert kept.stat().st_size < 5 * TRAINED + 200
    # From now on neither the text nor the run folder is needed.
    (tmp_path / "text.txt").unlink()
    alone = shutil.copy(run / model_file.MODEL_NAME, tmp_path / "alone.safetensors")
    index, notices = opened(Path(alone))
    assert works(index)
    assert notices == []
    assert not index._text.flags.writeable
    assert not index._text.flags.owndata


def test_the_held_out_text_is_not_in_the_index(run: Path) -> None:
    index, _ = opened(run)
    assert index.compare(TEXT[:TRAINED]).longest_run == TRAINED
    assert index.compare(TEXT[5 : TRAINED + 10]).longest_run == TRAINED - 5


def test_an_index_of_several_blocks_equals_one_of_a_single_block(
    run: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(novelty, "BLOCK", 64)
    index, notices = opened(run)
    assert len(index._blocks) == 16
    assert works(index)
    assert notices[1:] == [f"novelty: {n / 16:.0%} of the index built" for n in (3, 6, 9, 12, 15)]
    whole = Index.of(TEXT[:TRAINED])
    for sample in (TEXT[300:700], "it was the cat", "é"):
        ours, theirs = index.compare(sample), whole.compare(sample)
        assert (ours.longest_run, ours.run) == (theirs.longest_run, theirs.run)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a few bytes": lambda data: data[:11],
    "truncated": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"\0",
    "another program's": lambda data: b"\x93NUMPY" + bytes(len(data)),
    **{
        f"a bit at {part}": lambda data, part=part: _flipped(data, int(part * len(data)))
        for part in (0, 0.01, 0.3, 0.6, 0.9, 0.9999)
    },
}


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_rebuilt(damage: str, run: Path, cache: Path) -> None:
    opened(run)
    (kept,) = cache.iterdir()
    good = kept.read_bytes()
    kept.unlink()  # a mapped file must not change
    kept.write_bytes(DAMAGES[damage](good))
    index, notices = opened(run)
    assert works(index)
    assert str(kept) in notices[0]
    assert "damaged" in notices[0]
    assert kept.read_bytes() == good


def test_an_index_that_is_cut_off_or_has_a_flipped_bit_anywhere_is_not_read(
    run: Path, cache: Path
) -> None:
    opened(run)
    (kept,) = cache.iterdir()
    data = kept.read_bytes()
    for content in chain(truncations(data), flips(data)):
        assert novelty._read(np.array(bytearray(content), np.uint8), kept.name) is None


def test_an_index_of_another_text_or_version_is_rebuilt(
    run: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(run)
    (kept,) = cache.iterdir()
    monkeypatch.setattr(novelty, "FORMAT_VERSION", 99)
    assert "another version" in opened(run)[1][0]
    assert opened(run)[1] == []
    novelty._write(kept.with_name("other.index"), novelty.encoded("other"), print)
    kept.with_name("other.index").replace(kept)
    index, notices = opened(run)
    assert works(index)
    assert len(notices) == 2


def test_a_folder_in_place_of_the_index_is_ignored(run: Path, cache: Path) -> None:
    opened(run)
    (kept,) = cache.iterdir()
    kept.unlink()
    kept.mkdir()
    index, notices = opened(run)
    assert works(index)
    assert "the index will not be saved" in notices[-1]


def test_a_full_disk_is_reported_before_sorting(
    run: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(run)
    monkeypatch.setattr(cache_dir, "ROOM", 0)  # enough for a folder, not for an index
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4999))
    index, notices = opened(run)
    assert works(index)
    assert "0.0 GB are needed and 0.0 GB free" in notices[-1]
    assert list(cache.iterdir()) == []


def test_an_interruption_leaves_no_file(
    run: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(text: Any, block: int, overlap: int) -> Any:
        yield text_index.suffix_order(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(novelty, "orders_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(run)
    assert list(cache.iterdir()) == []


def test_files_of_killed_processes_are_removed_after_a_day(run: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    old, new = cache / "index-old.tmp", cache / "index-new.tmp"
    for left in (old, new):
        left.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    opened(run)
    assert not old.exists()
    assert new.exists()


def test_two_processes_may_build_an_index_at_once(run: Path, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, platformdirs\n"
        "platformdirs.user_cache_path = lambda name: pathlib.Path(sys.argv[2]) / name\n"
        "from charrnn.inspection import novelty\n"
        "index = novelty.for_model(sys.argv[1])\n"
        "print(index.compare('the worst of times').longest_run)\n"
    )
    command = [sys.executable, "-c", script, str(run), str(tmp_path / "shared")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=HANGS)[0].strip() for process in both] == [b"18", b"18"]
    (kept,) = (tmp_path / "shared" / "charrnn" / "novelty").iterdir()
    assert kept.suffix == ".index"


def _lose(run: Path, how: str) -> None:
    config = run / "config.json"
    fields = strict_json.loads(config.read_text())
    if how == "config":
        config.unlink()
    elif how == "damaged":
        config.write_text("[1")
    elif how == "stdin":
        config.write_text(json.dumps(fields | {"files": ["-"]}))
    elif how == "text":
        Path(fields["files"][0]).unlink()
    else:
        Path(fields["files"][0]).write_text("something else")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("config", "no config.json beside the model"),
        ("damaged", "is damaged"),
        ("stdin", "standard input"),
        ("text", "does not exist"),
        ("changed", "changed since the training"),
    ],
)
def test_a_missing_training_text_is_an_error(how: str, words: str, run: Path, cache: Path) -> None:
    _lose(run, how)
    with pytest.raises(CorpusError, match=f"is not available: .*{words}"):
        opened(run)
    assert not list(cache.glob("*"))


def test_a_model_without_a_training_text_is_an_error(tmp_path: Path, tiny_model: Model) -> None:
    path = tmp_path / "model.safetensors"
    model_file.save(path, tiny_model)
    with pytest.raises(CorpusError, match="does not say what text it was trained on"):
        opened(path)
    with pytest.raises(ModelError, match="does not exist"):
        opened(tmp_path / "none")
