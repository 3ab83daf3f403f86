"""Writing while another process compiles: the text is the one of compiled code, to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import HANGS, wait_until

import charrnn
from charrnn.compiler import background, cache
from charrnn.compiler.cache import CFunction
from charrnn.config import BeamConfig, SampleConfig
from charrnn.decoding.continuous import Member
from charrnn.decoding.sampler import Sampler
from charrnn.generator import Generator
from charrnn.inference import interim_engine
from charrnn.inference.interim_engine import InterimEngine
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model import model_file
from charrnn.model.bases import BASES
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import ByteTokenizer

NEVER = 10**9


class Job:
    """A process that compiles, and ends when one has looked at it often enough."""

    def __init__(self, looks: int) -> None:
        self.looks, self.waits = looks, 0

    @property
    def ended(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def wait(self) -> None:
        self.looks, self.waits = 0, self.waits + 1


Begin = Callable[..., Generator]


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Return `cold(model, engine=7, choice=9)`: a generator whose code is compiled in a while.

    The numbers say how often one has to look until it is there.
    """

    def begin(model: Model, engine: int = NEVER, choice: int = NEVER) -> Generator:
        Generator(model).prepare(SampleConfig())
        given = iter([engine])
        begun: list[Any] = []

        def start(functions: list[CFunction]) -> list[Job]:
            begun.append(Job(next(given, choice)))
            return begun[-1:]

        monkeypatch.setattr(background, "begin", start)
        made = Generator(model)
        with monkeypatch.context() as patch:
            patch.setattr(CFunction, "load", lambda function: False)
            assert isinstance(made._selector.writing, InterimEngine)
        made.__dict__["jobs"] = begun
        return made

    return begin


def waits(generator: Generator) -> int:
    """Return for how many processes was waited."""
    return sum(job.waits > 0 for job in generator.__dict__["jobs"])


@pytest.fixture(scope="module")
def english() -> Model:
    """Return a trained model of two layers of 256 units."""
    return model_file.load(BASES["english"])


SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"temperature": 0.0},
    {"top_k": 4},
    {"top_p": 0.8, "min_p": 0.02},
    {"typical_p": 0.7, "repeat_penalty": 1.2},
    {"no_repeat_ngram_size": 3, "frequency_penalty": 0.3},
    {"xtc_probability": 0.4, "xtc_threshold": 0.1},
    {"regex": "[a-z]+( [a-z]+)*", "length": 30},
    {"stop": ("e",), "keep_stop": True},
    {"num_samples": 5, "stop": ("h",), "length": 60},
    {"logit_bias": {"e": -2.0}},
    {"mirostat_ent": 2.0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_trained_model_writes_the_same_at_once(
    cold: Begin, english: Model, settings: dict[str, Any]
) -> None:
    config = SampleConfig(**{"length": 50, "seed": 3, **settings})
    wanted = Generator(english).samples("It was", config)
    others = [] if settings else [(0, 0), (NEVER, NEVER)]
    for engine, choice in ((12, 30), (31, 4), *others):
        found = cold(english, engine, choice).samples("It was", config)
        assert [sample.text for sample in found] == [sample.text for sample in wanted]
        assert [sample.ids for sample in found] == [sample.ids for sample in wanted]
        nats = [sample.log_prob for sample in found]
        assert nats == pytest.approx([sample.log_prob for sample in wanted], rel=1e-4)


@pytest.mark.parametrize(
    ("cell", "networks"),
    [("elman", 1), ("gru", 1), ("lstm", 1), ("lstm-coupled", 1), ("lstm-coupled", 2)],
)
def test_many_seeds_give_the_same_text(
    cold: Begin, make_model: Callable[..., Model], cell: str, networks: int
) -> None:
    sizes = {"num_layers": 2, "hidden_size": 24, "embedding_size": 8, "ensemble": networks}
    model = make_model("abcdefgh \n", cell=cell, scale=0.7, **sizes)
    warm = Generator(model)
    for seed in range(5):
        found = cold(model, 12 * seed, 90 - 17 * seed).sample("ab", length=80, seed=seed)
        assert found.text == warm.sample("ab", length=80, seed=seed).text


def test_the_change_may_come_inside_a_character(
    cold: Begin, make_model: Callable[..., Model]
) -> None:
    """A text of bytes, of which almost every one belongs to a longer sequence."""
    tokenizer = ByteTokenizer()
    model = make_model("ab", num_layers=1)
    config = replace(model.config, vocab_size=tokenizer.vocab_size)
    values = charrnn.model.parameters.initial(config, 4)
    values["output.bias"][:0x80] = -4
    model = Model(config, tokenizer, values, {"steps": 3})
    wanted = "".join(Generator(model).stream("é", length=20, seed=6))
    assert len(wanted.encode()) > 30
    for looks in range(14):
        assert "".join(cold(model, looks, looks).stream("é", length=20, seed=6)) == wanted


def test_documents_end_one_by_one(cold: Begin, apart_model: Callable[..., Model]) -> None:
    model = apart_model("abn\n", separator="\n")
    config = SampleConfig(num_samples=12, length=40, seed=2)
    wanted = Generator(model).samples("", config)
    assert len({len(sample.text) for sample in wanted}) > 4
    for looks in (0, 3, 11, 29, 90, NEVER):
        found = cold(model, looks, looks // 2).samples("", config)
        assert [sample.text for sample in found] == [sample.text for sample in wanted]


def test_it_waits_where_the_choice_is_not_sure(
    cold: Begin, english: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Generator(english).sample("It", length=300, seed=1).text
    generator = cold(english)
    assert generator.sample("It", length=8, seed=1).text == wanted[:8]
    assert waits(generator) == 0
    monkeypatch.setattr(interim_engine, "_ROUNDINGS", 0.01)
    generator = cold(english)
    assert generator.sample("It", length=300, seed=1).text == wanted
    assert waits(generator) == 1  # for the network: the choice alone is exact in numpy


def test_mirostat_waits_for_both(cold: Begin, english: Model) -> None:
    generator = cold(english)
    generator.sample("It", length=3, seed=1, mirostat_ent=2.0)
    assert waits(generator) == 2


def test_a_long_prompt_is_read_on_by_compiled_code(cold: Begin, english: Model) -> None:
    prompt = "It was the best of times, it was the worst of times. " * 25
    wanted = Generator(english).sample(prompt, length=40, seed=1).text
    for looks in (3, 20, NEVER):
        assert cold(english, looks, looks).sample(prompt, length=40, seed=1).text == wanted


def test_a_state_that_is_saved_is_exact(cold: Begin, english: Model, tmp_path: Path) -> None:
    saved = []
    for generator in (Generator(english), cold(english)):
        start = generator.read("It was ")
        written = generator.sample(start, length=30, seed=4)
        end = generator.after(start, written)
        generator.save_state(tmp_path / "state", end)
        saved.append((tmp_path / "state").read_bytes())
    assert saved[0] == saved[1]
    before = Generator(english).load_state(tmp_path / "state")
    wanted = Generator(english).sample(before, length=30).text
    assert cold(english, 6, 3).sample(before, length=30).text == wanted


def test_beam_search_waits(cold: Begin, english: Model) -> None:
    config = BeamConfig(width=3, length=12)
    assert cold(english).beams("It", config) == Generator(english).beams("It", config)


def test_texts_that_join_are_the_same_with_their_logprobs(cold: Begin, english: Model) -> None:
    def written(generator: Generator) -> list[Any]:
        crowd, members = generator.together(), []
        for number, prompt in enumerate(("It", "The", "A")):
            config = SampleConfig(length=30, seed=number, num_samples=2)
            read = generator.read(prompt)
            if number == 2:
                read = generator.exact(read)
            members.append(Member(generator.start(read, config), 2 if number == 2 else None))
            crowd.join(members[-1])
            crowd.write(0.001)
        while crowd.members:
            crowd.write(0.001)
        texts = [[sample.text for sample in member.batch.finish()] for member in members]
        return [texts, [[token.nats for token in row] for row in members[2].tokens]]

    texts, nats = written(Generator(english))
    for looks in (0, 9, 40, NEVER):
        found = written(cold(english, looks, 2 * looks))
        assert found[0] == texts
        for row, wanted in zip(found[1], nats, strict=True):
            assert row[: len(wanted)] == pytest.approx(wanted, rel=1e-5)


def test_the_filters_alone_may_be_missing(english: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Generator(english).sample("It", length=60, seed=1, top_k=5)
    for looks in (0, 7, 25, NEVER):
        job = Job(looks)
        monkeypatch.setattr(background, "begin", lambda functions, job=job: [job][: len(functions)])
        missing = Missing()
        monkeypatch.setattr(Sampler, "function", property(lambda sampler, its=missing: its))
        generator = Generator(english)
        assert generator.engine.reproducible
        found = generator.sample("It", length=60, seed=1, top_k=5)
        assert isinstance(generator._selector.writing, InterimEngine)
        assert (found.text, job.waits) == (wanted.text, 0)
        monkeypatch.undo()


class Missing:
    """A choice that is not compiled yet, until its address is asked for."""

    def load(self) -> bool:
        return False

    @property
    def address(self) -> int:
        from charrnn.decoding import compiled

        return compiled.by_filters.address


def test_numpy_writes_on_where_nothing_compiles(
    cold: Begin, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    numpy = Generator(tiny_model)
    numpy.engine = NumpyEngine(tiny_model.config, tiny_model.values)
    generator = cold(tiny_model, 5, 5)

    def broken(*given: Any, **more: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("charrnn.inference.compiled_engine.CompiledEngine", broken)
    wanted = numpy.sample("he", length=60, seed=2).text
    assert generator.sample("he", length=60, seed=2).text == wanted
    assert generator.engine.reproducible is False


COLD = """
import sys
from charrnn.__main__ import main
main()
assert "numba" not in sys.modules
"""


def test_the_command_writes_before_anything_is_compiled(
    tmp_path: Path, make_model: Callable[..., Model]
) -> None:
    model = make_model("helo w\n", cell="elman")
    model_file.save(tmp_path / "model.safetensors", model)
    warm = Generator(model)
    warm.prepare(SampleConfig())
    kept = tmp_path / "charrnn" / "kernels" / cache.folder().name
    kept.mkdir(parents=True)
    for path in cache.folder().glob("charrnn.*.o"):  # to compile all of it takes long
        (kept / path.name).write_bytes(path.read_bytes())
    words = ["sample", "-m", str(tmp_path), "-p", "he", "-n", "40", "--seed", "2"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", COLD, *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=HANGS,
    )
    assert done.stderr == "compiling for this machine: this takes some seconds, once\nseed: 2\n"
    assert done.stdout.rstrip("\n") == f"he{warm.sample('he', length=40, seed=2)}".rstrip("\n")
    # What was begun is finished by itself.
    wait_until(lambda: len(list(kept.glob("charrnn_rows_*.o"))) == 2)
