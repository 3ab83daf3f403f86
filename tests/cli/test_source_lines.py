"""The sources of answers, from files and from a pipe that is fed slowly."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from charrnn.cli.answering import answer
from charrnn.cli.display.sample_output import OutputOptions
from charrnn.cli.prompt import PromptOptions
from charrnn.cli.source_lines import given_sources
from charrnn.config import EngineOptions, ModelReading, SampleConfig
from charrnn.errors import PromptError
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model

PIPE = PromptOptions(source_file=Path("-"))
MODEL = ModelReading(newline="lf", pairs=True)


def _piped(monkeypatch: pytest.MonkeyPatch, blocks: Iterator[bytes]) -> None:
    stream = SimpleNamespace(read1=lambda size: next(blocks, b""))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream, isatty=lambda: False))


def test_a_pipe_is_answered_as_it_is_fed(
    make_pair_model: Callable[..., Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make_pair_model()
    model_file.save(tmp_path / "m.safetensors", model)
    config = SampleConfig(seed=3, length=9)
    texts = [some[0].text for some in Generator(model).answers(["ab", "c", "ca"], config)]
    shown: list[str] = []

    def blocks() -> Iterator[bytes]:
        yield b"ab\n"
        shown.append(capsys.readouterr().out)  # before anything else comes
        yield b"c\nc"
        shown.append(capsys.readouterr().out)
        yield b"a"

    _piped(monkeypatch, blocks())
    answer(tmp_path / "m.safetensors", None, EngineOptions(), None, PIPE, OutputOptions(), config)
    assert [*shown, capsys.readouterr().out] == [f"{text}\n" for text in texts]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_pieces_of_a_pipe_are_whole_lines(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["Ċa", "é\\n", "中"]
    data = "\r\n".join(lines).encode(encoding)
    _piped(monkeypatch, (data[at : at + 1] for at in range(len(data))))
    found = list(given_sources(PIPE, MODEL))
    assert [source for some in found for source in some] == ["Ċa", "é\n", "中"]
    assert len(found) == (1 if encoding == "utf-16" else 3)


def test_a_fault_in_a_pipe_is_named_by_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _piped(monkeypatch, iter([b"a\nb\n", b"c\nd\te\n"]))
    sources = given_sources(PIPE, MODEL)
    assert next(sources) == ["a", "b"]
    with pytest.raises(PromptError, match="-, line 4 has a tab"):
        next(sources)
    _piped(monkeypatch, iter([]))
    with pytest.raises(PromptError, match="- is empty"):
        next(given_sources(PIPE, MODEL))
