"""Run commands in processes that are forked from one that has imported everything.

A command then starts in a fraction of a second, so that a test can run and kill many.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import reduction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from coverage import Coverage
from waiting import HANGS

import charrnn

from .conftest import Done, done, environment

# What commands import: the whole package, and what some import when they need it.
_PACKAGE = Path(charrnn.__file__).parent
_FILES = sorted(path.relative_to(_PACKAGE.parent) for path in _PACKAGE.rglob("*.py"))
IMPORTED = [
    *(".".join(path.with_suffix("").parts) for path in _FILES if path.stem[:2] != "__"),
    *("constriction", "matplotlib.backends.backend_agg", "matplotlib.figure"),
    *("numba", "typer.rich_utils", "uniplot"),
]
# Each fork copies the table of all pages: of large ones there are few.
LARGE_PAGES = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *IMPORTED,
        "pytest",  # the main program, which multiprocessing inspects
        __name__,
        f"{__package__}.preloaded",
    ]
)


class Forked:
    """A running ``charrnn WORDS`` in a folder."""

    def __init__(
        self,
        folder: Path,
        *words: object,
        stdin: bytes = b"",
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._streams, self.process = _started(folder, [words], stdin, env)

    def kill(self, after: float, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal after some seconds; return False if the command had ended before."""
        self.process.join(after)
        if self.process.exitcode is not None or not self.process.pid:
            return False
        os.kill(self.process.pid, number)
        return True

    def end(self) -> Done:
        """Wait for the end; the code of a killed command is the negative signal number."""
        code = _code(self.process)
        out, err = (
            path.read_bytes() if path.exists() else b""
            for path in (self._streams / "0.out", self._streams / "0.err")
        )
        shutil.rmtree(self._streams, ignore_errors=True)  # `end` may be called again
        return done(code, out, err)


class Attached:
    """A running ``charrnn WORDS`` that takes over three descriptors as its streams.

    It has what tests use of `subprocess.Popen`.
    """

    def __init__(self, folder: Path, *words: object, streams: Sequence[int]) -> None:
        given = [str(word) for word in words]
        self._process = _forked(_attached, (folder, given, _Descriptors(streams), environment()))
        for stream in {*streams}:
            os.close(stream)
        assert self._process.pid
        self.pid = self._process.pid
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None

    @classmethod
    def piped(cls, folder: Path, *words: object) -> Attached:
        """Start a command whose streams are pipes."""
        (stdin, ours), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
        process = cls(folder, *words, streams=(stdin, stdout, stderr))
        process.stdin = os.fdopen(ours, "wb")
        process.stdout, process.stderr = os.fdopen(out, "rb"), os.fdopen(err, "rb")
        return process

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream:
                with contextlib.suppress(BrokenPipeError):  # what it has not read
                    stream.close()

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it hangs"
        return self._process.exitcode


class _Descriptors:
    """Descriptors that are handed to a forked process."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = list(numbers)

    def __getstate__(self) -> list[Any]:
        return [reduction.DupFd(number) for number in self.numbers]

    def __setstate__(self, state: list[Any]) -> None:
        self.numbers = [each.detach() for each in state]


def in_turn(folder: Path, lines: Sequence[Sequence[object]]) -> list[Done]:
    """Run commands one after another in one process, which costs each a fraction of a fork."""
    streams, process = _started(folder, lines, b"", {})
    assert _code(process) >= 0, "a command ended the process"
    ended = []
    for number in range(len(lines)):
        out, err = ((streams / f"{number}.{name}").read_bytes() for name in ("out", "err"))
        code = streams / f"{number}.code"
        ended.append(done(int(code.read_text()) if code.exists() else 1, out, err))
    shutil.rmtree(streams)
    return ended


def _started(
    folder: Path, lines: Sequence[Sequence[object]], stdin: bytes, env: Mapping[str, str]
) -> tuple[Path, ForkServerProcess]:
    """Start a process that runs commands; return the folder of its streams, too."""
    streams = Path(tempfile.mkdtemp(prefix="charrnn-forked-"))
    (streams / "in").write_bytes(stdin)
    given = [[str(word) for word in words] for words in lines]
    return streams, _forked(
        _commands, (folder, given, streams, environment() | env, _are_traced(given))
    )


def _forked(target: Callable[..., None], arguments: tuple[Any, ...]) -> ForkServerProcess:
    """Let the server, which starts now if it does not run, fork a process that calls `target`."""
    kept = dict(os.environ)
    # The server starts with it. Python does not give it our path, and it skips what it cannot
    # import: then every command would import that anew.
    measured = {name: value for name, value in kept.items() if "COVERAGE" in name}
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    _set(environment() | measured | LARGE_PAGES | path)
    try:
        process = _CONTEXT.Process(target=target, args=arguments)
        process.start()
    finally:
        _set(kept)
    return process


def _are_traced(lines: list[list[str]]) -> bool:
    """Return whether to measure commands: each with the same options once, in tests that are."""
    if sys.gettrace() is None:
        return False
    before = len(_seen)
    for words in lines:
        names = (word for word in words if word.startswith("-") or word.isidentifier())
        _seen.add(frozenset(names))
    return len(_seen) > before


_seen: set[frozenset[str]] = set()  # the names in each command that was measured


def _code(process: ForkServerProcess) -> int:
    process.join(HANGS)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("it hangs")
    return process.exitcode


def _set(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ |= environment


def _commands(
    folder: Path,
    lines: list[list[str]],
    streams: Path,
    environment: Mapping[str, str],
    traced: bool,
) -> None:
    """Run commands in this process, and end as the last one does."""
    measured = _measured(traced)
    try:
        for number, words in enumerate(lines):
            _set(environment)
            os.chdir(folder)
            code = _code_of(words, _opened(streams, number))
            (streams / f"{number}.code").write_text(str(code))
    finally:
        if measured:
            measured.stop()
            measured.save()
    sys.exit(code)


def _measured(traced: bool) -> Coverage | None:
    """Measure what commands run, if the test and the server are measured.

    `patch = fork` would also look up every file of the package in each process, and save their
    names, to be combined in the end: that takes longer than most commands.
    """
    server = Coverage.current()
    if server is None:
        return None
    server.stop()
    if not traced:
        return None
    measured = Coverage(
        str(server.get_option("run:data_file")),
        data_suffix=True,
        config_file=False,
        branch=True,
        include=[f"{Path(charrnn.__file__).parent}/*"],
    )
    measured._warn_preimported_source = False
    measured.start()
    return measured


def _attached(
    folder: Path, words: list[str], streams: _Descriptors, environment: Mapping[str, str]
) -> None:
    """Run a command on given streams, and end as it does."""
    _measured(False)
    _set(environment)
    os.chdir(folder)
    sys.exit(_code_of(words, streams.numbers))


def _opened(streams: Path, number: int) -> list[int]:
    """Open a command's streams, which are files, and return their descriptors."""
    return [
        os.open(streams / name, os.O_CREAT | (os.O_WRONLY if stream else 0))
        for stream, name in enumerate(("in", f"{number}.out", f"{number}.err"))
    ]


def _code_of(words: list[str], streams: Sequence[int]) -> int:
    """Run a command with streams of its own, and return its exit code."""
    for stream, file in enumerate(streams):
        os.dup2(file, stream)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a descriptor
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = ["charrnn", *words]
    # Otherwise a command would count its seconds from the server's start.
    vars(sys.modules["charrnn.cli.commands.train"])["STARTED"] = time.perf_counter()
    from charrnn.__main__ import main

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
        main()
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:  # before the program caught it: the system would end it
        code = 130
    else:
        code = 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what comes now is too late for the command
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code or 0)
