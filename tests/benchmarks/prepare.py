"""What 'charrnn prepare' takes of time and memory, beside other ways to the same.

    python tests/benchmarks/prepare.py TEXT...

For each text: wc -m in a UTF-8 locale and prepare with char and byte; for texts below 100 MB also
sentencepiece, and the plain script that reads all, takes its set and looks each character up.
Everything runs in a process of its own; memory is the peak of what it has for itself (RssAnon:
mapped pages are not counted). Linux only. sentencepiece is compared with the library's own encoding
of the same lines, with the same number of threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from charrnn import dataset
from charrnn.tokenizer import _SEGMENTS, SentencePieceTokenizer

PLAIN = """
import sys
text = open(sys.argv[1], encoding="utf-8", newline="").read()
ids = {symbol: index for index, symbol in enumerate(sorted(set(text)))}
import numpy
numpy.array([ids[symbol] for symbol in text], numpy.uint16).tofile(sys.argv[2])
"""
SHORT = 10**8  # bytes: more would not fit into memory, or take minutes


def measured(*command: str) -> tuple[float, float]:
    """Seconds, and peak RssAnon in MB."""
    began = time.perf_counter()
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        peak = max(
            [peak, *(int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line)]
        )
        time.sleep(0.005)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - began, peak / 1024


def line(what: str, size: int, seconds: float, memory: float) -> None:
    print(
        f"  {what:<34} {seconds:7.2f} s {size / 1e6 / seconds:8.1f} MB/s {memory:7.0f} MB",
        flush=True,
    )


def library(folder: Path, text: Path) -> tuple[float, float]:
    """Seconds of our encoding and of the library's alone, for the same lines."""
    tokenizer = dataset.load(folder).tokenizer
    assert isinstance(tokenizer, SentencePieceTokenizer)
    with text.open(encoding="utf-8", newline="") as file:
        data = file.read(10**7)
    segments = _SEGMENTS.findall(data)
    blocks = [data[at : at + 2**17].encode() for at in range(0, len(data), 2**17)]
    ours, theirs = [], []
    for _ in range(3):
        began = time.perf_counter()
        tokenizer._processor.encode(segments)
        theirs.append(time.perf_counter() - began)
        began = time.perf_counter()
        encoder = tokenizer.encoder()
        np.concatenate([*map(encoder.feed, blocks), encoder.finish()])
        ours.append(time.perf_counter() - began)
    return sorted(ours)[1], sorted(theirs)[1]


def main() -> None:
    for name in sys.argv[1:]:
        text, size = Path(name), Path(name).stat().st_size
        print(f"{text.name}: {size / 1e6:,.0f} MB")
        line("wc -m", size, *measured("wc", "-m", name))
        with tempfile.TemporaryDirectory(dir=text.parent) as folder:
            short = size < SHORT
            for kind in ("char", "byte", "sentencepiece") if short else ("char", "byte"):
                out = f"{folder}/{kind}"
                command = (sys.executable, "-m", "charrnn", "prepare", name, "--out", out)
                line(f"prepare --tokenizer {kind}", size, *measured(*command, "--tokenizer", kind))
            if short:
                plain = measured(sys.executable, "-c", PLAIN, name, f"{folder}/ids")
                line("read(), set(), [ids[c] for c]", size, *plain)
                ours, theirs = library(Path(folder) / "sentencepiece", text)
                print(f"  sentencepiece: {ours / theirs:.2f} times the library's own encode")


if __name__ == "__main__":
    main()
