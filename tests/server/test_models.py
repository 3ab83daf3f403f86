"""Which models a server has; a changed one is loaded again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from waiting import HANGS, wait_until

import charrnn
from charrnn.compiler import background
from charrnn.compiler.cache import CFunction
from charrnn.decoding import compiled
from charrnn.errors import ModelError
from charrnn.model import model_file
from charrnn.server.limits import Limits
from charrnn.server.models import Models

from .conftest import running, save_model


def test_a_changed_model_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "run" / "model.safetensors"
    save_model(path, seed=1)
    asked = {"max_tokens": 40, "seed": 1}
    with running(tmp_path) as server:
        before = server.complete(**asked)["choices"][0]["text"]
        assert before == charrnn.load(path).sample("", length=40, seed=1).text
        old = server.models._loaded["run"].worker
        save_model(path, seed=2)
        after = server.complete(**asked)["choices"][0]["text"]
        assert after == charrnn.load(path).sample("", length=40, seed=1).text != before
        wait_until(lambda: not old._thread.is_alive())
        path.unlink()  # as for a moment in a training with --force
        assert server.complete(**asked)["choices"][0]["text"] == after


class Slow:
    """A compiled function that is compiled when it is allowed to be."""

    def __init__(self, real: Any) -> None:
        self.allowed, self._real = threading.Event(), real

    @property
    def address(self) -> int:
        assert self.allowed.wait(HANGS)
        return int(self._real.address)


def test_texts_without_filters_do_not_wait_until_those_are_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "usable", lambda: False)  # as on systems without object code
    slow = Slow(compiled.by_filters)
    monkeypatch.setattr(compiled, "by_filters", slow)
    path = tmp_path / "runs" / "run" / "model.safetensors"
    save_model(path, seed=1)
    found: list[str] = []
    with running(tmp_path) as server:

        def ask() -> None:
            found.append(server.complete(max_tokens=9, seed=1, top_k=2)["choices"][0]["text"])

        filtered = threading.Thread(target=ask)
        filtered.start()
        assert server.complete(max_tokens=9, seed=1, temperature=0.5)
        assert found == []
        slow.allowed.set()
        filtered.join(HANGS)
    assert found == [charrnn.load(path).sample("", length=9, seed=1, top_k=2).text]


class Compiling:
    """A process that compiles until somebody waits for it."""

    ended = False

    def wait(self) -> None:
        self.ended = True


@pytest.mark.parametrize("more", [{}, {"top_k": 2}, {"logprobs": 2}, {"n": 3}], ids=str)
def test_texts_come_before_anything_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    path = tmp_path / "runs" / "run" / "model.safetensors"
    save_model(path, seed=1)
    asked = {"max_tokens": 40, "seed": 1, **more}
    with running(tmp_path) as server:
        wanted = server.complete(**asked)["choices"]
    jobs: list[Compiling] = []

    def begin(functions: Sequence[CFunction], *, urgent: bool = True) -> list[Compiling]:
        jobs.append(Compiling())
        return jobs[-1:]

    monkeypatch.setattr(background, "begin", begin)
    monkeypatch.setattr(CFunction, "load", lambda function: False)
    with running(tmp_path) as server:
        found = server.complete(**asked)["choices"]
    assert [each["text"] for each in found] == [each["text"] for each in wanted]
    assert len(jobs) >= 3  # the network, and both ways to choose
    waited = [job.ended for job in jobs]
    # Log-probabilities are those of compiled code; texts wait for nothing.
    assert any(waited) == ("logprobs" in more)


def test_a_server_ends_while_it_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()

    def load(*_: Any) -> None:
        begun.set()
        ended.wait(HANGS)

    monkeypatch.setattr(Models, "_load", load)
    save_model(tmp_path / "runs" / "one" / "model.safetensors")
    with running(tmp_path):
        assert begun.wait(HANGS)
    assert not ended.is_set()  # the server did not wait for it
    ended.set()


def test_few_models_stay_in_memory(tmp_path: Path) -> None:
    for seed in range(4):
        save_model(tmp_path / "runs" / f"run{seed}" / "model.safetensors", seed=seed)
    with running(tmp_path, limits=Limits(models=2)) as server:
        names = [f"run{seed}" for seed in range(4)]
        texts = [server.complete(model=n, max_tokens=30, seed=1)["choices"] for n in names]
        assert list(server.models._loaded) == ["run2", "run3"]
        again = [server.complete(model=n, max_tokens=30, seed=1)["choices"] for n in names]
        assert texts == again


def test_a_new_run_can_be_asked(tmp_path: Path) -> None:
    save_model(tmp_path / "runs" / "one" / "model.safetensors")
    with running(tmp_path) as server:
        save_model(tmp_path / "runs" / "two" / "model.safetensors", seed=3)
        assert [each["id"] for each in server.ask("/v1/models").json["data"]] == ["one", "two"]
        assert server.complete(model="two", max_tokens=3)["model"] == "two"


def test_models_are_named_and_not_found_by_paths(tmp_path: Path) -> None:
    save_model(tmp_path / "runs" / "one" / "model.safetensors")
    save_model(tmp_path / "elsewhere" / "tiny.safetensors", seed=3)
    with running(tmp_path, Path("elsewhere/tiny.safetensors"), Path("one")) as server:
        assert [each["id"] for each in server.ask("/v1/models").json["data"]] == ["tiny", "one"]
        assert server.complete(max_tokens=3)["model"] == "tiny"
        for name in ("elsewhere/tiny.safetensors", "runs/one", "../one", "/etc/passwd", "english"):
            assert server.ask("/v1/completions", {"model": name}).status == 404


def test_a_damaged_model_is_said_in_words(tmp_path: Path) -> None:
    save_model(tmp_path / "runs" / "one" / "model.safetensors")
    (tmp_path / "runs" / "two").mkdir()
    (tmp_path / "runs" / "two" / "model.safetensors").write_bytes(b"nonsense")
    with running(tmp_path, Path("one")) as server:
        refused = server.ask("/v1/completions", {"model": "two"})
        assert refused.status == 400
        assert "is not a charrnn model" in refused.error
        assert server.complete(model="one", max_tokens=2)


def test_a_model_of_pairs_is_refused_in_words(tmp_path: Path, make_pair_model: Any) -> None:
    path = tmp_path / "pairs.safetensors"
    model_file.save(path, make_pair_model())
    with running(tmp_path, path) as server:
        refused = server.ask("/v1/completions", {})
        assert refused.status == 400
        assert "this model answers sources" in refused.error


def test_a_server_needs_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model found"), running(tmp_path):
        pass


def test_a_run_that_is_removed_is_not_offered(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_model(tmp_path / "runs" / name / "model.safetensors")
    with running(tmp_path, Path("one")) as server:
        assert server.complete(model="two", max_tokens=2)
        shutil.rmtree(tmp_path / "runs" / "two")
        assert server.ask("/v1/completions", {"model": "two"}).status == 404
