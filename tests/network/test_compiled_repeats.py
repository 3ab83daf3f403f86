"""What is compiled in a process computes the same bits as what is loaded from the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from waiting import HANGS

from charrnn.compiler import cache
from charrnn.network import weight_gradients

TRAIN = "--steps 6 --hidden-size 16 --batch-size 8 --seq-len 24 --cell lstm-sigmoid --threads 1"
TRAIN += " --precision float32"  # one kind of products, as each takes seconds to compile


def test_the_run_that_compiles_gives_the_model_of_those_after_it(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the harbour lay still and dark. " * 100)
    # All but the cell's own functions, which call others that are compiled apart, is there.
    assert weight_gradients.__name__  # it declares functions
    cache.compile_declared()
    kept = tmp_path / "cache" / "charrnn" / "kernels" / cache.folder().name
    kept.mkdir(parents=True)
    given = [shutil.copy(path, kept) for path in cache.folder().glob("charrnn.*.o")]
    environment = os.environ | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }

    def trained(out: str) -> str:
        words = ("train", "text.txt", "--out", out, *TRAIN.split(), "--backend", "scaffold")
        subprocess.run(
            [sys.executable, "-m", "charrnn", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=True,
            timeout=HANGS,
        )
        return hashlib.sha256((tmp_path / out / "model.safetensors").read_bytes()).hexdigest()

    compiled, loaded = trained("compiled"), trained("loaded")
    assert len([*kept.glob("*.o")]) > len(given)
    assert compiled == loaded
