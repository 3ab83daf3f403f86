"""Feed changed files to every reader: no crash, no hang, no large allocation.

``python tests/fuzz.py --minutes 30`` changes good files. Each input must be read, or refused with
one of charrnn's own errors; anything else ends the run and saves the input. With atheris installed,
libFuzzer is guided by coverage; without it, hypothesis changes the files at random. The last line
says how many inputs were tried.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["charrnn"]) if atheris else contextlib.nullcontext():
    from charrnn import compression, config, load
    from charrnn.compression import archive
    from charrnn.config import Reading, TextOptions
    from charrnn.errors import CharRNNError
    from charrnn.model import model_file
    from charrnn.run_dir import RunDir, checkpoints
    from charrnn.storage import files
    from charrnn.text import corpus, dataset, tokenizer
    from charrnn.text import manifest as manifests
    from charrnn.text.named import registry as corpora
    from charrnn.text.pair_lines import escaped, unescaped
    from charrnn.training.run_description import Record

GOLDEN = Path(__file__).parent / "golden" / "1"
RUN, PAIRS_RUN = GOLDEN / "run", GOLDEN / "pairs" / "run"
ENSEMBLE_RUN = GOLDEN / "ensemble" / "run"
LARGEST = 2**31  # bytes of address space that reading may add
SECONDS = 10  # limit per input
COUNT = "inputs tried: "
Read = Callable[[bytes], object]


def forged(folder: Path, name: str, data: bytes) -> None:
    """Write a file of a checkpoint, and its hash into the manifest."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / checkpoints.MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / checkpoints.MANIFEST).write_text(json.dumps(manifest))


def read_checkpoint(run_dir: Path) -> None:
    for found in checkpoints.found(RunDir(run_dir)):
        if isinstance(found, CharRNNError):
            raise found
        earlier = Record.parse(found.state, "it")
        found.arrays(earlier.plan.model, earlier.plan.train.batch_size)


def of_checkpoint(folder: Path, run: Path, what: str) -> dict[str, tuple[bytes, Read]]:
    (source,) = RunDir(run).checkpoints.iterdir()
    target = RunDir(folder).checkpoints / source.name
    target.mkdir(parents=True)
    good = {path.name: path.read_bytes() for path in source.iterdir()}

    def reader(name: str) -> Read:
        def read(data: bytes) -> None:
            for other, content in good.items():
                (target / other).write_bytes(content)
            if name == checkpoints.MANIFEST:
                (target / name).write_bytes(data)
            else:
                forged(target, name, data)
            read_checkpoint(folder)

        return read

    names = (checkpoints.MANIFEST, checkpoints.STATE, checkpoints.TENSORS)
    return {f"{what}: {name}": (good[name], reader(name)) for name in names}


def of_dataset(folder: Path) -> tuple[bytes, Read]:
    made = dataset.make(
        corpus.from_text("one. two. three. " * 40, separator=". "),
        TextOptions(test_fraction=0.1),
        folder=folder,
    )
    manifest = made.folder / manifests.MANIFEST

    def read(data: bytes) -> None:
        with contextlib.suppress(
            ValueError, AttributeError, RecursionError
        ):  # the input need not be JSON
            content = json.loads(data)
            content["manifest_sha256"] = manifests.digest(content)
            data = json.dumps(content).encode()
        manifest.write_bytes(data)
        loaded = dataset.load(folder)
        loaded.tokenizer.measure(loaded.valid)

    return manifest.read_bytes(), read


def of_pairs(folder: Path) -> dict[str, tuple[bytes, Read]]:
    """Return files of pairs: what is read of them can be written to a file and read again."""
    folder.mkdir()

    def reader(path: Path) -> Read:
        def read(data: bytes) -> None:
            path.write_bytes(data)
            texts = texts_of(path)
            assert len(texts) % 2 == 0
            assert all(texts)
            assert all(unescaped(escaped(text)) == text for text in texts)
            again = folder / "again.jsonl"
            pairs = zip(texts[::2], texts[1::2], strict=True)
            rows = [json.dumps({"source": one, "target": two}) for one, two in pairs]
            again.write_text("\n".join(rows))
            assert texts_of(again) == texts
            with contextlib.suppress(CharRNNError):  # there may be too few to split them
                shutil.rmtree(folder / "data", ignore_errors=True)
                made = dataset.make(
                    corpus.read([path], Reading(pairs=True)),
                    TextOptions(pairs=True),
                    folder=folder / "data",
                )
                parts = [made.pairs(part) for part in ("train", "valid", "test")]
                assert sum(map(len, parts)) == len(texts) // 2

        return read

    def texts_of(path: Path) -> list[str]:
        pieces = list(corpus.read([path], Reading(pairs=True)).pieces())
        texts: list[bytes] = []
        for piece in pieces:
            if piece.begins:
                texts.append(b"")
            texts[-1] += piece.data
        return [text.decode() for text in texts]

    tsv = "one\tun\ntwo\\n\t\\\\ deux\\t\r\n\n" + "".join(f"{n}\té{-n}\n" for n in range(30))
    rows = [{"source": f"a\t{n}", "target": "é😀\n", "id": None} for n in range(20)]
    jsonl = "".join(json.dumps(row) + "\n" for row in rows)
    return {
        "pairs: tsv": (tsv.encode(), reader(folder / "pairs.tsv")),
        "pairs: jsonl": (jsonl.encode(), reader(folder / "pairs.jsonl")),
    }


def of_archive() -> tuple[bytes, Read]:
    """Return a good archive without its checksum, and a reader that adds a valid one."""
    model = load(RUN)
    text = (GOLDEN / "text.txt").read_bytes()[:300].replace(b"\n", b"\r\n", 2)
    sealed = compression.compress(model, text, "it").data

    def read(data: bytes) -> None:
        compression.decompress(model, data + archive.checksum(data))

    return sealed[: -archive.CHECKSUM_SIZE], read


def targets(folder: Path) -> dict[str, tuple[bytes, Read]]:
    """Return for each format a good file and its reader."""
    model, options = folder / "model", folder / "options.toml"

    def in_file(path: Path, load: Callable[[Path], object]) -> Read:
        def read(data: bytes) -> None:
            path.write_bytes(data)
            load(path)

        return read

    def alphabet(data: bytes) -> None:
        tokenizer.from_json(files.parse_json(data, "it"), "it")

    text = b"some words to learn, and some words more. " * 40
    pieces = tokenizer.train_pieces([text], len(text), "bpe", 300)
    letters = model_file.load(RUN / model_file.MODEL_NAME).tokenizer
    toml = b'cell = "gru"\nhidden-size = 24\nseq_len = "full"\n'
    registry = (corpora.folder() / "registry.toml").read_bytes()
    return {
        "model": ((RUN / model_file.MODEL_NAME).read_bytes(), in_file(model, model_file.load)),
        "model of pairs": (
            (PAIRS_RUN / model_file.MODEL_NAME).read_bytes(),
            in_file(model, model_file.load),
        ),
        "model of an old ensemble": (
            (ENSEMBLE_RUN / model_file.MODEL_NAME).read_bytes(),
            in_file(model, model_file.load),
        ),
        **of_checkpoint(folder / "text run", RUN, "checkpoint"),
        **of_checkpoint(folder / "ensemble run", ENSEMBLE_RUN, "checkpoint of an old ensemble"),
        **of_checkpoint(folder / "pairs run", PAIRS_RUN, "checkpoint of pairs"),
        "options": (toml, in_file(options, config.load_options)),
        "alphabet": (json.dumps(letters.to_json()).encode(), alphabet),
        "pieces": (json.dumps(pieces.to_json()).encode(), alphabet),
        "archive": of_archive(),
        "dataset": of_dataset(folder / "dataset"),
        **of_pairs(folder / "pairs"),
        "registry": (registry, lambda data: corpora.parse(data, "it")),
    }


def tried(read: Read, data: bytes) -> None:
    """Read an input; one of charrnn's own errors is fine."""
    with contextlib.suppress(CharRNNError):
        read(data)


def by_coverage(known: dict[str, tuple[bytes, Read]], folder: Path, minutes: float) -> None:
    """Run libFuzzer; the first byte of an input selects the reader."""
    readers = [read for _, read in known.values()]
    for name in ("seeds", "found"):
        (folder / name).mkdir()
    for number, (good, _) in enumerate(known.values()):
        (folder / "seeds" / str(number)).write_bytes(bytes([number]) + good)

    def one(data: bytes) -> None:
        number = data[0] % len(readers) if data else 0
        tried(readers[number], data[1:])

    limits = [f"-timeout={SECONDS}", "-rss_limit_mb=0", "-malloc_limit_mb=512", "-max_len=65536"]
    limits += [f"-max_total_time={int(60 * minutes)}", f"-artifact_prefix={folder}/"]
    tree = [str(folder / "found"), str(folder / "seeds")]
    atheris.Setup([sys.argv[0], "-print_final_stats=1", *limits, *tree], one)
    atheris.Fuzz()


def blindly(known: dict[str, tuple[bytes, Read]], folder: Path, minutes: float) -> int:
    """Run hypothesis and return how many inputs were tried."""
    from hypothesis import HealthCheck, given, seed, settings
    from hypothesis import strategies as st

    count, end = 0, time.monotonic() + 60 * minutes
    bits = st.sampled_from([b"", b"\xff" * 8, bytes(8), b"-1", b"1e999", b'"', b"[[", b"null"])
    edit = st.tuples(st.floats(0, 1), st.integers(0, 40), bits | st.binary(max_size=9))

    def hung(number: int, frame: object) -> None:
        raise TimeoutError(f"input {count} took more than {SECONDS} seconds")

    signal.signal(signal.SIGALRM, hung)
    quiet = settings(
        max_examples=500, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )

    def one(name: str, edits: list[tuple[float, int, bytes]]) -> None:
        nonlocal count
        data, read = known[name]
        for position, removed, inserted in edits:
            start = int(position * len(data))
            data = data[:start] + inserted + data[start + removed :]
        (folder / "input").write_bytes(data)
        count += 1
        signal.alarm(SECONDS)
        tried(read, data)
        signal.alarm(0)

    for round_ in range(10**9):
        if time.monotonic() > end:
            break
        changed = given(st.sampled_from(list(known)), st.lists(edit, min_size=1, max_size=4))
        seed(round_)(quiet(changed(one)))()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument(
        "--blindly", action="store_true", help="use hypothesis even if atheris is installed"
    )
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="charrnn-fuzz-"))
    known = targets(folder)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + LARGEST, resource.RLIM_INFINITY))
    sys.stderr.write(f"inputs that do harm are saved in {folder}\n")
    if atheris and not given.blindly:
        by_coverage(known, folder, given.minutes)  # exits, with its own count
    sys.stderr.write(f"{COUNT}{blindly(known, folder, given.minutes)}\n")


if __name__ == "__main__":
    main()
