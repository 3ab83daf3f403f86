from __future__ import annotations

import io
from pathlib import Path

import pytest

import charrnn
from charrnn.config import BeamConfig
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
    text = model.sample(prompt="It was", temperature=0.8, length=50, seed=1)
    assert len(text) == 50
    assert text == model.sample(prompt="It was", temperature=0.8, length=50, seed=1)
    assert text != model.sample(prompt="It was", temperature=0.8, length=50, seed=2)


def test_a_folder_is_loaded_by_its_name(run: Result) -> None:
    by_name, by_path = charrnn.load(str(run.run_dir)), charrnn.load(Path(run.model))
    assert by_name.sample(seed=1, length=30) == by_path.sample(seed=1, length=30)


def test_streaming_generates_the_same_text_piece_by_piece(run: Result) -> None:
    model = charrnn.load(run.model)
    pieces = list(model.stream("It was", length=20_000, seed=1))
    assert len(pieces) > 3  # each covers some hundredths of a second, at most 4,096 characters
    assert "".join(pieces) == model.sample("It was", length=20_000, seed=1)


def test_greedy_and_beam_from_python(run: Result) -> None:
    model = charrnn.load(run.model)
    (beam,) = model.beam("It was", BeamConfig(length=20, width=1))
    assert beam.text == model.greedy("It was", length=20).text


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
        model.sample(prompt="@")
    with pytest.raises(charrnn.CharRNNError, match="temperature"):
        model.sample(temperature=-1)


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
    assert len(model.sample("a", length=9)) == 9


def test_messages_name_the_keywords_that_were_given(run: Result) -> None:
    with pytest.raises(charrnn.CharRNNError, match=r"^`minutes` must be a number"):
        charrnn.train("tunes", minutes=-1)
    with pytest.raises(charrnn.CharRNNError, match="`top_k`"):
        charrnn.load(run.model).sample(top_k=3, temperature=0)


def test_stop_may_be_one_string(run: Result) -> None:
    model = charrnn.load(run.model)
    one = model.sample(stop="th", length=2000, seed=1)
    assert one == model.sample(stop=["th"], length=2000, seed=1)
    assert one == model.sample(length=2000, seed=1).partition("th")[0]


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


def test_public_names_can_be_imported() -> None:
    assert {name for name in charrnn.__all__ if callable(getattr(charrnn, name))} == {
        "CharRNNError",
        "load",
        "train",
    }
