"""Checkpoints of a training: folders ``checkpoints/STEP``, each complete and verified or ignored.

A checkpoint is written into a hidden folder first: the state (JSON), the tensors (safetensors), the
metrics so far, and last a manifest with the size and SHA-256 of each. Every file is synced; then
one rename gives the folder its name. A folder with a name and a manifest that verifies is therefore
complete, and no other folder is used. Nothing in it can be executed. When a checkpoint is due,
`charrnn.training.checkpoint_schedule` decides.

    weights.NAME, best.NAME     parameters as in the model file; best on the validation text
    optimizer.NAME.SLOT         the optimizer's state for a parameter
    state.LAYER.PART            the carried recurrent state (B, H), as `ModelConfig.state_sizes`
    rng.cpu, rng.cuda           torch's random generators
    losses, norms               of the steps since the last report
    durations                   of all steps
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.cells import find
from charrnn.config import ModelConfig
from charrnn.errors import ModelError, RunError
from charrnn.model import parameters
from charrnn.run_dir.folder import RunDir
from charrnn.storage import files, tensors
from charrnn.storage.files import Block
from charrnn.storage.format_version import check_format
from charrnn.storage.tensors import Arrays, Header, Spec

FORMAT_VERSION = 1
KEPT = 3  # of the newest checkpoints; each contains the best weights so far
MANIFEST, STATE, TENSORS, METRICS = (
    "manifest.json",
    "state.json",
    "tensors.safetensors",
    "metrics.jsonl",
)
_PARTS = (STATE, TENSORS, METRICS)
_MAX_BYTES = {MANIFEST: 2**16, STATE: 2**24, METRICS: 2**28}
_UNFINISHED = re.compile(r"\.[0-9]{1,16}\.[0-9]{1,10}\.(?:old\.)?tmp")
_OPTIMIZER = re.compile(r"optimizer\.(.+)\.([a-z_]{1,32})")
_GENERATOR_BYTES = 2**16
_SHARED = "output.bias"  # by the networks of an ensemble, until 30 November 2026


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the rest of a training depends on.

    Attributes:
        step: updates made.
        state: everything but tensors, as plain JSON.
        arrays: the tensors by name.
        metrics: the metrics file so far.
    """

    step: int
    state: Mapping[str, Any]
    arrays: Arrays
    metrics: bytes


def save(run_dir: RunDir, made: Checkpoint) -> None:
    """Write a checkpoint, name it the latest, and remove all but the newest `KEPT`.

    Raises:
        RunError: it could not be written; the earlier ones are unchanged.
    """
    folder = run_dir.checkpoints
    try:
        folder.mkdir(exist_ok=True)
        if folder.is_symlink():
            raise RunError(f"{folder} is a link: charrnn writes into its own folders only")
        _write(folder, made)
        verify(folder / str(made.step))
    except OSError as error:
        raise RunError(
            f"{folder / str(made.step)} could not be written: {error.strerror}"
        ) from error
    except ModelError as error:
        raise RunError(
            f"the checkpoint failed verification after writing: {error.message}"
        ) from error
    files.write_atomically(run_dir.latest, f"{made.step}\n".encode())
    for old in run_dir.checkpoint_steps()[KEPT:]:
        _remove(folder / str(old))


def _write(folder: Path, made: Checkpoint) -> None:
    """Write all files into a hidden folder, then rename it."""
    content: dict[str, Sequence[Block]] = {
        STATE: [files.to_json({"format": FORMAT_VERSION, **made.state})],
        TENSORS: tensors.blocks(made.arrays),
        METRICS: [made.metrics],
    }
    described = {name: _described(blocks) for name, blocks in content.items()}
    content[MANIFEST] = [files.to_json({"format": FORMAT_VERSION, "files": described})]
    aside = folder / f".{made.step}.{os.getpid()}.tmp"
    before = folder / f".{made.step}.{os.getpid()}.old.tmp"
    final = folder / str(made.step)
    try:
        _remove(aside)
        aside.mkdir()
        for name, blocks in content.items():
            files.write(aside / name, blocks)
        files.sync_folder(aside)
        if final.exists():  # it is of this step and could not be read
            final.rename(before)
        aside.rename(final)
        files.sync_folder(folder)
    finally:
        _remove(aside)
        _remove(before)


def _described(blocks: Sequence[Block]) -> dict[str, Any]:
    """Return the size and the hash of a file of these blocks, for the manifest."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return {"bytes": sum(map(len, blocks)), "sha256": digest.hexdigest()}


def _remove(folder: Path) -> None:
    """Remove a checkpoint's own files, and the folder if nothing else is in it."""
    if folder.is_symlink():
        return
    with contextlib.suppress(OSError):
        for name in (MANIFEST, *_PARTS):  # without its manifest the rest is ignored
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def clear(run_dir: RunDir) -> None:
    """Remove all checkpoints that charrnn wrote into a run's folder, unfinished ones too."""
    folder = run_dir.checkpoints
    tidy(run_dir)
    for step in run_dir.checkpoint_steps():
        _remove(folder / str(step))
    with contextlib.suppress(OSError):
        run_dir.latest.unlink(missing_ok=True)
        if not folder.is_symlink():
            folder.rmdir()


def tidy(run_dir: RunDir) -> None:
    """Remove unfinished checkpoints of a training that was killed; the folder must be locked."""
    folder = run_dir.checkpoints
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in list(os.scandir(folder)):
        if _UNFINISHED.fullmatch(entry.name):
            _remove(Path(entry.path))


@dataclass(frozen=True)
class Found:
    """A checkpoint whose files match its manifest; the tensors have not been read yet.

    Attributes:
        folder: its folder.
        state: everything but tensors.
        metrics: the metrics file so far.
    """

    folder: Path
    state: dict[str, Any]
    metrics: bytes

    def arrays(self, config: ModelConfig, batch_size: int) -> Arrays:
        """Read the tensors, which must be those of a training of this network.

        Raises:
            ModelError: they are not, or cannot be read.
        """
        path = self.folder / TENSORS

        def check(header: Header) -> None:
            tensors.expect(path, header, _specs(header, config, batch_size))

        try:
            return _as_now(config, tensors.read(path, check)[1])
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def found(run_dir: RunDir) -> Iterator[Found | ModelError]:
    """Yield the checkpoints, newest first: each verified, or the reason why it cannot be used."""
    folder = run_dir.checkpoints
    if folder.is_symlink():
        yield ModelError(f"{folder} is a link: charrnn reads checkpoints in the run's own folder")
        return
    for step in run_dir.checkpoint_steps():
        try:
            yield verify(folder / str(step))
        except ModelError as error:
            yield error


def verify(folder: Path) -> Found:
    """Check that all files exist and match the manifest.

    Raises:
        ModelError: one is missing or damaged.
    """
    manifest = folder / MANIFEST
    described = files.parse_json(files.read(manifest, _MAX_BYTES[MANIFEST]), str(manifest))
    check_format(described.get("format"), FORMAT_VERSION, manifest)
    parts = described.get("files")
    if not isinstance(parts, dict) or set(parts) != set(_PARTS):
        raise ModelError(f"{manifest} is damaged: it does not name the files of a checkpoint")
    small = {name: _check_file(folder / name, parts[name]) for name in _PARTS}
    state = files.parse_json(small[STATE], str(folder / STATE))
    check_format(state.get("format"), FORMAT_VERSION, folder / STATE)
    return Found(folder, state, small[METRICS])


def _check_file(path: Path, part: Any) -> bytes:
    """Check a file's size and hash and return its content; empty for the tensors."""
    wanted = (part.get("bytes"), part.get("sha256")) if isinstance(part, dict) else (None, None)
    if not isinstance(wanted[0], int) or not isinstance(wanted[1], str):
        raise ModelError(f"{path.parent / MANIFEST} is damaged: it has no entry for {path.name}")
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path} is damaged: it is not a plain file")
        if found.st_size != wanted[0]:
            raise ModelError(
                f"{path} is damaged: it has {found.st_size:,} bytes, not {wanted[0]:,}"
            )
        if path.name in _MAX_BYTES:
            data = files.read(path, _MAX_BYTES[path.name])
            digest = hashlib.sha256(data).hexdigest()
        else:
            data = b""
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if digest != wanted[1]:
        raise ModelError(f"{path} is damaged: its SHA-256 is not the one it was written with")
    return data


def _specs(header: Header, config: ModelConfig, batch_size: int) -> dict[str, Spec]:
    """Return the tensors of a checkpoint of this network, with the optional ones that it has."""
    names = [name.removeprefix("weights.") for name in header.entries]
    stored = parameters.as_stored(config, names)
    shapes = parameters.shapes(stored)
    specs = {f"weights.{name}": Spec("F32", shape) for name, shape in shapes.items()}
    if any(name.startswith("best.") for name in header.entries):
        specs |= {f"best.{name}": Spec("F32", shape) for name, shape in shapes.items()}
    sizes = () if config.encoder else config.state_sizes  # of pairs nothing is carried
    for layer, size in enumerate(sizes):
        for part in find(config.cell).states:
            specs[f"state.{layer}.{part}"] = Spec("F32", (batch_size, size))
    trained = parameters.shapes(config)
    if stored != config:
        trained |= {_SHARED: shapes[_SHARED]}
    for name, entry in header.entries.items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        slot = _OPTIMIZER.fullmatch(name)
        if slot and slot[1] in trained:
            specs[name] = Spec("F32", () if shape == [] else trained[slot[1]])
    for name, dtype in {
        "rng.cpu": "U8",
        "losses": "F32",
        "norms": "F64",
        "durations": "F32",
    }.items():
        specs[name] = Spec(dtype, _length(header, name))
    if "rng.cuda" in header.entries:
        specs["rng.cuda"] = Spec("U8", _length(header, "rng.cuda"))
    return specs


def _as_now(config: ModelConfig, arrays: Arrays) -> Arrays:
    """Return the tensors of a checkpoint with names and shapes that parameters have now."""
    if f"weights.{_SHARED}" not in arrays or config.ensemble == 1:
        return arrays
    found = dict(arrays)
    for prefix in ("weights.", "best."):
        stored = {name: found.pop(name) for name in arrays if name.startswith(prefix)}
        values = parameters.as_read(config, parameters.within(stored, prefix))
        found |= {prefix + name: value for name, value in values.items()}
    for name in [name for name in found if name.startswith(f"optimizer.{_SHARED}.")]:
        slot, value = name.removeprefix("optimizer."), found.pop(name)
        found |= {f"optimizer.{k}.{slot}": value for k in range(config.ensemble)}
    return found


def _length(header: Header, name: str) -> tuple[int, ...]:
    """Return the length of a list that the header claims, if it is possible."""
    entry = header.entries.get(name)
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) and shape[0] >= 0:
        most = _GENERATOR_BYTES if name.startswith("rng.") else header.size
        return (min(shape[0], most),)
    return (0,)
