"""Compiling in another process: it outlives a command that ended, and none that was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANGS, wait_until

from charrnn.compiler import background, object_code
from charrnn.compiler.cache import CFunction

SHARE = background.share  # tests in this process do without it
pytestmark = pytest.mark.skipif(not object_code.usable(), reason="code is not kept as objects here")

# A module that says when it is compiled, and is not compiled before it may be.
SOURCE = """
import time
from pathlib import Path
from charrnn.compiler.cache import c_function

with open({folder!r} + "/begun", "a") as begun:
    begun.write("once\\n")
while not Path({folder!r} + "/allowed").exists():
    time.sleep(0.01)

@c_function("void(voidptr)")
def nothing(data):
    pass
"""
PROGRAM = """
import os, signal, sys
from charrnn.compiler import background, codegen

(job,) = background.begin(codegen.c_functions(sys.argv[1], "nothing"))
print(job._process.pid, flush=True)
sys.stdin.readline()
exec(sys.argv[2])
"""


def compiling(folder: Path, ending: str = "") -> tuple[subprocess.Popen[str], int]:
    """Start a program that lets a function be compiled; return it and the process that does so."""
    source = SOURCE.format(folder=str(folder))
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, source, ending],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(folder)},
    )
    assert program.stdout
    return program, int(program.stdout.readline())


def runs(number: int) -> bool:
    """Return whether a process runs; one that nobody waits for is no longer counted."""
    try:
        state = Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def code(folder: Path) -> list[Path]:
    return list(folder.rglob("*.o"))


def test_what_was_begun_is_finished_after_the_end(tmp_path: Path) -> None:
    program, number = compiling(tmp_path)
    wait_until((tmp_path / "begun").exists)
    program.communicate("\n", timeout=HANGS)
    assert program.returncode == 0
    wait_until(lambda: os.getpriority(os.PRIO_PROCESS, number) >= 10)
    assert (runs(number), code(tmp_path)) == (True, [])
    (tmp_path / "allowed").touch()
    wait_until(lambda: code(tmp_path) and not runs(number))
    assert list(tmp_path.rglob("*.lock")) == []


@pytest.mark.parametrize(
    "ending",
    ["raise KeyboardInterrupt", "os.kill(os.getpid(), signal.SIGKILL)", "background.stop()"],
)
def test_a_program_that_is_stopped_leaves_no_process(tmp_path: Path, ending: str) -> None:
    program, number = compiling(tmp_path, ending)
    wait_until((tmp_path / "begun").exists)
    assert runs(number)
    program.communicate("\n", timeout=HANGS)
    wait_until(lambda: not runs(number))
    assert code(tmp_path) == []


def test_two_programs_compile_a_function_once(tmp_path: Path) -> None:
    programs = [compiling(tmp_path) for _ in range(2)]
    wait_until((tmp_path / "begun").exists)
    (tmp_path / "allowed").touch()
    for program, _ in programs:
        program.communicate("\n", timeout=HANGS)
    wait_until(lambda: not any(runs(number) for _, number in programs))
    assert len(code(tmp_path)) == 1
    assert (tmp_path / "begun").read_text("utf-8") == "once\n"


def test_ctrl_c_ends_a_command_and_what_it_began(tmp_path: Path) -> None:
    """A command that is interrupted catches that itself."""
    ending = (
        "from charrnn.cli.shared import guarded\n"
        "def command(): raise KeyboardInterrupt\n"
        "guarded(command)()"
    )
    program, number = compiling(tmp_path, ending)
    wait_until((tmp_path / "begun").exists)
    program.communicate("\n", timeout=HANGS)
    wait_until(lambda: not runs(number))
    assert code(tmp_path) == []


def test_a_process_that_fails_or_is_killed_has_ended() -> None:
    nothing = CFunction("charrnn.compiler.nowhere", "nothing")
    (job,) = background.begin([nothing])
    job.wait()  # there is no such module
    assert job.ended
    assert not nothing.load()
    (job,) = background.begin([nothing])  # another one begins
    os.kill(job._process.pid, signal.SIGKILL)
    job.wait()
    assert job.ended


def test_many_functions_are_compiled_by_another_process_too(tmp_path: Path) -> None:
    program = """
import sys
from charrnn.compiler import background, codegen
from charrnn.storage import machine

machine.cores = lambda: 2
functions = codegen.c_functions(sys.argv[1], "first", "second", "third")
background.share(functions)
(job,) = background._jobs
assert [each.name for each in job.functions] == ["third", "second", "first"]
job.wait()
background.share(functions)
assert background._jobs == [job]  # all is there
"""
    made = "\n@c_function('void(voidptr)')\ndef {}(data):\n    pass\n"
    source = "from charrnn.compiler.cache import c_function\n"
    source += "".join(map(made.format, ("first", "second", "third")))
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", program, source], env=environment, check=True, timeout=HANGS
    )
    assert len(code(tmp_path)) == 3


@pytest.mark.parametrize(("missing", "cores"), [(1, 2), (2, 1)])
def test_nothing_is_left_to_another_process_where_that_gains_nothing(
    missing: int, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = [CFunction("nowhere", str(number)) for number in range(3)]
    for function in functions[missing:]:
        monkeypatch.setattr(function, "_address", 1)
    monkeypatch.setattr(background.machine, "cores", lambda: cores)
    monkeypatch.setattr(background, "begin", None)
    SHARE(functions)
