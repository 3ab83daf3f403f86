"""Someone with Python 3.13 trains and writes there.

The test neither installs nor downloads anything: it needs such an interpreter, or a newer one, with
charrnn's packages: the one that runs the tests, or the one that the environment variable
CHARRNN_PYTHON names, or python3.13 or python3.14. Elsewhere it is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANGS

import charrnn

ROOT = Path(charrnn.__file__).parents[1]
PROGRAM = """
import sys, warnings
warnings.simplefilter("error")  # what a newer Python deprecates would be one
import charrnn
text = "It was the best of times, it was the worst of times.\\n" * 60
run = charrnn.train(text=text, out="run", steps=5, hidden_size=8, progress=True)
model = charrnn.load(run)
sample = model.sample("It was", length=30, seed=1)
print(len(sample.text), model.beam("It was", length=9).finished_by, model.score("It was").nats > 0)
"""


LEAST = (3, 13)


def pythons() -> list[str]:
    """Return interpreters to try: the one that is configured, or those that are found."""
    named = os.environ.get("CHARRNN_PYTHON")
    others = [shutil.which(f"python3.{minor}") for minor in (13, 14)]
    return [path for path in ([named] if named else [sys.executable, *others]) if path]


def version(python: str) -> tuple[int, ...]:
    """Return the version of an interpreter that has the packages; (0,) of any other."""
    asked = "import sys, numba, safetensors, torch, typer; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", asked], capture_output=True, text=True, check=False, timeout=HANGS
        )
    except OSError:
        return (0,)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else (0,)


@pytest.fixture(scope="module")
def python() -> str:
    for path in pythons():
        if version(path) >= LEAST:
            return path
    pytest.skip("no Python 3.13 with the packages: name one with CHARRNN_PYTHON")


def run(python: str, folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_newer_python_trains_writes_and_scores(python: str, tmp_path: Path) -> None:
    assert run(python, tmp_path, "-c", PROGRAM) == "30 length True\n"
    text = run(python, tmp_path, "-m", "charrnn", "sample", "--length", "20", "--model", "run")
    assert len(text) == 20


def test_every_file_is_of_the_syntax_that_newer_pythons_accept() -> None:
    """Invalid escapes and the like, which become errors, are warnings of the compiler already."""
    files = sorted(Path(charrnn.__file__).parent.rglob("*.py"))
    assert len(files) > 200
    command = [sys.executable, "-W", "error", "-c", COMPILE, *map(str, files)]
    subprocess.run(command, check=True, timeout=HANGS)


COMPILE = """
import sys
from pathlib import Path
for file in sys.argv[1:]:
    compile(Path(file).read_text("utf-8"), file, "exec", dont_inherit=True)
"""
