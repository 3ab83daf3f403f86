"""Write charrnn/config/keywords.py, the types of keyword arguments, from the fields of options.

A type checker cannot run the code that makes keywords of fields, so their types are a file of the
package; `tests/config/test_signature.py` fails where it is not what this script writes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import charrnn
from charrnn.config import signature
from charrnn.config.signature import Keyword, Keywords

FILE = Path(charrnn.__file__).parent / "config" / "keywords.py"
WIDTH = 100
HEAD = '''"""Types of keyword arguments, written by tests/keywords.py: run it, do not edit this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict
'''
CLASSES = {  # name: what it describes, its keywords, the class that has some of them already
    "TrainKeywords": ("charrnn.train", signature.TRAIN, None),
    "TrainSeedsKeywords": ("charrnn.train_seeds", signature.TRAIN_SEEDS, "TrainKeywords"),
    "LoadKeywords": ("charrnn.load", signature.LOAD, None),
    "GreedyKeywords": ("Generator.greedy", signature.GREEDY, None),
    "SampleKeywords": ("Generator.sample and stream", signature.SAMPLE, "GreedyKeywords"),
    "SamplesKeywords": ("Generator.samples", signature.SAMPLES, "SampleKeywords"),
    "BeamKeywords": ("Generator.beam", signature.BEAM, None),
    "BeamsKeywords": ("Generator.beams", signature.BEAMS, "BeamKeywords"),
    "FillKeywords": ("Generator.fill", signature.FILL, None),
    "FillsKeywords": ("Generator.fills", signature.FILLS, "FillKeywords"),
}


def source() -> str:
    """Return the whole file."""
    parts = [HEAD]
    for name, (what, keywords, base) in CLASSES.items():
        parts.append("\n".join(lines(name, what, keywords, base)) + "\n")
    return "\n\n".join(parts)


def lines(name: str, what: str, keywords: Keywords, base: str | None) -> Iterator[str]:
    """Yield the lines of a class."""
    known = {keyword.name for keyword in CLASSES[base][1]} if base else set()
    yield f"class {name}({base or 'TypedDict'}, total=False):"
    yield f'    """Keywords of `{what}`."""'
    yield ""
    for keyword in keywords:
        if keyword.name not in known:
            yield from annotation(keyword)
            yield from documentation(keyword)


def annotation(keyword: Keyword) -> Iterator[str]:
    """Yield the type of a keyword as ruff formats it."""
    line = f"    {keyword.name}: {keyword.type}"
    if len(line) <= WIDTH:
        yield line
        return
    before, names = keyword.type.split("[", 1)
    names, after = names.split("]", 1)
    yield f"    {keyword.name}: {before}["
    yield from (f"        {name}," for name in names.split(", "))
    yield f"    ]{after}"


def documentation(keyword: Keyword) -> list[str]:
    """Return the help of a keyword as a string, which editors show."""
    prefix = "r" if "\\" in keyword.help else ""
    text = f'{prefix}"""{keyword.help}"""'
    return textwrap.indent(textwrap.fill(text, WIDTH - 4), "    ").splitlines()


if __name__ == "__main__":
    FILE.write_text(source(), "utf-8")
