"""Whether a choice stays the same for logits that differ a little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.config import SampleConfig
from charrnn.decoding.sampler import Sampler, generator

ERROR = 0.02
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.4},
    {"top_k": 5},
    {"top_p": 0.6},
    {"min_p": 0.1},
    {"typical_p": 0.5},
    {"top_k": 8, "top_p": 0.7, "min_p": 0.05},
    {"xtc_probability": 0.5, "xtc_threshold": 0.1},
    {"repeat_penalty": 1.4, "frequency_penalty": 0.2},
]


def begun(settings: dict[str, Any], seed: int) -> Sampler:
    read = np.array([3, 1, 3, 7], np.int64)
    config = SampleConfig(**{"temperature": 1.0, **settings})
    return Sampler(config, [generator(seed, 0)], 10, read=read)


def chosen(settings: dict[str, Any], seed: int, logits: Any) -> int:
    return int(begun(settings, seed).choose(logits)[0])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_sure_choice_is_made_for_all_near_logits(settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    sure, total = 0, 40
    for seed in range(total):
        logits = (2 * rng.standard_normal((1, 12))).astype(np.float32)
        if not begun(settings, seed).is_sure(logits, np.array([ERROR])):
            continue
        sure += 1
        wanted = chosen(settings, seed, logits)
        for _ in range(8):
            moved = logits + ERROR * rng.choice([-1, 1], 12) * rng.choice([1, rng.random()])
            assert chosen(settings, seed, moved.astype(np.float32)) == wanted
    assert total // 3 < sure < total  # neither answer is a rule


def test_a_border_between_two_tokens_is_not_sure() -> None:
    sampler = begun({}, 1)
    uniform = generator(1, 0).random()
    logits = np.log(np.array([[uniform, 1 - uniform]]))
    assert not sampler.is_sure(logits, np.array([1e-7]))
    apart = np.log(np.array([[uniform + 1e-3, 1 - uniform - 1e-3]]))
    assert sampler.is_sure(apart, np.array([1e-4]))
    assert not sampler.is_sure(apart, np.array([1e-2]))


def test_asking_changes_no_choice() -> None:
    settings, logits = {"top_k": 3, "repeat_penalty": 1.2}, np.zeros((1, 9), np.float32)
    asked, plain = begun(settings, 2), begun(settings, 2)
    for _ in range(3):
        for _ in range(2):
            asked.is_sure(logits, np.array([1e-6]))
        assert asked.choose(logits) == plain.choose(logits)
    tokens, log_probs = asked.take()
    wanted = plain.take()
    assert tokens.tolist() == wanted[0].tolist()
    assert log_probs.tolist() == wanted[1].tolist()
