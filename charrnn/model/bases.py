"""The models that charrnn comes with, to start trainings on short texts from.

They are in the public domain, as the texts are that they were trained on; RESULTS.md in
tests/benchmarks tells how they were made and what they are good for.
"""

from __future__ import annotations

from pathlib import Path

BASES = {"english": Path(__file__).with_name("english.safetensors")}  # by the name that users give
