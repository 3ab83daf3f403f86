"""Show for ``charrnn info``: the contents of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charrnn.cli.display import tables
from charrnn.cli.display.run_table import duration, network_words
from charrnn.config import ModelConfig, cell_name, from_json
from charrnn.config.training import RENAMED_BACKENDS
from charrnn.terminal import one_line, visible

if TYPE_CHECKING:
    from charrnn.text.tokenizer import Tokenizer

MAX_SHOWN = 200  # characters of a vocabulary
MAX_HASH = 12  # characters of a SHA-256 that is compared
# Rows of a comparison that are shown even where they are equal.
KEY_FIGURES = ("network", "parameters", "steps", "epochs", "time", "train_nats", "valid_nats")


def vocabulary_line(tokenizer: Tokenizer) -> str:
    """Return a vocabulary on one line, shortened if it is long."""
    from charrnn.text.tokenizer import CharTokenizer

    if isinstance(tokenizer, CharTokenizer):
        rest = " and all bytes" if tokenizer.byte_fallback else ""
        return _shortened(tokenizer.alphabet) + rest
    pieces = [piece.decode("utf-8", "replace") for piece in tokenizer.token_bytes[256:]]
    return f"{tokenizer.kind}, all bytes" + (
        f" and {_shortened(' | '.join(pieces))}" if pieces else ""
    )


def _shortened(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"


def summary(fields: Mapping[str, Any], tokenizer: Tokenizer) -> str:
    """Return what a model file holds, one line for each value; what is None is left out."""
    config = fields["config"]
    network = from_json(ModelConfig, config, "the model")
    size = network.member.embedding_size
    sizes = f"{cell_name(network.cell)}, {network.size_words}"
    inputs = f"embedding {size}" if size else "one-hot tokens"
    inputs += ", tied output" if config.get("tied_output") else ""
    if config.get("encoder"):
        inputs += f", {config['encoder']} encoder, {config['context']} context"
    lines = [
        visible(fields["model"]),
        f"  network    {visible(sizes)}, {inputs}, {fields['parameters']:,} parameters",
        f"  tokens     {tokenizer.vocab_size}: {vocabulary_line(tokenizer)}",
    ]
    for name, value in flat(fields["training"]):
        if value not in (None, ""):
            lines.append(f"  {visible(name)}: {one_line(str(value))}")
    return "".join(f"{line}\n" for line in lines)


def comparison(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table with a column for each model: key figures, and the rows that differ.

    Args:
        models: by name, what ``charrnn info --json`` says about each.
    """
    from rich.text import Text

    rows: dict[str, list[object]] = {}
    for index, fields in enumerate(models.values()):
        for name, value in _compared(fields):
            rows.setdefault(name, [None] * len(models))[index] = value
    table = tables.new_table()
    table.add_column("", no_wrap=True)
    for name in models:
        table.add_column(Text(one_line(name)), overflow="fold", justify="right")
    differing = [name for name, values in rows.items() if len({*map(str, values)}) > 1]
    for name in dict.fromkeys([*KEY_FIGURES, *differing]):
        cells = [_cell(name, value) for value in rows.get(name, [None] * len(models))]
        table.add_row(Text(one_line(name)), *map(Text, cells))
    return tables.as_text(table)


def _compared(fields: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the rows of a model in a comparison."""
    config, seconds = fields["config"], fields["seconds"]
    return [
        ("network", _network(config)),
        ("parameters", fields["parameters"]),
        ("time", None if seconds is None else duration(seconds)),
        *flat(config, "config."),
        *flat(fields["training"]),
    ]


def _network(config: Mapping[str, Any]) -> str:
    sizes = (config["num_layers"], config["hidden_size"], config.get("ensemble"))
    return network_words(cell_name(config["cell"]), *sizes)


def _cell(name: str, value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if name.endswith("_nats") else f"{value:.6g}"
    text = one_line(str(value))
    return text[:MAX_HASH] if "sha256" in name else text


def flat(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Return nested fields in order, with dotted names."""
    rows: list[tuple[str, object]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            rows += flat(value, f"{prefix}{name}.")
        elif name == "backend":  # files keep its first name
            rows.append((prefix + name, RENAMED_BACKENDS.get(value, value)))
        else:
            rows.append((prefix + name, value))
    return rows
