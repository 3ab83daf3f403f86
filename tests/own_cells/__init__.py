"""Cells outside the package, for tests: each as configs name it, once its file was run."""

from pathlib import Path

import pytest

from charrnn.compiler.cell_file import use

HERE = Path(__file__).parent
NAMES = ("mingru", "slstm", "mixed")
MINGRU, SLSTM, MIXED = (use(HERE / f"{name}.py") for name in NAMES)
# For `parametrize`.
OWN = [pytest.param(use(HERE / f"{name}.py"), id=name) for name in NAMES]
