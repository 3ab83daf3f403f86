"""Run the command as a user does: a program with arguments, two streams and an exit code."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import strict_json
from waiting import HANGS, kill_if_it_hangs

from cli.advice import lacking

if TYPE_CHECKING:
    from .forked import Attached

PROGRAM = shutil.which("charrnn", path=sysconfig.get_path("scripts")) or "charrnn is not installed"
READ_LATE = {"CHARRNN_MODEL", "XDG_CACHE_HOME"}  # by charrnn itself, when it needs them
# Variables that change a command's output: no test may depend on the terminal it runs in.
UNSET = (
    "FORCE_COLOR",
    "NO_COLOR",
    "PY_COLORS",
    "GITHUB_ACTIONS",
    "CHARRNN_CORPORA",
    "COLUMNS",
    "LINES",
)
SET = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",  # or threads that wait take the processor from all other tests
    "CUDA_VISIBLE_DEVICES": "",
    "TERM": "xterm-256color",
}


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the object on stdout, which must hold nothing else."""
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1
        return strict_json.loads(self.out)

    @property
    def sentence(self) -> str:
        """Return the one line that says what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("charrnn: ")]
        assert len(lines) == 1, self.err
        assert self.err.endswith(lines[0] + "\n")
        return lines[0]


class Running:
    """A running command; its stderr is read line by line."""

    def __init__(self, process: subprocess.Popen[bytes] | Attached) -> None:
        self.process = process
        self._lines: list[str] = []
        self._grew = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._killer = kill_if_it_hangs(process)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._grew:
                self._lines.append(line.decode())
                self._grew.notify_all()

    def wait_for(self, words: str) -> None:
        """Wait until a line of stderr starts with `words`."""
        with self._grew:
            seen = self._grew.wait_for(
                lambda: any(line.startswith(words) for line in self._lines), HANGS
            )
        assert seen, "".join(self._lines)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Done:
        """Wait for the end."""
        assert self.process.stdout
        with self.process:
            out = self.process.stdout.read()
            code = self.process.wait(HANGS)
            self._reader.join(HANGS)
        self._killer.cancel()
        return done(code, out, "".join(self._lines).encode())


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, by their ids."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
        if int(parent) == pid:
            found.append(int(folder.name))
    return sorted(found)


class Cli:
    """Runs charrnn in a folder.

    What needs no program of its own is forked, see `forked`: most commands end in less time than
    a program needs to import what they use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        *words: object,
        code: int = 0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run ``charrnn WORDS``, which must end with `code`.

        As a program of its own where `env` has what Python or a library reads when it starts.
        """
        if sys.platform != "win32" and READ_LATE.issuperset(env or {}):
            from .forked import Forked

            ended = Forked(self.folder, *words, stdin=stdin, env=env or {}).end()
        else:
            ended = self._run([PROGRAM, *map(str, words)], stdin, env)
        return checked(words, ended, code)

    def each(self, lines: Iterable[Sequence[object]], code: int = 0) -> list[Done]:
        """Run commands one after another, in one process; each must end with `code`."""
        words = list(lines)
        if sys.platform == "win32":
            return [self(*line, code=code) for line in words]
        from .forked import in_turn

        ended = in_turn(self.folder, words)
        return [checked(line, each, code) for line, each in zip(words, ended, strict=True)]

    def shell(self, line: str, *paths: Path) -> Done:
        """Run a line of bash; ``charrnn`` is the program and $1, $2, ... are `paths`."""
        script = f'set -o pipefail; charrnn() {{ {shlex.quote(PROGRAM)} "$@"; }}; {line}'
        return self._run(["bash", "-c", script, "bash", *map(str, paths)], b"", None)

    def start(self, *words: object) -> Running:
        """Start ``charrnn WORDS`` with an open stdin and return while it runs."""
        if sys.platform == "win32":
            return self.start_program(*words)
        from .forked import Attached

        return Running(Attached.piped(self.folder, *words))

    def start_program(self, *words: object) -> Running:
        """Do the same as a program of its own, whose children are its own as well."""
        return Running(
            subprocess.Popen(
                [PROGRAM, *map(str, words)],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )

    def _run(self, command: list[str], stdin: bytes, env: Mapping[str, str] | None) -> Done:
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=environment() | dict(env or {}),
            input=stdin,
            capture_output=True,
            timeout=HANGS,
            check=False,
        )
        return done(ended.returncode, ended.stdout, ended.stderr)


def checked(words: Sequence[object], ended: Done, code: int) -> Done:
    """Return a command that ended with `code`, advised nothing that it lacks, and printed JSON."""
    assert ended.code == code, (words, ended.err)
    assert lacking(words, ended.err) == set(), (words, ended.err)
    if "--json" in words and code == 0 and ended.out:
        strict_json.loads(ended.out.splitlines()[-1])
    return ended


def environment() -> dict[str, str]:
    """Return the variables of a program.

    It is not measured: coverage would double its time, for what forked commands run as well, and
    hangs if Ctrl-C comes while it has its lock.
    """
    kept = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    return {name: value for name, value in kept.items() if name not in UNSET} | SET


def modules_in(*folders: Path) -> dict[str, str]:
    """Return the variable with which Python finds modules in these folders before all others.

    Then in the tree under test, which `tests/conftest.py` names there.
    """
    return {"PYTHONPATH": os.pathsep.join((*map(str, folders), os.environ["PYTHONPATH"]))}


def done(code: int, out: bytes, err: bytes) -> Done:
    """Return what is left of a command; there may be no traceback."""
    ended = Done(code, out.decode(), err.decode())
    assert "Traceback" not in ended.err, ended.err
    assert "Error:" not in ended.err, ended.err
    return ended


@dataclass(frozen=True)
class Run:
    """A finished training: its text, its folder and the command's output."""

    text: Path
    folder: Path
    done: Done

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"


@pytest.fixture(scope="session", autouse=True)
def _server() -> Iterator[None]:
    """End the forking server before coverage is counted."""
    yield
    forkserver._forkserver._stop()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return the command in a new folder."""
    return Cli(tmp_path)


# Enough to leave 1,200 characters for validation: more than one stream, several windows of 256.
TEXT_CHARACTERS = 12_000
TINY = (
    "--cell",
    "lstm",
    "--num-layers",
    1,
    "--steps",
    40,
    "--hidden-size",
    32,
    "--dropout",
    0.1,
    "--seed",
    7,
    "--json",
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a small model of a text in three scripts, trained once for all tests."""
    folder = tmp_path_factory.mktemp("tiny")
    text = folder / "story.txt"
    text.write_text(story(TEXT_CHARACTERS), "utf-8", newline="")
    done = Cli(folder)("train", text, *TINY)
    # Compiles what generation needs: later commands load it, and say nothing about compiling.
    Cli(folder)("sample", "--length", 1)
    return Run(text, folder / "runs" / "story-1", done)


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a small model of names, one a line, each of which was a document of its own."""
    folder = tmp_path_factory.mktemp("apart")
    text = folder / "names.txt"
    text.write_text(names(600), "utf-8", newline="")
    words = ("--document-separator", r"\n", "--reset-at-documents")
    return Run(text, folder / "run", Cli(folder)("train", text, *words, *TINY, "--out", "run"))


def names(count: int) -> str:
    """Return random names, one a line."""
    chance = random.Random(2)
    first, last = ("an", "bo", "car", "do", "emi"), ("son", "sen", "ski", "a", "ette", "rik")
    chosen = [chance.choice(first) + chance.choice(last) for _ in range(count)]
    return "".join(f"{name}\n" for name in chosen)


def story(length: int) -> str:
    """Return random sentences of a few words."""
    chance = random.Random(1)
    words = ["the", "harbour", "café", "sea", "was", "日本", "old", "🙂", "and", "quiet"]
    lines: list[str] = []
    while sum(map(len, lines)) < length:
        lines.append(" ".join(chance.choices(words, k=chance.randrange(3, 9))) + ".\n")
    return "".join(lines)[:length]


TITLE = "\x1b]0;owned\x07"  # sets the title of the terminal's window
needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")


@dataclass(frozen=True)
class Shown:
    """A command that ran on a terminal, and what the terminal received."""

    code: int
    screen: str


def on_terminal(
    folder: Path,
    *words: object,
    stop_at: str | None = None,
    columns: int = 100,
    typed: str = "",
) -> Shown:
    """Run charrnn on a pseudo-terminal, type, and press Ctrl-C when it shows `stop_at`."""
    import fcntl
    import pty
    import struct
    import termios

    from .forked import Attached

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = Attached(folder, *words, streams=(theirs, os.dup(theirs), os.dup(theirs)))
    os.write(ours, typed.encode())
    killer = kill_if_it_hangs(process)
    screen = b""
    for piece in _pieces(ours):
        screen += piece
        if stop_at and stop_at.encode() in screen:
            process.send_signal(signal.SIGINT)
            stop_at = None
    os.close(ours)
    code = process.wait(HANGS)
    killer.cancel()
    shown = screen.decode()
    assert "Traceback" not in shown, shown
    return Shown(code, shown)


def _pieces(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # on Linux, EIO: the last program on the terminal ended
            return
        if not piece:
            return
        yield piece


# Needs no compilation.
BY_LIBRARY = ("--cell", "lstm", "--backend", "library")
WATCHED = ("--steps", 60, "--hidden-size", 32, *BY_LIBRARY, "--out", "run")


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Shown]:
    """Return a training on a terminal, of a text with control characters for that terminal."""
    folder = tmp_path_factory.mktemp("watched")
    text = folder / "rude.txt"
    text.write_text(f"{TITLE} hi\r" * 400, "utf-8", newline="")
    shown = on_terminal(folder, "train", text, *WATCHED)
    return Run(text, folder / "run", Done(shown.code, "", shown.screen)), shown
