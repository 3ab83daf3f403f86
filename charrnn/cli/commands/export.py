"""``charrnn export``: a network for other programs."""

from __future__ import annotations

from charrnn.cli.options import configured
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model, note
from charrnn.config.exporting import ExportOptions
from charrnn.errors import shell_command


@guarded
@configured
def export(options: ExportOptions, model: ModelOption = None, cell: CellOption = None) -> None:
    """Write a network for other programs, which then need no charrnn.

    onnx writes one file: a step that reads a token and the state before it, and returns the logits
    of the next token and the new state; its description says how to use it. huggingface writes a
    folder with the weights, the tokenizer and the network in Python, its equation written out, for
    the library transformers. Counts of the training text (--counts) are left out.
    """
    loaded = load_model(model, cell=cell)
    loaded.export(options.to, options.out, force=options.force)
    if loaded.training.get("counts"):
        note("the counts of the training text are left out: the network alone is exported")
    if options.to == "huggingface":
        folder = shell_command(str(options.out))
        note(f"load it with transformers, {folder} as its name and trust_remote_code=True")
