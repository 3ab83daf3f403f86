"""Plain and compiled code make the same choices, text by text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conftest import sample_settings
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from charrnn.config import Limits
from charrnn.decoding import choice_rows
from charrnn.decoding.constraints import build
from charrnn.decoding.filters import choose, choose_by_temperature, log_prob
from charrnn.decoding.sampler import Sampler, generator
from charrnn.decoding.step import ENDED, OVER, log_softmax
from charrnn.inference.instructions import WAIT, Call, Program

LETTERS = "abcdefghijklmnopqrstuvwxyz \n"
ROWS = 6
# Tested together and each alone.
FIELDS: dict[str, Any] = {
    "temperature": 0.9,
    "top_k": 12,
    "typical_p": 0.95,
    "top_p": 0.9,
    "min_p": 0.05,
    "xtc_probability": 0.3,
    "xtc_threshold": 0.2,
    "repeat_penalty": 1.2,
    "presence_penalty": 0.3,
    "frequency_penalty": 0.1,
    "repeat_last_n": 5,
    "no_repeat_ngram_size": 2,
}
FILTERS: dict[str, dict[str, Any]] = {
    "neutral": {},
    "greedy": {"temperature": 0.0},
    "cold": {"temperature": 5e-324},
    **{name: {"frequency_penalty": 0.5, name: value} for name, value in FIELDS.items()},
    "mirostat": {"mirostat_ent": 1.5, "mirostat_lr": 0.7, "temperature": 1.3},
    "everything": FIELDS,
}
LIMITS = {"free": Limits(), "regex": Limits(regex=r"[a-k]{2,}( \w+)*", forbid="e")}

Logits = NDArray[np.float32]
Steps = Callable[[Sampler, Logits, int], NDArray[np.int64]]


def plain(chooser: Sampler, logits: Logits, count: int) -> NDArray[np.int64]:
    """Return the ids to read after each choice (T, B), with the same logits every time."""
    return np.array([chooser.choose(logits) for _ in range(count)])


def compiled(chooser: Sampler, logits: Logits, count: int, threads: int = 1) -> NDArray[np.int64]:
    """Return the same by a compiled program that does nothing but choose."""
    ids = np.full((count, len(logits)), -9)
    call = Call(*chooser.compiled(logits.ctypes.data, logits.strides[0], logits.shape[1], count))
    Program([call, WAIT], [call, WAIT]).run(ids, threads)
    return ids


def in_two_threads(chooser: Sampler, logits: Logits, count: int) -> NDArray[np.int64]:
    return compiled(chooser, logits, count, 2)


def logits_of(rows: int, seed: int = 0) -> Logits:
    """Return logits with some equal ones, in padded rows like an engine's."""
    room = 3 * np.random.default_rng(seed).standard_normal((rows, 40))
    room[:, 3:20:4] = 1.5
    return room.astype(np.float32)[:, : len(LETTERS)]


def chooser_of(
    length: int, limits: Limits = LIMITS["free"], rows: int = ROWS, bias: Any = (), **fields: Any
) -> Sampler:
    read = np.array([3, 1, 4, 3, 1, 4, 3], np.int64)
    return Sampler(
        sample_settings(**fields),
        [generator(5, index) for index in range(rows)],
        length,
        read=read,
        bias=np.array(bias, np.float64),
        constraint=build(LETTERS, limits, length),
    )


def written(steps: Steps, chooser: Sampler, cuts: Sequence[int]) -> list[NDArray[Any]]:
    """Return all ids and log-probabilities; one row is dropped after each of these counts."""
    logits, found = logits_of(ROWS), []
    for count in cuts:
        read = steps(chooser, logits, count)
        ids, log_probs = chooser.take()
        assert (read == np.maximum(ids, 0)).all()
        found += [ids, log_probs]
        stay = np.delete(np.arange(len(logits)), 1)
        chooser.select(stay)
        logits = np.ascontiguousarray(logits[stay])
    return found


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
def test_compiled_choices_equal_plain_ones(fields: dict[str, Any], limits: Limits) -> None:
    _are_equal(compiled, fields, limits)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_choices_in_threads_equal_plain_ones(limits: Limits) -> None:
    _are_equal(in_two_threads, {}, limits)
    _are_equal(in_two_threads, [*FILTERS.values()][-1], limits)


def _are_equal(steps: Steps, fields: dict[str, Any], limits: Limits) -> None:
    rng = np.random.default_rng(1)
    for bias in ((), rng.standard_normal(len(LETTERS))):
        for cuts in ((5, 1, 17), (23, 2)):
            length = sum(cuts)
            expected = written(plain, chooser_of(length, limits, bias=bias, **fields), cuts)
            found = written(steps, chooser_of(length, limits, bias=bias, **fields), cuts)
            for part, wanted in zip(found, expected, strict=True):
                np.testing.assert_allclose(part, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [plain, compiled])
@pytest.mark.parametrize("fields", [{}, {"top_k": 9, "presence_penalty": 0.4}])
def test_choices_obey_the_constraint(steps: Steps, fields: dict[str, Any]) -> None:
    """The reference is what `Constraint` says, text by text."""
    length, limits = 24, Limits(regex=r"[a-k]{2,}( \w+)*", forbid="e")
    constraint = build(LETTERS, limits, length)
    assert constraint is not None
    logits = np.repeat(logits_of(1), 40, 0)
    chooser = chooser_of(length, limits, 40, temperature=2.0, **fields)
    steps(chooser, logits, length)
    ids, log_probs = chooser.take()
    of_all = log_softmax(logits[:1])
    ended = 0
    for text, nats in zip(ids.T.tolist(), log_probs.T.tolist(), strict=True):
        state, left = 0, length
        for token, value in zip(text, nats, strict=True):
            if token == OVER:
                break
            if token == ENDED:
                expected = constraint.ending(of_all, np.array([state]), left)[0]
                ended += 1
            else:
                assert constraint.choices(state, left)[token]
                expected = of_all[0, token]
                state = constraint.advance(state, token)
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)
            left -= 1
        assert constraint.accepting[state]
    assert ended > 5


def test_both_compiled_functions_agree_for_a_temperature_alone() -> None:
    """A bias of zeros selects the function for all filters."""
    for temperature in (0.0, 0.3, 1.0):
        for limits in LIMITS.values():
            given = {"limits": limits, "temperature": temperature}
            simple, full = chooser_of(30, **given), chooser_of(30, bias=[0.0] * 28, **given)
            for one, other in zip(
                written(compiled, simple, [30]), written(compiled, full, [30]), strict=True
            ):
                np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("steps", [plain, compiled])
@pytest.mark.parametrize("fields", [{}, {"top_k": 20}], ids=["temperature", "filters"])
def test_a_text_ends_once_and_is_over_afterwards(steps: Steps, fields: dict[str, Any]) -> None:
    chooser = chooser_of(9, Limits(regex="a{2}b*"), 40, temperature=2.0, **fields)
    logits = np.repeat(logits_of(1), 40, 0)
    steps(chooser, logits, 9)
    ids, log_probs = chooser.take()
    assert (ids[:2] == 0).all()
    assert log_probs[:2] == pytest.approx(log_prob(logits[0], 0))
    lengths = set()
    for text, values in zip(ids.T.tolist(), log_probs.T.tolist(), strict=True):
        end = text.index(ENDED) if ENDED in text else 9
        lengths.add(end)
        assert text[2:end] == [1] * (end - 2)
        assert text[end + 1 :] == [OVER] * (8 - end)
        assert values[end + 1 :] == [0.0] * (8 - end)
        if end < 9:  # ended by any token but "b"
            ending = np.log1p(-np.exp(log_prob(logits[0], 1)))
            assert values[end] == pytest.approx(ending, rel=1e-5)
    assert len(lengths) > 1


@pytest.mark.parametrize("steps", [plain, compiled])
def test_a_text_ends_with_probability_one_where_no_token_is_allowed(steps: Steps) -> None:
    chooser = chooser_of(5, Limits(regex="a{2}"))
    steps(chooser, logits_of(ROWS), 5)
    ids, log_probs = chooser.take()
    assert ids.T.tolist() == [[0, 0, ENDED, OVER, OVER]] * ROWS
    assert (log_probs[2:] == 0).all()


@pytest.mark.parametrize("steps", [plain, compiled])
def test_taken_choices_are_returned_once(steps: Steps) -> None:
    chooser, whole = chooser_of(9), chooser_of(9)
    logits = logits_of(ROWS)
    steps(whole, logits, 9)
    steps(chooser, logits, 2)
    steps(chooser, logits, 3)
    first = chooser.take()
    steps(chooser, logits, 4)
    for one, two, both in zip(first, chooser.take(), whole.take(), strict=True):
        assert (len(one), len(two)) == (5, 4)
        np.testing.assert_array_equal(np.concatenate([one, two]), both)


@pytest.mark.parametrize("steps", [plain, compiled])
def test_kept_rows_continue_with_their_own_randomness_history_and_state(steps: Steps) -> None:
    given: dict[str, Any] = {"limits": LIMITS["regex"], **FIELDS}
    every, some = chooser_of(20, **given), chooser_of(20, **given)
    logits, stay = logits_of(ROWS), np.array([1, 2, 5])
    steps(every, logits, 20)
    steps(some, logits, 7)
    some.select(stay)
    some.take()
    steps(some, np.ascontiguousarray(logits[stay]), 13)
    for found, wanted in zip(some.take(), every.take(), strict=True):
        np.testing.assert_array_equal(found, wanted[7:, stay])


def test_compiled_choices_have_names_of_their_own() -> None:
    """Code loaded from the cache calls functions by name, whichever process compiled it."""
    assert choice_rows.choose is choose  # imported, numba knows both functions
    cpu_target.typing_context.refresh()  # as the first compilation of a process does
    resolve = cpu_target.typing_context.resolve_value_type
    types = (str(resolve(function)) for function in (choose, choose_by_temperature))
    # Part of the names of the functions that take them as an argument; an address follows.
    names = {name.split(" at ")[0] for name in types}
    assert names == {"Function(<function choose", "Function(<function choose_by_temperature"}
