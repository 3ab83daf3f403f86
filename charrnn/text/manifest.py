"""The manifest of a dataset: ``manifest.json``, with the hashes of all files and its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn.errors import ModelError
from charrnn.storage.files import json_text, load_json
from charrnn.storage.format_version import check_format

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
KIND = "charrnn dataset"
_MAX_BYTES = 2**27  # most of it is a tokenizer of pieces
_KEYS = {"kind", "format", "name", "sha256", "tokenizer", "split", "parts", "leaks", "notices"}
_KEYS |= {"reading", "rare_symbols"}  # which older manifests do not have
_OWN_HASH = "manifest_sha256"


def is_dataset(path: Path) -> bool:
    """Return whether a folder looks like a dataset."""
    try:
        with (path / MANIFEST).open(encoding="utf-8") as file:
            return f'"{KIND}"' in file.read(64)
    except (OSError, UnicodeDecodeError):
        return False


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a manifest with this content."""
    manifest = {"kind": KIND, "format": FORMAT_VERSION, **content}
    manifest[_OWN_HASH] = digest(manifest)
    (folder / MANIFEST).write_text(json_text(manifest) + "\n", "utf-8")


def read(folder: Path) -> dict[str, Any]:
    """Read and check a manifest.

    Raises:
        ModelError: it is damaged, or of a newer format.
        OSError: it cannot be read.
        ValueError, KeyError, TypeError, AttributeError: it is not a manifest.
    """
    if (folder / MANIFEST).stat().st_size > _MAX_BYTES:
        raise ModelError(f"{folder} is damaged: its {MANIFEST} is too large")
    manifest: dict[str, Any] = load_json((folder / MANIFEST).read_bytes())
    check_format(manifest["format"], FORMAT_VERSION, folder)
    # The first charrnn wrote manifests without their own hash.
    changed = _OWN_HASH in manifest and manifest[_OWN_HASH] != digest(manifest)
    if changed or manifest.keys() - {*_KEYS, _OWN_HASH}:
        raise ModelError(
            f"{folder} is damaged: its {MANIFEST} is not as it was written; make the dataset "
            "again with 'charrnn prepare'"
        )
    return manifest


def digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its own hash."""
    rest = {name: value for name, value in manifest.items() if name != _OWN_HASH}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
