"""``charrnn inspect next``: the distribution of the next token, and the beam search tree."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.cli.display import next_token, plots
from charrnn.cli.inspect_shared import InspectOutput
from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import PromptOptions
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, print_json
from charrnn.config.inspection import NextOptions


@guarded
@configured
def inspect_next(
    *,
    model: ModelOption = None,
    cell: CellOption = None,
    start: Annotated[PromptOptions, Only("prompt")],
    options: NextOptions,
    output: InspectOutput,
) -> None:
    """Show what may follow a prompt, how sampling settings change it, and the beam search tree.

    The settings that you give are shown one by one and, if there are several, together. The tree
    shows every prefix that beam search kept; the numbered ones are the texts it found, best first.
    """
    from charrnn.inspection import next_token as analysis

    prompt = start.prompt or ""
    configs = analysis.settings(options.settings)
    generator = load_model(model, cell=cell)
    read = generator.read(prompt)
    found = analysis.choices(read, configs)
    tree = analysis.beam_tree(generator, read, options.beam)
    names = generator.tokenizer.token_names
    if output.plot is not None:
        plots.save(next_token.picture(prompt, names, found, tree, options.symbols), output.plot)
    if output.json:
        fields = {name: choice.to_json(names) for name, choice in found.items()}
        print_json({"prompt": prompt, "choices": fields, "beam": tree.to_json()})
        return
    lines = next_token.choice_lines(prompt, names, found, options.symbols)
    for line in (*lines, "", *next_token.tree_lines(tree, options.beam)):
        typer.echo(line)
