"""The base model of English, and to which trainings charrnn offers it."""

import contextlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from charrnn.cli.app import program
from charrnn.config import TextOptions, TrainOptions
from charrnn.model import model_file, parameters
from charrnn.model.bases import BASES
from charrnn.model.model_file import INT8_FORMAT
from charrnn.text import corpus, dataset
from charrnn.text.open import Texts
from charrnn.training import base_model
from charrnn.training.events import Notice, Planned
from charrnn.training.start import start

CORPORA = Path(__file__).parents[2] / "corpora"
HARBOUR = (CORPORA / "harbour.txt").read_text("utf-8")
TUNES = (CORPORA / "tunes.abc").read_text("utf-8")
CODE = Path(base_model.__file__).read_text("utf-8") * 2


def _nats(text: str) -> float:
    return base_model.nats(dataset.make(corpus.from_text(text, "text"), TextOptions()))


def _offer(text: str, **options: Any) -> str | None:
    asked = TrainOptions(**options)
    return base_model.offer(dataset.make(corpus.from_text(text, "text"), asked), asked)


def test_the_base_model_is_small_and_says_what_it_is() -> None:
    assert BASES["english"].stat().st_size < 1e6
    model = model_file.load(BASES["english"])
    assert model.format == INT8_FORMAT
    assert model.training["license"].startswith("CC0-1.0")
    assert model.training["corpus"]["train_characters"] > 2e6
    assert parameters.count(model.config) > 7e5


def test_it_predicts_english_better_than_other_texts() -> None:
    english = _nats(HARBOUR[:20_000])
    curly = HARBOUR[:20_000].replace('"', "\u201c").replace("'", "\u2019")
    assert english == pytest.approx(1.575, abs=0.005)  # the file of the package is read as it was
    assert abs(_nats(curly) - english) < 0.05
    assert min(_nats(TUNES[:20_000]), _nats(CODE)) > base_model.MAX_NATS
    assert _nats("\u0430\u0431\u0432\u0433 " * 2000) == float("inf")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (TUNES[:20_000], {}),
        (CODE, {}),
        (HARBOUR * 4, {}),
        (HARBOUR[:1500], {}),
        (HARBOUR[:9000], {"hidden_size": 64}),
        (HARBOUR[:9000], {"ensemble": 2}),
        (HARBOUR[:9000], {"cell": "gru"}),
        (HARBOUR[:9000], {"tokenizer": "byte"}),
        (HARBOUR[:9000], {"fill": True}),
    ],
    ids=["tunes", "code", "long", "tiny", "size", "ensemble", "cell", "bytes", "gaps"],
)
def test_it_is_not_offered_where_it_does_not_help(text: str, options: dict[str, Any]) -> None:
    assert _offer(text, **options) is None


def test_it_is_offered_for_english_with_markup() -> None:
    marked = re.sub(r"\n+", "\n\n.PP\n", HARBOUR[:20_000]).replace(" was ", " \\fIwas\\fP ")
    assert _offer(marked) is not None
    assert _offer(HARBOUR * 3) is not None  # 170,000 characters to train on


def test_it_is_offered_for_a_short_english_text(tmp_path: Path) -> None:
    story = Texts(corpus.from_text(HARBOUR[:9000], "story"))
    events = start(story, TrainOptions(steps=1, threads=1), out=tmp_path / "run")
    with contextlib.closing(events):
        before = list(itertools.takewhile(lambda event: not isinstance(event, Planned), events))
    offers = [event.sentence for event in before if isinstance(event, Notice)]
    assert "story is short and reads like English: --init-from english starts" in offers[-1]


def test_a_command_starts_from_it_by_name_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("story.txt").write_text(HARBOUR[:9000], "utf-8")
    runner = CliRunner()
    words = ["train", "story.txt", "--init-from", "english", "--steps", "1", "--out", "a"]
    first = runner.invoke(program(), words)
    assert first.exit_code == 0, first.stderr
    assert "init-from english" not in first.stderr  # it is not offered again
    config = json.loads(Path("a/config.json").read_text())
    assert config["init_from_file"] == "english"
    assert config["model"]["hidden_size"] == 256
    second = runner.invoke(program(), ["train", "--config", "a", "--dry-run", "--json"])
    assert second.exit_code == 0, second.stderr
    plan = json.loads(second.stdout)
    assert (plan["model"]["hidden_size"], plan["known"]) == (256, 2_876_590)
    shown = runner.invoke(program(), ["info", "english"])
    assert shown.exit_code == 0, shown.stderr
    assert "license: CC0-1.0" in shown.stdout
    assert "War and Peace" in shown.stdout
