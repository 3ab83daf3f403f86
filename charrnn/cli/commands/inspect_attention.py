"""``charrnn inspect attention``: what a model of pairs looks at while it answers."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from charrnn.cli.display import attention_map, plots
from charrnn.cli.inspect_shared import PageOutput
from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import PromptOptions
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, print_json
from charrnn.errors import OptionError
from charrnn.terminal import visible

SOURCE = Only("source", helps={"source": "The source to answer, or a text with a gap."})


@guarded
@configured
def inspect_attention(
    *,
    model: ModelOption = None,
    cell: CellOption = None,
    start: Annotated[PromptOptions, SOURCE],
    target: Annotated[
        str | None,
        typer.Option(
            help="The answer to look at.", show_default="the answer that beam search finds"
        ),
    ] = None,
    output: PageOutput,
) -> None:
    """Show which part of a source a model attends to before each token of its answer.

    Each row is a token of the answer, each column a token of the source; the darker a cell, the
    more attention that token of the source gets. For a model that fills gaps, --source is a text
    with a gap, such as 'to ___ or not to be'.
    """
    from charrnn.cli.display.attention_page import attention_page
    from charrnn.inspection.attention import alignment
    from charrnn.run_dir import find_model

    if start.source is None:
        raise OptionError("name the source to answer: --source TEXT")
    found = alignment(load_model(model, cell=cell), start.source, target)
    if output.plot is not None:
        plots.save(attention_map.picture(found), output.plot)
    if output.html is not None:
        page = attention_page(found, f"model: {find_model(model)}")
        plots.write(output.html, page.encode())
    if output.json:
        print_json(found.to_json())
        return
    for line in attention_map.map_lines(found, shutil.get_terminal_size().columns):
        typer.echo(visible(line))
    typer.echo(f"log-probability {found.log_prob:.2f} nats")
