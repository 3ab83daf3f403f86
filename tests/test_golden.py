"""Models and runs of every earlier format version can still be read."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import strict_json
from following import resume

import charrnn
from charrnn.config import Reading
from charrnn.inspection.pair_answers import evaluate_pairs
from charrnn.model.model_file import FORMAT_VERSION, MODEL_NAME
from charrnn.run_dir import checkpoints
from charrnn.text import corpus, dataset

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.name.isdecimal())


def test_every_format_version_has_golden_files() -> None:
    assert str(FORMAT_VERSION) == str(checkpoints.FORMAT_VERSION) == VERSIONS[-1]
    assert [str(number) for number in range(1, FORMAT_VERSION + 1)] == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_model_generates_and_scores_the_same(version: str) -> None:
    folder = GOLDEN / version
    expected = strict_json.loads((folder / "expected.json").read_text("utf-8"))
    model = charrnn.load(folder / "run")
    assert model.greedy("the", length=30).text == expected["greedy"]
    text = (folder / "text.txt").read_bytes().decode()
    assert model.score(text[-86:]).nats == pytest.approx(expected["nats"], abs=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_run_resumes_to_the_same_loss(version: str, tmp_path: Path) -> None:
    """Last bits may depend on the machine; losses do not."""
    folder = GOLDEN / version
    expected = strict_json.loads((folder / "expected.json").read_text("utf-8"))
    shutil.copytree(folder / "run", tmp_path / "run")
    text = corpus.read([folder / "text.txt"])
    result = resume(text, {}, out=tmp_path / "run")
    assert result.steps == expected["steps"]
    assert result.valid_nats == pytest.approx(expected["valid_nats"], abs=1e-3)


@pytest.fixture(params=VERSIONS)
def pairs(request: pytest.FixtureRequest) -> Path:
    """Return the folder of a version's pairs."""
    return GOLDEN / request.param / "pairs"


def _expected(folder: Path) -> dict[str, Any]:
    return strict_json.loads((folder / "expected.json").read_text("utf-8"))


def test_old_models_of_pairs_answer_and_score_the_same(pairs: Path) -> None:
    data = dataset.load(pairs / "data")
    for name, expected in _expected(pairs)["models"].items():
        model = charrnn.load(pairs / name / MODEL_NAME)
        answer = model.answer("café", length=9)
        assert answer.text == expected["answer"]
        assert answer.log_prob == pytest.approx(expected["log_prob"], abs=1e-4)
        score = evaluate_pairs(model, data.pairs("valid")).score
        assert score.nats == pytest.approx(expected["nats"], rel=1e-5)


def test_an_old_model_of_gaps_fills_the_same(pairs: Path) -> None:
    expected = _expected(pairs)["fill"]
    filled = charrnn.load(pairs / "gaps" / MODEL_NAME).fill("the ___ is near", length=6)
    assert filled.text == expected["text"]
    assert filled.log_prob == pytest.approx(expected["log_prob"], abs=1e-4)


def test_an_old_dataset_of_pairs_holds_the_same(pairs: Path) -> None:
    data = dataset.load(pairs / "data")
    decode = data.tokenizer.decode
    for name, expected in _expected(pairs)["parts"].items():
        part = data.pairs(name)
        texts = [[decode(part.source(n)), decode(part.target(n))] for n in range(len(part))]
        assert texts == expected


def test_an_old_run_on_pairs_resumes_to_the_same_loss(pairs: Path, tmp_path: Path) -> None:
    expected = _expected(pairs)
    shutil.copytree(pairs / "run", tmp_path / "run")
    text = corpus.read([pairs / "words.tsv"], Reading(pairs=True))
    result = resume(text, {}, out=tmp_path / "run")
    assert result.steps == expected["steps"]
    assert result.valid_nats == pytest.approx(expected["valid_nats"], abs=1e-3)


def test_an_old_ensemble_answers_and_resumes_to_the_same_loss(pairs: Path, tmp_path: Path) -> None:
    """Its networks shared the bias of the output, whose optimizer each of them goes on with."""
    expected = _expected(pairs.parent / "ensemble")
    run = Path(shutil.copytree(pairs.parent / "ensemble" / "run", tmp_path / "run"))
    answer = charrnn.load(run).answer("café", length=9)
    assert answer.text == expected["answer"]
    assert answer.log_prob == pytest.approx(expected["log_prob"], abs=1e-4)
    result = resume(corpus.read([pairs / "words.tsv"], Reading(pairs=True)), {}, out=run)
    assert result.steps == expected["steps"]
    assert result.valid_nats == pytest.approx(expected["valid_nats"], abs=0.01)
