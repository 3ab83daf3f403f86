"""What a process imports before it does anything, and that nothing else changes by it."""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANGS

from charrnn.cli.start_up import importing, load_torch_library

# Trains through the command line; says what it imported, and whether the rest can be imported then.
TRAIN = """
import json, sys
from charrnn.__main__ import main
sys.argv[0] = "charrnn"
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
names = "torch", "torch._meta_registrations", "torch._dynamo", "charrnn.generator", "numba"
imported = [name for name in names if name in sys.modules]
import torch
shape = torch.ones(2, 3, device="meta") @ torch.ones(3, 4, device="meta")
from torch import _meta_registrations
print(json.dumps([imported, list(shape.shape), hasattr(_meta_registrations, "meta_mm")]))
"""


def test_garbage_is_searched_again_after_importing() -> None:
    with importing():
        inside = gc.isenabled()
    assert not inside
    assert gc.isenabled()
    with contextlib.suppress(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_training_imports_only_what_it_needs(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 200)
    words = ["train", str(text), "--steps", "1", "--num-layers", "1", "--hidden-size", "8"]
    words += ["--backend", "reference", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *words], capture_output=True, text=True, timeout=HANGS
    )
    assert not done.returncode, done.stderr
    imported, shape, complete = json.loads(done.stdout.splitlines()[-1])
    assert imported == ["torch"]
    assert shape == [2, 4]
    assert complete  # what was left out is there for who asks for it


def test_a_missing_or_broken_torch_is_left_to_the_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "torch" / "lib" / "libtorch_cpu.so"
    library.parent.mkdir(parents=True)
    library.write_text("no library")
    (tmp_path / "torch" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    load_torch_library()
    library.unlink()
    load_torch_library()
