"""Compare what a model predicts while it learns from a text with the model alone, and with zpaq.

    python tests/benchmarks/dynamic.py TEXT... [--minutes 3] [--seed 1] [--runs runs/dynamic]
        [--characters N] [--archives]

Each text gets a model in the folder --runs, which is trained unless it is there already; so this
can be stopped and started again: every measured row is kept in FOLDER/rows.jsonl, and is not
measured again. What is measured is the held-out last tenth, or its first N characters: nats per
character of all of it and of its second half, for the model alone, with --dynamic, and with
--dynamic --recall; --archives also compresses and restores it. Beside it stands zpaq -m5, if it is
installed: the size of the text up to there less that of its first nine tenths, which are filled up
with zeros to the same length, because zpaq chooses its model by the length.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import charrnn
from charrnn import compression, scoring
from charrnn.arrays import Ids
from charrnn.generator import Generator
from charrnn.run_dir import RunDir, held_out, read_model
from charrnn.scoring import Surprisals

Row = dict[str, Any]
MEASURES = ("frozen", "dynamic", "recall", "zpaq")


class Subject:
    """A text, its model, and the held-out part of it that is read."""

    def __init__(self, text: str, given: argparse.Namespace) -> None:
        name = Path(text).name.split(".")[0]
        folder = given.runs / f"{name}-{given.minutes:g}-{given.seed}"
        if not (folder / "summary.json").is_file():
            print(f"{name}: training for {given.minutes:g} minutes", flush=True)
            charrnn.train(
                text, minutes=given.minutes, seed=given.seed, out=folder, force=folder.exists()
            )
        path = RunDir(folder).model
        self.model = read_model(path)
        self.generator = Generator(self.model)
        self.train, _ = held_out(path, self.model.tokenizer, "train")
        valid, starts = held_out(path, self.model.tokenizer, "valid")
        self.ids = valid[: given.characters]
        starts = starts[starts < len(self.ids)]
        self.texts = scoring.apart(self.ids, starts) if self._apart else [self.ids]

    @property
    def _apart(self) -> bool:
        return self.model.reading.documents_apart

    def decoded(self, ids: Ids) -> str:
        return self.model.tokenizer.decode(ids.tolist())

    def frozen(self) -> Row:
        return self._row(lambda: self.generator.scorer.surprisals(self.texts, 0))

    def dynamic(self) -> Row:
        predictor = self.generator.adaptive(len(self.ids))
        return self._row(lambda: predictor.surprisals(self.texts))

    def recall(self) -> Row:
        began = time.perf_counter()
        predictor = self.generator.adaptive(len(self.ids), self.train)
        counting = time.perf_counter() - began
        row = self._row(lambda: predictor.surprisals(self.texts))
        return {**row, "counting_seconds": counting}

    def _row(self, read: Callable[[], list[Surprisals]]) -> Row:
        """Return nats per character and the speed of what reads the texts."""
        began = time.perf_counter()
        found = read()
        seconds = time.perf_counter() - began
        nats = np.concatenate([text.nats for text in found])
        half = len(nats) // 2
        return {
            "nats": float(nats.sum()) / len(self.decoded(self.ids)),
            "second_half": float(nats[half:].sum()) / len(self.decoded(self.ids[half:])),
            "bytes": float(nats.sum()) / math.log(2) / 8,
            "chars_per_second": len(self.decoded(self.ids)) / seconds,
        }

    def archive(self, *, recall: bool) -> Row:
        """Compress and restore the part; return the size of the archive."""
        data = self.decoded(self.ids).encode()
        counted = self.train if recall else None
        made = compression.compress(self.generator, data, "", dynamic=True, counted=counted)
        back = compression.decompress(self.generator, made.data, recall=lambda: self.train)
        if back != data:
            raise SystemExit("the restored text is not the one that was compressed")
        return {"bytes": len(made.data)}

    def zpaq(self) -> Row:
        """Return what zpaq needs for the part after all that was trained on."""
        known, part = (self.decoded(ids).encode() for ids in (self.train, self.ids))
        size = zpaq_size(known + part) - zpaq_size(known + bytes(len(part)))
        nats = size * 8 * math.log(2) / len(self.decoded(self.ids))
        return {"nats": nats, "bytes": size}


def zpaq_size(data: bytes) -> int:
    """Return the size of an archive of these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        file, archive = Path(folder) / "text", Path(folder) / "text.zpaq"
        file.write_bytes(data)
        command = ["zpaq", "add", str(archive), str(file), "-method", "5", "-threads", "1"]
        subprocess.run(command, check=True, capture_output=True)
        return archive.stat().st_size


def measured(given: argparse.Namespace, kept: Path) -> list[Row]:
    """Measure what is not measured yet; return all rows of the given texts."""
    rows = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
    wanted = [each for each in MEASURES if each != "zpaq" or shutil.which("zpaq")]
    wanted += ["archive of dynamic", "archive of recall"] if given.archives else []
    found = []
    for text in given.texts:
        key = {"text": Path(text).name, "minutes": given.minutes, "seed": given.seed}
        key["characters"] = given.characters
        subject: Subject | None = None
        for measure in wanted:
            named = {**key, "measure": measure}
            row = next((row for row in rows if named.items() <= row.items()), None)
            if row is None:
                subject = subject or Subject(text, given)
                row = {**named, **measure_of(subject, measure)}
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
            found.append(row)
    return found


def measure_of(subject: Subject, measure: str) -> Row:
    """Measure one thing."""
    if measure.startswith("archive"):
        return subject.archive(recall=measure.endswith("recall"))
    row: Row = getattr(subject, measure)()
    return row


def show(rows: list[Row]) -> None:
    """Print the rows as a table, one line for each text."""
    print(
        "\n| text | model | --dynamic | --dynamic --recall | zpaq -m5 | characters/s | archives |"
    )
    print("|---|---|---|---|---|---|---|")
    for text in dict.fromkeys(row["text"] for row in rows):
        by = {row["measure"]: row for row in rows if row["text"] == text}
        nats = [f"{by[kind]['nats']:.3f} ({by[kind]['second_half']:.3f})" for kind in MEASURES[:3]]
        cells = [text, *nats]
        cells.append(f"{by['zpaq']['nats']:.3f}" if "zpaq" in by else "not installed")
        cells.append(f"{by['dynamic']['chars_per_second']:,.0f}")
        sizes = [
            f"{by[f'archive of {kind}']['bytes']:,} ({by[kind]['bytes']:,.0f} promised)"
            for kind in ("dynamic", "recall")
            if f"archive of {kind}" in by
        ]
        print("| " + " | ".join([*cells, ", ".join(sizes)]) + " |")
    print("\nNats per character of the part that was read; in brackets, of its second half.")
    if not shutil.which("zpaq"):
        print("zpaq is not installed, so its sizes are missing: apt-get install zpaq.")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/dynamic"))
    parser.add_argument("--characters", type=int, help="read the first ones of the part only")
    parser.add_argument("--archives", action="store_true", help="compress and restore the part")
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    kept = given.runs / "rows.jsonl"
    kept.touch()
    show(measured(given, kept))


if __name__ == "__main__":
    main()
