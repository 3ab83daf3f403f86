import json
from pathlib import Path

import pytest

from charrnn.config import TextOptions, to_json
from charrnn.errors import CorpusError
from charrnn.run_dir import RunDir
from charrnn.run_dir.run_text import read_dataset
from charrnn.text import corpus, dataset


@pytest.mark.parametrize("length", [10, 333, 1000, 7919])
def test_a_run_of_the_first_version_is_split_as_it_was(length: int, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abcdefghij"[: length % 10 + 1] * length, "utf-8")
    whole = dataset.make(corpus.read([text]), TextOptions(valid_fraction=0.1))
    sizes = {f"{part}_characters": len(getattr(whole, part)) for part in ("train", "valid")}
    described = {"sha256": dict(whole.sha256), **sizes}
    run = {"corpus": described, "files": [str(text)], "valid_files": [], "newline": "keep"}
    (tmp_path / "config.json").write_text(json.dumps(run))
    found = read_dataset(RunDir(tmp_path))
    assert (len(found.train), len(found.valid)) == (len(whole.train), len(whole.valid))


def test_a_changed_text_of_a_run_is_an_error(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abc" * 20, "utf-8")
    run = {
        "corpus": {"sha256": {"corpus": "0"}},
        "files": [str(text)],
        "valid_files": [],
        "text": to_json(TextOptions()),
    }
    (tmp_path / "config.json").write_text(json.dumps(run))
    with pytest.raises(CorpusError, match="changed since the training"):
        read_dataset(RunDir(tmp_path))
