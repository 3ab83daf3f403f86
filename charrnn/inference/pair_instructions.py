"""What a compiled decoder does besides the steps of a text model: it looks at its source.

Each row of a decoder has a record of `SOURCE` integers, which say where its source is:

    keys, memory    addresses of what attention compares and averages, a row for each symbol
    symbols         how many there are
    added           address of what the source adds to the input of the layers
    weights         address where attention writes its weights, one for each symbol
"""

from __future__ import annotations

from charrnn.compiler.cache import declare

SOURCE = 5
ADDED = 3  # its position in a record

add_source, attend, copy_rows = declare(
    "charrnn.inference.pair_functions", "add_source", "attend", "copy_rows"
)
