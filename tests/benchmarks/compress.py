"""What 'charrnn compress' makes of texts, beside gzip -9, bzip2 -9 and xz -9.

    python tests/benchmarks/compress.py MODEL TEXT... [--first BYTES]

Every text (packed ones are unpacked first) is compressed on one thread, decompressed on two, and
compared byte for byte. Promised is what 'charrnn eval' says, in bytes: of the part that has
symbols in the model. The model's own size counts for nothing here: it was trained before.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import math
import time
from pathlib import Path

from charrnn.compression import _split, compress, decompress
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.run_dir import find_model
from charrnn.text.sources import Source


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--first", type=int, help="so many bytes of each")
    given = parser.parse_args()
    model = model_file.load(find_model(given.model))
    writer, reader = (Generator(model, threads=threads) for threads in (1, 2))
    print("| text | bytes | gzip -9 | bzip2 -9 | xz -9 | charrnn | promised | unknown | in | out |")
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
            raise SystemExit(f"{path} did not come back")
        ids, _ = _split(data, model.tokenizer)
        nats = writer.score_ids(ids).total_nats if len(ids) else 0.0
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
