"""Imported last by the process that forks commands: what each of them would do once more."""

from __future__ import annotations

import functools
import gc

import typer.main
from numba.core.registry import cpu_target

from charrnn.cells import CELLS, Layer
from charrnn.cli.app import program
from charrnn.compiler import cache
from charrnn.decoding import compiled
from charrnn.inference import network_arrays, step_codegen

# Compiles what the models of most tests need, or loads it: many a command takes less time.
cache.compile_declared()
compiled.by_temperature.address  # noqa: B018 - compiles
for function in step_codegen.compiled_step(Layer(CELLS["lstm"]), False).functions:
    function.address  # noqa: B018 - compiles
network_arrays._libraries()  # looks for those that multiply matrices, by the names of all files
# What typer reads from the functions of commands.
parameters_of = functools.cache(typer.main.get_params_from_function)
setattr(typer.main, "get_params_from_function", parameters_of)  # noqa: B010
typer.main.get_command(program())
cpu_target.typing_context.refresh()  # what numba does before it loads its first function
cpu_target.target_context.refresh()
gc.collect()
gc.freeze()  # a collection in a command would copy every page that it looks at
