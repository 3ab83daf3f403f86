"""The page in a real browser: writing, stopping, branching, scoring, watching a training."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from waiting import HANGS

import charrnn
from charrnn.config import SampleConfig

from .browser import ENDLESS, HTML, WAIT, finished, needs_browser, text_of, wait, write
from .conftest import Running, running, save_model

pytestmark = needs_browser
PAGE = Path(charrnn.__file__).parent / "server" / "page"


def test_a_text_is_written_again_undone_and_another(page: Any, served: Running) -> None:
    page.fill("#write-text", "the ")
    page.fill("#length", "60")
    page.fill("#seed", "7")
    assert write(page) == "Wrote 60 characters, seed 7."
    model = charrnn.load(served.folder / "runs" / "first")
    first = text_of(page)
    assert first == "the " + model.sample("the ", length=60, seed=7, temperature=0.8).text
    page.fill("#seed", "")
    assert write(page, "#again") == "Wrote 60 characters, seed 7."
    assert text_of(page) == first
    write(page, "#another")
    assert text_of(page) != first
    page.click("#undo")
    assert text_of(page) == first
    page.click("#redo")
    assert text_of(page) != first
    page.click("#undo")
    page.click("#undo")
    assert text_of(page) == "the "


def test_settings_are_sent_and_reset(page: Any, served: Running) -> None:
    page.fill("#length", "40")
    page.fill("#seed", "3")
    page.click("summary:text('Filters')")
    page.evaluate(
        "s => { s.value = 4; s.dispatchEvent(new Event('input', {bubbles: true})); }",
        page.query_selector("[data-for=top_k]"),
    )
    assert page.input_value("#top_k") == "4"
    page.fill("#stop-string", r"\n")
    write(page)
    model = charrnn.load(served.folder / "runs" / "first")
    assert text_of(page) == model.sample("", length=40, seed=3, top_k=4, stop="\n").text
    page.click("#reset")
    assert page.input_value("#top_k") == page.input_value("[data-for=top_k]") == "0"
    assert page.input_value("#stop-string") == ""


def test_a_wrong_setting_is_said_under_its_field(page: Any) -> None:
    page.fill("#regex", "(")
    page.click("#go")
    error = page.wait_for_selector("#regex-error")
    assert "`regex` '(' is not a valid pattern" in error.text_content()
    assert page.get_attribute("#regex", "aria-invalid") == "true"
    assert page.get_attribute("#regex", "aria-describedby") == "regex-error"
    page.fill("#regex", "[ab]{5}")
    write(page)
    assert re.fullmatch("[ab]{5}", text_of(page))
    assert page.query_selector("#regex-error") is None


def test_another_model_is_chosen(page: Any, served: Running) -> None:
    save_model(served.folder / "others" / "second.safetensors", seed=9)
    with running(served.folder, Path("runs/first"), Path("others/second.safetensors")) as both:
        opened = page.context.new_page()
        opened.goto(both.url)
        wait(opened, "document.getElementById('model').options.length === 2")
        opened.select_option("#model", "second")
        opened.fill("#length", "30")
        opened.fill("#seed", "2")
        write(opened)
        model = charrnn.load(served.folder / "others" / "second.safetensors")
        assert text_of(opened) == model.sample("", length=30, seed=2, temperature=0.8).text


def test_writing_can_be_stopped(page: Any) -> None:
    page.fill("#length", str(ENDLESS))
    page.click("#go")
    wait(page, "document.getElementById('write-text').value.length > 10")
    page.keyboard.press("Escape")
    wait(page, "document.getElementById('status').textContent.startsWith('Stopped')")
    assert 10 < len(text_of(page)) < ENDLESS
    assert page.is_enabled("#go")


def test_another_way_is_taken_at_the_cursor(page: Any) -> None:
    page.fill("#write-text", "the cat")
    page.fill("#length", "10")
    page.evaluate("document.getElementById('write-text').setSelectionRange(3, 3)")
    said = "document.getElementById('next-said').textContent.includes('space” stands here')"
    wait(page, said)
    choices = page.query_selector_all("#next button")
    assert len(choices) == 20
    shares = [choice.text_content() for choice in choices]
    assert all("%" in share for share in shares)
    symbol = choices[0].query_selector(".symbol").text_content()
    choices[0].click()
    finished(page)
    symbol = {"␣": " ", "↵": "\n"}.get(symbol, symbol)
    assert text_of(page).startswith("the" + symbol)
    assert len(text_of(page)) == 3 + 1 + 10


def test_a_way_of_the_beam_tree_is_added(page: Any, served: Running) -> None:
    page.click("summary:text('Most probable')")
    with page.expect_response(lambda r: '"prompt":"the "' in (r.request.post_data or "")):
        page.fill("#write-text", "the ")
    page.wait_for_timeout(200)  # until the answer is shown
    first = page.evaluate(
        "(() => { const b = document.querySelector('#tree > li > button'); b.click();"
        " return b.querySelector('.symbol').textContent; })()"
    )
    assert text_of(page).replace("\n", "↵") == "the " + first.replace("␣", " ")
    page.click("#undo")
    assert text_of(page) == "the "


def test_spaces_and_small_shares_of_the_beam_tree_are_seen(page: Any) -> None:
    said = page.evaluate(
        "import('/text.js').then(t => [t.edged(' a b  '), t.edged(' '), t.edged('x\\ny'),"
        "...[0.5, 0.0021, 0.00042, 3e-6, 1e-9].map(t.finePercent)])"
    )
    assert said == [
        *("␣a b␣␣", "␣", "x↵y", "50 %", "0.2 %", "0.04 %", "0.0003 %", "<0.00001 %"),
    ]


def test_surprising_characters_are_colored_as_they_are_written(page: Any) -> None:
    page.fill("#write-text", "the sea")
    page.check("#color")
    page.wait_for_selector(".behind span[class^=level]", state="attached")
    page.fill("#length", "80")
    write(page)
    wait(
        page,
        "[...document.querySelectorAll('#write-editor .behind span')].map(s => s.textContent)"
        ".join('') === document.getElementById('write-text').value",
    )
    levels = page.eval_on_selector_all("#write-editor .behind span", "s => s.map(e => e.className)")
    assert len(set(levels)) > 2
    assert page.is_visible("#legend")


def test_a_text_is_scored(page: Any, served: Running) -> None:
    page.click("#tab-score")
    text = "the sea is near,\nthe quiet sea"
    page.fill("#score-text", text)
    page.click("#score-go")
    wait(page, "document.getElementById('score-status').textContent.startsWith('Sco')")
    page.wait_for_selector("#places button")
    wanted = charrnn.load(served.folder / "runs" / "first").score(text, exact=True)
    numbers = page.text_content("#score-numbers")
    assert f"{wanted.nats:.4f}" in numbers
    assert f"{wanted.bits_per_byte:.4f}" in numbers
    assert len(page.query_selector_all("#places button")) == 10
    page.click("#places button >> nth=0")
    wait(page, "document.getElementById('score-said').textContent.includes('bits')")
    assert "Expected: " in page.text_content("#score-said")


def test_a_training_is_shown(page: Any) -> None:
    page.click("#tab-training")
    page.wait_for_selector("#chart svg")
    label = page.get_attribute("#chart svg", "aria-label")
    assert label == "Loss on the validation text: 0.120 nats per character after 25 steps"
    assert page.text_content("#sample") == HTML
    assert "after 20 steps" in page.text_content("#sample-said")
    assert HTML in page.text_content("#run-numbers")
    assert "first was stopped and can be resumed after 29 steps." in page.text_content(
        "#run-status"
    )
    page.click("#use-run")
    assert page.is_visible("#write-text")


def test_what_is_not_new_of_a_training_is_left_as_it_is(page: Any) -> None:
    """The sample was written anew every two seconds, so that nobody could select and copy it."""
    page.click("#tab-training")
    page.wait_for_selector("#chart svg")
    parts = "['sample', 'chart', 'run-numbers'].map(id => document.getElementById(id).firstChild)"
    page.evaluate(f"window.parts = {parts}")
    for _ in range(2):  # the second comes after the first was shown
        with page.expect_response(lambda r: r.url.endswith("/v1/runs")):
            pass
    assert page.evaluate(f"{parts}.every((part, n) => part && part === window.parts[n])")


def test_text_of_a_model_is_never_html(page: Any) -> None:
    page.check("#color")
    page.fill("#regex", re.escape(HTML))
    page.fill("#length", "99")
    write(page)
    assert text_of(page) == HTML
    page.click("#tab-score")
    page.click("#score-written")
    page.wait_for_selector("#places button")
    page.wait_for_timeout(100)
    assert page.query_selector("img") is None
    for script in PAGE.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\b|document\.write",
            script.read_text("utf-8"),
        )


def test_everything_is_done_by_keyboard(page: Any) -> None:
    page.focus("#tab-write")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "write-text"
    page.keyboard.type("a sea ")
    page.fill("#length", "30")
    page.focus("#write-text")
    page.keyboard.press("Control+Enter")
    finished(page)
    assert len(text_of(page)) == 36
    page.keyboard.press("Control+z")
    assert text_of(page) == "a sea "
    page.keyboard.press("Control+y")
    assert len(text_of(page)) == 36
    page.focus("#tab-write")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#score-text")
    page.keyboard.press("End")
    assert page.is_visible("#run")


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (360, "dark"),
        (1600, "light"),
        pytest.param(360, "light", marks=pytest.mark.soak),
        pytest.param(1600, "dark", marks=pytest.mark.soak),
    ],
)
def test_the_page_fits(page: Any, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.fill("#write-text", "the sea " * 60)
    for tab in ("write", "score", "training"):
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(50)
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= width, tab


def test_every_field_has_a_name(page: Any) -> None:
    nameless = page.eval_on_selector_all(
        "input, select, textarea, button",
        "all => all.filter(e => !e.labels?.length && !e.ariaLabel && !e.textContent.trim())"
        ".map(e => e.outerHTML)",
    )
    assert nameless == []


def test_neutral_values_are_those_of_the_command_line(page: Any) -> None:
    fields = page.eval_on_selector_all(
        "#settings input[data-neutral]", "all => all.map(e => [e.name, e.dataset.neutral, e.value])"
    )
    assert len(fields) > 14
    for name, neutral, value in fields:
        assert value == neutral
        if name != "length":
            assert float(neutral) == getattr(SampleConfig, name)


def test_the_token_of_the_address_is_used(browser: Any, served: Running) -> None:
    with running(served.folder, token="s3cret") as secret:
        context = browser.new_context()
        context.set_default_timeout(WAIT)
        opened = context.new_page()
        opened.goto(f"{secret.url}/#token=s3cret")
        wait(opened, "document.getElementById('model').options.length > 0")
        assert "s3cret" not in opened.url
        other = context.new_page()
        other.goto(secret.url)
        other.fill("#token", "s3cret")
        other.keyboard.press("Enter")
        wait(other, "document.getElementById('model').options.length > 0")
        context.close()


def test_a_training_is_followed_while_it_runs(page: Any, served: Running) -> None:
    """A real one, in a thread of this process, which waits at its reports for the page."""
    reports, ended, results = threading.Semaphore(3), threading.Event(), []

    def report(event: Any) -> bool:
        if isinstance(event, charrnn.Progress):
            reports.acquire(timeout=HANGS)
        return not ended.is_set()

    def train() -> None:
        options = {"cell": "lstm", "backend": "library", "hidden_size": 8, "num_layers": 1}
        options |= {"seq_len": 16, "batch_size": 4}
        where = {"out": served.folder / "runs" / "live", "sample_every": 1}
        text = "the quiet sea is near the harbour.\n" * 200
        results.append(
            charrnn.train(text=text, steps=200, callback=report, threads=1, **options, **where)
        )

    status = "document.getElementById('run-status').textContent"
    curve = "document.querySelector('#chart polyline.train')?.getAttribute('points')"
    thread = threading.Thread(target=train)
    thread.start()
    try:
        page.click("#tab-training")
        wait(page, "[...document.getElementById('run').options].some(o => o.value === 'live')")
        page.select_option("#run", "live")
        seen: list[str] = []
        for _ in range(2):
            wait(page, f"{status}.startsWith('live is training after') && !!{curve}")
            wait(page, f"!{json.dumps(seen)}.includes({status})")
            wait(page, f"!{json.dumps(seen)}.includes({curve})")
            seen += [page.evaluate(status), page.evaluate(curve)]
            reports.release(5)
        wait(
            page, "document.getElementById('sample-said').textContent.includes('wrote this after')"
        )
        assert set(page.text_content("#sample")) <= set("the quiet sea is near the harbour.\n")
    finally:
        ended.set()
        reports.release(200)
        thread.join(HANGS)
    assert results[0].steps >= 3
    wait(page, f"/^live (has finished|was stopped)/.test({status})")
    label = page.get_attribute("#chart svg", "aria-label")
    assert "Loss on the validation text: " in label
