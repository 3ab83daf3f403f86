"""Compare what a model predicts while it learns from a text with zpaq and with PPMd.

    python tests/benchmarks/dynamic.py TEXT... [--minutes 3] [--seed 1] [--runs runs/dynamic]
        [--characters N] [--archives]

Each text gets a model in the folder --runs, which is trained unless it is there already: as
TEXT-MINUTES-SEED, as `published.py train --keep FOLDER` names its runs. This can be stopped and
started again: every measured row is kept in FOLDER/rows.jsonl, and is not measured again. What is
measured is the held-out last tenth, or its first N characters (tokens, where some are bytes): nats
per character of all of it and of its second half, for the model alone, with --dynamic, and with
--dynamic --recall of the last 2,000,000 tokens before it; --archives also compresses and restores
it. Beside it stand zpaq -m5 and PPMd (order 16, 1 GB), if the command zpaq and the package pyppmd
are installed: the size of the text up to there (its last 40 MB) less that without the part. For
zpaq the latter is filled up with zeros to the same length, because it chooses its model by that.
"""

from __future__ import annotations

import argparse
import importlib.util
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
from charrnn.run_dir import RunDir, read_model
from charrnn.run_dir.run_text import held_out
from charrnn.scoring import Surprisals

Row = dict[str, Any]
MEASURES = ("frozen", "dynamic", "recall", "zpaq", "ppmd")
RECALLED = 2_000_000  # tokens
KNOWN = 40_000_000  # bytes before the part: zpaq begins anew after 64 MB


class Subject:
    """A text, its model, and the held-out part of it that is read."""

    def __init__(self, text: str, given: argparse.Namespace) -> None:
        name = Path(text).stem
        folder = run_of(text, given)
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
        self.ids = self._whole(valid[: given.characters])
        self.known = self.decoded(self.train).encode()[-KNOWN:]
        self.recalled = self.train[-RECALLED:]
        starts = starts[starts < len(self.ids)]
        self.texts = scoring.apart(self.ids, starts) if self._apart else [self.ids]

    def _whole(self, ids: Ids) -> Ids:
        """Return tokens without the bytes of a last symbol that is not whole."""
        for end in range(len(ids), max(0, len(ids) - 4), -1):
            if not self.decoded(ids[:end]).endswith("\ufffd"):
                return ids[:end]
        return ids

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
        predictor = self.generator.adaptive(len(self.ids), self.recalled)
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
        counted = self.recalled if recall else None
        made = compression.compress(self.generator, data, "", dynamic=True, counted=counted)
        back = compression.decompress(self.generator, made.data, recall=lambda: self.recalled)
        if back != data:
            raise SystemExit("the restored text is not the one that was compressed")
        return {"bytes": len(made.data)}

    def zpaq(self) -> Row:
        """Return what zpaq needs for the part after all that was trained on."""
        part = self.decoded(self.ids).encode()
        return self._sized(zpaq_size(self.known + part) - zpaq_size(self.known + bytes(len(part))))

    def ppmd(self) -> Row:
        """Return what PPMd needs for the part after all that was trained on."""
        part = self.decoded(self.ids).encode()
        return self._sized(ppmd_size(self.known + part) - ppmd_size(self.known))

    def _sized(self, size: int) -> Row:
        """Return the row of a part that takes some bytes."""
        return {"nats": size * 8 * math.log(2) / len(self.decoded(self.ids)), "bytes": size}


def run_of(text: str, given: argparse.Namespace) -> Path:
    """Return the folder of a text's run."""
    names = [Path(text).stem, Path(text).name.split(".")[0]]
    folders = [given.runs / f"{name}-{given.minutes:g}-{given.seed}" for name in names]
    return next((each for each in folders if (each / "summary.json").is_file()), folders[0])


def zpaq_size(data: bytes) -> int:
    """Return the size of an archive of these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        file, archive = Path(folder) / "text", Path(folder) / "text.zpaq"
        file.write_bytes(data)
        command = ["zpaq", "add", str(archive), str(file), "-method", "5", "-threads", "1"]
        subprocess.run(command, check=True, capture_output=True)
        return archive.stat().st_size


def ppmd_size(data: bytes) -> int:
    """Return the size of these bytes, compressed."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(16, 1 << 30)
    return len(encoder.encode(data)) + len(encoder.flush())


def installed(measure: str) -> bool:
    """Return whether what this measures is installed."""
    if measure == "ppmd":
        return importlib.util.find_spec("pyppmd") is not None
    return measure != "zpaq" or shutil.which("zpaq") is not None


def measured(given: argparse.Namespace, kept: Path) -> list[Row]:
    """Measure what is not measured yet; return all rows of the given texts."""
    rows = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
    wanted = [each for each in MEASURES if installed(each)]
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
    head = "\n| text | model | --dynamic | --dynamic --recall | zpaq -m5 | PPMd | characters/s |"
    print(head, "archives |")
    print("|---|---|---|---|---|---|---|---|")
    for text in dict.fromkeys(row["text"] for row in rows):
        by = {row["measure"]: row for row in rows if row["text"] == text}
        nats = [f"{by[kind]['nats']:.3f} ({by[kind]['second_half']:.3f})" for kind in MEASURES[:3]]
        cells = [text, *nats]
        others = MEASURES[3:]
        cells += [f"{by[kind]['nats']:.3f}" if kind in by else "not installed" for kind in others]
        cells.append(f"{by['dynamic']['chars_per_second']:,.0f}")
        sizes = [
            f"{by[f'archive of {kind}']['bytes']:,} ({by[kind]['bytes']:,.0f} promised)"
            for kind in ("dynamic", "recall")
            if f"archive of {kind}" in by
        ]
        print("| " + " | ".join([*cells, ", ".join(sizes)]) + " |")
    print("\nNats per character of the part that was read; in brackets, of its second half.")
    if not installed("zpaq"):
        print("zpaq is not installed, so its sizes are missing: apt-get install zpaq.")
    if not installed("ppmd"):
        print("PPMd is not installed, so its sizes are missing: pip install pyppmd.")


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
