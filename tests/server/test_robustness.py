"""Bodies that mean nothing, clients that are slow, many or gone: answers in words, and no fault."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import HANGS, wait_until

from charrnn.model import model_file
from charrnn.server import serving
from charrnn.server.limits import Limits

from .conftest import Running, running


@pytest.fixture(autouse=True)
def _no_traceback(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert "Traceback" not in capfd.readouterr().err


FIELDS = st.sampled_from(
    [
        *("model", "prompt", "max_tokens", "temperature", "top_p", "stop", "seed", "n", "echo"),
        *("logprobs", "stream", "regex", "allow", "top_k", "logit_bias", "repeat_last_n"),
        *("unknown", "max_lines", "mirostat_ent", "text", "xtc_probability", "keep_stop"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 40)
    | st.sampled_from([10**400, -(10**30), 1e300, "first", "\ud800", "\x00", "漢"])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(st.dictionaries(FIELDS, VALUES, max_size=5))
def test_any_json_gets_an_answer_in_words(server: Running, fields: dict[str, Any]) -> None:
    for path in ("/v1/completions", "/v1/score", "/v1/next"):
        answer = server.ask(path, {"max_tokens": 3, **fields} if "comp" in path else fields)
        assert answer.status in (200, 400, 404), answer.body
        if answer.status != 200:
            assert len(answer.error) > 10
    assert server.faults == []


@given(st.binary(max_size=60))
def test_any_bytes_get_an_answer_in_words(server: Running, body: bytes) -> None:
    answer = server.ask("/v1/completions", body)
    assert answer.status in (200, 400)
    assert server.faults == []


HEADS = st.lists(
    st.sampled_from(
        [
            *(b"GET / HTTP/1.1", b"POST /v1/completions HTTP/1.1", b"GET /%2e%2e/x HTTP/1.0"),
            *(b"Host: 127.0.0.1", b"Host: [::1]:1", b"Host: [::::]", b"Host:", b"HOST: \xff"),
            *(b"Content-Type: application/json", b"Content-Length: 5", b"Content-Length: -1"),
            *(b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: websocket"),
            *(b"Connection: upgrade, close", b"Authorization: Bearer \xe9", b"Origin: null"),
            *(b"Sec-Fetch-Site: cross-site", b" folded", b"", b"{}", b'5\r\n{"a"\r\n0'),
        ]
    )
    | st.binary(max_size=20),
    max_size=7,
)


@given(HEADS)
def test_any_head_gets_an_answer_or_none(server: Running, lines: list[bytes]) -> None:
    with server.connect() as client:
        client.sendall(b"\r\n".join([*lines, b"", b""]))
        client.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = client.recv(15)
    assert answer == b"" or re.match(rb"HTTP/1\.1 [1-4]\d\d ", answer), answer
    assert server.ask("/v1/models").status == 200
    assert server.faults == []


def resident() -> int:
    """Return the memory of this process in MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the memory of a process is read from /proc")
    return int(re.findall(r"VmRSS:\s+(\d+)", status.read_text())[0]) // 1000


def test_a_thousand_connections_take_little_memory(server: Running) -> None:
    resource = pytest.importorskip("resource", reason="connections are not limited like this")
    many = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 150)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n".encode()
    body = b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
    server.complete(max_tokens=1)
    before = resident()
    kinds = (b"", head, head + b"X: y\r\n" * 1000, head + body)
    clients = [server.connect() for _ in range(many)]
    for number, client in enumerate(clients):
        client.sendall(kinds[number % len(kinds)])
    wait_until(lambda: len(server.connections) >= many)
    assert server.complete(max_tokens=3)
    for client in clients:
        client.close()
    wait_until(lambda: not server.connections)
    assert resident() - before < 150


def test_a_long_body_is_refused_before_it_has_come(server: Running) -> None:
    refused = server.ask("/v1/completions", b'{"prompt": "' + b"x" * 2**20 + b'"}')
    assert refused.status == 413
    assert refused.error == "the body is too long: at most 1,048,576 bytes"


def test_a_long_head_is_refused(server: Running) -> None:
    with server.connect() as client:
        with contextlib.suppress(OSError):
            client.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 50_000)
        with contextlib.suppress(ConnectionError):
            assert client.recv(100).startswith(b"HTTP/1.1 400")
    assert server.ask("/v1/models").status == 200


def test_what_is_not_http_is_refused(server: Running) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n\r\n\x00\xff\r\n\r\n"):
        with server.connect() as client:
            client.sendall(sent)
            assert client.recv(100).startswith(b"HTTP/1.1 400")
    assert server.ask("/v1/models").status == 200


def test_silent_connections_are_closed(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_HEAD_SECONDS", 0.1)
    silent, half = server.connect(), server.connect()
    half.sendall(b"GET / HTTP/1.1\r\nHost: local")
    assert silent.recv(1) == half.recv(1) == b""  # closed
    silent.close()
    half.close()


@pytest.fixture(scope="module")
def small(folder: Path) -> Iterator[Running]:
    limits = Limits(body_seconds=0.2, rows=4, waiting=3, connections=40, seconds=1.0)
    with running(folder, Path("runs/first"), limits=limits) as found:
        yield found


def test_a_body_that_does_not_come_is_refused(small: Running) -> None:
    with small.connect() as client:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 408")


def open_stream(server: Running, **fields: Any) -> socket.socket:
    """Ask for a text and read its first event."""
    client = server.connect()
    body = json.dumps({"max_tokens": 100_000, "stream": True, **fields}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


def test_too_many_connections_are_refused(small: Running) -> None:
    clients = [small.connect() for _ in range(60)]
    wait_until(lambda: b"503" in asked(small))
    for client in clients:
        client.close()
    wait_until(lambda: b"HTTP/1.1 200" in asked(small))


def test_connections_without_end_are_closed(small: Running) -> None:
    clients = [small.connect() for _ in range(40 + serving._REFUSED + 5)]
    closed = b"unknown"
    with contextlib.suppress(ConnectionError):
        closed = clients[-1].recv(1)
    assert closed in (b"", b"unknown")
    for client in clients:
        client.close()
    wait_until(lambda: b"HTTP/1.1 200" in asked(small))


def test_a_server_that_may_open_few_files_takes_fewer_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource", reason="there is no such limit on Windows")
    limit = [256, 700]

    def limited(kind: int, wanted: tuple[int, int]) -> None:
        limit[0] = wanted[0]

    monkeypatch.setattr(resource, "getrlimit", lambda kind: tuple(limit))
    monkeypatch.setattr(resource, "setrlimit", limited)
    assert serving._possible_connections(1024) == 700 - 192
    assert limit == [700, 700]
    limit[:] = [256, resource.RLIM_INFINITY]
    assert serving._possible_connections(1024) == 1024
    assert limit[0] == 1216
    limit[:] = [100, 100]
    assert serving._possible_connections(1024) == 16


def asked(server: Running) -> bytes:
    with server.connect() as client, contextlib.suppress(ConnectionError):
        client.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        return client.recv(100)
    return b""


def worker(server: Running) -> Any:
    return server.models._loaded["first"].worker


def test_a_client_that_leaves_frees_its_place(server: Running) -> None:
    server.complete(max_tokens=1)
    clients = [open_stream(server, seed=seed) for seed in range(3)]
    wait_until(lambda: len(worker(server).crowd.members) == 3)
    for client in clients:
        client.recv(20)
        client.close()
    wait_until(lambda: not worker(server).busy)
    assert worker(server).crowd.members == []


def test_a_client_that_leaves_a_whole_answer_frees_its_place(server: Running) -> None:
    server.complete(max_tokens=1)
    client = open_stream(server, stream=False)
    wait_until(lambda: worker(server).crowd.members)
    client.close()
    wait_until(lambda: not worker(server).busy)


def test_texts_wait_for_space_and_too_many_are_refused(small: Running) -> None:
    small.complete(max_tokens=1)
    first = open_stream(small, n=4, max_tokens=100_000, stream=True)
    wait_until(lambda: len(worker(small).crowd.members) == 1)
    others = [open_stream(small, max_tokens=9) for _ in range(3)]
    wait_until(lambda: len(worker(small)._waiting) == 3)
    refused = small.ask("/v1/completions", {"max_tokens": 9})
    assert refused.status == 429
    assert refused.error == "3 requests are waiting already: try again later"
    first.close()
    for client in others:
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        client.close()


def slow_reader(server: Running, **fields: Any) -> socket.socket:
    """Ask for more than the system keeps for a client that does not read; read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    client.settimeout(HANGS)
    client.connect(("127.0.0.1", server.port))
    body = json.dumps({"max_tokens": 60_000, "logprobs": 9, "seed": 3, **fields}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close"
    head += f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


def test_a_text_waits_for_a_client_that_does_not_read(server: Running) -> None:
    alone = server.complete(max_tokens=60_000, seed=3)["choices"][0]["text"]
    with slow_reader(server, stream=True) as client:
        wait_until(lambda: worker(server).busy)
        wait_until(lambda: not worker(server).crowd.members)
        assert worker(server).busy
        assert server.complete(max_tokens=9, seed=3)["choices"][0]["text"] == alone[:9]
        received = b""
        while part := client.recv(2**16):
            received += part
    events = re.findall(rb"data: (\{.*\})", received)
    assert "".join(json.loads(event)["choices"][0]["text"] for event in events) == alone


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_reads_nothing_is_closed(
    server: Running, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(serving, "_READ_SECONDS", 0.1)
    with slow_reader(server, stream=stream):
        wait_until(lambda: any(each.flow.write_paused for each in server.connections))
        wait_until(lambda: not server.connections)
        wait_until(lambda: not worker(server).busy)


def test_long_answers_are_made_a_few_at_a_time(folder: Path) -> None:
    limits = Limits(long_answers=1, waiting_long=1, short_answer=1000)
    with running(folder, Path("runs/first"), limits=limits) as found:
        found.complete(max_tokens=1)
        with slow_reader(found, stream=True):
            wait_until(lambda: worker(found).crowd.members)
            waits = open_stream(found, max_tokens=2000, logprobs=1)
            wait_until(lambda: found.ask("/v1/score", {"text": "the sea " * 200}).status == 429)
            refused = found.ask("/v1/completions", {"max_tokens": 1001, "logprobs": 1})
            assert refused.error.startswith("1 requests with long answers are waiting already")
            assert found.complete(max_tokens=900, logprobs=1)
            assert found.complete(max_tokens=20_000)
        assert waits.recv(15) == b"HTTP/1.1 200 OK"
        waits.close()


def test_a_text_ends_with_the_time(small: Running) -> None:
    began = time.monotonic()
    answer = small.ask("/v1/completions", {"n": 4, "max_tokens": 100_000, "top_k": 3})
    assert answer.status == 200
    for choice in answer.json["choices"]:
        assert choice["finished_by"] in ("time", "length")
        assert choice["finish_reason"] == "length"
    assert time.monotonic() - began < 60


def test_a_network_that_overflows_is_an_error_and_the_others_go_on(
    folder: Path, tmp_path: Path
) -> None:
    model = model_file.load(folder / "runs" / "first" / "model.safetensors")
    huge = {**model.values, "output.weight": np.full_like(model.values["output.weight"], 3e38)}
    model_file.save(tmp_path / "huge.safetensors", replace(model, values=huge))
    with running(folder, tmp_path / "huge.safetensors", Path("runs/first")) as found:
        # At random: few tokens may be written without a state that is large enough.
        refused = found.ask("/v1/completions", {"max_tokens": 300})
        assert refused.status == 500
        assert "the numbers of this network overflow" in refused.error
        assert found.complete(model="first", max_tokens=9)
