"""Measure the first text on a machine where nothing has been compiled.

    python tests/benchmarks/cold_start.py [--rounds 3] [--length 1000] [--model FILE]

Each round begins with an empty folder for caches. The commands: `charrnn sample`, once with all
filters off and once with top-k and top-p, and `charrnn serve` with one streamed completion. For
each of them it prints the seconds from the start of the process to the first byte of text, to the
end of the text, and until all is compiled and no process is left, the CPU seconds of all of these,
and the same once more with the cache that is then full. A text that is another one there is an
error. The last line of stdout is one JSON object. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "charrnn" / "model" / "english.safetensors"
FILTERS = ("--top-k", "20", "--top-p", "0.9")
Found = dict[str, Any]


def started(cache: Path, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
    """Start the command with these caches."""
    given = {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "charrnn", *words]
    return subprocess.Popen(command, env=os.environ | given, **streams)


def sampled(cache: Path, model: Path, length: int, *more: str) -> Found:
    """Return the text of `charrnn sample`, and the seconds to its first and its last byte."""
    began = time.perf_counter()
    words = ("sample", "-m", str(model), "--seed", "1", "--length", str(length), *more)
    process = started(cache, *words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    text = os.read(process.stdout.fileno(), 1)
    first = time.perf_counter() - began
    text += process.stdout.read()
    assert process.wait() == 0
    return {"text": text.decode(), "first": first, "end": time.perf_counter() - began}


def served(cache: Path, model: Path, length: int) -> Found:
    """Return the same of a completion that is asked for as soon as `charrnn serve` answers."""
    began = time.perf_counter()
    process = started(cache, "serve", "-m", str(model), "--port", "0", stderr=subprocess.PIPE)
    assert process.stderr
    address = None
    while address is None:
        address = re.search(rb"http://[\d.:]+", process.stderr.readline())
    asked = {"prompt": "", "max_tokens": length, "seed": 1, "stream": True}
    url = f"{address[0].decode()}/v1/completions"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
    text, first = "", 0.0
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                first = first or time.perf_counter() - began
                text += json.loads(line[6:])["choices"][0]["text"]
    end = time.perf_counter() - began
    process.send_signal(signal.SIGINT)
    process.wait()
    return {"text": text, "first": first, "end": end}


def left() -> list[Path]:
    """Return the processes that still compile."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"charrnn.compiler.background" in path.read_bytes():
                found.append(path)
        except OSError:  # it has just ended
            continue
    return found


def measured(run: Callable[[Path], Found], cache: Path) -> Found:
    """Run a command and wait for what it leaves behind; add the seconds, and those of the CPU."""
    began = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = run(cache)
    while left():
        time.sleep(0.1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["all"] = time.perf_counter() - began
    found["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--model", type=Path, default=MODEL)
    given = parser.parse_args()
    base = (given.model.resolve(), given.length)
    runs: dict[str, Callable[[Path], Found]] = {
        "sample": lambda cache: sampled(cache, *base),
        "sample with filters": lambda cache: sampled(cache, *base, *FILTERS),
        "serve": lambda cache: served(cache, *base),
    }
    result: Found = {}
    for name, run in runs.items():
        cold, warm = [], []
        for _ in range(given.rounds):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(measured(run, Path(folder)))
                if name == "serve":  # Ctrl-C ended what compiled: let another command do it
                    sampled(Path(folder), *base, "--top-k", "20")
                    measured(lambda cache: sampled(cache, *base), Path(folder))
                warm.append(measured(run, Path(folder)))
            assert cold[-1]["text"] == warm[-1]["text"], name
        for kind, several in (("cold", cold), ("warm", warm)):
            medians = {
                k: statistics.median(each[k] for each in several) for k in several[0] if k != "text"
            }
            result[f"{name}, {kind}"] = medians
            seconds = ", ".join(f"{k} {value:.2f}" for k, value in medians.items())
            print(f"{name}, {kind}: {seconds}", flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
