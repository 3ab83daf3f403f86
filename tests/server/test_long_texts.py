"""Texts that are longer than the page shows at a time, and longer than a request may be."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.server.limits import Limits

from .browser import needs_browser, paste, saved, text_of, wait, write
from .conftest import Running

PAGE = Path(charrnn.__file__).parent / "server" / "page"
LINE = "the quiet sea is near the harbour.\n"
LONG = LINE * 60_000  # 2 MB, more than a request may have
VALUES = "document.getElementById('write-text').value"
COPY = """type => {
  const data = new DataTransfer();
  document.getElementById('write-text').dispatchEvent(
    new ClipboardEvent(type, {clipboardData: data, bubbles: true, cancelable: true}));
  return data.getData('text/plain');
}"""


def constant(script: str, name: str) -> int:
    """Return a number that a script of the page declares."""
    found = re.search(rf"const {name} = ([\d_]+)", (PAGE / script).read_text("utf-8"))
    assert found
    return int(found[1])


SHOWN = constant("editor.js", "SHOWN")


def prompts(page: Any, address: str, act: Callable[[], object]) -> list[str]:
    """Return the prompts of the requests to an address during an act, all of which must succeed."""
    wait(page, "document.querySelectorAll('#next button').length > 0")  # what the page asks first
    found, refused = [], []
    page.on("request", lambda r: found.append(r.post_data_json) if address in r.url else None)
    page.on("response", lambda r: refused.append(r.status) if r.status >= 400 else None)
    with page.expect_response(lambda r: address in r.url):
        act()
    assert refused == []
    return [body.get("prompt", body.get("text")) for body in found]


@needs_browser
def test_a_long_text_is_written_shown_in_part_and_saved_whole(page: Any, served: Running) -> None:
    length = 3 * SHOWN
    page.fill("#length", str(length))
    page.fill("#seed", "5")
    assert write(page) == f"Wrote {length:,} characters, seed 5."
    model = charrnn.load(served.folder / "runs" / "first")
    whole = model.sample("", length=length, seed=5, temperature=0.8).text
    behind = page.text_content("#write-editor .behind")
    assert whole.endswith(text_of(page))
    assert SHOWN // 4 < len(text_of(page)) <= SHOWN
    assert len(behind) <= SHOWN + 1
    first = length - len(text_of(page)) + 1
    said = f"Characters {first:,} to {length:,} of {length:,} are shown"
    assert page.text_content("label[for=write-text-part]") == said
    assert saved(page) == whole
    page.focus("#write-text-part")
    page.keyboard.press("Home")
    assert whole.startswith(text_of(page))
    assert len(text_of(page)) <= SHOWN
    assert saved(page) == whole


@needs_browser
def test_scrolling_shows_what_comes_before_and_after(page: Any) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    paste(page, "write-text", text)
    top = (
        "(() => { const a = document.getElementById('write-text');"
        " return a.value.split('\\n')[Math.round(a.scrollTop / parseFloat(getComputedStyle(a)"
        ".lineHeight))]; })()"
    )
    scroll = "to => { document.getElementById('write-text').scrollTop = to; }"
    assert text.endswith(text_of(page))
    shown = text_of(page)
    page.evaluate(scroll, 0)
    seen = page.evaluate(top)
    wait(page, f"!{VALUES}.endsWith('line 19999\\n')")
    assert page.evaluate(top) == seen == shown.split("\n")[0]
    page.evaluate(scroll, 10**9)
    wait(page, f"{VALUES}.endsWith('line 19999\\n')")
    page.focus("#write-text")
    page.keyboard.press("Control+Home")
    assert text_of(page).startswith("line 0\nline 1\n")
    page.keyboard.type("x")
    page.keyboard.press("Control+End")
    page.keyboard.type("y")
    assert text_of(page).endswith("line 19999\ny")
    assert saved(page) == f"x{text}y"


@needs_browser
def test_selecting_all_stands_for_the_whole_text(page: Any) -> None:
    text = LINE * 3_000
    paste(page, "write-text", text)
    page.keyboard.press("Control+a")
    wait(page, "document.querySelector('label[for=write-text-part]').textContent.includes('All')")
    assert page.evaluate(COPY, "copy") == text
    page.keyboard.type("a sea")
    assert text_of(page) == "a sea"
    assert page.is_hidden("#write-text-part")
    page.click("#undo")
    assert saved(page) == text
    page.focus("#write-text")
    page.keyboard.press("Control+a")
    assert page.evaluate(COPY, "cut") == text
    assert text_of(page) == ""
    page.click("#undo")
    assert saved(page) == text
    page.evaluate("document.getElementById('write-text').setSelectionRange(0, 4)")
    assert page.evaluate(COPY, "copy") == ""  # which is the browser's own business
    page.context.grant_permissions(["clipboard-read"])
    page.click("#copy")
    assert page.text_content("#status") == f"Copied {len(text):,} characters."
    assert page.evaluate("navigator.clipboard.readText()") == text


@needs_browser
def test_many_lines_are_pasted_where_the_cursor_is(page: Any) -> None:
    """A browser itself takes half a minute for 3,000 lines."""
    page.fill("#write-text", "ab")
    page.evaluate("document.getElementById('write-text').setSelectionRange(1, 1)")
    paste(page, "write-text", LINE.replace("\n", "\r\n") * 500)
    pasted = f"a{LINE * 500}b"
    assert text_of(page) == pasted
    at = page.evaluate("document.getElementById('write-text').selectionStart")
    assert at == len(pasted) - 1
    page.click("#undo")
    assert text_of(page) == "ab"


@needs_browser
def test_requests_have_the_end_of_a_long_text(page: Any) -> None:
    """A text of 2 MB was refused: the body is too long."""
    (prompt,) = prompts(page, "/v1/next", lambda: paste(page, "write-text", LONG))
    assert prompt == LONG[-constant("write.js", "READ_NEXT") :]
    wait(page, "document.querySelectorAll('#next button').length === 20")
    page.fill("#length", "40")
    (prompt,) = prompts(page, "/v1/completions", lambda: page.click("#go"))
    assert prompt == LONG[-constant("write.js", "READ") :]
    wait(page, "document.getElementById('status').textContent.startsWith('Wrote 40')")
    assert "The model read the last 100,000 characters" in page.text_content("#status")
    written = saved(page)
    assert written.startswith(LONG)
    assert len(written) == len(LONG) + 40
    page.click("#undo")
    assert saved(page) == LONG


@needs_browser
def test_a_character_of_two_halves_is_not_cut(page: Any) -> None:
    text = "😀" * SHOWN + "a"
    (prompt,) = prompts(page, "/v1/next", lambda: paste(page, "write-text", text))
    assert set(prompt) == {"😀", "a"}


@needs_browser
def test_only_what_is_shown_of_a_long_text_is_colored(page: Any) -> None:
    page.check("#color")
    (sent,) = prompts(page, "/v1/score", lambda: paste(page, "write-text", LONG))
    assert LONG.endswith(sent)
    assert len(sent) <= SHOWN + constant("write.js", "READ_COLORS")
    page.wait_for_selector("#write-editor .behind span[class^=level]", state="attached")
    colored = page.eval_on_selector_all(
        "#write-editor .behind span[class^=level]", "s => s.map(e => e.textContent).join('')"
    )
    assert colored == text_of(page)


@needs_browser
def test_the_end_of_a_long_text_is_scored_and_a_longer_one_is_refused(page: Any) -> None:
    paste(page, "write-text", LONG)
    page.click("#tab-score")
    (text,) = prompts(page, "/v1/score", lambda: page.click("#score-written"))
    assert text == LONG[-100_000:]
    wait(page, "document.querySelectorAll('#places button').length === 10")
    assert "This is the end of the text, which has 2,100,000" in page.text_content("#score-status")
    assert len(text_of(page, "score-text")) <= SHOWN
    page.click("#places button >> nth=9")  # it is shown, wherever it is
    wait(page, "document.getElementById('score-said').textContent.includes('bits')")
    paste(page, "score-text", LONG)
    page.click("#score-go")
    wait(page, "document.getElementById('score-status').textContent.startsWith('This text is too')")


def test_what_the_page_sends_is_what_the_server_takes() -> None:
    limits = Limits()
    assert constant("score.js", "SCORED") == limits.score
    assert SHOWN + constant("write.js", "READ_COLORS") < limits.score
    most = 6 * constant("write.js", "READ")  # bytes of JSON, as of "\u001f"
    assert most + limits.short_body < limits.body


LONG_TEXT = """
import { LongText } from "./long_text.mjs";
let seed = 1;
const random = (n) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n;
const of = (text) => LongText.of(text);
const check = (right, what) => { if (!right) throw new Error(what); };
let plain = "", text = new LongText();
for (let turn = 0; turn < 3000; turn++) {
  const begin = random(plain.length + 1);
  const end = Math.min(plain.length, begin + random(random(10) ? 50 : 30000));
  const added = random(5) ? "😀é".repeat(random(20)) : "x\\n".repeat(random(20000));
  if (random(2)) text = text.replaced(begin, end, added);
  else text = text.edited(begin, end, added).text;
  plain = plain.slice(0, begin) + added + plain.slice(end);
  check(text.length === plain.length, "length");
  const one = random(plain.length + 1), other = random(plain.length + 1);
  check(text.slice(one, other) === (one < other ? plain.slice(one, other) : ""), "slice");
  if (turn % 100 === 0) check(text.toString() === plain, "text");
  if (plain.length > 300000) { plain = plain.slice(0, 50000); text = of(plain); }
}
const much = of("word ".repeat(600000));
let typed = much;
const held = much.slice(1e6, 1e6 + 40000);
for (let turn = 0; turn < 1000; turn++) {
  typed = typed.edited(1e6, 1e6 + 40000 + turn, "a".repeat(turn + 1) + held).text;
}
check(typed.toString().length === 3001000, "typed");
check(typed.pieces.length < much.pieces.length + 3, "many pieces");
const before = new Set(typed.pieces), next = typed.replaced(2e6, 2e6, "b");
const own = next.pieces.filter((piece) => !before.has(piece)).join("").length;
check(own < 40000, "versions share their pieces");
check(of("a😀b").cut(2) === 3 && of("a😀b").cut(1) === 1, "halves");
check(of("😀b").before(3, 2) === "b" && of("ab").before(2, 9) === "ab", "before");
check(of("ab\\ncd").lineStart(5, 9) === 3 && of("abcd").lineStart(3, 9) === 3, "line");
check(much.equals(of(much.toString())) && !much.equals(next), "equals");
console.log("right");
"""


def test_a_long_text_is_edited_like_a_string(tmp_path: Path) -> None:
    """Run by the node that comes with playwright, without a browser."""
    driver = pytest.importorskip("playwright._impl._driver", reason="playwright is not installed")
    node = driver.compute_driver_executable()[0]
    (tmp_path / "long_text.mjs").write_text((PAGE / "long_text.js").read_text("utf-8"), "utf-8")
    (tmp_path / "test.mjs").write_text(LONG_TEXT, "utf-8")
    found = subprocess.run(
        [node, str(tmp_path / "test.mjs")], capture_output=True, text=True, check=False
    )
    assert (found.stdout, found.stderr) == ("right\n", "")
