"""What the commands that draw share: colors, files, a missing extra."""

from __future__ import annotations

import io
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from charrnn.cli.shared import note
from charrnn.errors import OptionError, missing_package

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colors, which people tell apart who see fewer colors than most.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FORMATS = (".png", ".svg", ".pdf")


def missing(error: ImportError) -> OptionError:
    """The error of a package that only drawing needs."""
    return OptionError(missing_package("drawing", str(error.name), "plot"))


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; the sizes are in inches.

    Raises:
        OptionError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing(error) from None
    return Figure(figsize=(width, height), layout="constrained")


def check_file(
    option: str, path: Path | None, force: bool, formats: tuple[str, ...] = FORMATS
) -> None:
    """Refuse a picture's file before anything is computed for it.

    Raises:
        OptionError: its name tells no format, or it is there already.
    """
    if path is None:
        return
    if path.suffix.lower() not in formats:
        raise OptionError(f"{option} {path}: its name must end in {', '.join(formats)}")
    if path.exists() and not force:
        raise OptionError(f"{option} {path} exists: name another, or --force to replace it")


def save(figure: Figure, path: Path) -> None:
    """Write a picture: whole or not at all, and the same bytes for the same picture."""
    import matplotlib

    from charrnn.storage.files import write_atomically

    kind = path.suffix.lower().removeprefix(".")
    data = io.BytesIO()
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with (
        matplotlib.rc_context({"svg.hashsalt": "charrnn", "svg.fonttype": "none"}),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        figure.savefig(data, format=kind, dpi=130, metadata=undated)
    if kind != "svg" and any("missing from font" in str(one.message) for one in caught):
        note("some symbols are not in the picture's font: an .svg leaves them to the viewer's")
    write_atomically(path, data.getvalue())
    note(f"written: {path}")


def chart(
    title: str,
    xs: Sequence[Any],
    ys: Sequence[Any],
    labels: Sequence[str],
    colors: Sequence[str],
    *,
    logarithmic: bool = False,
    height: int = 16,
    width: int | None = None,
    stream: TextIO | None = None,
) -> str:
    """Curves in characters: colors on a terminal, letters where there are none.

    Args:
        title: above.
        xs: of each curve.
        ys: of each curve.
        labels: of each curve.
        colors: of each curve.
        logarithmic: whether the y axis is.
        height: of what is within the frame, in lines.
        width: of all, in columns; what the terminal has, and 100 at most.
        stream: where it is shown: stdout, if nothing else is said.

    Raises:
        OptionError: the package that draws them is missing.
    """
    try:
        import uniplot
    except ImportError as error:
        raise missing(error) from None

    in_colors = colorful(stream)
    columns = width or shutil.get_terminal_size().columns
    return str(
        uniplot.plot_to_string(
            ys,
            xs=xs,
            title=title,
            lines=True,
            y_as_log=logarithmic,
            height=height,
            width=max(20, min(columns, 100) - 15),
            color=[rgb(color) for color in colors] if in_colors else False,
            character_set="braille" if in_colors else "ascii",
            legend_labels=labels if len(ys) > 1 else None,
            y_gridlines=[],
            x_gridlines=[],
        )
    )


def colorful(stream: TextIO | None = None) -> bool:
    """Whether stdout, or another stream, shows colors, and they are welcome."""
    return (stream or sys.stdout).isatty() and "NO_COLOR" not in os.environ


def rgb(color: str) -> tuple[int, int, int]:
    """The three numbers of ``#RRGGBB``."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def literal(text: str) -> str:
    """Text in a picture: two dollar signs would make a formula of what is between them."""
    return text.replace("$", r"\$")
