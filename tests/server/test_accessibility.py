"""axe-core looks for faults in every part of the page, in all its states; then, the keyboard alone.

axe-core comes with axe-playwright-python; without that package its tests are skipped.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest

from .browser import ENDLESS, finished, needs_browser, paste, saved, text_of, wait

pytestmark = needs_browser


def faults(page: Any, state: str) -> list[str]:
    """Return what axe-core finds wrong, with the elements."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    assert len(found["passes"]) > 15
    return [
        f"{state}: {each['impact']}: {each['help']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_axe_finds_no_fault(page: Any, width: int, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="needs 'pip install axe-playwright-python'")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    found = faults(page, "empty")
    page.fill("#write-text", "the sea")
    page.check("#color")
    page.fill("#length", "60")
    page.click("#go")
    finished(page)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_selector("#tree button")
    page.wait_for_selector("#next button")
    found += faults(page, "written")
    paste(page, "write-text", "the sea is near\n" * 5000)  # of which a part is shown
    page.wait_for_selector("#write-text-part")
    found += faults(page, "long")
    page.click("#undo")
    page.fill("#regex", "(")
    page.click("#go")
    page.wait_for_selector("#regex-error")
    found += faults(page, "wrong setting")
    page.click("#tab-score")
    found += faults(page, "nothing scored")
    page.click("#score-written")
    page.click("#score-go")
    page.wait_for_selector("#places button")
    page.click("#places button >> nth=0")
    found += faults(page, "scored")
    page.click("#tab-training")
    page.wait_for_selector("#chart svg")
    found += faults(page, "training")
    page.evaluate("document.getElementById('ask-token').showModal()")
    found += faults(page, "asked for the token")
    assert found == [], "\n".join(found)


def go_to(page: Any, selector: str, key: str = "Tab") -> None:
    """Press a key until an element has the focus, which must show at every stop."""
    for _ in range(90):
        page.keyboard.press(key)
        reached, outline, element = page.evaluate(
            "selector => { const e = document.activeElement; "
            "return [e.matches(selector), getComputedStyle(e).outlineStyle, e.tagName + e.id]; }",
            selector,
        )
        if reached:
            return
        assert element == "BODY" or outline != "none", element
    raise AssertionError(f"{key} never reaches {selector}")


def has_focus(page: Any) -> str:
    """Return what has the focus when the page was drawn again: a hidden element loses it then."""
    page.wait_for_timeout(100)
    return str(page.evaluate("document.activeElement.id || document.activeElement.tagName"))


def test_all_is_done_with_tab_enter_and_arrows(page: Any) -> None:
    press = page.keyboard.press
    go_to(page, "#write-text")
    page.keyboard.type("the sea ")
    go_to(page, "#length")
    press("Control+a")
    page.keyboard.type(str(ENDLESS))
    go_to(page, "[data-for=temperature]")
    for _ in range(4):
        press("ArrowLeft")
    assert page.input_value("#temperature") == "0.6"

    go_to(page, "#go", "Shift+Tab")
    press("Enter")
    wait(page, "document.getElementById('write-text').value.length > 20")
    go_to(page, "#stop")
    press("Enter")
    wait(page, "document.getElementById('status').textContent.startsWith('Stopped')")
    assert has_focus(page) != "BODY"
    stopped = saved(page)
    assert stopped.startswith("the sea ")

    go_to(page, "#length")
    press("Control+a")
    page.keyboard.type("10")
    go_to(page, "#write-text", "Shift+Tab")
    press("Control+Home")
    for _ in range(3):
        press("ArrowRight")
    wait(page, "document.getElementById('next-said').textContent.includes('space” stands here')")
    go_to(page, "#next button")
    page.evaluate("document.getElementById('status').textContent = ''")
    press("ArrowDown")  # moves nothing away
    press("Enter")
    finished(page)
    assert len(text_of(page)) == 3 + 1 + 10
    assert has_focus(page) == "write-text"

    go_to(page, "#undo")
    press("Enter")
    assert saved(page) == stopped
    assert has_focus(page) != "BODY"
    go_to(page, "summary")
    press("Enter")
    go_to(page, "#tree button")
    press("Enter")
    assert saved(page) != stopped
    assert has_focus(page) != "BODY"

    go_to(page, "#tab-write", "Shift+Tab")
    press("ArrowRight")
    assert has_focus(page) == "tab-score"
    go_to(page, "#score-text")
    page.keyboard.type("the sea is near")
    go_to(page, "#score-go")
    press("Enter")
    page.wait_for_selector("#places button")
    assert has_focus(page) == "score-go"
    go_to(page, "#places button")
    press("Enter")
    wait(page, "document.getElementById('score-said').textContent.includes('bits')")
    assert has_focus(page) != "BODY"

    go_to(page, "#tab-score", "Shift+Tab")
    press("ArrowRight")
    page.wait_for_selector("#chart svg")
    go_to(page, "#live")
    press("Space")
    assert not page.is_checked("#live")
    go_to(page, "#sample")
    go_to(page, "#use-run", "Shift+Tab")
    press("Enter")
    assert page.is_visible("#write-text")
    assert has_focus(page) != "BODY"
