"""Show a dataset: as JSON fields, and as lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.config import escape

if TYPE_CHECKING:
    from charrnn.text.dataset import Dataset


def dataset_fields(data: Dataset) -> dict[str, Any]:
    """Return a dataset as JSON fields."""
    parts = {
        name: {
            "ids": len(getattr(data, name)),
            "characters": size.characters,
            "bytes": size.num_bytes,
            "documents": len(data.documents[name]),
        }
        for name, size in data.sizes.items()
    }
    pairs = {"pairs": True, "swap": data.reading.swap} if data.reading.pairs else {}
    return {
        "name": data.name,
        **pairs,
        "tokenizer": data.tokenizer.kind,
        "vocab_size": data.tokenizer.vocab_size,
        "rare_symbols": data.rare_symbols,
        "id_type": data.train.dtype.name,
        "split": data.split,
        "items": data.reading.items,
        "parts": parts,
        "repeated_documents": {name: leak.repeated for name, leak in data.leaks.items()},
        "sha256": dict(data.sha256),
    }


def rare_lines(data: Dataset) -> list[str]:
    """Return a line that says how many symbols are written as bytes, if some are."""
    if not data.rare_symbols:
        return []
    verb = "symbol is" if data.rare_symbols == 1 else "symbols are"
    whole = "makes it a token" if data.rare_symbols == 1 else "makes each a token"
    return [f"{data.rare_symbols:,} rare {verb} written as bytes (--min-count 1 {whole})"]


def split_lines(data: Dataset) -> list[str]:
    """Return lines that say how a text was split, and which documents its parts share."""
    sizes = {name: size for name, size in data.sizes.items() if size.characters}
    parts = ", ".join(f"{name} {size.characters:,}" for name, size in sizes.items())
    lines = [f"{parts} characters ({data.split})"]
    if data.reading.pairs:
        counts = ", ".join(f"{name} {len(data.documents[name]) // 2:,}" for name in sizes)
        lines.append(f"{counts} pairs of source and target")
    if data.reading.items:
        counts = ", ".join(f"{name} {len(data.documents[name]):,}" for name in sizes)
        end = escape(data.reading.document_separator)
        lines.append(f"{counts} items ending at '{end}', in a new order at every epoch")
    for name, leak in data.leaks.items():
        if leak.repeated:
            what = "sources" if data.reading.pairs else "documents"
            cure = "" if data.reading.pairs else " (--split hash keeps equal documents together)"
            lines.append(
                f"{leak.repeated:,} of {leak.documents:,} {name} {what} are in the training "
                f"text too: their scores are too good{cure}"
            )
    return lines
