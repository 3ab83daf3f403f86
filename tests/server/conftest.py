"""A server with a tiny model, which all tests of this folder ask over a real socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import random_values
from waiting import HANGS

from charrnn.config import EngineOptions, ModelConfig
from charrnn.config.serving import ServeOptions
from charrnn.model import model_file
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import CharTokenizer

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

LETTERS = "\n .,abcdefghijklmnopqrstuvwxyzé<>&\"'/="


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Return the sentence of a refusal."""
        return str(self.json["error"]["message"])

    @property
    def events(self) -> list[Any]:
        """Return the events of a stream, which must end as the protocol says."""
        lines = self.body.decode().split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


@dataclass(frozen=True)
class Running:
    """A server that runs in a thread."""

    port: int
    models: Any
    notes: list[str]
    folder: Path
    connections: set[Any]

    @property
    def faults(self) -> list[str]:
        """Return what was said on the terminal about faults of charrnn itself."""
        return [note for note in self.notes if "defect" in note]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request: a POST where there is a body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGS)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} if body is not None else {}
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, data, {**given, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def complete(self, **fields: Any) -> Any:
        """Return the answer to a request for texts, which must succeed."""
        answer = self.ask("/v1/completions", fields)
        assert answer.status == 200, answer.body
        return answer.json

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=HANGS)


def save_model(path: Path, seed: int = 0, letters: str = LETTERS) -> Model:
    """Write a random model."""
    tokenizer = CharTokenizer.from_texts(letters)
    config = ModelConfig(tokenizer.vocab_size, hidden_size=16, embedding_size=8)
    model = Model(config, tokenizer, random_values(config, seed, 0.5), {"steps": 3})
    path.parent.mkdir(parents=True, exist_ok=True)
    model_file.save(path, model)
    return model


@contextmanager
def running(folder: Path, *given: Path, limits: Any = None, **options: Any) -> Iterator[Running]:
    """Run a server in a thread; the current folder is another one meanwhile."""
    from charrnn.server import serving
    from charrnn.server.limits import Limits
    from charrnn.server.models import Models

    before = Path.cwd()
    os.chdir(folder)
    limits = limits or Limits()
    asked, notes = ServeOptions(port=0, **options), []
    try:
        models = Models(given, EngineOptions(threads=1), limits, notes.append)
        listening = serving.listen(asked)
        made = serving.server(models, asked, notes.append, limits)
        ready = threading.Event()
        thread = threading.Thread(target=serving.serve, args=(made, listening, ready.set))
        thread.start()
        ready.wait(HANGS)
        try:
            port, connections = listening.getsockname()[1], made.server_state.connections
            yield Running(port, models, notes, folder, connections)
        finally:
            made.should_exit = True
            thread.join(HANGS)
            assert not thread.is_alive()
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs that have a model."""
    folder = tmp_path_factory.mktemp("served")
    save_model(folder / "runs" / "first" / "model.safetensors", seed=1)
    save_model(folder / "runs" / "second" / "model.safetensors", seed=2)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with running(folder, Path("runs/first")) as found:
        yield found


from .browser import browser, page, served  # noqa: E402, F401 (fixtures that use what is above)
