from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from charrnn.config import BeamConfig, SampleConfig
from charrnn.generator import Generator
from charrnn.inspection.next_token import Choice, TreeNode, beam_tree, choices
from charrnn.model.model_file import Model


@pytest.fixture
def generator(make_model: Any) -> Generator:
    made: Model = make_model("abcd", seed=3, scale=1.5)
    return Generator(made)


def log_prob(generator: Generator, text: str, prompt: str = "") -> float:
    """Return the log-probability of a text after a prompt, computed token by token."""
    total = 0.0
    for end in range(len(text)):
        logits = generator.read(prompt + text[:end]).logits[0].astype(np.float64)
        own = logits[generator.tokenizer.encode(text[end])[0]]
        total += float(own - np.logaddexp.reduce(logits))
    return total


def walk(node: TreeNode, before: str = "") -> list[tuple[str, TreeNode]]:
    """Return every node with its prefix."""
    below = (walk(child, before + child.symbol) for child in node.children)
    return [(before, node), *itertools.chain(*below)]


@pytest.mark.parametrize("prompt", ["", "abba"])
@pytest.mark.parametrize(("width", "length"), [(1, 5), (2, 4), (3, 3), (7, 4)])
def test_the_tree_has_the_prefixes_that_a_naive_search_keeps(
    generator: Generator, prompt: str, width: int, length: int
) -> None:
    kept, expected = [""], {""}
    for _ in range(length):
        longer = [prefix + symbol for prefix in kept for symbol in "abcd"]
        kept = sorted(longer, key=lambda text: -log_prob(generator, text, prompt))[:width]
        expected |= set(kept)
    config = BeamConfig(length=length, width=width, num_return=min(width, 4**length))
    nodes = dict(walk(beam_tree(generator, generator.read(prompt), config)))
    assert nodes.keys() == expected
    for prefix, node in nodes.items():
        assert node.log_prob == pytest.approx(log_prob(generator, prefix, prompt), abs=1e-4)
        above = nodes[prefix[:-1]].log_prob if prefix else 0.0
        assert node.probability == pytest.approx(math.exp(node.log_prob - above))
    ends = [prefix for prefix in kept if len(prefix) == length]
    assert [nodes[prefix].rank for prefix in ends] == list(range(1, len(ends) + 1))
    for prefix, node in nodes.items():
        through = [nodes[end].rank for end in ends if end.startswith(prefix)]
        assert node.rank == min(through, default=0)


def test_branches_are_sorted_by_probability(generator: Generator) -> None:
    tree = beam_tree(generator, generator.read("a"), BeamConfig(length=4, width=6, num_return=6))
    for _, node in walk(tree):
        ordered = [child.log_prob for child in node.children]
        assert ordered == sorted(ordered, reverse=True)
    assert tree.to_json()["children"][0]["symbol"] == tree.children[0].symbol


def test_settings_change_the_distribution(generator: Generator) -> None:
    read = generator.read("ab")
    settings = {
        "model": SampleConfig(temperature=1.0),
        "cold": SampleConfig(temperature=0.0),
        "two": SampleConfig(temperature=1.0, top_k=2),
    }
    found = choices(read, settings)
    p = found["model"].probabilities
    assert p == pytest.approx([math.exp(log_prob(generator, symbol, "ab")) for symbol in "abcd"])
    assert found["cold"].probabilities.tolist() == (p == p.max()).astype(float).tolist()
    assert (found["cold"].possible, found["cold"].entropy) == (1, 0.0)
    assert found["two"].possible == 2
    best = np.sort(p)[-2:]
    assert np.sort(found["two"].probabilities)[-2:] == pytest.approx(best / best.sum())


def test_exp_of_entropy_is_the_perplexity() -> None:
    assert math.exp(Choice(np.full(8, 1 / 8)).entropy) == pytest.approx(8)
    assert math.exp(Choice(np.array([0.5, 0.0, 0.5])).entropy) == pytest.approx(2)
