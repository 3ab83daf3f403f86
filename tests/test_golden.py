"""Models and runs of every earlier format version can still be read."""

import shutil
from pathlib import Path

import pytest
import strict_json
from following import resume

import charrnn
from charrnn.model.model_file import FORMAT_VERSION
from charrnn.run_dir import checkpoints
from charrnn.text import corpus

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
