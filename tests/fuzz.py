"""Files from strangers, as many as the minutes hold: no crash, no hang, nothing large allocated.

``python tests/fuzz.py --minutes 30``: libFuzzer, through atheris, changes good files and follows
what the readers do with them. An input is read, or refused by one of charrnn's own errors. What
else happens ends the run with the input kept.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["charrnn"]):
    from charrnn import checkpoint, config, files, tokenizer
    from charrnn.errors import CharRNNError
    from charrnn.training import checkpoints, resume

GOLDEN = Path(__file__).parent / "golden" / "1"
RUN = GOLDEN / "run"
LARGEST = 2**31  # bytes of address space that reading may take beyond what is taken before
MODEL, MANIFEST, STATE, TENSORS, OPTIONS, ALPHABET = range(6)


def forged(folder: Path, name: str, data: bytes) -> None:
    """A checkpoint with this content, and a manifest that vouches for it."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / checkpoints.MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / checkpoints.MANIFEST).write_text(json.dumps(manifest))


def read_checkpoint(run_dir: Path) -> None:
    for found in checkpoints.found(run_dir):
        if isinstance(found, CharRNNError):
            raise found
        earlier = resume.read(found.state, "it")
        found.arrays(earlier.plan.model, earlier.plan.train.batch_size)


def reader(folder: Path) -> Callable[[bytes], None]:
    """What reads one input: the first byte says what it is taken for."""
    (source,) = (RUN / checkpoints.FOLDER).iterdir()
    place = folder / checkpoints.FOLDER / source.name
    place.mkdir(parents=True)
    good = {path.name: path.read_bytes() for path in source.iterdir()}

    def read(data: bytes) -> None:
        kind, data = data[:1], data[1:]
        number = kind[0] % 6 if kind else 0
        with contextlib.suppress(CharRNNError):
            if number == MODEL:
                (folder / "model").write_bytes(data)
                checkpoint.load(folder / "model")
            elif number in (MANIFEST, STATE, TENSORS):
                for name, content in good.items():
                    (place / name).write_bytes(content)
                if number == MANIFEST:
                    (place / checkpoints.MANIFEST).write_bytes(data)
                else:
                    name = checkpoints.STATE if number == STATE else checkpoints.TENSORS
                    forged(place, name, data)
                read_checkpoint(folder)
            elif number == OPTIONS:
                (folder / "options.toml").write_bytes(data)
                config.load_options(folder / "options.toml")
            else:
                tokenizer.CharTokenizer.from_json(files.parse_json(data, "it"), "it")

    return read


def seeds(folder: Path) -> None:
    """Good files to begin with."""
    folder.mkdir()
    (source,) = (RUN / checkpoints.FOLDER).iterdir()
    model = (RUN / checkpoint.MODEL_NAME).read_bytes()
    alphabet = checkpoint.load(RUN / checkpoint.MODEL_NAME).tokenizer.to_json()
    content = {
        MODEL: model,
        MANIFEST: (source / checkpoints.MANIFEST).read_bytes(),
        STATE: (source / checkpoints.STATE).read_bytes(),
        TENSORS: (source / checkpoints.TENSORS).read_bytes(),
        OPTIONS: b'cell = "gru"\nhidden-size = 24\nseq_len = "full"\n',
        ALPHABET: json.dumps(alphabet).encode(),
    }
    for number, data in content.items():
        (folder / str(number)).write_bytes(bytes([number]) + data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    folder = Path(tempfile.mkdtemp(prefix="charrnn-fuzz-"))
    seeds(folder / "seeds")
    (folder / "found").mkdir()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + LARGEST, resource.RLIM_INFINITY))
    # An input may take ten seconds and 512 MB; the number of inputs is the last line's.
    limits = ["-timeout=10", "-rss_limit_mb=0", "-malloc_limit_mb=512", "-max_len=65536"]
    limits += [f"-max_total_time={int(60 * minutes)}", f"-artifact_prefix={folder}/"]
    tree = [str(folder / "found"), str(folder / "seeds")]
    atheris.Setup([sys.argv[0], "-print_final_stats=1", *limits, *tree], reader(folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
