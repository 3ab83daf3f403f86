import re

import pytest

from charrnn import errors
from charrnn.errors import CharRNNError, InputError, RunError, nearest


def _family(kind: type[CharRNNError]) -> set[type[CharRNNError]]:
    return {kind}.union(*(_family(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(_family(InputError), key=str))
def test_bad_input_ends_with_2(kind: type[CharRNNError]) -> None:
    assert kind.exit_code == 2


@pytest.mark.parametrize("kind", sorted(_family(RunError), key=str))
def test_a_failure_while_running_ends_with_1(kind: type[CharRNNError]) -> None:
    assert kind.exit_code == 1


def test_the_tree_at_the_top_is_the_tree() -> None:
    drawn = []
    parents = ["Exception"]
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([ │├└─]*)(\w+Error)\b", line):
            depth = len(match[1]) // 4
            parents[depth + 1 :] = [match[2]]
            drawn.append((match[2], parents[depth]))
    real = [
        (kind.__name__, kind.__base__.__name__)
        for kind in _family(CharRNNError)
        if kind.__module__ == errors.__name__  # rooms have some of their own
    ]
    assert sorted(drawn) == sorted(real)


def test_nearest_suggests_the_word_that_was_meant() -> None:
    assert nearest("lsmt", ["elman", "lstm", "gru"]) == "did you mean lstm?"


def test_nearest_lists_all_when_none_is_near() -> None:
    assert nearest("xyz", ["elman", "lstm"]) == "known are elman, lstm"
