"""The version that a file states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import ArchiveError, ModelError
from charrnn.storage.format_version import check_format


@pytest.mark.parametrize("stated", [1, 2, 3])
def test_formats_up_to_the_latest_are_read(stated: int) -> None:
    check_format(stated, 3, "file")


def test_a_newer_format_asks_for_an_upgrade() -> None:
    message = "a/file has format 4, this charrnn reads up to 3: upgrade charrnn"
    with pytest.raises(ModelError, match=message):
        check_format(4, 3, Path("a/file"))


@pytest.mark.parametrize("stated", [None, "1", 0, -1, True, 1.0, [1]])
def test_a_file_without_a_format_is_damaged(stated: Any) -> None:
    with pytest.raises(ArchiveError, match="damaged: it does not state its format version"):
        check_format(stated, 3, "file", ArchiveError)
