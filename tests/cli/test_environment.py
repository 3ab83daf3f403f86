"""Commands in the environments of containers, services and old terminals."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from waiting import HANGS

import charrnn
from charrnn.compiler import cache

from .conftest import BY_LIBRARY, Cli, Done, Run, done

pytestmark = pytest.mark.skipif(os.name != "posix", reason="HOME and user ids are of POSIX")
SAMPLE = ("sample", "--length", 12, "--seed", 1, "--prompt", "café 日本 ", "-m")
TRAIN = ("train", "text.txt", "--steps", 2, "--hidden-size", 8, *BY_LIBRARY, "--out", "run")
UNKNOWN = 54321  # a user id without an entry in /etc/passwd


@pytest.mark.parametrize(
    "variables",
    [
        {"TERM": "dumb", "LANG": "C", "LC_ALL": "C", "OMP_NUM_THREADS": "0"},
        {
            "PYTHONIOENCODING": "cp1252",
            "OMP_NUM_THREADS": "99999999999999",
            "NUMBA_NUM_THREADS": "many",
        },
        {"OMP_NUM_THREADS": "1000000000"},
        {"OMP_NUM_THREADS": "2,1", "NUMBA_NUM_THREADS": "0"},
        {"OMP_NUM_THREADS": "-1", "NUMBA_CPU_FEATURES": "beads"},
    ],
    ids=str,
)
def test_the_same_text_is_written_in_any_environment(
    tiny: Run, cli: Cli, variables: dict[str, str]
) -> None:
    plain = cli(*SAMPLE, tiny.folder)
    ended = cli(*SAMPLE, tiny.folder, env=variables)
    assert ended.out == plain.out
    ignored = "NUMBA_CPU_FEATURES is ignored: each feature in it must start with + or -\n"
    assert (ignored in ended.err) == ("NUMBA_CPU_FEATURES" in variables)
    assert plain.out.startswith("café 日本 ")


def test_an_odd_number_of_threads_does_not_stop_a_training(cli: Cli) -> None:
    (cli.folder / "text.txt").write_text("abc, naïve “café”\n" * 100, "utf-8")
    ended = cli(*TRAIN, "--json", env={"OMP_NUM_THREADS": "many", "PYTHONIOENCODING": "cp1252"})
    assert ended.json["steps"] == 2


def test_limits_of_the_system_are_reported(tiny: Run, cli: Cli) -> None:
    sample = f"charrnn sample -m {tiny.folder} --seed 1 -n"
    large = cli.shell(f"ulimit -f 20; {sample} 60000 --out text")
    assert (large.code, "text could not be written: File too large" in large.sentence) == (1, True)
    assert not (cli.folder / "text").exists()
    assert cli.shell(f"ulimit -n 20; {sample} 9").out == cli.shell(f"{sample} 9").out


def test_a_system_without_threads_is_reported(tiny: Run, cli: Cli) -> None:
    """A limit on processes does not bind root: here Python cannot start a thread."""
    script = (
        "import sys, threading\n"
        "def refuse(*given):\n"
        '    raise RuntimeError("can\'t start new thread")\n'
        "threading._start_new_thread = refuse\n"
        "from charrnn.__main__ import main\n"
        f"sys.argv = ['charrnn', 'prepare', {str(tiny.text)!r}, '--out', 'data']\n"
        "main()\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(
        command, cwd=cli.folder, env=os.environ, capture_output=True, check=False
    )
    shown = done(ended.returncode, ended.stdout, ended.stderr)
    assert shown.code == 1
    assert "the system lets this user start no more threads (see 'ulimit -u')" in shown.sentence


Command = Callable[..., Done]


@pytest.fixture
def unwritable_home(tmp_path: Path) -> tuple[Command, Path]:
    """Return a command of a user whose home folder cannot be made, and where its caches are."""
    caches = tmp_path / f"charrnn-{os.getuid()}"
    variables = {"HOME": "/dev/null", "TMPDIR": str(tmp_path)}
    return lambda *words, code=0: _run(words, tmp_path, _bare() | variables, code), caches


@pytest.fixture
def unknown_user() -> Iterator[tuple[Command, Path]]:
    """Return a command of a user id that the system does not know, and where its caches are."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.getuid() != 0:
        pytest.skip("only root can take another user's id")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    user = [setpriv, f"--reuid={UNKNOWN}", f"--regid={UNKNOWN}", "--clear-groups"]
    # It may read what it likes: Python itself may lie in the home folder of root.
    user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    variables = _bare() | {"TMPDIR": str(folder)}
    probe = [*user, sys.executable, "-c", "import numpy, charrnn.cli.app"]
    if subprocess.run(probe, cwd=folder, env=variables, capture_output=True).returncode:
        shutil.rmtree(folder)
        pytest.skip("this user cannot run charrnn here")
    yield (
        lambda *words, code=0: _run(words, folder, variables, code, user),
        folder / f"charrnn-{UNKNOWN}",
    )
    shutil.rmtree(folder)


def _bare() -> dict[str, str]:
    """Return the variables of a process in a container: no HOME, no user's name."""
    source = str(Path(charrnn.__file__).parents[1])
    made = {"PATH": os.defpath, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
    return made | {"OMP_WAIT_POLICY": "passive"}


def _run(
    words: tuple[object, ...],
    folder: Path,
    variables: Mapping[str, str],
    code: int,
    user: list[str] | None = None,
) -> Done:
    command = [*(user or []), sys.executable, "-m", "charrnn", *map(str, words)]
    ended = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, timeout=HANGS, check=False
    )
    assert ended.returncode == code, ended.stderr.decode()
    return done(ended.returncode, ended.stdout, ended.stderr)


def _lend_code(caches: Path) -> None:
    """Copy our compiled code to the caches of another user, who would compile all of it again."""
    owner = caches.stat()
    folder = caches / "kernels" / cache.folder().name
    shutil.copytree(cache.folder(), folder, dirs_exist_ok=True)
    for path in (folder.parent, folder, *folder.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)


@pytest.mark.parametrize("user", ["unwritable_home", "unknown_user"])
def test_without_a_home_folder_every_command_works_and_says_once_where_its_caches_are(
    user: str, request: pytest.FixtureRequest
) -> None:
    command, caches = request.getfixturevalue(user)
    (caches.parent / "text.txt").write_text("a text of some lines,\nand no home.\n" * 60, "utf-8")
    commands = [
        ("corpora", "list"),
        ("corpora", "path", "shakespeare"),
        TRAIN,
        ("sample", "-m", "run", "--length", 20, "--novelty"),
    ]
    for words in commands:
        if words == TRAIN:
            _lend_code(caches)
        ended = command(*words, code=2 if "path" in words else 0)  # it was not fetched
        said = [
            line for line in ended.err.splitlines() if f"charrnn caches is in {caches};" in line
        ]
        assert len(said) == 1, ended.err
        assert "numpy" not in ended.err  # steps are compiled
    assert "novelty: the longest copied passage" in ended.err
    assert stat.S_IMODE(caches.stat().st_mode) == 0o700
    assert {path.name for path in caches.iterdir()} >= {"datasets", "kernels", "novelty"}
    assert list((caches / "novelty").glob("*.index"))
