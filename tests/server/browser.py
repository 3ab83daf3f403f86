"""Drive the page in headless Chromium; `conftest` makes the fixtures those of the whole folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import HANGS

import charrnn
from charrnn.config import SampleConfig
from charrnn.server.limits import Limits

from .conftest import Running, running, save_model

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), ""
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
HTML = '<img src=x onerror="hit=name">'
WAIT = 60_000  # milliseconds
ENDLESS = 10_000_000  # characters: a text of so many can always be stopped

PASTE = """([name, text]) => {
  const data = new DataTransfer(), area = document.getElementById(name);
  data.setData('text/plain', text);
  area.focus();
  const all = {clipboardData: data, bubbles: true, cancelable: true};
  area.dispatchEvent(new ClipboardEvent('paste', all));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    try:
        driver = playwright.sync_playwright().start()
    except Exception as error:  # what it raises is its own
        pytest.skip(f"the driver of Chromium does not start here, as without a home: {error}")
    line = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    made = driver.chromium.launch(executable_path=CHROMIUM, args=line)
    yield made
    made.close()
    driver.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a server with a run that has reports and a sample, in which everything is HTML."""
    folder = tmp_path_factory.mktemp("page")
    run = folder / "runs" / "first"
    save_model(run / "model.safetensors", seed=1)
    # Compile first: what is written meanwhile is so much that the page lags behind.
    charrnn.load(run).prepare(SampleConfig(length=1))
    reports = []
    for step in range(1, 30):
        names = ("epoch", "characters", "seconds", "learning_rate", "grad_norm", "clipped")
        report = dict.fromkeys(names, float(step))
        valid = 3 / step if step % 5 == 0 else None
        losses = {"train_nats": 4 / step, "valid_nats": valid, "chars_per_second": 1000}
        reports.append(json.dumps({"step": step, **report, **losses}))
    (run / "metrics.jsonl").write_text("\n".join(reports) + "\n")
    (run / "samples.txt").write_text(f"=== step 10 ===\nolder\n\n=== step 20 ===\n{HTML}\n\n")
    config = {"corpus": {"name": HTML}, "model": {}, "train": {}}
    (run / "config.json").write_text(json.dumps({"format": 1, **config}))
    endless = Limits(length=ENDLESS, characters=2 * ENDLESS)
    with running(folder, limits=endless) as found:
        yield found


@pytest.fixture
def page(browser: Any, served: Running) -> Iterator[Any]:
    """Return the open page, on which nothing may go wrong or come from elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith(served.url) else wrong.append(r.url))
    opened.goto(served.url)
    wait(opened, "document.getElementById('model').options.length > 0")
    yield opened
    assert opened.evaluate("typeof window.hit") == "undefined"
    context.close()
    refused = [text for text in wrong if "400 (Bad Request)" not in text and "data:," not in text]
    assert refused == []


def wait(page: Any, happened: str) -> None:
    """Wait until an expression is true; the page's policy forbids it to evaluate any by itself."""
    end = time.monotonic() + HANGS
    while not page.evaluate(happened):
        assert time.monotonic() < end, happened
        page.wait_for_timeout(20)


def text_of(page: Any, name: str = "write-text") -> str:
    return str(page.input_value(f"#{name}"))


def saved(page: Any) -> str:
    """Return the whole text of the Write tab, as it is saved in a file; the focus stays."""
    with page.expect_download() as download:
        page.evaluate("document.getElementById('save').click()")
    assert download.value.suggested_filename == "charrnn.txt"
    return Path(download.value.path()).read_text("utf-8")


def paste(page: Any, name: str, text: str) -> None:
    """Paste a text in place of what is selected, which is fast, unlike typing a long one."""
    page.evaluate(PASTE, [name, text])


def finished(page: Any) -> str:
    """Wait until the text is written; return what the status says."""
    wait(page, "document.getElementById('status').textContent.startsWith('Wrote')")
    wait(page, "!document.getElementById('go').disabled")
    return str(page.text_content("#status"))


def write(page: Any, button: str = "#go") -> str:
    page.evaluate("document.getElementById('status').textContent = ''")
    page.click(button)
    return finished(page)
