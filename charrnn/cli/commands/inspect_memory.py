"""``charrnn inspect memory``: how far back networks remember."""

from __future__ import annotations

from typing import Annotated, Any

from charrnn.cli.display import memory_curves, plots
from charrnn.cli.inspect_shared import (
    MAX_HELD_OUT,
    InspectOutput,
    ModelsOption,
    TextArgument,
    by_name,
    load_models,
    read_text,
)
from charrnn.cli.options import Given, configured
from charrnn.cli.shared import guarded, note, print_json
from charrnn.cli.texts import OWN_READING
from charrnn.config import Reading, is_own_cell
from charrnn.config.fields import given_flags
from charrnn.config.inspection import ContextOptions, TaskOptions
from charrnn.errors import OptionError

DEFAULT_CONTEXT = 1024
DEFAULT_LAG, MAX_LAG = 32, 512


@guarded
@configured
def inspect_memory(
    *,
    file: TextArgument = None,
    models: ModelsOption = None,
    contexts: ContextOptions,
    tasks: TaskOptions,
    reading: Annotated[dict[str, Any], Given(Reading), OWN_READING],
    output: InspectOutput,
) -> None:
    """Measure how far back networks remember.

    A model scores the same tokens of a text from the start state after 1, 2, 4 and more tokens
    before them: where the loss no longer falls, it remembers no further.

    With --task, small networks are trained on lines that ask for something n characters back, with
    all lags mixed: copy (three letters, after n blanks), adding (two marked digits among n others),
    brackets (which two are open, after n characters of closed ones). The result is the share of new
    lines that a network answers correctly. A training takes some seconds per thousand steps.
    """
    if tasks.task and (contexts.longest or 0) > MAX_LAG:
        raise OptionError(
            f"--longest {contexts.longest} is too long for a task: use {MAX_LAG} at most"
        )
    if tasks.task and (models or file or reading or given_flags(contexts, "symbols")):
        raise OptionError(
            "--task trains networks on lines of its own: give no model, no text and no --symbols"
        )
    if not tasks.task and not all(map(is_own_cell, tasks.cell)):  # a model may need an own one
        raise OptionError("--cell is for the networks that a --task trains: add --task")
    if tasks.task:
        from charrnn.inspection.memory_tasks import compare_on_tasks

        compared = compare_on_tasks(tasks, contexts.longest or DEFAULT_LAG, note)
        panels, fields = memory_curves.task_panels(compared), compared.to_json()
    else:
        from charrnn.inspection.memory import memories

        loaded = load_models(models)
        text = read_text(file, loaded, MAX_HELD_OUT, reading)
        size = {"longest": contexts.longest or DEFAULT_CONTEXT, "symbols": contexts.symbols}
        found = memories(by_name(loaded), text, **size, notify=note)
        panels = [memory_curves.context_panel(found)]
        fields = {"models": [{"name": name} | one.to_json() for name, one in found.items()]}
    if output.plot is not None:
        plots.save(memory_curves.picture(panels), output.plot)
    if output.json:
        print_json(fields)
    else:
        memory_curves.show(panels)
