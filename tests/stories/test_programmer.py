"""A programmer trains on a string, watches, writes, scores, and is told about mistakes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import strict_json
from waiting import HANGS

import charrnn

ROOT = Path(charrnn.__file__).parents[1]
TEXT = "It was the best of times, it was the worst of times,\nit was the age of wisdom.\n" * 30


def test_a_program_trains_writes_and_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses: list[float] = []

    def watch(event: charrnn.Event) -> bool:
        if isinstance(event, charrnn.Progress) and event.metrics.valid_nats is not None:
            losses.append(event.metrics.valid_nats)
        return len(losses) < 3

    run = charrnn.train(
        text=TEXT,
        callback=watch,
        out=tmp_path / "run",
        steps=400,
        cell="lstm",
        backend="library",
        hidden_size=24,
        num_layers=1,
        batch_size=8,
        seq_len=32,
        seed=1,
    )
    assert run.stopped_by == "interrupt"  # the callback had seen enough
    assert run.valid_nats == pytest.approx(min(losses), rel=0.05)
    assert run.valid_nats < math.log(len(set(TEXT)))

    model = charrnn.load(run, threads=1)
    sample = model.sample("It was", temperature=0.8, length=40, seed=5)
    greedy, beam = model.greedy("It was", length=40), model.beam("It was", length=40, width=3)
    for written in (sample, greedy, beam):
        assert (len(str(written)), written.prompt) == (40, "It was")
    assert beam.log_prob >= greedy.log_prob - 1e-3
    assert "".join(model.stream("It was", temperature=0.8, length=40, seed=5)) == sample.text
    print(sample)  # noqa: T201
    assert capsys.readouterr().out == f"{sample.text}\n"

    small = charrnn.load(run.run_dir, weights="int8", threads=1, device="cpu")
    assert len(small.sample("It was", length=40, seed=5).text) == 40
    assert small.score(TEXT).bpc == pytest.approx(model.score(TEXT).bpc, rel=0.05)
    assert small.score(TEXT).bpc != model.score(TEXT).bpc  # its weights are rounded

    known, nonsense = model.score("it was the age of"), model.score("wtei fo mhatgsead")
    assert known.bpc < nonsense.bpc
    assert known.nats == pytest.approx(known.bpc * math.log(2))
    assert "nats per character" in repr(known)
    assert "<pre" in known._repr_html_()


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("charrnn.train('nothere.txt')", "CorpusError: nothere.txt does not exist"),
        ("charrnn.train(text='')", "CorpusError: text is empty (0 characters)"),
        ("charrnn.train(text='a' * 900, hiden_size=8)", "did you mean 'hidden_size'?"),
        ("charrnn.train(text='a' * 900, hidden_size=0)", "OptionError: `hidden_size` must be"),
        ("charrnn.load('nothere')", "ModelError: nothere"),
    ],
)
def test_a_mistake_ends_a_program_with_a_sentence(program: str, error: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport charrnn; {program}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    assert done.returncode == 1
    assert error in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


RIGHT = """
from __future__ import annotations

from pathlib import Path

import charrnn


def watch(event: charrnn.Event) -> bool | None:
    match event:
        case charrnn.Planned(plan=plan):
            print(plan.model.hidden_size)
        case charrnn.Progress(metrics=metrics):
            return metrics.train_nats > 1.0
        case charrnn.Done(result=result):
            print(result.valid_nats)
    return None


def main(texts: list[Path]) -> None:
    run: charrnn.Result = charrnn.train(*texts, minutes=0.5, optimizer="sgd", callback=watch)
    model: charrnn.Generator = charrnn.load(run, weights="int8", threads=1)
    sample: charrnn.Sample = model.sample("It was", stop=["!"], logit_bias={"x": -1})
    several: list[charrnn.Sample] = model.samples(num_samples=3) + model.beams(num_return=2)
    best, greedy = model.beam("It was", width=4), model.greedy("It was", length=20)
    for piece in model.stream(length=100):
        print(piece, end="")
    score: charrnn.Score = model.score(str(sample))
    print(best.log_prob, greedy.text, len(several), score.bpc)
"""
WRONG = {  # a call: what mypy says about it
    'charrnn.train("a", minuts=3)': 'did you mean "minutes"',
    'charrnn.train("a", minutes="3")': 'expected "float | None"',
    'charrnn.train("a", optimizer="adam")': "\"Literal['nadamw', 'adamw', 'sgd']\"",
    'charrnn.load("a", weights="int4")': "\"Literal['float32', 'bfloat16', 'int8']\"",
    'MODEL.sample("x", temprature=1.0)': 'did you mean "temperature"',
    'MODEL.beam("x").txt': 'has no attribute "txt"',
}
# Without the types of other packages mypy needs a fifth of the time.
SETTINGS = """
[mypy]
strict = true
[mypy-charrnn.*]
ignore_errors = true
[mypy-torch.*,numba.*,llvmlite.*,rich.*,typer.*,numpy.*,safetensors.*,sentencepiece.*]
follow_imports = skip
"""


def test_mypy_accepts_a_right_program_and_explains_a_wrong_one(tmp_path: Path) -> None:
    """The package says that it has types, and they are those of the options."""
    pytest.importorskip("mypy")
    assert (Path(charrnn.__file__).parent / "py.typed").is_file()
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(
        "\n".join(["import charrnn", 'MODEL = charrnn.load("a")', *WRONG])
    )
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "right.py", "wrong.py", "--output", "json"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    found = [strict_json.loads(line) for line in done.stdout.splitlines()]
    said = {each["line"]: each["message"] for each in found if each["severity"] == "error"}
    assert {each["file"] for each in found} == {"wrong.py"}
    for line, (call, words) in enumerate(WRONG.items(), start=3):
        assert words in said.pop(line, ""), call
    assert said == {}
