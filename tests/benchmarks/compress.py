"""Compare 'charrnn compress' with gzip -9, bzip2 -9 and xz -9.

    python tests/benchmarks/compress.py MODEL TEXT... [--first BYTES]

Every text (a compressed one is unpacked first) is compressed on one thread, decompressed on two,
and compared byte for byte. The predicted size is the score of 'charrnn eval' in bytes, for the part
that the model's vocabulary covers. The size of the model does not count.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import math
import time
from pathlib import Path

from charrnn.compression import compress, decompress
from charrnn.compression.literals import split
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.run_dir import find_model
from charrnn.text.sources import Source


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--first", type=int, help="bytes to read of each text")
    given = parser.parse_args()
    model = model_file.load(find_model(given.model))
    writer, reader = (Generator(model, threads=threads) for threads in (1, 2))
    print(
        "| text | bytes | gzip -9 | bzip2 -9 | xz -9 | charrnn | predicted | literals | in | out |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for path in given.texts:
        chunks = Source(str(path), path).chunks(None, lambda count: None)
        data = b"".join(chunks)[: given.first]
        began = time.perf_counter()
        made = compress(writer, data, "benchmark")
        middle = time.perf_counter()
        same = decompress(reader, made.data) == data
        ended = time.perf_counter()
        if not same:
            raise SystemExit(f"{path}: the decompressed bytes differ")
        ids, _ = split(data, model.tokenizer)
        nats = writer.scorer.score_ids(ids).total_nats if len(ids) else 0.0
        sizes = [
            len(gzip.compress(data, 9)),
            len(bz2.compress(data, 9)),
            len(lzma.compress(data, preset=9)),
            len(made.data),
            round(nats / math.log(2) / 8),
            made.literals,
        ]
        cells = [path.name, f"{len(data):,}", *(f"{size:,}" for size in sizes)]
        cells += [f"{middle - began:.0f} s", f"{ended - middle:.0f} s"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
