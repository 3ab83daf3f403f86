"""Demonstrations of pairs: make the data of one, judge what networks write, measure their speed.

From rhythm, metre and key to a folk tune (it needs `pip install music21`):

    python tests/benchmarks/pairs.py tunes folk.abc > folk.tsv
    charrnn train folk.tsv --pairs --test-fraction 0.1 --minutes 3 --out runs/tunes
    python tests/benchmarks/pairs.py judge-tunes runs/tunes

From a language to names, which a network that knows languages judges:

    charrnn train names-language.tsv --pairs --test-fraction 0.2 --minutes 2 --out runs/languages
    charrnn train names-language.tsv --pairs --swap --test-fraction 0.2 --minutes 2 --out runs/names
    python tests/benchmarks/pairs.py judge-names runs/names runs/languages

The speed and the memory of a training on pairs, and of one of the same sizes on a text:

    python tests/benchmarks/pairs.py speed words.tsv text.txt --hidden-size 320 --steps 300
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import fmean, median
from typing import Any

import charrnn
from charrnn.bench import processes
from charrnn.config import BeamConfig, Reading, SampleConfig
from charrnn.generator import Generator
from charrnn.model.model_file import MODEL_NAME
from charrnn.run_dir import read_model
from charrnn.run_dir.run_text import held_out
from charrnn.text import corpus
from charrnn.text.pair_lines import escaped
from charrnn.text.pairs import PairPart

TUNES = 200  # that are judged
NAMES = 100  # that are written for each language
FIELD = re.compile(r"^([A-Za-z]):\s*(.*)")
CHORD = re.compile(r'"[^"\n]*"')
KEY = re.compile(r"([A-G][#b]?)\s*([a-z]*)", re.IGNORECASE)
# Names of modes by their first three letters, as ABC allows, and how they are written here.
MODES = {"": "", "maj": "", "ion": "", "m": "m", "min": "m", "aeo": "m"}
MODES |= {mode: mode for mode in ("mix", "dor", "phr", "lyd", "loc")}
Pairs = list[tuple[str, str]]


def tunes(text: str) -> Iterator[tuple[str, str]]:
    """Yield the header and the notes of each tune of one metre and one key.

    The header is like ``R:jig M:6/8 L:1/8 K:G``; names of chords are left out of the notes.
    """
    for block in re.split(r"^X:", text, flags=re.MULTILINE)[1:]:
        fields: dict[str, str] = {"L": "1/8"}
        notes: list[str] = []
        changes = False
        for line in block.split("\n\n")[0].splitlines()[1:]:
            line = line.partition("%")[0].strip()
            field = FIELD.match(line)
            if field and "K" not in fields:
                fields[field[1]] = field[2]
            elif field:
                changes |= field[1] in "KLM"
            elif "K" in fields:
                notes.append(re.sub(r"\s+", " ", CHORD.sub("", line).rstrip("\\").strip()))
        key = KEY.match(fields.get("K", ""))
        mode = MODES.get(key[2].lower()[:3]) if key else None
        if key and mode is not None and notes and fields.get("M") and not changes:
            fields["K"] = key[1] + mode
            fields["R"] = fields.get("R", "").lower()
            yield " ".join(f"{n}:{fields[n]}" for n in "RMLK" if fields[n]), "\n".join(notes)


def print_tunes(files: Sequence[str]) -> None:
    """Print a line for each tune: header, a tab, notes."""
    for header, notes in tunes(corpus.read(files, Reading()).text):
        print(f"{escaped(header)}\t{escaped(notes)}")


def judge_tunes(run: str) -> None:
    """Print a table: tunes written for the headers of the test part, and those of the test part.

    Pairs are split by a hash of their source: no header of the test part was trained on.
    """
    model = charrnn.load(run)
    part = pairs_of(run, "test")
    part = part[:: max(1, len(part) // TUNES)][:TUNES]
    headers, real = [header for header, _ in part], [notes for _, notes in part]
    config = SampleConfig(temperature=0.6, length=2000, seed=1)
    written = [answer.text for (answer,) in model.answers(headers, config)]
    known = {notes for _, notes in pairs_of(run, "train")}
    print("| tunes | parsed | in the metre | in the key | end on the key's tonic | new |")
    print("|---|---|---|---|---|---|")
    others = [_other(headers, index) for index in range(len(headers))]
    for name, notes, asked in (
        ("written", written, headers),
        ("written, judged by another metre and key", written, others),
        ("held out", real, headers),
        ("held out, judged by another metre and key", real, others),
    ):
        judged = [
            judgement(f"X:1\n{abc(header)}\n{tune}\n")
            for header, tune in zip(asked, notes, strict=True)
        ]
        parsed = [found for found in judged if found]
        shares = [len(parsed) / len(judged), *map(fmean, zip(*parsed, strict=True))]
        shares.append(fmean(tune not in known for tune in notes))
        print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    for header, tune in zip(headers[:2], written[:2], strict=True):
        print(f"\n{abc(header)}\n{tune}")


def _other(headers: Sequence[str], index: int) -> str:
    """Return the next header with other lengths of bars and another key."""

    def differs(header: str) -> bool:
        both = zip(_metre_and_key(header), _metre_and_key(headers[index]), strict=True)
        return all(one != other for one, other in both)

    return next(filter(differs, [*headers[index:], *headers[:index]]), headers[index])


def _metre_and_key(header: str) -> tuple[str, str]:
    """Return the length of a bar and the key; C and C| are four quarters long."""
    metre, key = re.findall(r"[MK]:(\S+)", header)
    try:
        return str(Fraction({"C": "1", "C|": "1"}.get(metre, metre))), key
    except ValueError:  # such as 3/4+2/4
        return metre, key


def abc(header: str) -> str:
    """Return a header as lines."""
    return re.sub(r" (?=[MLK]:)", "\n", header)


def judgement(tune: str) -> tuple[bool, bool, bool] | None:
    """Return whether a tune keeps to its metre and its key, and ends on the tonic.

    None if music21 does not read it, or finds no notes. A tune keeps to its metre if four fifths
    of its inner bars are full, and to its key if an analysis of its notes finds a key of the same
    signature (Krumhansl's weights).
    """
    from music21 import converter, key, stream

    try:
        score = converter.parse(tune, format="abc")
        bars = list(score.recurse().getElementsByClass(stream.Measure))[1:-1]
        asked = next(iter(score.recurse().getElementsByClass(key.KeySignature)))
        last = list(score.recurse().notes)[-1]
        found = score.analyze("key")
    except Exception:  # whatever is wrong with the tune
        return None
    full = [abs(bar.duration.quarterLength - bar.barDuration.quarterLength) < 1e-6 for bar in bars]
    tonic = asked.tonic if isinstance(asked, key.Key) else asked.asKey().tonic
    return (
        bool(full) and fmean(full) >= 0.8,
        found.sharps == asked.sharps,
        last.pitches[0].pitchClass == tonic.pitchClass,
    )


def judge_names(writer: str, labeler: str) -> None:
    """Print a table: names written for languages, and held out, that are given their language."""
    names, languages = charrnn.load(writer), charrnn.load(labeler)
    parts = {part: pairs_of(writer, part) for part in ("train", "valid", "test")}
    known = {name for part in parts.values() for _, name in part}
    asked = sorted({language for language, _ in parts["train"]})
    config = SampleConfig(temperature=0.8, length=40, seed=1, num_samples=NAMES)
    written = {
        language: [answer.text for answer in answers]
        for language, answers in zip(asked, names.answers(asked, config), strict=True)
    }
    real: dict[str, list[str]] = {}
    for language, name in parts["test"]:
        real.setdefault(language, []).append(name)
    print("| language | names written for it | new | different | held out | examples |")
    print("|---|---|---|---|---|---|")
    rows = []
    for language in asked:
        texts = written[language]
        new = [name for name in texts if name not in known]
        shares = [
            right(languages, language, texts),
            len(new) / len(texts),
            len(set(texts)) / len(texts),
            right(languages, language, real.get(language, [])),
        ]
        rows.append(shares)
        shown = " | ".join(f"{share:.1%}" for share in shares)
        print(f"| {language} | {shown} | {', '.join(new[:4])} |", flush=True)
    means = " | ".join(f"{fmean(column):.1%}" for column in zip(*rows, strict=True))
    print(f"| mean | {means} | |")


def right(model: Generator, language: str, names: Sequence[str]) -> float:
    """Return the share of names to which a model answers with this language."""
    readable = [name for name in names if name]
    answers = model.answers(readable, BeamConfig(length=40))
    return sum(answer.text == language for (answer,) in answers) / max(1, len(names))


def pairs_of(run: str, part: str) -> Pairs:
    """Return the sources and targets of a part of the pairs of a run."""
    path = Path(run) / MODEL_NAME
    tokenizer = read_model(path).tokenizer
    found = PairPart(*held_out(path, tokenizer, part))
    decode = tokenizer.decode
    return [(decode(found.source(n)), decode(found.target(n))) for n in range(len(found))]


def measure_speed(pairs: str, text: str, options: Sequence[str]) -> None:
    """Print the speed and the memory of a training on pairs, and on a text."""
    print("| training | network | pairs or streams | characters/s | memory, MB |")
    print("|---|---|---|---|---|")
    speeds = []
    for words in ((pairs, "--pairs"), (text,)):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            command = (sys.executable, "-m", "charrnn", "train", *words, "--valid-fraction", 0)
            ran = processes.run(*command, "--out", out, *options)
            rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
            config = json.loads((out / "config.json").read_text())
        speeds.append(median(row["chars_per_second"] for row in rows[1:]))
        model, memory = config["model"], f"{ran.memory or 0:,.0f}"
        sizes = f"{model['cell']} {model['num_layers']}x{model['hidden_size']}"
        streams = config["train"]["batch_size"]
        print(f"| {' '.join(words)} | {sizes} | {streams} | {speeds[-1]:,.0f} | {memory} |")
    print(f"ratio {speeds[0] / speeds[1]:.2f}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)

    def command(name: str, call: Any, *words: str, many: str = "") -> None:
        added = commands.add_parser(name)
        for word in words:
            added.add_argument(word)
        if many:
            added.add_argument(many, nargs="+" if not words else argparse.REMAINDER)
        added.set_defaults(call=call)

    command("tunes", print_tunes, many="files")
    command("judge-tunes", judge_tunes, "run")
    command("judge-names", judge_names, "writer", "labeler")
    command("speed", measure_speed, "pairs", "text", many="options")
    given = vars(parser.parse_args())
    given.pop("call")(**given)


if __name__ == "__main__":
    main()
