"""The lectures' demonstrations: judge the samples of a run as a reader would.

    charrnn train folk.abc --minutes 3 --out runs/folk
    python tests/benchmarks/demonstrations.py runs/folk ...

Each row is a run, which writes 40 samples of 1,000 characters at temperature 0.8. Besides the loss,
the measures depend on the kind of text:

    words         words that also occur in the training text
    LaTeX         environments and braces that are closed in the right order
    C             samples with balanced brackets in which a lexer (pygments) finds no error
    ABC           tunes that music21 parses, and inner bars of full length
    lists         lines that are not in the training text, and lines that differ from each other

What the end of a sample cuts off is not counted. In brackets: the same share for as many passages
of the held-out text.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pygments.lexers import CLexer
from pygments.token import Comment, Error, String

WORD = re.compile(r"[^\W\d_]+")
ENVIRONMENT = re.compile(r"\\(begin|end)\{([^{}\n]*)\}")
BRACE = re.compile(r"(?<!\\)[{}]")
OPEN, CLOSE = "([{", ")]}"
FAR = 500  # characters before a sample's end: an environment opened there may still be closed
Share = tuple[int, int]  # good ones, all


def known_words(samples: Sequence[str], corpus: str) -> Share:
    """Count words that are in the corpus, but for the first and last of a sample (cut off)."""
    known = set(WORD.findall(corpus))
    words = [word for sample in samples for word in WORD.findall(sample)[1:-1]]
    return sum(word in known for word in words), len(words)


def nested(events: Sequence[tuple[int, bool, str]], length: int) -> Share:
    """Count the pairs among (index, opens, name) that are closed in the right order."""
    stack: list[tuple[int, str]] = []
    matched = broken = 0
    for index, opens, name in events:
        if opens:
            stack.append((index, name))
        elif stack and stack[-1][1] == name:
            stack.pop()
            matched += 1
        elif stack:  # otherwise it was opened before the sample's start
            broken += 1
    broken += sum(index < length - FAR for index, _ in stack)
    return matched, matched + broken


def environments(samples: Sequence[str], corpus: str) -> Share:
    """Count LaTeX environments whose end matches their beginning."""
    return _added(
        nested([(m.start(), m[1] == "begin", m[2]) for m in ENVIRONMENT.finditer(text)], len(text))
        for text in samples
    )


def braces(samples: Sequence[str], corpus: str) -> Share:
    """Count braces that are closed."""
    return _added(
        nested([(m.start(), m[0] == "{", "") for m in BRACE.finditer(text)], len(text))
        for text in samples
    )


def _added(shares: Iterable[Share]) -> Share:
    found = list(shares)
    return sum(good for good, _ in found), sum(all_ for _, all_ in found)


def sound_c(samples: Sequence[str], corpus: str) -> Share:
    """Count C samples, up to their last empty line, with balanced brackets and no lexer error."""
    good = 0
    for sample in samples:
        text, stack, sound = sample.rpartition("\n\n")[0], [], True
        for kind, value in CLexer().get_tokens(text):
            sound &= kind is not Error
            if kind in Comment or kind in String:
                continue
            for character in value:
                if character in OPEN:
                    stack.append(CLOSE[OPEN.index(character)])
                elif character in CLOSE:
                    sound &= bool(stack) and stack.pop() == character
        good += sound and not stack
    return good, len(samples)


def _tunes(samples: Sequence[str]) -> list[str]:
    """Return complete tunes: from one X: to the next."""
    return [f"X:{tune}" for text in samples for tune in re.split(r"^X:", text, flags=re.M)[1:-1]]


def parsed_tunes(samples: Sequence[str], corpus: str) -> Share:
    """Count tunes that music21 parses and finds notes in."""
    tunes = _tunes(samples)
    return sum(bool(_bars(tune)) for tune in tunes), len(tunes)


def full_bars(samples: Sequence[str], corpus: str) -> Share:
    """Count inner bars (not next to a repeat or an end) of the length that the meter requires."""
    bars = [full for tune in _tunes(samples) for full in _bars(tune)[1:-1]]
    return sum(bars), len(bars)


def _bars(tune: str) -> list[bool]:
    """Return for each bar whether it is full; nothing if the tune cannot be parsed."""
    from music21 import converter, stream

    try:
        bars = list(
            converter.parse(tune, format="abc").recurse().getElementsByClass(stream.Measure)
        )
        return [
            abs(bar.duration.quarterLength - bar.barDuration.quarterLength) < 1e-6 for bar in bars
        ]
    except Exception:
        return []


def new_lines(samples: Sequence[str], corpus: str) -> Share:
    """Count lines that are not in the corpus."""
    known = set(corpus.splitlines())
    lines = [line for sample in samples for line in sample.splitlines()[1:-1]]
    return sum(line not in known for line in lines), len(lines)


def distinct_lines(samples: Sequence[str], corpus: str) -> Share:
    """Count lines that differ from each other."""
    lines = [line for sample in samples for line in sample.splitlines()[1:-1]]
    return len(set(lines)), len(lines)


MEASURES: dict[str, tuple[Callable[[Sequence[str], str], Share], ...]] = {
    ".tex": (environments, braces),
    "headers": (sound_c,),
    ".abc": (parsed_tunes, full_bars),
    "tunes": (parsed_tunes, full_bars),
    "names": (new_lines, distinct_lines),
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    print("| text | valid nats | bpc | known words, other measures |\n|---|---|---|---|---|")
    for run in parser.parse_args().runs:
        print(line(run), flush=True)


def line(run: Path) -> str:
    """Generate samples of a run, measure them, and return the row."""
    from charrnn.config import TrainOptions
    from charrnn.text import corpus

    words = ("--length", 1000, "--num-samples", 40, "--temperature", 0.8, "--seed", 1, "--json")
    charrnn = (sys.executable, "-m", "charrnn")
    written = _json(*charrnn, "sample", "-m", run, *words)
    config = json.loads((run / "config.json").read_text())
    result = json.loads((run / "summary.json").read_text())
    text = config["corpus"]["name"]
    samples = [sample["text"] for sample in written["samples"]]
    whole = corpus.read(config["files"], TrainOptions()).text
    read = whole[: config["corpus"]["train_characters"]]
    held_out = whole[len(read) :]
    apart = max(1, (len(held_out) - 1000) // 40)
    passages = [held_out[k * apart : k * apart + 1000] for k in range(40)]
    measures = [known_words]
    names = f"{text} {Path(config['files'][0]).name}"
    measures += [measure for kind in MEASURES if kind in names for measure in MEASURES[kind]]
    shares = ", ".join(
        f"{measure.__name__.replace('_', ' ')} {_percent(measure(samples, read))} "
        f"({_percent(measure(passages, read))})"
        for measure in measures
    )
    return f"| {text} | {result['valid_nats']:.3f} | {result['valid_bpc']:.3f} | {shares} |"


def _percent(share: Share) -> str:
    good, whole = share
    return f"{good / max(1, whole):.1%} of {whole:,}"


def _json(*words: object) -> dict[str, object]:
    done = subprocess.run([*map(str, words)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
