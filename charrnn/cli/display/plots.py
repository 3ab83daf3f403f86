"""Pictures and charts of characters: colors, files, and errors for missing packages."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from charrnn.cli.shared import note
from charrnn.errors import OptionError, missing_package
from charrnn.storage.files import would_replace, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, which people with color vision deficiency can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS = "+xo*~.#%@=&$abcdefghijklmnpqrstuvwyz"  # of the curves of a chart without colors
FORMATS = (".png", ".svg", ".pdf")


def missing(error: ImportError) -> OptionError:
    """Return the error for a missing package that only drawing needs."""
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
    """Refuse an output file before anything is computed for it.

    Raises:
        OptionError: its suffix is not a known format, or it exists already.
    """
    if path is None:
        return
    if path.suffix.lower() not in formats:
        raise OptionError(f"{option} {path}: its name must end in {', '.join(formats)}")
    if would_replace(path) and not force:
        raise OptionError(f"{option} {path} exists: choose another name, or use --force")


def save(figure: Figure, path: Path) -> None:
    """Write a picture atomically; equal pictures become equal bytes."""
    import matplotlib

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
        note("some characters are not in the picture's font: use .svg for the viewer's fonts")
    write(path, data.getvalue())


def write(path: Path, data: bytes) -> None:
    """Write a file atomically and say so."""
    write_atomically(path, data)
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
    """Return curves drawn in characters, in color if the stream shows colors.

    Args:
        title: shown above.
        xs: x of the points of each curve.
        ys: y of the points of each curve.
        labels: names of the curves.
        colors: of the curves.
        logarithmic: whether the y axis is logarithmic.
        height: lines within the frame.
        width: columns of the whole chart, at most 100; by default those of the terminal.
        stream: where the chart will be shown; by default stdout.

    Raises:
        OptionError: uniplot is missing.
    """
    in_colors = colorful(stream)
    return str(
        _uniplot().plot_to_string(
            ys,
            xs=xs,
            title=title,
            lines=True,
            y_as_log=logarithmic,
            height=height,
            width=max(20, min(width or shutil.get_terminal_size().columns, 100) - 15),
            color=[rgb(color) for color in colors] if in_colors else False,
            character_set="braille" if in_colors else "ascii",
            force_ascii_characters=list(itertools.islice(itertools.cycle(_MARKS), len(ys))),
            legend_labels=labels if len(ys) > 1 else None,
            y_gridlines=[],
            x_gridlines=[],
        )
    )


def _uniplot() -> Any:
    try:
        import uniplot
    except ImportError as error:
        raise missing(error) from None
    except RuntimeError:  # numba may cache its functions neither beside them nor at home
        from charrnn.compiler.cache import in_folder

        with in_folder():
            import uniplot
    return uniplot


def colorful(stream: TextIO | None) -> bool:
    """Return whether a stream (stdout by default) is a terminal and NO_COLOR is not set."""
    return (stream or sys.stdout).isatty() and "NO_COLOR" not in os.environ


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue of ``#RRGGBB``."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def literal(text: str) -> str:
    """Return text for a picture, where a pair of dollar signs would enclose a formula."""
    return text.replace("$", r"\$")
