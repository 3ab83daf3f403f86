"""Check the format version that each file of charrnn states."""

from __future__ import annotations

from pathlib import Path

from charrnn.errors import InputError, ModelError


def check_format(
    stated: object, latest: int, path: Path | str, error: type[InputError] = ModelError
) -> None:
    """Refuse a file of a newer format, or one that states no format.

    Args:
        stated: what the file says: a whole number from 1 on.
        latest: the newest format that this charrnn reads.
        path: the file, for the message.
        error: the class to raise.

    Raises:
        InputError: of the class `error`.
    """
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        raise error(f"{path} is damaged: it does not state its format version")
    if stated > latest:
        raise error(
            f"{path} has format {stated}, this charrnn reads up to {latest}: upgrade charrnn"
        )
