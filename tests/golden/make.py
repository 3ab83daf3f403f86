"""Make the golden files of format version N in ``tests/golden/N``: ``python tests/golden/make.py``.

They are made once per version and never again: later versions of charrnn must read them.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from charrnn import load
from charrnn.config import TrainOptions
from charrnn.model.model_file import FORMAT_VERSION
from charrnn.text import corpus
from charrnn.text.open import Texts
from charrnn.training.control import Control
from charrnn.training.events import result_of
from charrnn.training.resume import resume
from charrnn.training.start import start

HERE = Path(__file__).parent
TEXT = "the cat is home.\nthe café is near the sea.\n" * 20
OPTIONS: dict[str, Any] = {"hidden_size": 4, "embedding_size": 3, "seq_len": 8, "batch_size": 4}
OPTIONS |= {"steps": 30, "device": "cpu", "backend": "library", "dropout": 0.1, "threads": 1}


class Stopping:
    """Requests a stop after 12 steps."""

    asked = 0

    def stop(self) -> bool:
        self.asked += 1
        return self.asked > 12


def main() -> None:
    folder = HERE / str(FORMAT_VERSION)
    if folder.exists():
        sys.exit(f"{folder} exists: the golden files of a version are made once")
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT, "utf-8", newline="")
    text = corpus.read([folder / "text.txt"])
    control = Control(Stopping().stop)
    result_of(start(Texts(text), TrainOptions(**OPTIONS), out=folder / "run", control=control))
    (folder / "run" / ".lock").unlink()
    for name in ("config.json", "summary.json"):
        path = folder / "run" / name
        path.write_text(path.read_text().replace(str(HERE), "/golden"))
    later = shutil.copytree(folder / "run", folder / "later")
    result_of(resume(Texts(text), {}, out=later))
    model = load(folder / "run")
    expected = {
        "greedy": model.greedy("the", length=30).text,
        "nats": model.score(TEXT[-86:]).nats,
        "steps": 30,
        "valid_nats": json.loads((later / "summary.json").read_text())["valid_nats"],
    }
    shutil.rmtree(later)
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
