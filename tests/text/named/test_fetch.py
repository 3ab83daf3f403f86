"""Fetching from a local https server, whose certificates are trusted."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import http.server
import io
import os
import random
import re
import resource
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import trustme
from waiting import HANGS, wait_until

from charrnn.errors import CharRNNError, CorpusError, RunError
from charrnn.text.named import download, fetch, registry
from charrnn.text.named.fetch import Fetched
from charrnn.text.named.registry import Entry

TEXT = base64.encodebytes(random.Random(1).randbytes(800_000))  # a megabyte, in many reads


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def known(url: str, data: bytes = TEXT, **fields: Any) -> Entry:
    """Return the entry of a corpus with these bytes."""
    given = {"bytes": len(data), "sha256": sha256(data), "url": url, **fields}
    return Entry("known", "Known", "A text.", "none", **given)


@dataclass
class Served:
    """How the server answers requests for one path; all requests are recorded."""

    body: bytes = TEXT
    status: int = 200
    ranges: bool = True
    cut: int | None = None  # bytes of a response after which the connection breaks
    cuts: int = 10**9  # how many responses are cut
    length: bool = True
    redirect: str | None = None
    before: Callable[[], object] = lambda: None
    asked: list[str | None] = field(default_factory=list)


class Server:
    """An https server on this machine."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.paths: dict[str, Served] = {}
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.handle_error = lambda *arguments: None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def url(self, name: str, host: str = "localhost") -> str:
        return f"https://{host}:{self._http.server_port}/{name}"

    def serve(self, name: str, **how: Any) -> Served:
        self.paths[f"/{name}"] = Served(**how)
        return self.paths[f"/{name}"]

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        served = self.paths.get(request.path)
        if served is None:
            request.send_error(404)
            return
        asked = request.headers.get("Range")
        served.asked.append(asked)
        served.before()
        if served.redirect or served.status != 200:
            request.send_response(302 if served.redirect else served.status)
            if served.redirect:
                request.send_header("Location", served.redirect)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body, size = served.body, len(served.body)
        if asked and served.ranges:
            if start >= size:
                request.send_error(416)
                return
            body = body[start:]
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            request.send_response(200)
        if served.length:
            request.send_header("Content-Length", str(len(body)))
        else:
            request.send_header("Connection", "close")
            request.close_connection = True
        request.end_headers()
        if served.cut is not None and served.cuts > 0:
            served.cuts -= 1
            body = body[: served.cut]
            request.close_connection = True
        request.wfile.write(body)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def serving(authority: trustme.CA) -> Iterator[Server]:
    server = Server(authority.issue_cert("localhost"))
    yield server
    server.close()


@pytest.fixture
def server(
    serving: Server, authority_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Server:
    """The server, with trusted certificates; the cache is in this test's folder."""
    serving.paths.clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    monkeypatch.delenv("CHARRNN_CORPORA", raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    return serving


class Client:
    """Fetches and records notices and progress."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress: list[tuple[int, int | None]] = []

    def fetch(self, wanted: Entry) -> Fetched:
        return fetch.fetch(wanted, lambda *now: self.progress.append(now), self.lines.append)

    def fails(self, wanted: Entry, error: type[CharRNNError] = RunError) -> str:
        with pytest.raises(error) as caught:
            self.fetch(wanted)
        return str(caught.value)


@pytest.fixture
def client() -> Client:
    return Client()


def left(wanted: Entry) -> set[str]:
    """Return the suffixes of the files that a fetch left, except locks."""
    folder = registry.cached_path(wanted).parent
    return {path.suffix for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_text_is_fetched_whole_and_found_afterwards(server: Server, client: Client) -> None:
    served = server.serve("text.txt")
    wanted = known(server.url("text.txt"))
    assert not registry.is_here(wanted)
    with pytest.raises(CorpusError, match="'charrnn corpora fetch known'"):
        registry.paths(wanted)
    result = client.fetch(wanted)
    assert result == Fetched(registry.cached_path(wanted), len(TEXT), sha256(TEXT), len(TEXT))
    assert registry.paths(wanted) == [result.path]
    assert result.path.read_bytes() == TEXT
    assert registry.is_here(wanted)
    assert client.progress[0] == (0, len(TEXT))
    assert client.progress[-1] == (len(TEXT), len(TEXT))
    assert left(wanted) == {".txt", ".sha256"}
    assert replace(result, downloaded=0) == client.fetch(wanted)
    assert served.asked == [None]


def test_an_archive_is_unpacked_and_its_text_verified_by_the_saved_hash(
    server: Server, client: Client
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for name, data in {"k/a.c": b"int a;\n", "k/b.txt": b"no", "k/c.c": b"caf\xe9"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    packed = out.getvalue()
    server.serve("kernel.tar.xz", body=packed)
    wanted = known(
        server.url("kernel.tar.xz"),
        sha256=None,
        bytes=1000,
        unpack="tar.xz",
        select=["*.c"],
        archive_sha256=sha256(packed),
        archive_bytes=len(packed),
    )
    result = client.fetch(wanted)
    assert result.path.read_bytes() == b"int a;\n"
    assert result.sha256 == sha256(b"int a;\n")
    assert "1 of its files are not UTF-8 and were left out" in client.lines
    assert registry.paths(wanted) == [result.path]
    result.path.write_bytes(b"int b;\n")
    with pytest.raises(CorpusError, match="has changed since it was fetched"):
        registry.paths(wanted)
    assert client.fetch(wanted).path.read_bytes() == b"int a;\n"
    registry.hash_path(wanted).unlink()
    with pytest.raises(CorpusError, match="not on this machine"):
        registry.paths(wanted)


def test_a_corpus_without_a_known_hash_is_not_fetched(server: Server, client: Client) -> None:
    served = server.serve("text.txt")
    wanted = known(server.url("text.txt"), sha256=None)
    assert "no SHA-256 is known" in client.fails(wanted, CorpusError)
    assert served.asked == []


def test_a_wrong_hash_leaves_nothing(server: Server, client: Client) -> None:
    server.serve("text.txt", body=TEXT.swapcase())
    wanted = known(server.url("text.txt"))
    sentence = client.fails(wanted)
    assert sha256(TEXT) in sentence
    assert sha256(TEXT.swapcase()) in sentence
    assert left(wanted) == set()
    with pytest.raises(CorpusError):
        registry.paths(wanted)


def test_a_wrong_archive_is_not_unpacked(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "unpack", lambda *arguments: pytest.fail("it was unpacked"))
    server.serve("text.gz", body=gzip.compress(TEXT))
    wanted = known(
        server.url("text.gz"), unpack="gzip", archive_bytes=10**6, archive_sha256="0" * 64
    )
    assert "0" * 64 in client.fails(wanted)
    assert left(wanted) == set()


def test_a_broken_download_resumes_where_it_broke(server: Server, client: Client) -> None:
    served = server.serve("text.txt", cut=400_000, cuts=2)
    result = client.fetch(known(server.url("text.txt")))
    assert served.asked == [None, "bytes=400000-", "bytes=800000-"]
    broke = f"the connection broke after 400,000 of {len(TEXT):,} bytes: trying again"
    assert broke in client.lines
    assert result.downloaded == len(TEXT)


def test_a_download_that_always_breaks_keeps_the_bytes_so_far(
    server: Server, client: Client
) -> None:
    served = server.serve("text.txt", cut=300_000, cuts=1)
    wanted = known(server.url("text.txt"))
    served.before = lambda: setattr(served, "status", 503 if len(served.asked) > 1 else 200)
    assert "503 Service Unavailable" in (sentence := client.fails(wanted))
    assert "300,000 bytes are saved" in sentence
    assert len(served.asked) == download.ATTEMPTS
    assert left(wanted) == {".part"}
    served.before = lambda: setattr(served, "status", 200)
    assert client.fetch(wanted).downloaded == len(TEXT) - 300_000
    assert served.asked[-1] == "bytes=300000-"
    assert left(wanted) == {".txt", ".sha256"}


def test_a_server_without_ranges_sends_everything_again(server: Server, client: Client) -> None:
    served = server.serve("text.txt", ranges=False, cut=400_000, cuts=1)
    assert client.fetch(known(server.url("text.txt"))).path.read_bytes() == TEXT
    assert served.asked == [None, "bytes=400000-"]


@pytest.mark.parametrize("start", [b"another text", TEXT + b"and more", TEXT], ids=len)
def test_the_beginning_of_another_file_is_dropped(
    server: Server, client: Client, start: bytes
) -> None:
    server.serve("text.txt")
    wanted = known(server.url("text.txt"))
    part = registry.cached_path(wanted).with_suffix(".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(start)
    assert client.fetch(wanted).path.read_bytes() == TEXT
    assert left(wanted) == {".txt", ".sha256"}


def test_a_body_without_a_length_is_limited(server: Server, client: Client) -> None:
    server.serve("text.txt", length=False)
    assert client.fetch(known(server.url("text.txt"))).bytes == len(TEXT)
    server.serve("long.txt", body=TEXT + b"!", length=False)
    wanted = known(server.url("long.txt"), sha256="1" * 64)
    assert f"more than the {len(TEXT):,} bytes" in client.fails(wanted)


def test_a_file_over_the_limit_is_not_downloaded(server: Server, client: Client) -> None:
    served = server.serve("text.txt", body=TEXT + b"!")
    wanted = known(server.url("text.txt"))
    assert f"has {len(TEXT) + 1:,} bytes, more than the {len(TEXT):,}" in client.fails(wanted)
    assert len(served.asked) == 1
    assert left(wanted) == set()


def test_a_missing_file_is_an_error(server: Server, client: Client) -> None:
    assert "404 Not Found" in client.fails(known(server.url("nowhere.txt")))


def test_redirects_are_followed_to_https_only(server: Server, client: Client) -> None:
    server.serve("text.txt")
    server.serve("moved", redirect=server.url("text.txt"))
    assert client.fetch(known(server.url("moved"))).bytes == len(TEXT)
    for elsewhere, why in {
        server.url("text.txt").replace("https", "http"): "only https is fetched",
        "file:///etc/passwd": "'file:///etc/passwd' is not allowed",
        server.url("unsafe"): "infinite loop",
    }.items():
        server.serve("unsafe", redirect=elsewhere)
        sentence = client.fails(known(server.url("unsafe"), sha256="2" * 64))
        assert why in sentence
        assert "\n" not in sentence


def test_plain_http_is_refused(server: Server, client: Client) -> None:
    url = server.url("text.txt").replace("https", "http")
    assert "only https" in client.fails(known(url))


def test_a_server_without_a_valid_certificate_is_refused(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = server.serve("text.txt")
    wanted = known(server.url("text.txt", host="127.0.0.1"))
    assert "127.0.0.1 has no valid certificate" in client.fails(wanted)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "localhost has no valid certificate" in client.fails(known(server.url("text.txt")))
    assert served.asked == []


def test_a_missing_server_is_an_error(server: Server, client: Client) -> None:
    sentence = client.fails(known("https://localhost:1/text.txt"))
    assert "no connection" in sentence
    assert f"{download.ATTEMPTS} times" in sentence
    sentence = client.fails(known("https://nowhere.invalid/text.txt"))
    assert "no such host, or no network" in sentence


def test_a_slow_server_is_waited_for_but_not_a_silent_one(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = server.serve("text.txt", before=lambda: time.sleep(0.05))
    assert client.fetch(known(server.url("text.txt"))).bytes == len(TEXT)
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    connect = http.client.HTTPSConnection.connect

    def connect_in_any_time(connection: http.client.HTTPSConnection) -> None:
        connection.timeout, timeout = HANGS, connection.timeout
        connect(connection)
        connection.sock.settimeout(timeout)

    monkeypatch.setattr(http.client.HTTPSConnection, "connect", connect_in_any_time)
    silence = threading.Event()
    served.before = lambda: silence.wait(HANGS)
    other = known(server.url("text.txt"), sha256="3" * 64)
    assert "nothing arrived for 0.3 seconds, 2 times" in client.fails(other)
    silence.set()


def test_two_threads_that_fetch_at_once_download_once(server: Server) -> None:
    begun = threading.Event()
    served = server.serve("text.txt", before=lambda: begun.wait(HANGS))
    wanted = known(server.url("text.txt"))
    both = [Client(), Client()]
    results: list[Fetched] = []
    threads = [
        threading.Thread(target=lambda client=client: results.append(client.fetch(wanted)))
        for client in both
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: any("waiting" in line for client in both for line in client.lines))
    begun.set()
    for thread in threads:
        thread.join(HANGS)
    assert sorted(result.downloaded for result in results) == [0, len(TEXT)]
    assert served.asked == [None]


def test_too_little_space_is_an_error_before_the_download(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("text.txt")
    usage = shutil.disk_usage(".")._replace(free=1_000_000)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: usage)
    wanted = known(server.url("text.txt"))
    assert f"needs {2 * len(TEXT):,} bytes" in (sentence := client.fails(wanted))
    assert "only 1,000,000 are free" in sentence


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes")
@pytest.mark.parametrize("limit", [300_000, len(TEXT) - 1])
def test_a_full_disk_keeps_the_bytes_so_far(server: Server, client: Client, limit: int) -> None:
    """A limit on file sizes raises the same error as a full disk."""
    packed = gzip.compress(os.urandom(400_000) + TEXT)
    text = gzip.decompress(packed)
    server.serve("text.gz", body=packed)
    wanted = known(
        server.url("text.gz"),
        text,
        unpack="gzip",
        archive_sha256=sha256(packed),
        archive_bytes=len(packed),
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        assert "is full: free some space" in client.fails(wanted)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left(wanted) == {".part"}
    assert client.fetch(wanted).path.read_bytes() == text


def test_a_local_copy_is_used_before_the_network(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setenv("CHARRNN_CORPORA", str(copies))
    packed = gzip.compress(TEXT)
    (copies / "any name").write_bytes(packed)
    fields = {"archive_sha256": sha256(packed), "archive_bytes": len(packed)}
    wanted = known("https://localhost:1/text.gz", unpack="gzip", **fields)
    result = client.fetch(wanted)
    assert result == Fetched(registry.cached_path(wanted), len(TEXT), sha256(TEXT))
    assert (copies / "any name").exists()
    result.path.unlink()
    (copies / "text").write_bytes(TEXT)
    assert client.fetch(wanted).path == copies / "text"


@pytest.fixture
def command(server: Server, authority_file: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return `command(entry, *words)`, which starts charrnn with a registry of this one entry."""

    def start(wanted: Entry, *words: str) -> subprocess.Popen[str]:
        toml = tmp_path / "registry.toml"
        fields = "\n".join(
            f"{name} = {value!r}".replace("'", '"')
            for name, value in vars(wanted).items()
            if value and name != "name"
        )
        toml.write_text(f"[{wanted.name}]\n{fields}\n")
        script = (
            "from pathlib import Path\n"
            "import platformdirs\n"
            "from charrnn.text.named import registry\n"
            "from charrnn.cli.app import run\n"
            f"registry.folder = lambda: Path({str(tmp_path)!r})\n"
            f"platformdirs.user_cache_path = lambda name: Path({str(tmp_path)!r}) / name\n"
            "run()\n"
        )
        return subprocess.Popen(
            [sys.executable, "-c", script, "corpora", *words],
            # Coverage can hang at Ctrl-C.
            env={n: v for n, v in os.environ.items() if "COVERAGE" not in n}
            | {"SSL_CERT_FILE": str(authority_file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_the_command_prints_the_path_and_size(server: Server, command) -> None:
    server.serve("text.txt")
    wanted = known(server.url("text.txt"))
    out, err = command(wanted, "fetch", "known").communicate(timeout=HANGS)
    assert Path(out.rstrip("\n")).read_bytes() == TEXT
    assert server.url("text.txt") in err
    assert sha256(TEXT) in err
    assert "licence: none" in err
    out, err = command(wanted, "path", "known").communicate(timeout=HANGS)
    assert Path(out.rstrip("\n")).read_bytes() == TEXT
    out, _ = command(wanted, "list").communicate(timeout=HANGS)
    assert f"{server.url('text.txt')}, downloaded\n" in out


def test_the_command_exits_with_1_when_the_network_fails(server: Server, command) -> None:
    process = command(known(server.url("nowhere.txt")), "fetch", "known")
    out, err = process.communicate(timeout=HANGS)
    assert (process.returncode, out) == (1, "")
    assert re.search(r"^charrnn: https://localhost:\d+/nowhere.txt: .*404 Not Found$", err, re.M)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process alone")
def test_ctrl_c_keeps_the_bytes_so_far(server: Server, command) -> None:
    released = threading.Event()
    served = server.serve("text.txt", cut=500_000, cuts=1)
    served.before = lambda: released.wait(HANGS) if len(served.asked) > 1 else None
    wanted = known(server.url("text.txt"))
    process = command(wanted, "fetch", "known")
    wait_until(lambda: len(served.asked) == 2 or process.poll() is not None)
    process.send_signal(2)
    out, err = process.communicate(timeout=HANGS)
    released.set()
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    served.before = lambda: None
    out, _ = command(wanted, "fetch", "known", "--json").communicate(timeout=HANGS)
    assert f'"downloaded": {len(TEXT) - 500_000}' in out
