"""Options of ``charrnn export``: the format, and where it is written."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from charrnn.config.fields import Options, choice, path, switch

FormatName = Literal["onnx", "huggingface"]


@dataclass(frozen=True)
class ExportOptions(Options):
    """The format of an exported network, and where it is written."""

    to: str = choice(
        FormatName,
        MISSING,
        "Format: onnx (one file with the step that reads a token) or huggingface (a folder that "
        "transformers loads).",
    )
    out: Path = path("The file or the folder to write.", MISSING)
    force: bool = switch("Replace what was exported to --out before.")
