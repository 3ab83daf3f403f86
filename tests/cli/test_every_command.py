"""Every command in the environments of containers, services and old terminals.

For each environment one process starts, which forks one for each command: the streams and the
locale are as Python makes them there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import HANGS

import charrnn
from charrnn.compiler import cache

from .conftest import BY_LIBRARY, Run, done

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are not forked there")
MODEL = ("-m", "model.safetensors")
SMALL = ("--steps", "2", "--hidden-size", "8", *BY_LIBRARY)
COMMANDS = {  # whether each writes to stdout, which holds nothing else
    ("train", "text.txt", *SMALL, "--out", "run"): False,
    ("train", "text.txt", *SMALL, "--out", "other", "--json"): True,
    ("prepare", "text.txt", "--out", "dataset"): True,
    ("sample", *MODEL, "--length", "9", "--seed", "1"): True,
    ("greedy", *MODEL, "--length", "9", "--prompt", "café 日本 "): True,
    ("beam", *MODEL, "--length", "5", "--width", "2", "--prompt", "the "): True,
    ("eval", "part.txt", *MODEL): True,
    ("score", "part.txt", *MODEL): True,
    ("compress", "part.txt", "packed", *MODEL): False,
    ("decompress", "packed", "text.out", *MODEL): False,
    ("info", "model.safetensors"): True,
    ("runs", "."): True,
    ("plot", "run"): True,
    ("corpora", "list"): True,
    ("corpora", "stats", "text.txt"): True,
    ("inspect", "next", *MODEL, "--prompt", "the "): True,
    ("inspect", "cells", "part.txt", *MODEL): True,
    ("inspect", "gradients", "part.txt", *MODEL, "--lags", "4"): True,
    ("cells",): True,
    ("train", "pairs.tsv", "--pairs", *SMALL, "--out", "pairs"): False,
    ("corpora", "stats", "pairs.tsv", "--pairs"): True,
    ("beam", "-m", "pairs", "--source-file", "sources.txt", "--length", "3"): True,
    ("eval", "pairs.tsv", "-m", "pairs"): True,
    ("inspect", "attention", "-m", "pairs", "--source", "日本 café"): True,
    ("train", "text.txt", "--fill", *SMALL, "--out", "gaps"): False,
    ("fill", "the ___ café", "-m", "gaps", "--length", "3"): True,
    ("write", *MODEL): False,
    ("--help",): True,
    ("train", "--help"): True,
    ("--version",): True,
}
IMPORTED = [  # what takes long, and what most commands need
    *("charrnn.cli.app", "charrnn.cli.display.training_progress", "charrnn.decoding.compiled"),
    *("charrnn.generator", "charrnn.inference.compiled_engine", "charrnn.training.resume"),
    *("charrnn.inspection.gradients", "constriction", "numba"),
]
CODES = {"write": 2}  # it needs a terminal
DRIVER = """
import gc, importlib, json, os, sys
from charrnn.__main__ import main
for name in sys.argv[1:]:
    importlib.import_module(name)
from numba.core.registry import cpu_target
cpu_target.typing_context.refresh()  # what numba does before it loads its first function
cpu_target.target_context.refresh()
gc.collect()
gc.freeze()
codes = []
for number, words in enumerate(json.load(open("commands.json"))):
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{number}.{name}", os.O_CREAT | os.O_WRONLY), stream)
        sys.argv = ["charrnn", *words]
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)  # to take the modules apart takes longer than most commands
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
json.dump(codes, open("codes.json", "w"))
"""
NO_HOME = {"HOME": ""}
NO_UTF8 = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENVIRONMENTS = [  # all at once first; each is alone in the long form
    NO_UTF8 | NO_HOME | {"TERM": "dumb", "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "abc"},
    NO_HOME | {"TERM": "dumb", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    NO_UTF8 | {"HOME": "/dev/null", "PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "abc"},
    NO_HOME,
    {"HOME": "/dev/null"},
    {"TERM": "dumb"},
    NO_UTF8,
    {"PYTHONIOENCODING": "cp1252"},
    {"OMP_NUM_THREADS": "abc"},
    {"NUMBA_CPU_NAME": "generic", "ONEDNN_MAX_CPU_ISA": "SSE41"},
]


def test_every_command_works_in_any_environment(
    tiny: Run, tmp_path: Path, times: Callable[[int, int], int]
) -> None:
    caches = tmp_path / f"charrnn-{os.getuid()}"  # where there is no home
    caches.mkdir(mode=0o700)
    (caches / "kernels").symlink_to(cache.folder().parent)  # or all is compiled again
    for number, variables in enumerate(ENVIRONMENTS[: times(1, len(ENVIRONMENTS))]):
        _check(variables, tiny, tmp_path / str(number))


def _check(variables: dict[str, str], tiny: Run, folder: Path) -> None:
    folder.mkdir()
    shutil.copy(tiny.model, folder)
    shutil.copy(tiny.text, folder / "text.txt")
    (folder / "part.txt").write_text(tiny.text.read_text("utf-8")[:1500], "utf-8")
    lines = tiny.text.read_text("utf-8").splitlines()[:100]
    pairs = (f"{line[:9]}\t{line[9:18]}\n" for line in lines if len(line) > 9)
    (folder / "pairs.tsv").write_text("".join(pairs), "utf-8")
    (folder / "sources.txt").write_text("café\n日本\n", "utf-8")
    (folder / "commands.json").write_text(json.dumps(list(COMMANDS)))
    environment = _environment(variables, folder)
    command = [sys.executable, "-c", DRIVER, *IMPORTED]
    ended = subprocess.run(command, cwd=folder, env=environment, timeout=HANGS, check=False)
    assert ended.returncode == 0
    codes = json.loads((folder / "codes.json").read_text())
    for number, (words, has_output) in enumerate(COMMANDS.items()):
        out, err = ((folder / f"{number}.{name}").read_bytes() for name in ("out", "err"))
        result = done(codes[number], out, err)  # no traceback, and UTF-8
        assert result.code == CODES.get(words[0], 0), (words, variables, result.err)
        assert bool(result.out) == has_output, (words, variables)
        if "--json" in words:
            assert result.json["steps"] == 2
    assert (folder / "text.out").read_bytes() == (folder / "part.txt").read_bytes()


def _environment(variables: dict[str, str], folder: Path) -> dict[str, str]:
    kept = ("PATH", "HOME", "LD_LIBRARY_PATH")
    source = str(Path(charrnn.__file__).parents[1])
    made = {name: os.environ[name] for name in kept if name in os.environ}
    made |= {"PYTHONPATH": source, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    made |= {"OMP_WAIT_POLICY": "passive"}
    made |= {"TMPDIR": str(folder.parent), **variables}
    return {name: value for name, value in made.items() if value}
