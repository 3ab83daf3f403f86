"""Checkpoints on disk: what is incomplete, damaged or foreign is never used."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_json
from damage import truncations
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import ModelConfig, TrainConfig, TrainOptions, to_json
from charrnn.errors import CharRNNError, ModelError, RunError
from charrnn.model import parameters
from charrnn.run_dir import RunDir, checkpoints
from charrnn.run_dir.checkpoints import Checkpoint, Found
from charrnn.training.run_description import Record

CONFIG = ModelConfig(vocab_size=5, hidden_size=4, embedding_size=3)
BATCH_SIZE = 2
ReportTrials = Callable[[str, int], None]
FILES = ("manifest.json", "state.json", "tensors.safetensors", "metrics.jsonl")


def _arrays(**more: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for name, shape in parameters.shapes(CONFIG).items():
        for kind in ("weights.", "best.", "optimizer."):
            slot = ".exp_avg" if kind == "optimizer." else ""
            arrays[f"{kind}{name}{slot}"] = np.full(shape, 0.5, np.float32)
        arrays[f"optimizer.{name}.step"] = np.array(3, np.float32)
    for part in ("h", "c"):
        arrays[f"state.0.{part}"] = np.zeros((BATCH_SIZE, 4), np.float32)
    arrays |= {"rng.cpu": np.arange(9, dtype=np.uint8), "losses": np.ones(2, np.float32)}
    arrays |= {"norms": np.ones(2, np.float64), "durations": np.ones(3, np.float32)}
    return arrays | more


STATE = {
    "run": {
        "corpus": {"sha256": {"corpus": "0" * 64}, "train_characters": 9, "valid_characters": 1},
        "model": to_json(CONFIG),
        "train": to_json(TrainConfig(steps=9, batch_size=BATCH_SIZE)),
    },
    "options": to_json(TrainOptions(steps=9)),
    "planned": {"characters": 9.0, "reason": "as asked"},
    "tokenizer": "0" * 64,
    "machine": {"threads": 1},
    "seconds": 1.0,
    "fraction": 0.5,
    "reserve": 0.0,
    "trainer": {"step": 3, "seconds": 1.0},
}


def _made(step: int = 3, **more: Any) -> Checkpoint:
    return Checkpoint(step, STATE, _arrays(**more), b'{"step": 1}\n')


def _found(run_dir: Path) -> list[Found | ModelError]:
    return list(checkpoints.found(RunDir(run_dir)))


def _read(found: Found | ModelError) -> dict[str, Any]:
    """Read everything that a resumed training reads."""
    if isinstance(found, ModelError):
        raise found
    Record.parse(found.state, "it")
    return found.arrays(CONFIG, BATCH_SIZE)


def _rewritten(folder: Path, name: str, data: bytes) -> None:
    """Replace a file's content and its manifest entry, as an attacker would."""
    (folder / name).write_bytes(data)
    manifest = strict_json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    checkpoints.save(RunDir(tmp_path), _made())
    return tmp_path


@pytest.fixture
def folder(run_dir: Path) -> Path:
    return run_dir / "checkpoints" / "3"


def test_a_checkpoint_is_read_back(run_dir: Path) -> None:
    (found,) = _found(run_dir)
    assert isinstance(found, Found)
    assert found.metrics == b'{"step": 1}\n'
    assert found.state == {"format": 1, **json.loads(json.dumps(STATE))}
    arrays, made = _read(found), _arrays()
    assert arrays.keys() == made.keys()
    for name, value in made.items():
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape)
        assert arrays[name].tobytes() == value.tobytes()


def test_the_newest_three_are_kept_and_the_latest_is_named(tmp_path: Path) -> None:
    for step in (3, 20, 100, 9, 1000):
        checkpoints.save(RunDir(tmp_path), _made(step))
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"1000", "100", "20"}
    assert (tmp_path / "latest").read_text() == "1000\n"
    assert [f.folder.name for f in _found(tmp_path) if isinstance(f, Found)] == [
        "1000",
        "100",
        "20",
    ]


def test_only_files_that_charrnn_wrote_are_removed(run_dir: Path, folder: Path) -> None:
    inside = run_dir / "checkpoints"
    elsewhere = run_dir / "elsewhere"
    shutil.copytree(folder, elsewhere)
    (inside / "1").symlink_to(elsewhere)
    (inside / "mine").mkdir()
    (inside / "01").mkdir()
    (inside / "7").write_text("a file")
    (folder / "notes.txt").write_text("mine")
    (inside / ".4.99.tmp").mkdir()
    (inside / ".4.99.tmp" / "state.json").write_text("half")
    (inside / ".mine.tmp").mkdir()
    for step in (11, 12, 13, 14):
        checkpoints.save(RunDir(run_dir), _made(step))
    checkpoints.clear(RunDir(run_dir))
    left = {path.relative_to(inside).as_posix() for path in inside.rglob("*")}
    assert left == {"1", "mine", "01", "7", "3", "3/notes.txt", ".mine.tmp"}
    assert {path.name for path in elsewhere.iterdir()} == set(FILES)
    assert (
        not RunDir(run_dir).checkpoint_steps()
        or [f for f in _found(run_dir) if isinstance(f, Found)] == []
    )


def test_checkpoints_that_are_a_link_are_neither_read_nor_written(
    tmp_path: Path, run_dir: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "checkpoints").symlink_to(run_dir / "checkpoints")
    (error,) = _found(other)
    assert "is a link" in str(error)
    with pytest.raises(RunError, match="is a link"):
        checkpoints.save(RunDir(other), _made(9))
    checkpoints.clear(RunDir(other))
    assert len(_found(run_dir)) == 1


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_links_or_folders_are_refused(folder: Path, name: str) -> None:
    path = folder / name
    path.rename(folder.parent.parent / "moved")
    path.symlink_to(folder.parent.parent / "moved")
    with pytest.raises(ModelError, match="not a plain file"):
        _read(_found(folder.parents[1])[0])
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError, match="not a plain file"):
        _read(_found(folder.parents[1])[0])
    path.rmdir()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        _read(_found(folder.parents[1])[0])


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere_is_refused(
    folder: Path, name: str, report_trials: ReportTrials
) -> None:
    """After each byte of the manifest, which tells the sizes of the others; those at every 1/64."""
    data = (folder / name).read_bytes().rstrip(b"\n")
    contents = list(truncations(data))[:: 1 if name == FILES[0] else -(-len(data) // 64)]
    report_trials("a file of a checkpoint truncated", len(contents))
    for content in contents:
        (folder / name).write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            _read(_found(folder.parents[1])[0])


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_detected(folder: Path, name: str, report_trials: ReportTrials) -> None:
    """Flip one bit at every 1/64 of its length."""
    report_trials("a bit flipped at every 1/64 of a file of a checkpoint", 64)
    data = (folder / name).read_bytes()
    before = _read(_found(folder.parents[1])[0])
    for part in range(64):
        turned = bytearray(data)
        turned[len(data) * part // 64] ^= 1 << part % 8
        (folder / name).write_bytes(turned)
        try:
            arrays = _read(_found(folder.parents[1])[0])
        except ModelError:
            continue
        assert name == "manifest.json"  # of which a bit may not matter, as in a space
        assert {n: v.tobytes() for n, v in arrays.items()} == {
            n: v.tobytes() for n, v in before.items()
        }


def test_a_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    manifest = strict_json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(ModelError, match="has format 2, this charrnn reads up to 1: upgrade"):
        _read(_found(folder.parents[1])[0])


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"state.json": 3},
        {"../state.json": {"bytes": 1, "sha256": ""}},
        {"/etc/passwd": {"bytes": 1, "sha256": ""}},
        {name: {"bytes": "x", "sha256": 3} for name in FILES[1:]},
        dict.fromkeys(FILES[1:]),
    ],
)
def test_a_manifest_that_names_other_files_is_refused(folder: Path, parts: Any) -> None:
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": parts}))
    with pytest.raises(ModelError, match=r"is damaged: it (does not name|has no entry)"):
        _read(_found(folder.parents[1])[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights.embedding", None),
        ("weights.embedding", np.zeros((6, 4), np.float32)),
        ("weights.embedding", np.zeros((6, 3), np.float64)),
        ("weights.surprise", np.zeros(3, np.float32)),
        ("best.output.bias", None),
        ("optimizer.output.bias.exp_avg", np.zeros(6, np.float32)),
        ("optimizer.nothing.exp_avg", np.zeros(5, np.float32)),
        ("optimizer.output.bias.__class__.x", np.zeros(5, np.float32)),
        ("state.0.h", np.zeros((3, 4), np.float32)),
        ("state.1.h", np.zeros((2, 4), np.float32)),
        ("rng.cpu", np.zeros(2**16 + 1, np.uint8)),
        ("rng.cpu", np.zeros((2, 2), np.uint8)),
        ("losses", np.zeros(2, np.float64)),
        ("norms", None),
    ],
)
def test_tensors_of_another_training_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    arrays = _arrays() | {name: value}
    if value is None:
        del arrays[name]
    checkpoints.save(RunDir(tmp_path), Checkpoint(3, STATE, arrays, b""))
    (found,) = _found(tmp_path)
    with pytest.raises(ModelError, match=r"tensors.safetensors is damaged"):
        _read(found)


@pytest.mark.parametrize("key", [*STATE, "run.model", "run.train", "run.corpus", "trainer.step"])
@pytest.mark.parametrize("value", [None, "x", [1], -1.5, {"a": 1}, "missing"])
def test_a_state_with_a_wrong_part_is_refused_or_read(folder: Path, key: str, value: Any) -> None:
    """Raise only charrnn's errors, and read only values that may be anything."""
    state = strict_json.loads((folder / "state.json").read_text())
    outer, _, inner = key.rpartition(".")
    part = state[outer] if outer else state
    if value == "missing":
        del part[inner or outer]
    else:
        part[inner or outer] = value
    _rewritten(folder, "state.json", json.dumps(state).encode())
    try:
        _read(_found(folder.parents[1])[0])
    except ModelError:
        return
    assert (key, value) in [
        ("tokenizer", value),
        ("seconds", -1.5),
        ("fraction", -1.5),
        ("reserve", -1.5),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"seq_len": None},
        {"seq_len": "full"},
        {"batch_size": 0},
        {"batch_size": 2**40},
        {"learning_rate": "fast"},
        {"learning_rate": float("nan")},
        {"dropout": None},
        {"steps": 1.5},
        {"surprise": 1},
    ],
)
def test_an_impossible_training_is_refused(folder: Path, change: dict[str, Any]) -> None:
    state = strict_json.loads((folder / "state.json").read_text())
    state["run"]["train"] |= change
    _rewritten(folder, "state.json", json.dumps(state).encode())
    with pytest.raises(ModelError):
        _read(_found(folder.parents[1])[0])


def test_nothing_is_allocated_for_what_a_header_claims(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claim a tensor of sixteen terabytes in a file of a few kilobytes."""
    data = (folder / "tensors.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = strict_json.loads(data[8:start])
    header["durations"] |= {"shape": [2**42], "data_offsets": [0, 2**44]}
    text = json.dumps(header).encode()
    forged = len(text).to_bytes(8, "little") + text + data[start:]
    _rewritten(folder, "tensors.safetensors", forged)
    (found,) = _found(folder.parents[1])

    def refuse(*given: object) -> None:
        raise AssertionError("tensors were read")

    monkeypatch.setattr("safetensors.numpy.load", refuse)
    with pytest.raises(ModelError, match="damaged"):
        _read(found)


# A disk that fails

CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir")


def failing(
    monkeypatch: pytest.MonkeyPatch, call: str, at: int, error: int, under: Path
) -> list[int]:
    """Let the `at`-th call of a kind below a folder fail; count the calls in the returned list."""
    real: Callable[..., Any] = getattr(os, call)
    count = [0]

    def concerned(target: Any) -> bool:
        if isinstance(target, int):
            target = Path(f"/proc/self/fd/{target}").readlink()
        return str(target).startswith(str(under))

    def call_or_fail(target: Any, *more: Any, **named: Any) -> Any:
        if concerned(target):
            count[0] += 1
            if count[0] == at:
                raise OSError(error, os.strerror(error), str(target))
        return real(target, *more, **named)

    monkeypatch.setattr(os, call, call_or_fail)
    return count


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="a file's name by its number")
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", CALLS)
def test_a_failed_write_leaves_earlier_checkpoints_alone(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    said: list[str] = []
    for at in range(1, 30):
        with monkeypatch.context() as patched:
            count = failing(patched, call, at, error, run_dir)
            try:
                checkpoints.save(RunDir(run_dir), _made(4))
            except RunError as failure:
                said.append(str(failure))
        good = [found for found in _found(run_dir) if isinstance(found, Found)]
        assert good[-1].folder.name == "3"  # it is unchanged
        for found in good:
            _read(found)
        checkpoints.tidy(RunDir(run_dir))
        names = {path.name for path in (run_dir / "checkpoints").iterdir()}
        assert names <= {"3", "4"}
        if count[0] < at:
            break
        checkpoints.save(RunDir(run_dir), _made(4))  # the next time it can be
        shutil.rmtree(run_dir / "checkpoints" / "4")
    assert at > 1
    assert all(os.strerror(error) in sentence for sentence in said)
    assert said


def test_short_writes_are_completed(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:97]))
    checkpoints.save(RunDir(run_dir), _made(4))
    assert [len(_read(found)) for found in _found(run_dir)] == [len(_arrays())] * 2


def test_a_checkpoint_is_verified_after_writing(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretend to write."""
    write = os.write
    lost = iter([1, 1, 0])

    def lying(file: int, data: Any) -> int:
        return len(data) if next(lost, 1) == 0 else write(file, data)

    monkeypatch.setattr(os, "write", lying)
    with pytest.raises(RunError, match="the checkpoint failed verification after writing"):
        checkpoints.save(RunDir(run_dir), _made(4))
    assert (run_dir / "latest").read_text() == "3\n"


# Any bytes at all

junk = st.one_of(
    st.binary(max_size=300),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzzed")
    checkpoints.save(RunDir(folder), _made())
    return folder


@given(name=st.sampled_from(FILES), data=junk)
def test_any_file_is_read_or_refused(target: Path, name: str, data: bytes) -> None:
    folder = target / "checkpoints" / "3"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    try:
        if name == "manifest.json":
            (folder / name).write_bytes(data)
        else:
            _rewritten(folder, name, data)
        with contextlib.suppress(CharRNNError):
            _read(_found(target)[0])
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@given(part=st.sampled_from(["run", "options", "trainer", "machine", "planned"]), data=st.data())
def test_any_state_is_read_or_refused(part: str, data: st.DataObject) -> None:
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    state = json.loads(json.dumps(STATE))
    inside = state[part]
    key = data.draw(st.sampled_from(sorted(inside)))
    if isinstance(inside[key], dict):
        inside, key = inside[key], data.draw(st.sampled_from(sorted(inside[key])))
    inside[key] = data.draw(values)
    with contextlib.suppress(CharRNNError):
        Record.parse(state, "it")
