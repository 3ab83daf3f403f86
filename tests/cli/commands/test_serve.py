"""``charrnn serve``: the command from its start to Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import sys
import urllib.request
from pathlib import Path

import pytest
from waiting import wait_until

from cli.conftest import Cli, Run, Running, modules_in

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")


def address(running: Running) -> str:
    running.wait_for("serving ")
    line = next(line for line in running._lines if line.startswith("serving "))
    found = re.fullmatch(r"serving 1 model: (http://\S+) \(Ctrl-C ends\)\n", line)
    assert found, line
    return found[1]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_the_server_while_it_writes(
    tiny: Run, cli: Cli, number: str, code: int
) -> None:
    running = cli.start_program("serve", "-m", tiny.folder, "--port", 0, "--threads", 1)
    url = address(running)
    body = json.dumps({"prompt": "the ", "max_tokens": 100_000, "stream": True}).encode()
    asked = urllib.request.Request(
        f"{url}v1/completions", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked) as answer:
        assert answer.readline().startswith(b"data: ")
        running.signal(getattr(signal, number))
        rest = answer.read().decode()
    assert "the server is shutting down" in rest
    done = running.end()
    assert done.code == code
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1


def test_wrong_use_is_refused_in_words(tiny: Run, cli: Cli) -> None:
    model = ("serve", "-m", tiny.folder)
    refused = cli.each(
        [
            (*model, "--host", "0.0.0.0"),
            (*model, "--token", "a", "--no-token"),
            (*model, "--port", 70000),
            ("serve", "-m", "nothing"),
            ("serve",),
        ],
        code=2,
    )
    said = [done.sentence for done in refused]
    assert "add --token TOKEN" in said[0]
    assert "contradict each other" in said[1]
    assert "--port must be a whole number from 0 to 65535" in said[2]
    assert "nothing does not exist" in said[3]
    assert "no model found" in said[4]


def test_without_its_packages_the_command_says_what_to_install(
    tiny: Run, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "modules").mkdir()
    missing = 'raise ModuleNotFoundError("No module named \'uvicorn\'", name="uvicorn")'
    (tmp_path / "modules" / "uvicorn.py").write_text(missing)
    done = cli("serve", "-m", tiny.folder, code=2, env=modules_in(tmp_path / "modules"))
    assert "charrnn serve needs uvicorn: run pip install" in done.sentence
    assert "[serve]" in done.sentence


def test_it_opens_the_page(tiny: Run, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = cli.folder / "opened"
    browser = cli.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    running = cli.start_program("serve", "-m", tiny.folder, "--port", 0, "--open", "--threads", 1)
    url = address(running)
    wait_until(lambda: seen.exists() and seen.read_text().strip() == url)
    running.signal(signal.SIGINT)
    assert running.end().code == 130
