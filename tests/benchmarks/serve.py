"""Measure `charrnn serve` over real sockets: first bytes, a crowd, its start, its memory.

    python tests/benchmarks/serve.py [PART...] [--clients 64] [--length 8000] [--rounds 3]
        [--requests 200] [--connections 1000]

The parts are first, crowd, start, memory (all of them by default) and install, which downloads
packages. The model has 2 layers of 256 units of untrained weights, over as many symbols as `charrnn
bench generate` takes: how fast a text is written does not depend on the weights. All clients are
one process of raw sockets, which only notes what arrives and when; it and the server share the
machine's cores. Prints a row of a table for each figure, and one JSON object as the last line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LAYERS, HIDDEN = 2, 256
EXTRA = ("starlette", "uvicorn", "h11", "charrnn")  # what `pip install '.[serve]'` brings
Found = dict[str, Any]


def make_model(path: Path) -> None:
    """Write the model that `charrnn bench generate` measures."""
    from charrnn.bench.measuring import VOCAB_SIZE
    from charrnn.config import ModelConfig
    from charrnn.model import model_file, parameters
    from charrnn.model.model_file import Model
    from charrnn.text.tokenizer import CharTokenizer

    config = ModelConfig(VOCAB_SIZE, "lstm", LAYERS, HIDDEN)
    tokenizer = CharTokenizer("".join(map(chr, range(48, 48 + VOCAB_SIZE))))
    model_file.save(path, Model(config, tokenizer, parameters.initial(config, 1), {"steps": 1}))


@dataclass
class Server:
    """A process of `charrnn serve`."""

    process: subprocess.Popen[str]
    port: int

    def status(self, name: str) -> float:
        """Return a size in MB out of what Linux says about the process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(rf"{name}:\s+(\d+) kB", text)[0]) / 1000

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def request(self, **body: Any) -> bytes:
        """Return the bytes of a request for a text."""
        data = json.dumps({"temperature": 0.8, **body}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        return head.encode() + data


@contextmanager
def served(model: Path, *words: str, environment: Found | None = None) -> Iterator[Server]:
    """Start a server; end it as Ctrl-C does."""
    line = [sys.executable, "-m", "charrnn", "serve", "--model", str(model), "--port", "0", *words]
    process = subprocess.Popen(
        line, stderr=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        yield Server(process, int(re.findall(r":(\d+)/", said)[0]))
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
        if "Traceback" in rest:
            sys.exit(f"the server had a fault: {rest}")


@dataclass
class Client(asyncio.Protocol):
    """A connection that sends one request and notes what arrives, and when."""

    request: bytes
    reads: bool = True
    sent: float = 0.0
    arrived: list[tuple[float, bytes]] = field(default_factory=list)
    size: int = 0

    def connection_made(self, transport: Any) -> None:
        self.transport, self.done = transport, asyncio.get_running_loop().create_future()
        self.sent = time.perf_counter()
        if not self.reads:
            transport.pause_reading()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.arrived.append((time.perf_counter(), data))
        if data.endswith(b"0\r\n\r\n") and not self.done.done():  # the last chunk of an answer
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    @property
    def text(self) -> str:
        """Return the text that was streamed."""
        events = re.findall(rb"data: (\{.*\})", b"".join(data for _, data in self.arrived))
        return "".join(each["text"] for e in events for each in json.loads(e)["choices"])

    @property
    def gaps(self) -> list[float]:
        """Return the seconds between what arrived, in order."""
        times = [at for at, data in self.arrived if b"data: " in data]
        return [after - before for before, after in pairwise(times)]


async def connected(server: Server, requests: list[bytes], reads: bool = True) -> list[Client]:
    """Return connections that have sent their requests."""
    loop, found = asyncio.get_running_loop(), []
    for request in requests:

        def made(request: bytes = request) -> Client:
            return Client(request, reads)

        _, client = await loop.create_connection(made, "127.0.0.1", server.port)
        found.append(client)
    return found


async def answered(server: Server, requests: list[bytes]) -> list[Client]:
    """Return connections whose answers have come."""
    clients = await connected(server, requests)
    await asyncio.gather(*(client.done for client in clients))
    for client in clients:
        client.transport.close()
    return clients


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def warm(server: Server) -> None:
    """Let the server load its model and compile what it needs."""
    asyncio.run(answered(server, [server.request(max_tokens=200, stream=True)]))


def first(given: argparse.Namespace, model: Path) -> Found:
    """Measure the time from a request to the first byte of its answer, one request at a time."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with served(model) as server:
        warm(server)
        for number in range(given.requests):
            for stream, found in seconds.items():
                # An answer at once has the 20 characters of the first piece of a stream, about.
                body = {"max_tokens": 300 if stream else 20, "stream": stream, "prompt": "Onceupon"}
                request = server.request(seed=number, **body)
                request = request.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1)
                (client,) = asyncio.run(answered(server, [request]))
                found.append(client.arrived[0][0] - client.sent)
    return {
        f"{name}, {what}, ms": round(1000 * value, 2)
        for stream, name in ((True, "first byte of a stream"), (False, "20 characters at once"))
        for what, value in (
            ("median", statistics.median(seconds[stream])),
            ("p99", percentile(seconds[stream], 0.99)),
        )
    }


def engine_speed(clients: int) -> float:
    """Return the characters per second of `charrnn bench generate` for as many texts."""
    sizes = ("--num-layers", LAYERS, "--hidden-size", HIDDEN, "--batch-size", clients)
    words = ("bench", "generate", "--cell", "lstm", *sizes, "--rounds", 5, "--json")
    line = [sys.executable, "-m", "charrnn", *map(str, words)]
    shown = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    return float(json.loads(shown)["rows"][0]["chars_per_second"])


def crowd(given: argparse.Namespace, model: Path) -> Found:
    """Measure clients that stream at once, in turns with the engine alone."""
    alone, speeds, gaps, cpu = [engine_speed(given.clients)], [], [], []
    for _ in range(given.rounds):
        with served(model) as server:
            warm(server)
            requests = [
                server.request(max_tokens=given.length, stream=True, seed=seed)
                for seed in range(given.clients)
            ]
            used = server.cpu_seconds()
            clients = asyncio.run(answered(server, requests))
            cpu.append(server.cpu_seconds() - used)
        began = min(client.sent for client in clients)
        ended = max(client.arrived[-1][0] for client in clients)
        characters = sum(len(client.text) for client in clients)
        if characters != given.clients * given.length:
            sys.exit(f"{characters:,} characters arrived instead of all")
        speeds.append(characters / (ended - began))
        gaps += [gap for client in clients for gap in client.gaps]
        alone.append(engine_speed(given.clients))
    speed, engine = statistics.median(speeds), statistics.median(alone)
    return {
        f"{given.clients} streams, characters/s": round(speed),
        "bench generate, characters/s": round(engine),
        "ratio": round(speed / engine, 3),
        "between two pieces, median, ms": round(1000 * statistics.median(gaps), 1),
        "between two pieces, p99, ms": round(1000 * percentile(gaps, 0.99), 1),
        "server's CPU seconds per million characters": round(
            1e6 * statistics.median(cpu) / (given.clients * given.length), 2
        ),
    }


def in_page(model: Path, environment: Found) -> float | None:
    """Return the seconds from the start of the server to the first character in its page."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return None
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), "")
    if not browser:
        return None
    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = made.new_page()
        began = time.perf_counter()
        with served(model, environment=environment) as server:
            page.goto(f"http://127.0.0.1:{server.port}/")
            page.click("#go")
            while not page.input_value("#write-text"):
                page.wait_for_timeout(2)
            seconds = time.perf_counter() - began
        made.close()
    return seconds


def start(given: argparse.Namespace, model: Path) -> Found:
    """Measure from the command's start to the first character, with an empty cache and a full one.

    With --open, the system's browser is `true`, and a client of ours asks as soon as the address is
    printed; then the page is opened in a headless Chromium that runs already, if there is one.
    """
    found: Found = {}
    for name, page in (("socket", False), ("page", True)):
        with tempfile.TemporaryDirectory() as folder:
            environment = {"XDG_CACHE_HOME": folder, "BROWSER": "true"}
            for cache in ("empty", "full"):
                if page:
                    seconds = in_page(model, environment)
                else:
                    began = time.perf_counter()
                    with served(model, "--open", environment=environment) as server:
                        request = server.request(max_tokens=300, stream=True)
                        (client,) = asyncio.run(answered(server, [request]))
                        seconds = client.arrived[0][0] - began
                if seconds is not None:
                    found[f"start to first character, {name}, {cache} cache, s"] = round(seconds, 2)
    return found


def install(given: argparse.Namespace, model: Path) -> Found:
    """Measure `pip install '.[serve]'` where PyTorch and the like are, from a full cache of pip."""
    here = Path(sysconfig.get_paths()["purelib"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packages = folder / "packages"
        packages.mkdir()
        for path in here.iterdir():
            if not re.match("|".join((*EXTRA, "_", r"\w+\.pth")), path.name, re.IGNORECASE):
                (packages / path.name).symlink_to(path)
        for _ in range(2):  # the first one fills the cache
            shutil.rmtree(folder / "venv", ignore_errors=True)
            venv.create(folder / "venv", with_pip=True)
            (own,) = (folder / "venv").glob("lib/python*/site-packages")
            (own / "others.pth").write_text(f"{packages}\n")
            began = time.perf_counter()
            line = [folder / "venv" / "bin" / "pip", "install", "--quiet", f"{ROOT}[serve]"]
            line += ["--disable-pip-version-check", "--cache-dir", folder / "cache"]
            subprocess.run(line, check=True)
            seconds = time.perf_counter() - began
    return {"pip install '.[serve]', full cache, PyTorch there, s": round(seconds, 1)}


async def _memory(given: argparse.Namespace, server: Server) -> Found:
    many, found = given.connections, {}
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n".encode()
    slow = server.request(max_tokens=20_000, stream=True)
    named = server.request(max_tokens=10_000, logprobs=50)
    kinds = (
        ("idle connections", [b""] * many, b"", True),
        ("heads that never end", [head] * many, b"X-Slow: y\r\n", True),
        ("bodies that never end", [slow[:-1]] * many, b"", True),
        ("clients that read no stream", [slow] * many, b"", False),
        ("clients that read no log-probabilities", [named] * (many // 10), b"", False),
        ("heads of 10 MB", [head] * (many // 10), b"X-Flood: y\r\n" * 800_000, True),
    )
    found["before, MB"] = round(server.status("VmRSS"), 1)
    for name, requests, more, reads in kinds:
        server.forget_peak()
        clients = await connected(server, requests, reads)
        end = time.perf_counter() + given.seconds
        for client in clients:
            client.transport.write(more)
        while time.perf_counter() < end:
            await asyncio.sleep(0.2)
            if more and len(more) < 100:
                for client in clients:
                    client.transport.write(more)
        found[f"{len(clients):,} {name}, peak, MB"] = round(server.status("VmHWM"), 1)
        for client in clients:
            client.transport.abort()
        (client,) = await answered(server, [server.request(max_tokens=300, stream=True)])
        if len(client.text) != 300:
            sys.exit(f"the server does not answer after {name}: {client.arrived}")
    return found


def memory(given: argparse.Namespace, model: Path) -> Found:
    """Measure the memory of a server that many clients misuse, and that it answers afterwards."""
    with served(model) as server:
        warm(server)
        return asyncio.run(_memory(given, server))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = {"first": first, "crowd": crowd, "start": start, "memory": memory, "install": install}
    parser.add_argument("part", nargs="*", metavar="PART", help=f"of {', '.join(parts)}")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--length", type=int, default=8000, help="characters of a client's text")
    parser.add_argument("--rounds", type=int, default=3, help="of the crowd")
    parser.add_argument("--requests", type=int, default=200, help="for the first byte")
    parser.add_argument("--connections", type=int, default=1000, help="for the memory")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each misuse")
    given = parser.parse_args()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "untrained.safetensors"
        make_model(model)
        for name in given.part or list(parts)[:-1]:
            for figure, value in parts[name](given, model).items():
                print(f"| {figure} | {value:,} |", flush=True)
                found[figure] = value
    print(json.dumps(found))


if __name__ == "__main__":
    main()
