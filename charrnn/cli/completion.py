"""Complete the values of options and arguments in a shell.

A function that returns nothing leaves it to the shell to offer files.
"""

from __future__ import annotations

from pathlib import Path

from charrnn.errors import CharRNNError


def corpora(incomplete: str) -> list[str]:
    """Return the named corpora that start like this, unless a file or folder does."""
    from charrnn.text.named import registry

    if incomplete and any(path.name.startswith(incomplete) for path in Path().iterdir()):
        return []
    try:
        return [name for name in sorted(registry.entries()) if name.startswith(incomplete)]
    except CharRNNError:  # a registry that cannot be read has no names to offer
        return []


def models(incomplete: str) -> list[str]:
    """Return the runs in ./runs whose names start like this."""
    from charrnn.run_dir import runs_in

    names = sorted(run.path.name for run in runs_in() if run.model.exists())
    return [name for name in names if name.startswith(incomplete)]
