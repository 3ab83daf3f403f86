from __future__ import annotations

from importlib import resources
from string import Template

import pytest

from charrnn.cli.display.templates import fill


@pytest.mark.parametrize("file", ["surprisal_page.html", "unit_page.html"])
def test_pages_are_files_of_the_package(file: str) -> None:
    page = resources.files("charrnn.cli.display").joinpath(file).read_text("utf-8")
    names = Template(page).get_identifiers()
    filled = fill(file, **dict.fromkeys(names, "$title"))
    assert names
    assert filled.count("$title") == page.count("$")
