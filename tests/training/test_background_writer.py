import threading
import weakref
from functools import partial

import numpy as np
import pytest
from waiting import HANGS, wait_until

from charrnn.errors import RunError
from charrnn.training import background_writer
from charrnn.training.background_writer import BackgroundWriter

SOON = 0.05  # seconds


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PATIENCE": HANGS, "RETRY": 0.02, "LAST_PATIENCE": HANGS}.items():
        monkeypatch.setattr(background_writer, name, seconds)


def _failing(times: int, done: list[str], name: str = "a") -> background_writer.Job:
    left = [times]

    def job() -> None:
        if left[0]:
            left[0] -= 1
            raise RunError(f"{name} could not be written")
        done.append(name)

    return job


def _ignore(writer: BackgroundWriter) -> None:
    """Wait until everything is written."""
    list(writer.finish())


def test_a_job_is_done_when_put_returns() -> None:
    done: list[str] = []
    writer = BackgroundWriter()
    for name in "abc":
        assert writer.put(name, lambda name=name: done.append(name)) == []  # type: ignore[misc]
        assert done[-1] == name
    assert list(writer.finish()) == []
    assert done == ["a", "b", "c"]


def test_what_a_job_has_written_is_forgotten() -> None:
    writer, weights = BackgroundWriter(), np.zeros(3)
    forgotten = weakref.ref(weights)
    writer.put("a", partial(np.copy, weights))
    del weights
    wait_until(lambda: forgotten() is None)
    _ignore(writer)


def test_a_failure_is_reported_once_tried_again_and_its_end_is_reported() -> None:
    done: list[str] = []
    writer = BackgroundWriter()
    news = writer.put("a", _failing(3, done))
    assert news == ["a could not be written; training continues and will try again"]
    assert list(writer.finish()) == ["a: now written"]
    assert done == ["a"]


def test_what_fails_holds_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    writer = BackgroundWriter()
    writer.put("a", _failing(10**9, done))
    writer.put("b", lambda: done.append("b"))
    wait_until(lambda: done)
    monkeypatch.setattr(background_writer, "LAST_PATIENCE", SOON)
    with pytest.raises(RunError, match=r"a could not be written; gave up after"):
        _ignore(writer)
    assert done == ["b"]


def test_a_later_job_replaces_one_that_fails() -> None:
    done: list[str] = []
    writer = BackgroundWriter()
    writer.put("a", _failing(10**9, done))
    writer.put("a", lambda: done.append("later"))
    _ignore(writer)
    assert done == ["later"]


def test_a_disk_that_hangs_does_not_hold_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    done: list[str] = []
    writer = BackgroundWriter()

    def slow() -> None:
        release.wait(HANGS)
        done.append("slow")

    monkeypatch.setattr(background_writer, "PATIENCE", SOON)
    writer.put("a", slow)  # returns after its patience
    monkeypatch.setattr(background_writer, "PATIENCE", HANGS)
    writer.put("a", lambda: done.append("second"))  # at once
    writer.put("a", lambda: done.append("third"))
    assert done == []
    release.set()
    _ignore(writer)
    assert done == ["slow", "third"]


def test_a_disk_that_never_answers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_writer, "PATIENCE", SOON)
    monkeypatch.setattr(background_writer, "LAST_PATIENCE", SOON)
    release = threading.Event()
    writer = BackgroundWriter()
    writer.put("model", lambda: release.wait(HANGS) and None)
    with pytest.raises(RunError, match=r"the disk does not respond \(model\); gave up after"):
        _ignore(writer)
    release.set()


def test_a_failure_is_reported_before_the_last_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    writer = BackgroundWriter()
    monkeypatch.setattr(background_writer, "PATIENCE", SOON)
    writer.put("slow", lambda: release.wait(HANGS) and None)
    assert writer.put("a", _failing(10**9, [])) == []  # it has not been tried yet
    release.set()
    monkeypatch.setattr(background_writer, "PATIENCE", HANGS)
    monkeypatch.setattr(background_writer, "LAST_PATIENCE", SOON)
    news = writer.finish()
    assert next(news).startswith("a could not be written; training continues")
    with pytest.raises(RunError, match="gave up after"):
        next(news)


def test_a_bug_is_raised_in_the_thread_of_the_training() -> None:
    writer = BackgroundWriter()

    def broken() -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        writer.put("a", broken)
    with pytest.raises(ValueError, match="odd"):
        _ignore(writer)


def test_once_it_gave_up_nothing_is_written_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is no longer locked: another training may write into it."""
    before = set(threading.enumerate())
    disk_works, done = threading.Event(), list[str]()

    def job() -> None:
        if not disk_works.is_set():
            raise RunError("a could not be written")
        done.append("a")

    writer = BackgroundWriter()
    writer.put("a", job)
    monkeypatch.setattr(background_writer, "LAST_PATIENCE", SOON)
    with pytest.raises(RunError, match="gave up after"):
        _ignore(writer)
    wait_until(lambda: set(threading.enumerate()) <= before)
    disk_works.set()
    assert done == []


def test_its_thread_ends_with_the_training() -> None:
    before = set(threading.enumerate())
    writer = BackgroundWriter()
    writer.put("a", lambda: None)
    assert set(threading.enumerate()) > before
    _ignore(writer)
    wait_until(lambda: set(threading.enumerate()) <= before)
