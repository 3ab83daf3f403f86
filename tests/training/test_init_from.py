"""A trained network is trained further with another alphabet."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from following import Follower, resume, train

import charrnn
from charrnn.config import ModelConfig, ModelReading, TrainOptions, to_json
from charrnn.decoding.step import log_softmax
from charrnn.errors import OptionError
from charrnn.generator import Generator
from charrnn.model import model_file, parameters
from charrnn.model.model_file import Model
from charrnn.network.pair_module import PairRNN
from charrnn.run_dir import RunDir
from charrnn.text import dataset
from charrnn.text.corpus import from_text
from charrnn.text.pair_order import batch
from charrnn.text.pairs import PairPart
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer
from charrnn.training import init_from

MakeModel = Callable[..., Model]
KINDS: dict[str, dict[str, Any]] = {
    "embedding": {"num_layers": 2},
    "one-hot": {"embedding_size": 0},
    "skip connections": {"embedding_size": 0, "num_layers": 3, "skip_connections": True},
    "deep input": {"embedding_size": 0, "input_depth": 2, "num_layers": 2},
    "deep skips": {
        "embedding_size": 0,
        "input_depth": 2,
        "num_layers": 2,
        "skip_connections": True,
        "output_depth": 2,
        "learned_start": True,
    },
    "jordan": {"cell": "jordan"},
    "tied": {"num_layers": 2, "skip_connections": True, "tied_output": True},
}


def _moved(model: Model, symbols: str) -> Model:
    tokenizer = CharTokenizer.from_texts(symbols)
    size = tokenizer.vocab_size + bool(model.config.encoder)
    fields = {**vars(model.config), "vocab_size": size}
    config = ModelConfig(**fields)
    fresh = {name: np.zeros(shape, np.float32) for name, shape in parameters.shapes(config).items()}
    return Model(config, tokenizer, init_from.values(model, config, tokenizer, fresh))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_kept_characters_keep_their_meaning(make_model: MakeModel, kind: dict[str, Any]) -> None:
    """Compare with an alphabet that has more characters, whose probability is made zero."""
    model = make_model("bdfhk", **kind)
    moved = _moved(model, "abdfghkz")
    bias = np.array(moved.values["output.bias"])
    new = [moved.tokenizer.alphabet.index(symbol) for symbol in "agz"]
    bias[new] = -1e9
    moved = Model(moved.config, moved.tokenizer, {**moved.values, "output.bias": bias})
    before, after = (
        log_softmax(Generator(each).read("dhbkfd").logits)[0] for each in (model, moved)
    )
    kept = [moved.tokenizer.alphabet.index(symbol) for symbol in "bdfhk"]
    np.testing.assert_allclose(after[kept], before, atol=1e-5)


@pytest.mark.parametrize("embedding_size", [0, 3])
def test_a_pair_model_keeps_its_characters_and_the_end_of_targets(
    make_values: Callable[..., dict[str, Any]], embedding_size: int
) -> None:
    form = {"encoder": "bidirectional", "context": "attention", "skip_connections": True}
    config = ModelConfig(6, "lstm", 2, 4, embedding_size, **form)
    model = Model(config, CharTokenizer("bdfhk"), make_values(config))
    moved = _moved(model, "abdfghkz")
    bias = np.array(moved.values["output.bias"])
    bias[[moved.tokenizer.alphabet.index(symbol) for symbol in "agz"]] = -1e9
    found = []
    for each in (model, dataclasses.replace(moved, values={**moved.values, "output.bias": bias})):
        part = PairPart.of([tuple(map(each.tokenizer.encode, ("dhb", "kfd")))])
        config = each.config
        read = batch(part, np.array([0]), config.start_token, config.end_token)
        found.append(PairRNN(config, each.values).pair_nats(read))
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_pairs_are_read_as_those_of_the_model(make_model: MakeModel) -> None:
    config = {"encoder": "forward", "context": "fixed"}
    plain = make_model("abc")
    made = ModelConfig(**{**vars(plain.config), **config, "vocab_size": 4})
    reading = to_json(ModelReading(newline="lf", pairs=True, swap=True))
    model = Model(made, plain.tokenizer, {}, {"reading": reading})
    options = TrainOptions(**init_from.options(model, {"steps": 2}))
    assert (options.pairs, options.swap) == (True, True)
    assert (options.encoder, options.context) == ("forward", "fixed")


def test_an_ensemble_stays_one_and_no_other_model_becomes_one(make_model: MakeModel) -> None:
    plain = make_model("abc")
    form = {"encoder": "forward", "context": "fixed", "hidden_size": 4, "embedding_size": 4}
    for count, other in ((2, 1), (1, 2)):
        made = ModelConfig(**{**vars(plain.config), **form, "vocab_size": 4, "ensemble": count})
        reading = to_json(ModelReading(newline="lf", pairs=True))
        model = Model(made, plain.tokenizer, {}, {"reading": reading})
        assert TrainOptions(**init_from.options(model, {})).ensemble == count
        with pytest.raises(OptionError, match=f"whose network has {count}"):
            init_from.options(model, {"ensemble": other})


def test_a_training_on_pairs_starts_from_a_trained_model(tmp_path: Path) -> None:
    words = ["".join(word) for word in itertools.product("abc", repeat=4)]
    first, second = tmp_path / "first.tsv", tmp_path / "second.tsv"
    first.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    second.write_text("".join(f"{word}d\td{word[::-1]}\n" for word in words))
    options: dict[str, Any] = {"backend": "library", "cell": "lstm", "batch_size": 16}
    before = charrnn.train(
        first, pairs=True, out=tmp_path / "first", steps=100, hidden_size=32, **options
    )
    runs = {}
    for name, start in (("warm", before.run_dir), ("cold", None)):
        more: dict[str, Any] = {"init_from": start} if start else {**options, "hidden_size": 32}
        more |= {"out": tmp_path / name, "steps": 6, "pairs": True, "learning_rate": 0.003}
        runs[name] = charrnn.train(second, **more)
    warm, cold = (runs[name].valid_nats for name in ("warm", "cold"))
    assert warm is not None
    assert cold is not None
    assert warm < 0.8 * cold
    few = tmp_path / "few.tsv"
    few.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words[::4]))
    rates = {}
    for swap in (False, True):  # the other direction needs larger steps
        more = {"init_from": before.run_dir, "out": tmp_path / str(swap), "steps": 1}
        charrnn.train(few, pairs=True, swap=swap, **more)
        config = json.loads((tmp_path / str(swap) / "config.json").read_text())
        rates[swap] = config["train"]["learning_rate"]
    assert rates[False] < 0.7 * rates[True]
    text = tmp_path / "text.txt"
    text.write_text("abcd\n" * 400)
    plain = charrnn.train(text, steps=1, hidden_size=8, out=tmp_path / "plain", **options)
    with pytest.raises(charrnn.CharRNNError, match="was trained on a text"):
        charrnn.train(second, pairs=True, init_from=plain.run_dir, steps=1, out=tmp_path / "x")
    with pytest.raises(charrnn.CharRNNError, match=r"no tab in 'abcd'.*of `init_from` was$"):
        charrnn.train(text, init_from=before.run_dir, steps=1, out=tmp_path / "x")


@pytest.mark.parametrize("embedding_size", [0, 3])
def test_a_new_character_starts_as_the_nearest_one(
    make_model: MakeModel, embedding_size: int
) -> None:
    model = make_model("ae'\"\n", embedding_size=embedding_size)
    moved = _moved(model, "aeéE’“z")

    def weights(of: Model, character: str) -> tuple[list[float], list[float]]:
        token = of.tokenizer.alphabet.index(character)
        inputs = of.values["embedding"] if embedding_size else of.values["layers.0.weight_ih"].T
        return inputs[token].tolist(), of.values["output.weight"][token].tolist()

    for new, nearest in ("ée", "Ee", "’'", '“"'):
        assert weights(moved, new) == weights(model, nearest)
    assert not any(weights(moved, "z")[0])  # as in a new network, here all zeros


def test_a_text_is_learned_by_as_many_networks_as_the_model_has(
    tiny_model: Model, tiny_ensemble: Model
) -> None:
    for model, count, other in ((tiny_model, 1, 2), (tiny_ensemble, 2, 1)):
        assert TrainOptions(**init_from.options(model, {})).ensemble == count
        with pytest.raises(OptionError, match=f"whose network has {count}"):
            init_from.options(model, {"ensemble": other})


def test_each_network_of_an_ensemble_gets_the_new_alphabet(tiny_ensemble: Model) -> None:
    moved = _moved(tiny_ensemble, "helzéw\n")
    assert moved.values.keys() == tiny_ensemble.values.keys()
    for own, network in zip(moved.networks, tiny_ensemble.networks, strict=True):
        alone = _moved(network, "helzéw\n")
        assert own.config == alone.config
        for name, value in alone.values.items():
            np.testing.assert_array_equal(own.values[name], value)
        e, z, acute = ([*"\nehlwzé"].index(symbol) for symbol in "ezé")
        embedding = own.values["embedding"]
        assert embedding[e].any()
        assert not embedding[z].any()  # as in a new network, here all zeros
        np.testing.assert_array_equal(embedding[acute], embedding[e])


def test_moving_to_an_alphabet_and_back_changes_nothing(make_model: MakeModel) -> None:
    model = make_model("bdfhk", num_layers=2)
    back = _moved(_moved(model, "abdfghkz"), "bdfhk")
    for name, value in model.values.items():
        np.testing.assert_array_equal(back.values[name], value)


def test_the_alphabet_change_is_described(make_model: MakeModel) -> None:
    met = init_from.compare_alphabets(make_model("abc\n"), CharTokenizer("bcx\x9b"))
    assert (met.kept, met.added, met.dropped) == ("bc", "x\x9b", "\na")
    assert str(met) == "2 symbols kept, 2 added (x<U+009B>), 2 dropped (␊a)"
    many = init_from.compare_alphabets(
        make_model("a"), CharTokenizer("".join(map(chr, range(97, 127))))
    )
    assert "29 added (bcdefghijklmnopqrstu…), 0 dropped" in str(many)


def test_tokens_that_are_not_characters_are_refused(make_model: MakeModel) -> None:
    model, other = make_model("the cat"), ByteTokenizer()
    with pytest.raises(OptionError, match=r"the text has .* both need `tokenizer` char"):
        init_from.compare_alphabets(model, other)
    with pytest.raises(OptionError, match="the model of `init_from` has"):
        init_from.compare_alphabets(dataclasses.replace(model, tokenizer=other), model.tokenizer)


def _partly_in_bytes(model: Model, symbols: str, values: Callable[..., dict[str, Any]]) -> Model:
    """Return a model like `model` that knows these characters, and all others as bytes."""
    tokenizer = CharTokenizer("".join(sorted(symbols)), byte_fallback=True)
    size = tokenizer.vocab_size + bool(model.config.encoder)
    config = dataclasses.replace(model.config, vocab_size=size)
    return Model(config, tokenizer, values(config))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_characters_in_bytes_keep_their_meaning(
    make_model: MakeModel, make_values: Callable[..., dict[str, Any]], kind: dict[str, Any]
) -> None:
    """Compare with other characters, to which each network gives no probability."""
    model = _partly_in_bytes(make_model("a", **kind), "bdfhk", make_values)
    model.values["output.bias"][model.tokenizer.encode("fh")] = -1e9  # type: ignore[index]
    fresh = _partly_in_bytes(make_model("a", **kind), "bdkz", make_values)
    values = init_from.values(model, fresh.config, fresh.tokenizer, fresh.values)
    values["output.bias"][fresh.tokenizer.encode("z")] = -1e9
    before, after = (
        log_softmax(Generator(each).read("db中kéd").logits)[0][
            [*each.tokenizer.encode("bdk"), *range(each.tokenizer.vocab_size)[-256:]]
        ]
        for each in (model, dataclasses.replace(fresh, values=values))
    )
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.parametrize("embedding_size", [0, 3])
def test_a_character_that_was_bytes_starts_with_their_probability(
    make_model: MakeModel, make_values: Callable[..., dict[str, Any]], embedding_size: int
) -> None:
    """中 and 丁 begin with the same byte and share its probability; é has its own."""
    model = _partly_in_bytes(make_model("a", embedding_size=embedding_size), "abe", make_values)
    tokenizer = CharTokenizer("abeé丁中")
    config = dataclasses.replace(model.config, vocab_size=6)
    values = init_from.values(model, config, tokenizer, make_values(config, seed=3))
    expected = Generator(model).read("ab").logits[0]
    logits = Generator(Model(config, tokenizer, values)).read("ab").logits[0]
    e_acute, han = (model.tokenizer.encode(character)[0] for character in "é中")
    np.testing.assert_allclose(logits[:4], expected[[0, 1, 2, e_acute]], atol=1e-6)
    np.testing.assert_allclose(logits[4:], [expected[han] - np.log(2)] * 2, atol=1e-6)
    columns = values["embedding"] if embedding_size else values["layers.0.weight_ih"].T
    before = model.values["embedding"] if embedding_size else model.values["layers.0.weight_ih"].T
    last = model.tokenizer.encode("中")[-1]
    np.testing.assert_array_equal(columns[5], before[last])
    described = init_from.compare_alphabets(model, tokenizer)
    assert str(described) == "3 symbols kept, 3 added (é丁中), 0 dropped, 256 bytes dropped"


def test_a_model_goes_on_to_write_as_bytes_what_it_wrote_so(
    make_model: MakeModel, make_values: Callable[..., dict[str, Any]]
) -> None:
    text = "abcé" * 9
    partly = _partly_in_bytes(make_model("a"), "abe", make_values)
    for model, given, expected in (
        (make_model("ab"), {}, CharTokenizer("abcé")),
        (partly, {}, CharTokenizer("ab", byte_fallback=True)),
        (partly, {"min_count": 10}, CharTokenizer("", byte_fallback=True)),
        (partly, {"min_count": "auto"}, CharTokenizer("ab", byte_fallback=True)),
    ):
        asked = TrainOptions(**init_from.options(model, {"steps": 1, **given}))
        assert dataset.make(from_text(text), asked).tokenizer == expected
    known = _partly_in_bytes(make_model("a"), "abcé", make_values)
    asked = TrainOptions(**init_from.options(known, {"steps": 1}))
    assert dataset.make(from_text(text), asked).tokenizer == CharTokenizer("abcé")


def test_bytes_are_added_or_kept(make_model: MakeModel) -> None:
    plain, partly = CharTokenizer("ab"), CharTokenizer("ab", byte_fallback=True)
    model = make_model("ab")
    for before, after, end in (
        (plain, plain, "0 dropped"),
        (plain, partly, "0 dropped, 256 bytes added"),
        (partly, partly, "0 dropped, 256 bytes kept"),
    ):
        change = init_from.compare_alphabets(dataclasses.replace(model, tokenizer=before), after)
        assert str(change).endswith(end)


def test_options_are_those_of_the_model(make_model: MakeModel) -> None:
    model = make_model("abc", cell="gru", num_layers=2)
    made = init_from.options(model, {"steps": 3, "cell": "gru", "hidden_size": None})
    assert (made["cell"], made["hidden_size"], made["steps"]) == ("gru", 5, 3)
    with pytest.raises(OptionError, match=r"`hidden_size=6` does not go .* has 5: leave it out"):
        init_from.options(model, {"hidden_size": 6})


def test_a_text_is_read_as_that_of_the_model(make_model: MakeModel) -> None:
    def options(reading: ModelReading, **given: Any) -> dict[str, Any]:
        model = dataclasses.replace(make_model("abc"), training={"reading": to_json(reading)})
        made = TrainOptions(**init_from.options(model, given))
        names = ("encoding", "newline", "document_separator", "items", "reset_at_documents")
        return {name: getattr(made, name) for name in names}

    plain = ModelReading(encoding="koi8-r", newline="lf", document_separator="%")
    expected = {"encoding": "koi8-r", "newline": "lf", "document_separator": "", "items": ""}
    assert options(plain) == expected | {"reset_at_documents": False}
    apart = dataclasses.replace(plain, documents_apart=True)
    expected |= {"document_separator": "%"}
    assert options(apart) == expected | {"reset_at_documents": True}
    assert options(apart, encoding="utf-8", newline="keep") == {
        **expected,
        "encoding": "utf-8",
        "newline": "keep",
        "reset_at_documents": True,
    }
    items = dataclasses.replace(apart, items="lines", document_separator="\n")
    assert options(items) == {
        "encoding": "koi8-r",
        "newline": "lf",
        "document_separator": "\n",
        "items": "lines",
        "reset_at_documents": True,
    }
    assert options(items, items="")["reset_at_documents"] is False
    assert options(items, document_separator="#")["document_separator"] == "#"


def test_what_a_model_knows_is_the_length_of_its_texts(make_model: MakeModel) -> None:
    def known(**training: Any) -> int:
        return init_from.known_characters(dataclasses.replace(make_model("ab"), training=training))

    assert known() == known(corpus={}, init_from={"steps": 3, "symbols": ""}) == 0
    assert known(corpus={"train_characters": 900}) == 900
    assert known(corpus={"train_characters": 900}, init_from={"characters": 5000}) == 5900


TEXT = "the cat is home.\nthe café is near the sea.\n" * 40
SMALL: dict[str, Any] = {
    "hidden_size": 24,
    "seq_len": 8,
    "batch_size": 4,
    "cell": "lstm",
    "backend": "library",
}


def test_a_training_starts_from_a_trained_model(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(TEXT, "utf-8")
    (tmp_path / "two.txt").write_text(TEXT.replace("home", "zoo") + "?", "utf-8")
    first = charrnn.train(tmp_path / "one.txt", out=tmp_path / "one", steps=150, **SMALL)
    rest = {name: value for name, value in SMALL.items() if name != "hidden_size"}
    told: dict[str, Any] = {"steps": 8, "learning_rate": 0.001, "out": tmp_path / "two", **rest}
    second = charrnn.train(tmp_path / "two.txt", init_from=first.model, **told)
    fresh = charrnn.train(tmp_path / "two.txt", **{**told, "out": tmp_path / "new"}, hidden_size=24)
    assert second.parameters == fresh.parameters
    assert second.valid_nats is not None
    assert fresh.valid_nats is not None
    assert second.valid_nats < fresh.valid_nats - 0.5
    training = model_file.load(Path(second.model)).training
    assert training["init_from"]["steps"] == model_file.load(Path(first.model)).training["steps"]
    assert training["init_from"]["symbols"] == "15 symbols kept, 2 added (?z), 1 dropped (m)"
    assert training["init_from"]["characters"] == round(0.9 * len(TEXT))


def test_the_rate_of_a_fine_tuning_is_planned_again_for_the_next(tmp_path: Path) -> None:
    """A network knows the 900 characters that it was trained on, and then 90 more."""
    rest = {name: value for name, value in SMALL.items() if name not in ("hidden_size", "seq_len")}
    quick: dict[str, Any] = {"steps": 2, "seq_len": 4, **rest}
    model, rates = None, []
    for length in (1000, 100, 500):
        given = {"init_from": model} if model else {"hidden_size": 240}
        run = tmp_path / str(length)
        model = charrnn.train(text=(TEXT * 2)[:length], out=run, **given, **quick).model
        rates.append(json.loads((run / "config.json").read_text())["train"]["learning_rate"])
    suited = 7 / 240  # for an LSTM of this width
    expected = [suited, suited * (90 / 900) ** 0.5, suited * (450 / 990) ** 0.5]
    assert rates == pytest.approx(expected)


def test_a_training_from_a_model_is_resumed_exactly(tmp_path: Path, make_model: MakeModel) -> None:
    (tmp_path / "one.txt").write_text(TEXT, "utf-8")
    model_file.save(tmp_path / "m", make_model("the cat.?"))

    class Stopping(Follower):
        asked = 0

        def stop(self) -> bool:
            self.asked += 1
            return self.asked > 9

    from charrnn.config import TrainOptions
    from charrnn.text import corpus

    text, model = corpus.read([tmp_path / "one.txt"]), model_file.load(tmp_path / "m")
    rest = {"steps": 20, "seq_len": 8, "batch_size": 4, "cell": "lstm", "backend": "library"}
    options = TrainOptions(**init_from.options(model, rest))
    train(text, options, out=tmp_path / "whole", model=model)
    train(text, options, out=tmp_path / "cut", model=model, follower=Stopping())
    resume(text, {}, out=tmp_path / "cut")
    one, two = (tmp_path / name / "model.safetensors" for name in ("whole", "cut"))
    assert one.read_bytes() == two.read_bytes()

    # Without a checkpoint it starts from the model again.
    RunDir(tmp_path / "cut").write_config(
        {**RunDir(tmp_path / "whole").read_config(), "init_from_file": str(tmp_path / "m")}
    )
    shutil.rmtree(tmp_path / "cut" / "checkpoints")
    (tmp_path / "cut" / "summary.json").unlink()
    resume(text, {}, out=tmp_path / "cut")
    assert one.read_bytes() == two.read_bytes()
    assert RunDir(tmp_path / "cut").read_config()["init_from_file"] == str(tmp_path / "m")


def test_a_resumed_run_takes_no_other_model(tmp_path: Path, make_model: MakeModel) -> None:
    (tmp_path / "one.txt").write_text(TEXT, "utf-8")
    model_file.save(tmp_path / "m", make_model("the cat.?"))
    with pytest.raises(OptionError, match="`init_from` starts a run, `resume=True` continues one"):
        charrnn.train(
            tmp_path / "one.txt", out=tmp_path / "r", init_from=tmp_path / "m", resume=True
        )
