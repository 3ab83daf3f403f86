import threading

import pytest

from charrnn.errors import RunError
from charrnn.training import background_writer
from charrnn.training.background_writer import Writer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PATIENCE": 0.3, "RETRY": 0.02, "LAST_PATIENCE": 0.3}.items():
        monkeypatch.setattr(background_writer, name, seconds)


def _failing(times: int, done: list[str], name: str = "a") -> background_writer.Job:
    left = [times]

    def job() -> None:
        if left[0]:
            left[0] -= 1
            raise RunError(f"{name} could not be written")
        done.append(name)

    return job


def test_a_job_is_done_when_put_comes_back() -> None:
    done: list[str] = []
    told: list[str] = []
    made = Writer(told.append)
    for name in "abc":
        made.put(name, lambda name=name: done.append(name))  # type: ignore[misc]
        assert done[-1] == name
    made.finish()
    assert (done, told) == (["a", "b", "c"], [])


def test_a_failure_is_told_once_tried_again_and_its_end_is_told() -> None:
    done: list[str] = []
    told: list[str] = []
    made = Writer(told.append)
    made.put("a", _failing(3, done))
    assert told == ["a could not be written; the training goes on, and tries again"]
    made.finish()
    assert done == ["a"]
    assert told[1:] == ["a: written now"]


def test_what_fails_holds_up_nothing_else() -> None:
    done: list[str] = []
    made = Writer(lambda sentence: None)
    made.put("a", _failing(10**9, done))
    made.put("b", lambda: done.append("b"))
    with pytest.raises(RunError, match=r"a could not be written; it was tried for"):
        made.finish()
    assert done == ["b"]


def test_a_later_job_takes_the_place_of_one_that_fails() -> None:
    done: list[str] = []
    made = Writer(lambda sentence: None)
    made.put("a", _failing(10**9, done))
    made.put("a", lambda: done.append("later"))
    made.finish()
    assert done == ["later"]


def test_a_disk_that_hangs_does_not_hold_the_training() -> None:
    release = threading.Event()
    done: list[str] = []
    made = Writer(lambda sentence: None)

    def slow() -> None:
        release.wait(20)
        done.append("slow")

    made.put("a", slow)  # comes back after its patience
    made.put("a", lambda: done.append("second"))  # at once
    made.put("a", lambda: done.append("third"))
    assert done == []
    release.set()
    made.finish()
    assert done == ["slow", "third"]


def test_a_disk_that_never_answers_ends_in_a_sentence() -> None:
    release = threading.Event()
    made = Writer(lambda sentence: None)
    made.put("model", lambda: release.wait(20) and None)
    with pytest.raises(RunError, match=r"the disk takes no more \(model\); it was tried for"):
        made.finish()
    release.set()


def test_an_error_of_any_kind_is_told() -> None:
    told: list[str] = []
    made = Writer(told.append)

    def broken() -> None:
        raise ValueError("odd")

    made.put("a", broken)
    assert told == ["odd; the training goes on, and tries again"]
