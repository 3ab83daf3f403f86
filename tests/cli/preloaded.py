"""Imported last by the process that forks commands: what each of them would do once more."""

from __future__ import annotations

import gc

from numba.core.registry import cpu_target

from charrnn.cells import CELLS, Layer
from charrnn.compiler import cache
from charrnn.decoding import compiled
from charrnn.inference import step_codegen

# Compiles what the models of most tests need, or loads it: many a command takes less time.
cache.compile_declared()
compiled.by_temperature.address  # noqa: B018 - compiles
for function in step_codegen.compiled_step(Layer(CELLS["lstm"]), False).functions:
    function.address  # noqa: B018 - compiles
cpu_target.typing_context.refresh()  # what numba does before it loads its first function
cpu_target.target_context.refresh()
gc.collect()
gc.freeze()  # a collection in a command would copy every page that it looks at
