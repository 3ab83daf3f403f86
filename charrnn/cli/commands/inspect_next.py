"""``charrnn inspect next``: the distribution of the next token, and the beam search tree."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from charrnn.cli.display import next_token, plots
from charrnn.cli.inspect_shared import InspectOutput
from charrnn.cli.options import Only, configured
from charrnn.cli.prompt import PromptOptions
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, print_json
from charrnn.config import BeamConfig
from charrnn.errors import OptionError

MAX_WIDTH, MAX_LENGTH = 20, 100  # of a tree that is still readable


def _preview(setting: str, default: str) -> Any:
    return typer.Option(help=f"Preview this {setting}.", show_default=default)


def _check_size(width: int, length: int) -> None:
    """Refuse a beam search whose tree is too large to show."""
    if width > MAX_WIDTH or length > MAX_LENGTH:
        raise OptionError(
            f"--width {width}, --length {length}: a tree of more than {MAX_WIDTH} prefixes or "
            f"{MAX_LENGTH} steps is too large to show: use 'charrnn beam' for such texts"
        )


@guarded
@configured
def inspect_next(
    *,
    model: ModelOption = None,
    cell: CellOption = None,
    start: Annotated[PromptOptions, Only("prompt")],
    symbols: Annotated[int, typer.Option(help="Likeliest tokens to show.", min=1)] = 12,
    temperature: Annotated[float | None, _preview("temperature", "0.5 and 2")] = None,
    top_k: Annotated[int | None, _preview("top-k", "5")] = None,
    top_p: Annotated[float | None, _preview("top-p", "0.9")] = None,
    typical_p: Annotated[float | None, _preview("typical-p", "none")] = None,
    min_p: Annotated[float | None, _preview("min-p", "none")] = None,
    width: Annotated[int, typer.Option("--width", "-w", help="Beam width.")] = BeamConfig.width,
    length: Annotated[int, typer.Option("--length", "-n", help="Beam search steps.")] = 8,
    output: InspectOutput,
) -> None:
    """Show what may follow a prompt, how sampling settings change it, and the beam search tree.

    The settings that you give are shown one by one and, if there are several, together. The tree
    shows every prefix that beam search kept; the numbered ones are the texts it found, best first.
    """
    from charrnn.inspection import next_token as analysis

    prompt = start.prompt or ""
    given = {
        "temperature": temperature,
        "top_k": top_k,
        "typical_p": typical_p,
        "top_p": top_p,
        "min_p": min_p,
    }
    configs = analysis.settings({name: value for name, value in given.items() if value is not None})
    _check_size(width, length)
    beam = BeamConfig(length=length, width=width, num_return=width)
    generator = load_model(model, cell=cell)
    read = generator.read(prompt)
    found = analysis.choices(read, configs)
    tree = analysis.beam_tree(generator, read, beam)
    names = generator.tokenizer.token_names
    if output.plot is not None:
        plots.save(next_token.picture(prompt, names, found, tree, symbols), output.plot)
    if output.json:
        fields = {name: choice.to_json(names) for name, choice in found.items()}
        print_json({"prompt": prompt, "choices": fields, "beam": tree.to_json()})
        return
    lines = next_token.choice_lines(prompt, names, found, symbols)
    for line in (*lines, "", *next_token.tree_lines(tree, beam)):
        typer.echo(line)
