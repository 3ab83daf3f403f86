from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from waiting import HANGS

import charrnn
from charrnn.config import BeamConfig, SampleConfig
from charrnn.generator import Generator
from charrnn.run_dir import RunDir
from charrnn.run_dir.run_text import read_dataset
from charrnn.training.events import Result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("api")
    text = folder / "corpus.txt"
    text.write_text("It was the best of times, it was the worst of times.\n" * 40)
    return charrnn.train(text, out=folder / "run", steps=3, hidden_size=8, seed=2)


def test_train_returns_its_result(run: Result) -> None:
    assert run.steps == 3
    assert run.stopped_by == "steps"
    assert run.valid_nats
    assert Path(run.model) == Path(run.run_dir, "model.safetensors")
    assert Path(run.model).is_file()


def test_a_loaded_model_generates_text(run: Result) -> None:
    model = charrnn.load(run.model)
    text = model.sample(prompt="It was", temperature=0.8, length=50, seed=1).text
    assert len(text) == 50
    assert text == model.sample(prompt="It was", temperature=0.8, length=50, seed=1).text
    assert text != model.sample(prompt="It was", temperature=0.8, length=50, seed=2).text


def test_a_folder_is_loaded_by_its_name(run: Result) -> None:
    by_name, by_path = charrnn.load(str(run.run_dir)), charrnn.load(Path(run.model))
    assert by_name.sample(seed=1, length=30) == by_path.sample(seed=1, length=30)


def test_streaming_generates_the_same_text_piece_by_piece(run: Result) -> None:
    model = charrnn.load(run.model)
    pieces = list(model.stream("It was", length=20_000, seed=1))
    assert len(pieces) > 3  # each covers some hundredths of a second, at most 4,096 characters
    assert "".join(pieces) == model.sample("It was", length=20_000, seed=1).text


def test_every_decoder_returns_samples_whose_str_is_their_text(
    run: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    model = charrnn.load(run.model)
    greedy, beam = model.greedy("It was", length=20), model.beam("It was", length=20, width=1)
    sample = model.sample("It was", length=20, seed=3)
    for one in (greedy, beam, sample):
        assert isinstance(one, charrnn.Sample)
        assert (len(str(one)), str(one), one.prompt) == (20, one.text, "It was")
        assert one.log_prob < 0
        assert one.finished_by == "length"
    assert (sample.seed, greedy.seed, beam.seed) == (3, None, None)
    assert beam.text == greedy.text
    print(sample)  # noqa: T201
    assert capsys.readouterr().out == f"{sample.text}\n"


def test_several_texts_are_lists_of_samples(run: Result) -> None:
    model = charrnn.load(run.model)
    many = model.samples("It was", num_samples=3, length=9, seed=1)
    assert many == model.samples("It was", SampleConfig(num_samples=3, length=9, seed=1))
    assert many[0] == model.sample("It was", length=9, seed=1)
    best = model.beams("It was", num_return=2, width=4, length=9)
    assert best[0] == model.beam("It was", width=4, length=9)
    assert [len(texts) for texts in (many, best)] == [3, 2]
    with pytest.raises(TypeError, match="give a BeamConfig or its options by name, not both"):
        model.beams("It was", BeamConfig(width=3), length=9)


def test_a_prompt_that_was_read_is_the_prompt_of_its_samples(run: Result) -> None:
    model = charrnn.load(run.model)
    assert model.sample(model.read("It was"), length=3).prompt == "It was"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model: model.sample(temprature=1),
            "sample .* 'temprature': did you .*'temperature'",
        ),
        (lambda model: model.sample(num_samples=2), r"'num_samples': samples\(\) returns several"),
        (lambda model: model.beam(num_return=2), r"'num_return': beams\(\) returns several"),
        (lambda model: model.greedy(top_k=2), r"greedy has no argument 'top_k'"),
        (lambda model: model.stream(sed=1), "'sed': did you mean 'seed'"),
        (lambda model: charrnn.load("runs", weight="int8"), "charrnn.load .* mean 'weights'"),
        (lambda model: charrnn.train("x", hidden=3), "charrnn.train .* mean 'hidden_size'"),
        (lambda model: charrnn.train("x", zzz=3), r"'zzz': see help\(charrnn.train\)"),
    ],
)
def test_a_wrong_name_is_a_type_error_that_names_the_nearest(
    run: Result, call: Callable[[Generator], object], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        call(charrnn.load(run.model))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.sample(5), "`prompt` must be a str, or what `read` returned, not int"),
        (lambda model: model.score(b"It"), "`text` must be a str, not bytes"),
        (lambda model: charrnn.load(5), "`path` must be the name of a file, not an int"),
        (lambda model: charrnn.load(model.path, threads=0), "`threads` must be a whole number"),
        (lambda model: charrnn.load(model.path, weights="int4"), "`weights` 'int4' is not known"),
        (lambda model: charrnn.load(model.path, device="gpu"), "`device` 'gpu' is not known"),
        (lambda model: charrnn.train(text=b"It was"), "`text` must be a str, not bytes"),
        (lambda model: charrnn.train(text=""), r"text is empty \(0 characters\)"),
        (lambda model: charrnn.train("a", text="b"), "give the names of texts, or `text`"),
        (lambda model: charrnn.train(), "name a text file, or give the text itself as `text`"),
        (lambda model: charrnn.train(text="a", encoding="utf-8"), "`encoding` is about files"),
        (lambda model: charrnn.train(text="a", callback=3), "`callback` must be a function"),
        (lambda model: charrnn.train(text="a", progress=1), "`progress` must be True or False"),
        (lambda model: charrnn.train(text="a", out=3), "`out` must be the name of a file"),
        (lambda model: charrnn.train(text="a", valid=""), "`valid` is empty: name a file"),
        (
            lambda model: charrnn.train(text="a", resume=True, force=True),
            "`force=True` replaces a run",
        ),
        (lambda model: charrnn.train(text="a", resume=True, init_from="x"), "give one of them"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_argument(
    run: Result, call: Callable[[Any], object], message: str
) -> None:
    model = charrnn.load(run.model)
    model.path = run.model  # type: ignore[attr-defined]
    with pytest.raises(charrnn.CharRNNError, match=message):
        call(model)


def test_scoring_from_python(run: Result) -> None:
    model = charrnn.load(run.model)
    assert model.score("It was the best of times").nats > 0


def test_training_twice_into_one_folder_is_refused(run: Result, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a text" * 100)
    with pytest.raises(charrnn.CharRNNError, match="`force=True`"):
        charrnn.train(tmp_path / "text.txt", out=run.run_dir, steps=1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: charrnn.load("nothere"),
        lambda: charrnn.train("nothere.txt", steps=1),
        lambda: charrnn.train(steps=1),
        lambda: charrnn.train("nothere.txt", cell="lsmt"),
        lambda: charrnn.train("nothere.txt", seq_len=4, update_every=8),
        lambda: charrnn.train("nothere.txt", omega=0.5),
    ],
)
def test_every_user_error_is_a_charrnn_error(wrong) -> None:
    with pytest.raises(charrnn.CharRNNError) as caught:
        wrong()
    assert caught.value.exit_code == 2


def test_errors_of_generation_are_charrnn_errors(run: Result) -> None:
    model = charrnn.load(run.model)
    with pytest.raises(charrnn.CharRNNError, match=r"'@' \(U\+0040\)"):
        model.sample(prompt="@", unknown="error")
    with pytest.raises(charrnn.CharRNNError, match="temperature"):
        model.sample(temperature=-1)


def test_unknown_characters_of_a_prompt_are_replaced_with_a_warning(run: Result) -> None:
    model = charrnn.load(run.model)
    options: dict[str, Any] = {"length": 9, "seed": 1}
    with pytest.warns(UserWarning, match=r"unknown characters: 'í'") as warned:
        sample = model.sample("It wís", **options)
    assert warned[0].filename == __file__
    assert sample.prompt == "It wis"
    assert sample == model.sample("It wis", **options)


def test_a_separate_validation_text_from_python(run: Result, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a text to learn " * 50)
    (tmp_path / "valid.txt").write_text("a text to tell " * 20)
    sizes = {"steps": 1, "hidden_size": 8}
    result = charrnn.train(
        tmp_path / "text.txt", valid=tmp_path / "valid.txt", out=tmp_path / "run", **sizes
    )
    assert result.valid_characters == 300


def test_windows_forms_and_regularizers_from_python(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a text to learn " * 50)
    result = charrnn.train(
        tmp_path / "text.txt",
        out=tmp_path / "run",
        steps=3,
        cell="jordan",
        hidden_size=8,
        seq_len="full",
        update_every=5,
        batch_size=4,
        locked_dropout=True,
        dropout=0.2,
        learned_start=True,
    )
    model = charrnn.load(result.model)
    assert (model.config.cell, model.config.learned_start) == ("jordan", True)
    # 720 characters to train on, 180 in each stream
    trained = model.training["train"]
    assert (trained["seq_len"], trained["update_every"]) == (180, 5)
    assert (trained["dropout"], trained["locked_dropout"]) == (0.2, True)
    assert result.characters == 3 * 5 * 4
    assert len(model.sample("a", length=9).text) == 9


def test_messages_name_the_keywords_that_were_given(run: Result) -> None:
    with pytest.raises(charrnn.CharRNNError, match=r"^`minutes` must be a number"):
        charrnn.train("tunes", minutes=-1)
    with pytest.raises(charrnn.CharRNNError, match="`top_k`"):
        charrnn.load(run.model).sample(top_k=3, temperature=0)


def test_stop_may_be_one_string(run: Result) -> None:
    model = charrnn.load(run.model)
    one = model.sample(stop="th", length=2000, seed=1).text
    assert one == model.sample(stop=["th"], length=2000, seed=1).text
    assert one == model.sample(length=2000, seed=1).text.partition("th")[0]


def test_a_named_corpus_and_patterns_are_trained_on_as_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = {"steps": 1, "hidden_size": 4, "cell": "lstm", "backend": "library"}
    named = charrnn.train("hello", **sizes)
    assert Path(named.run_dir) == Path("runs", "hello-1")
    Path("a.txt").write_text("one text\n" * 60)
    Path("b.txt").write_text("another text\n" * 60)
    assert charrnn.train("*.txt", valid="hello", **sizes).valid_characters > 1000
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n" * 60)))
    assert Path(charrnn.train("-", **sizes).run_dir) == Path("runs", "stdin-1")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'charrnn' has no attribute 'trian'"):
        charrnn.trian  # noqa: B018


def test_the_public_names_are_these_and_nothing_else_is_listed() -> None:
    assert sorted(charrnn.__all__) == charrnn.__all__
    assert {*charrnn.__all__} >= {"CharRNNError", "Generator", "Result", "Sample", "load", "train"}
    for name in charrnn.__all__:
        assert getattr(charrnn, name) is not None
    assert [name for name in dir(charrnn) if not name.startswith("__")] == charrnn.__all__


# Training on a string, watching it, stopping it

TEXT = "It was the best of times, it was the worst of times.\n" * 40
TINY: dict[str, Any] = {"hidden_size": 8, "cell": "lstm", "backend": "library", "seed": 2}


def test_a_string_is_trained_on_like_a_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, newline="")
    runs = [
        charrnn.train(*names, text=text, out=tmp_path / out, steps=3, **TINY)
        for names, text, out in (((tmp_path / "text.txt",), None, "file"), ((), TEXT, "string"))
    ]
    file, string = (Path(run.model).read_bytes() for run in runs)
    assert file == string


def test_a_run_keeps_the_string_that_it_was_trained_on(tmp_path: Path) -> None:
    run = charrnn.train(text=TEXT, out=tmp_path / "run", steps=2, checkpoint_every=1, **TINY)
    data = read_dataset(RunDir(tmp_path / "run"))
    assert data.tokenizer.decode(data.valid) == TEXT[-len(data.valid) :]
    longer = charrnn.train(text=TEXT, out=tmp_path / "run", resume=True, steps=4)
    assert (run.steps, longer.steps) == (2, 4)
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert read_dataset(RunDir(moved)).sha256 == data.sha256


def test_a_file_of_the_same_name_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("mine")
    for resume in (False, True):
        charrnn.train(text=TEXT, out=tmp_path, resume=resume, steps=2, **(TINY, {})[resume])
    assert (tmp_path / "corpus.txt").read_text() == "mine"
    assert [path.name for path in sorted(tmp_path.glob("*.txt"))] == ["corpus-2.txt", "corpus.txt"]
    assert read_dataset(RunDir(tmp_path)).sizes["train"].characters > 1000


def test_line_ends_and_documents_of_a_string(tmp_path: Path) -> None:
    text = "one\r\n\r\ntwo two\r\n\r\nthree\r\n\r\n" * 40
    run = charrnn.train(
        text=text,
        newline="lf",
        document_separator="\n\n",
        reset_at_documents=True,
        out=tmp_path,
        steps=1,
        **TINY,
    )
    assert "\r" not in charrnn.load(run).tokenizer.alphabet
    assert len(read_dataset(RunDir(tmp_path)).documents["train"]) > 100


def test_a_callback_gets_every_event_in_order(tmp_path: Path) -> None:
    events: list[charrnn.Event] = []
    run = charrnn.train(
        text=TEXT.replace("\n", "\r\n"), callback=events.append, out=tmp_path, steps=9, **TINY
    )
    kinds = [type(event) for event in events]
    assert isinstance(events[0], charrnn.Notice)  # about the line ends
    assert "(`newline` lf converts it)" in events[0].sentence
    assert not [e for e in events if isinstance(e, charrnn.Notice) and "--" in e.sentence]
    assert kinds.index(charrnn.Planned) < kinds.index(charrnn.Best)
    assert kinds.count(charrnn.Progress) > 3
    steps = [event.metrics.step for event in events if isinstance(event, charrnn.Progress)]
    assert steps == sorted(steps)
    assert events[-1] == charrnn.Done(run)


def test_a_callback_that_returns_false_ends_the_training_with_its_best_model(
    tmp_path: Path,
) -> None:
    def enough(event: charrnn.Event) -> bool | None:
        return not (isinstance(event, charrnn.Progress) and event.metrics.step >= 3)

    run = charrnn.train(text=TEXT, callback=enough, out=tmp_path, steps=2000, **TINY)
    assert run.stopped_by == "interrupt"
    assert 3 <= run.steps < 2000
    assert len(charrnn.load(run).sample(length=5).text) == 5


def test_an_error_of_a_callback_is_raised_and_leaves_the_folder_free(tmp_path: Path) -> None:
    def broken(event: charrnn.Event) -> None:
        if isinstance(event, charrnn.Progress):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        charrnn.train(text=TEXT, callback=broken, out=tmp_path, steps=2000, **TINY)
    assert charrnn.train(text=TEXT, out=tmp_path, force=True, steps=1, **TINY).steps == 1


def interrupting(times: int) -> Callable[[charrnn.Event], None]:
    """Return a callback that presses Ctrl-C `times` times at the first report."""
    left = times

    def press(event: charrnn.Event) -> None:
        nonlocal left
        while isinstance(event, charrnn.Progress) and left:
            left -= 1
            signal.raise_signal(signal.SIGINT)

    return press


def test_ctrl_c_ends_a_training_and_returns_its_best_model(tmp_path: Path) -> None:
    run = charrnn.train(text=TEXT, callback=interrupting(1), out=tmp_path, steps=2000, **TINY)
    assert run.stopped_by == "interrupt"
    assert run.valid_nats is not None
    assert len(charrnn.load(run.model).sample(length=5).text) == 5


def test_a_second_ctrl_c_is_a_keyboard_interrupt(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        charrnn.train(text=TEXT, callback=interrupting(2), out=tmp_path, steps=2000, **TINY)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_there_is_anything_to_keep_is_a_keyboard_interrupt(tmp_path: Path) -> None:
    def press(event: charrnn.Event) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        charrnn.train(text="a\r\n" * 400, callback=press, out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


def test_a_handler_of_the_program_is_left_alone(tmp_path: Path) -> None:
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        run = charrnn.train(text=TEXT, callback=interrupting(1), out=tmp_path, steps=3, **TINY)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (run.steps, run.stopped_by) == (3, "steps")
    assert set(pressed) == {signal.SIGINT}


def test_a_training_in_another_thread_needs_no_signals(tmp_path: Path) -> None:
    runs: list[Result] = []
    worker = threading.Thread(
        target=lambda: runs.append(charrnn.train(text=TEXT, out=tmp_path, steps=2, **TINY))
    )
    worker.start()
    worker.join(HANGS)
    assert [run.steps for run in runs] == [2]


def test_progress_shows_what_the_command_line_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    charrnn.train(text=TEXT, out=tmp_path / "quiet", steps=3, **TINY)
    assert capsys.readouterr() == ("", "")
    charrnn.train(text=TEXT, progress=True, out=tmp_path / "shown", steps=3, **TINY)
    out, err = capsys.readouterr()
    assert out == ""
    for line in ("text     text: vocabulary of", "network  lstm", "100%  step 3", "done after 3"):
        assert line in err
    charrnn.train(
        text=TEXT,
        progress=True,
        callback=lambda event: False,
        steps=9,
        **TINY,
        out=tmp_path / "stopped",
    )
    assert "Ctrl-C" not in capsys.readouterr().err


def test_library_calls_give_global_state_back(tmp_path: Path) -> None:
    def state() -> list[object]:
        return [
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_num_threads(),
            list(warnings.filters),
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
            dict(os.environ),
            np.geterr(),
            sys.getswitchinterval(),
            Path.cwd(),
            sys.stdout,
            sys.stderr,
        ]

    before = state()
    run = charrnn.train(
        text=TEXT, out=tmp_path, steps=3, threads=1, progress=True, callback=print, **TINY
    )
    model = charrnn.load(run, threads=1)
    model.sample("It", length=9, top_p=0.9)
    model.beam("It", length=9)
    list(model.stream("It", length=9))
    model.score("It was")
    assert state() == before


LONG = "a text in the place of a name\n" * 300


@pytest.mark.parametrize(
    "call",
    [
        lambda given: charrnn.train(given),
        lambda given: charrnn.load(given),
        *(
            lambda given, name=name: charrnn.train(text=TEXT, **{name: given})
            for name in ("valid", "out", "init_from", "cell", "config")
        ),
    ],
)
@pytest.mark.parametrize("given", [LONG, b"a.txt", ["a.txt"]], ids=["text", "bytes", "list"])
def test_what_names_no_file_gets_a_short_sentence(call: Any, given: Any) -> None:
    with pytest.raises(charrnn.CharRNNError) as caught:
        call(given)
    assert len(str(caught.value)) < 250
    assert "is a text, not a file" in str(caught.value) or "must be the name" in str(caught.value)
