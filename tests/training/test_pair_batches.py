"""Trainings on pairs from their beginning to their end."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_json
import torch
from following import Follower, resume, train

import charrnn
from charrnn.config import BeamConfig, Reading, Regularizers, TextOptions, TrainConfig, TrainOptions
from charrnn.errors import CharRNNError, ModelError, OptionError
from charrnn.model import model_file, parameters
from charrnn.model.model_file import MODEL_NAME, Model
from charrnn.network.module import CharRNN
from charrnn.network.pair_module import PairRNN
from charrnn.run_dir.models import read_model
from charrnn.text import corpus, dataset
from charrnn.text.corpus import Corpus, from_text
from charrnn.text.dataset import Dataset
from charrnn.text.pair_order import batch
from charrnn.text.pairs import PairPart
from charrnn.text.streams import IGNORED
from charrnn.training import regularizers
from charrnn.training.batches import Position
from charrnn.training.events import Metrics, Result
from charrnn.training.pair_batches import PairBatches
from charrnn.training.pair_plan import make
from charrnn.training.pair_validation import PairValidation
from charrnn.training.setup import initial_values

SMALL: dict[str, Any] = {
    "pairs": True,
    "cell": "lstm",
    "backend": "library",
    "device": "cpu",
    "hidden_size": 8,
    "embedding_size": 4,
    "batch_size": 16,
    "learning_rate": 0.02,
    "dropout": 0.2,
    "source_dropout": 0.1,
    "steps": 20,
}
WORDS = ["".join(word) for n in range(1, 5) for word in itertools.product("abc", repeat=n)]
CLOCKED = {"seconds", "chars_per_second"}


def _text(pairs: list[tuple[str, str]]) -> Corpus:
    lines = "".join(f"{source}\t{target}\n" for source, target in pairs)
    return from_text(lines, "pairs", reading=Reading(pairs=True))


REVERSED = [(word, word[::-1]) for word in WORDS]


def _train(
    out: Path,
    pairs: list[tuple[str, str]] = REVERSED,
    follower: Follower | None = None,
    **more: Any,
) -> Result:
    options = TrainOptions(**{**SMALL, **more})
    return train(_text(pairs), options, out=out, follower=follower, checkpoint_every=5)


class Ending(Follower):
    """Ends a training after a step: as Ctrl-C does, or as a power cut."""

    def __init__(self, step: int, killed: bool) -> None:
        self.step, self.killed, self.asked, self.notices = step, killed, False, list[str]()

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)

    def progress(self, metrics: Metrics, network: CharRNN) -> None:
        if metrics.step >= self.step:
            if self.killed:
                raise InterruptedError
            self.asked = True

    def stop(self) -> bool:
        return self.asked


def _same(one: Path, other: Path) -> bool:
    """Assert that models and metrics are the same but for times."""
    assert (one / MODEL_NAME).read_bytes() == (other / MODEL_NAME).read_bytes()
    rows = []
    for folder in (one, other):
        found = strict_json.rows(folder / "metrics.jsonl")
        rows.append([{n: v for n, v in row.items() if n not in CLOCKED} for row in found])
    assert rows[0] == rows[1]
    return True


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an uninterrupted training."""
    folder = tmp_path_factory.mktemp("pairs") / "whole"
    _train(folder)
    return folder


def test_equal_trainings_give_equal_bytes(tmp_path: Path, whole: Path) -> None:
    _train(tmp_path / "again")
    assert _same(tmp_path / "again", whole)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("step", [1, 9, 13, 20])  # an epoch has 7 batches
def test_stopped_or_killed_and_resumed_is_the_same(
    tmp_path: Path, whole: Path, step: int, killed: bool
) -> None:
    run = tmp_path / "run"
    if killed:
        with pytest.raises(InterruptedError):
            _train(run, follower=Ending(step, killed))
    else:
        _train(run, follower=Ending(step, killed))
    torch.manual_seed(99)  # what happens in between must not matter
    watching = Ending(1000, killed)
    given = {} if (run / "checkpoints").exists() else SMALL
    resume(_text(REVERSED), given, out=run, follower=watching, checkpoint_every=5)
    assert _same(run, whole)
    assert not [n for n in watching.notices if "not bit for bit" in n or "changed" in n]


def test_a_checkpoint_is_a_model_and_carries_no_state(tmp_path: Path, whole: Path) -> None:
    last = whole / "checkpoints" / "20"
    model = read_model(last)
    assert model.config.encoder == "bidirectional"
    header = (last / "tensors.safetensors").read_bytes()[:100_000]
    assert b'"weights.encoder.layers.0.forward.weight_ih"' in header
    assert b'"state.' not in header


def test_a_longer_budget_can_be_given_when_resuming(tmp_path: Path) -> None:
    _train(tmp_path / "run")
    found = resume(_text(REVERSED), {"epochs": 6.0}, out=tmp_path / "run")
    assert (found.steps, found.epochs) == (42, 6.0)


def test_the_files_say_what_was_trained(whole: Path) -> None:
    config = json.loads((whole / "config.json").read_text())
    assert config["model"]["encoder"] == "bidirectional"
    assert config["model"]["context"] == "attention"
    assert config["reading"]["pairs"] is True
    summary = json.loads((whole / "summary.json").read_text())
    epochs = 20 / 7
    assert summary["epochs"] == pytest.approx(epochs)
    training = dataset.make(_text(REVERSED), TrainOptions(**SMALL))
    read = training.sizes["train"].characters  # of sources and targets
    assert summary["characters"] == pytest.approx(epochs * read, abs=1)
    assert summary["valid_window256_nats"] is None
    assert summary["valid_characters"] == len(training.pairs("valid").targets)


def test_the_model_knows_which_characters_no_source_had(tmp_path: Path) -> None:
    pairs = [(source, target.upper()) for source, target in REVERSED]
    _train(tmp_path / "rare", [*pairs, ("a", "aé")], steps=1, min_count=2)  # é is two bytes
    assert charrnn.load(tmp_path / "rare").reading.target_only == "ABC"
    _train(tmp_path / "run", pairs, steps=1)
    model = charrnn.load(tmp_path / "run")
    assert model.reading.target_only == "ABC"
    with pytest.warns(UserWarning, match="'B'.* -> 'b'"):
        assert model.answer("aB").text == model.answer("ab").text
    options = {"pairs": True, "init_from": str(tmp_path / "run"), "steps": 1, "dropout": 0.0}
    (tmp_path / "more.tsv").write_text("a\tB\nb\tB\nc\tC\n" * 9)
    charrnn.train(tmp_path / "more.tsv", out=tmp_path / "tuned", **options)
    assert charrnn.load(tmp_path / "tuned").reading.target_only == ""  # others were not asked


def _network(model: Model, dtype: Any = np.float64) -> PairRNN:
    values = {name: value.astype(dtype) for name, value in model.values.items()}
    return PairRNN(model.config, values).eval()


def _nats(network: PairRNN, part: PairPart, which: int) -> float:
    config = network.config
    read = batch(part, np.array([which]), config.start_token, config.end_token)
    return float(network.pair_nats(read).sum())


def test_the_loss_is_per_character_of_the_targets_with_the_nats_of_their_ends(whole: Path) -> None:
    data = dataset.make(_text(REVERSED), TrainOptions(**SMALL))
    part, model = data.pairs("valid"), model_file.load(whole / MODEL_NAME)
    network = _network(model)
    nats = sum(_nats(network, part, which) for which in range(len(part)))
    summary = json.loads((whole / "summary.json").read_text())
    characters = sum(len(part.target(which)) for which in range(len(part)))
    assert summary["valid_nats"] == pytest.approx(nats / characters, rel=1e-5)
    validation = PairValidation(part, data.tokenizer)
    estimate = validation.estimate(_network(model, np.float32), lambda: False)
    assert estimate.nats == pytest.approx(summary["valid_nats"], rel=1e-5)
    assert estimate.right == _exact(whole, data, "valid")


def test_the_first_reported_loss_is_that_of_the_first_batch(tmp_path: Path) -> None:
    seen: list[float] = []

    class Watching(Follower):
        def progress(self, metrics: Metrics, network: CharRNN) -> None:
            seen.append(metrics.train_nats)

    _train(tmp_path / "run", follower=Watching(), dropout=0.0, source_dropout=0.0, steps=7)
    options = TrainOptions(**SMALL)
    data = dataset.make(_text(REVERSED), options)
    made = make(options, data.pairs("train"), data.tokenizer.vocab_size, lambda model, train: 1.0)
    network = _network(Model(made.model, data.tokenizer, initial_values(made)))
    batches = PairBatches(network, data.pairs("train"), data.tokenizer, made.train)
    order = batches._order.of_epoch(0)[0]
    part = data.pairs("train")
    nats = sum(_nats(network, part, int(which)) for which in order)
    counted = sum(len(part.target(int(which))) + 1 for which in order)
    assert float(batches.loss().nats.detach()) == pytest.approx(nats / counted, rel=1e-9)
    per_character = len(part.targets) / (len(part.targets) + len(part))
    assert batches.characters_per_token == pytest.approx(per_character)
    assert seen[0] == pytest.approx(nats / counted / per_character, rel=1e-4)


def test_an_epoch_is_read_in_order_and_the_position_restored(whole: Path) -> None:
    data = dataset.make(_text(REVERSED), TrainOptions(**SMALL))
    model = model_file.load(whole / MODEL_NAME)
    config = json.loads((whole / "config.json").read_text())["train"]

    def made() -> PairBatches:
        part = data.pairs("train")
        return PairBatches(_network(model), part, data.tokenizer, TrainConfig(**config))

    batches = made()
    losses = []
    for _ in range(2 * batches.per_epoch):
        read = batches.loss()
        losses.append(float(read.nats.detach()))
        batches.advance(read)
    assert batches.epochs == 2.0
    assert len(set(losses)) == len(losses)
    other = made()
    other.restore(Position(1, 3, {}))
    assert float(other.loss().nats.detach()) == losses[batches.per_epoch + 3]
    assert (other.position().epoch, other.position().batch) == (1, 3)
    with pytest.raises(ModelError, match="behind the last pair"):
        other.restore(Position(0, batches.per_epoch, {}))


def test_penalties_of_activations_count_no_padding(tmp_path: Path) -> None:
    """The last outputs of a pair alone and in a batch give the same penalty."""
    pairs = [([0], [1]), ([0, 1, 2], [2, 1, 0])]
    part = PairPart.of(pairs)
    config = TrainOptions(**SMALL)
    data = dataset.make(_text(REVERSED), config)
    made = make(config, data.pairs("train"), 3, lambda model, train: 1.0)
    network = _network(Model(made.model, data.tokenizer, initial_values(made)))
    both = Regularizers(activation_penalty=1.0, slowness_penalty=1.0)

    @torch.no_grad()
    def sums(which: list[int]) -> tuple[float, int, float]:
        read = batch(part, np.array(which), 4, 3)
        counted = torch.from_numpy(read.targets) != IGNORED
        steps, changes = int(counted.sum()), int(counted[1:].sum())
        outputs = network.run_pairs(read)
        first = regularizers.activation(outputs, Regularizers(activation_penalty=1.0), counted)
        whole = regularizers.activation(outputs, both, counted)
        return float(first) * steps, steps, round(float(whole - first) * changes, 12)

    alone, together = [sums([0]), sums([1])], sums([0, 1])
    assert together == pytest.approx(tuple(np.sum(alone, 0)))


def _exact(run: Path, data: Dataset, part: str) -> float:
    """Return the share of targets whose tokens and end are all the most likely ones."""
    network, read = _network(model_file.load(run / MODEL_NAME), np.float32), data.pairs(part)
    config = network.config
    made = batch(read, np.arange(len(read)), config.start_token, config.end_token)
    with torch.no_grad():
        best = network.logits(network.run_pairs(made).read).argmax(-1).numpy()
    return float(((best == made.targets) | (made.targets == IGNORED)).all(0).mean())


FIVE = ["".join(word) for n in range(1, 6) for word in itertools.product("abc", repeat=n)]


@pytest.mark.parametrize(
    ("pairs", "options"),
    [
        pytest.param(
            [(word, word[::-1]) for word in FIVE], {"steps": 220, "dropout": 0.05}, id="reverse"
        ),
        pytest.param(
            [(word, word) for word in FIVE], {"steps": 300}, id="copy", marks=pytest.mark.soak
        ),
        pytest.param(
            [(f"{a}+{b}", str(a + b)) for a in range(30) for b in range(30)],
            {"steps": 600, "hidden_size": 64, "batch_size": 64, "dropout": 0.1},
            id="add",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_a_task_is_learned_to_certainty(
    tmp_path: Path, pairs: list[tuple[str, str]], options: dict[str, Any]
) -> None:
    more = {"hidden_size": 48, "embedding_size": 16, "batch_size": 32, "dropout": 0.0, **options}
    more["source_dropout"] = 0.0
    found = _train(tmp_path / "run", pairs, **more)
    data = dataset.make(_text(pairs), TrainOptions(**SMALL))
    assert len(data.pairs("valid")) > 30
    assert _exact(tmp_path / "run", data, "valid") == _exact(tmp_path / "run", data, "train") == 1
    assert found.valid_nats is not None
    assert found.valid_nats < 0.1
    source, target = pairs[-1]
    assert charrnn.load(tmp_path / "run").answer(source).text == target


LABELS = {"a": "alpha", "b": "beta", "c": "alps"}
LABELLED = [(word, LABELS[word[-1]]) for word in WORDS]
VOTING: dict[str, Any] = {"ensemble": 2, "context": "fixed"}


def test_an_ensemble_is_stopped_killed_and_resumed_as_one_network_is(tmp_path: Path) -> None:
    _train(tmp_path / "whole", LABELLED, **VOTING)
    run, watching = tmp_path / "run", Ending(1000, killed=False)
    with pytest.raises(InterruptedError):
        _train(run, LABELLED, follower=Ending(9, killed=True), **VOTING)
    resume(_text(LABELLED), {}, out=run, follower=watching, checkpoint_every=5)
    assert _same(run, tmp_path / "whole")
    assert not [n for n in watching.notices if "not bit for bit" in n or "changed" in n]
    last = read_model(run / "checkpoints" / "20")
    assert last.config.ensemble == 2
    assert last.values.keys() == parameters.shapes(last.config).keys()


def test_an_ensemble_learns_and_answers(tmp_path: Path) -> None:
    more = {"hidden_size": 32, "embedding_size": 16, "dropout": 0.0, "source_dropout": 0.0}
    found = _train(tmp_path / "run", LABELLED, **VOTING, steps=120, **more)
    assert found.valid_right == 1
    model = charrnn.load(tmp_path / "run")
    assert [model.answer(source).text for source in ("abc", "cab", "bca")] == [
        "alps",
        "beta",
        "alpha",
    ]


def test_the_weights_with_most_answers_right_are_kept(tmp_path: Path) -> None:
    labels = {"a": "alpha", "b": "beta", "c": "gamma"}
    pairs = [(word, labels[word[-1]]) for word in FIVE]
    found = _train(tmp_path / "run", pairs, steps=60)
    data = dataset.make(_text(pairs), TrainOptions(**SMALL))
    valid = data.pairs("valid")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    found_right = [json.loads(line)["valid_right"] for line in lines]
    rights = [right for right in found_right if right is not None]
    assert min(rights) < max(rights)
    assert found.valid_right in (rights[-1], max(rights))
    validation = PairValidation(valid, data.tokenizer)
    error = validation.right_error(max(rights))
    assert error == pytest.approx((max(rights) * (1 - max(rights)) / len(valid)) ** 0.5)
    assert (found.valid_right == rights[-1]) == (rights[-1] >= max(rights) - error)
    assert found.valid_right == _exact(tmp_path / "run", data, "valid")
    model = charrnn.load(tmp_path / "run")
    answers = [
        model.greedy(model.read("", source=data.tokenizer.decode(valid.source(n).tolist()))).text
        == data.tokenizer.decode(valid.target(n).tolist())
        for n in range(len(valid))
    ]
    assert np.mean(answers) == found.valid_right


@pytest.mark.parametrize(
    ("pairs", "more"),
    [
        ([("a", "b")], {"valid_fraction": 0.0}),
        ([("a", "a")], {"valid_fraction": 0.0}),  # an alphabet of one character
        ([("x" * 10_000, "y"), *REVERSED[:20]], {"valid_fraction": 0.0}),
        ([("y", "x" * 10_000), *REVERSED[:20]], {"valid_fraction": 0.0}),
        ([("cat", str(n)) for n in range(50)] + REVERSED[:30], {}),  # a source with 50 targets
        (REVERSED[:30], {"tokenizer": "byte"}),
        ([("é😀", "ü"), *REVERSED[:30]], {"min_count": 5}),
    ],
    ids=["one", "one-character", "long-source", "long-target", "fifty", "byte", "rare"],
)
def test_odd_pairs_are_trained_on(
    tmp_path: Path, pairs: list[tuple[str, str]], more: dict[str, Any]
) -> None:
    found = _train(tmp_path / "run", pairs, steps=2, **more)
    assert np.isfinite(found.train_nats)
    model = charrnn.load(tmp_path / "run")
    for source, _ in (pairs[0], pairs[-1]):
        answer = model.answer(source, length=5)
        assert np.isfinite(answer.log_prob)
        assert len(answer.text) <= 5


@pytest.mark.parametrize("pair", [("a", "b"), ("a", "a"), ("abba", "ab")])
def test_a_single_pair_is_learned(tmp_path: Path, pair: tuple[str, str]) -> None:
    _train(tmp_path / "run", [pair], steps=60, valid_fraction=0.0, dropout=0.0)
    answer = charrnn.load(tmp_path / "run").answer(pair[0])
    assert answer.text == pair[1]
    assert answer.finished_by == "stop"
    assert answer.log_prob > -0.1


def test_a_source_with_many_targets_learns_how_probable_each_is(tmp_path: Path) -> None:
    targets = [f"{a}{b}" for a in "abcde" for b in "vwxyz" for _ in range(1 + (a == "a"))]
    pairs = [("s", target) for target in targets] + [("t", "av")] * len(targets)
    options = {"steps": 150, "valid_fraction": 0.0, "dropout": 0.0, "batch_size": 60}
    options["source_dropout"] = 0.0
    _train(tmp_path / "run", pairs, hidden_size=16, **options)
    model = charrnn.load(tmp_path / "run")
    found = {answer.text: answer for answer in _beam(model, "s", 30)}
    assert set(targets) <= found.keys()
    for target in set(targets):
        share = targets.count(target) / len(targets)
        assert np.exp(found[target].log_prob) == pytest.approx(share, rel=0.3)
    assert np.exp(_beam(model, "t", 1)[0].log_prob) > 0.9


def _beam(model: charrnn.Generator, source: str, number: int) -> list[charrnn.Sample]:
    config = BeamConfig(width=40, num_return=number, length_penalty=0.0, length=4)
    return next(model.answers([source], config))


@pytest.mark.parametrize(
    ("cell", "context"),
    [
        ("elman", "fixed"),
        ("irnn", "attention"),
        ("gru-reset-after", "attention"),
        ("preactivation", "attention"),
        ("preactivation", "fixed"),
    ],
)
def test_other_cells_and_contexts_learn(tmp_path: Path, cell: str, context: str) -> None:
    backend = "reference" if cell == "preactivation" else "library"
    options = {"cell": cell, "backend": backend, "context": context, "encoder": "forward"}
    found = _train(tmp_path / "run", steps=40, dropout=0.0, **options)
    first = strict_json.rows(tmp_path / "run" / "metrics.jsonl")[0]
    assert found.train_nats < first["train_nats"]
    config = model_file.load(tmp_path / "run" / MODEL_NAME).config
    assert (config.encoder, config.context) == ("forward", context)


def test_a_diverging_training_goes_back_and_says_so(tmp_path: Path) -> None:
    ending = Ending(1000, killed=False)
    wild = {"learning_rate": 1e3, "optimizer": "sgd", "clip_norm": np.inf}
    with pytest.raises(CharRNNError, match="diverged"):
        _train(tmp_path / "run", follower=ending, **wild)
    assert (tmp_path / "run" / MODEL_NAME).exists()


@pytest.mark.parametrize(
    "more",
    [
        {"seq_len": 8},
        {"update_every": 4},
        {"state": "reset"},
        {"reset_at_documents": True},
        {"learned_start": True},
        {"omega": 1.0, "cell": "elman"},
        {"items": "lines"},
        {"cell": "jordan"},
        {"hidden_size": 7},
    ],
)
def test_what_has_no_meaning_for_pairs_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        _train(tmp_path / "run", **more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given",
    [{"encoder": "forward"}, {"context": "fixed"}, {"source_dropout": 0.1}, {"ensemble": 2}],
)
def test_options_of_pairs_are_refused_for_a_text(tmp_path: Path, given: dict[str, Any]) -> None:
    options = TrainOptions(**{**SMALL, "pairs": False, **given})
    with pytest.raises(OptionError, match="is for pairs"):
        train(from_text("abc\n" * 100, "text"), options, out=tmp_path / "run")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of pairs."""
    path = tmp_path_factory.mktemp("file") / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in REVERSED))
    return path


def test_a_run_on_pairs_is_repeated_by_its_name(tmp_path: Path, file: Path) -> None:
    options = {name: value for name, value in SMALL.items() if name != "pairs"}
    first = charrnn.train(file, pairs=True, out=tmp_path / "first", encoder="forward", **options)
    again = charrnn.train(config=first.run_dir, out=tmp_path / "again")
    assert Path(first.model).read_bytes() == Path(again.model).read_bytes()


def test_prepared_pairs_are_trained_on(tmp_path: Path, file: Path) -> None:
    options = {name: value for name, value in SMALL.items() if name != "pairs"}
    read = charrnn.train(file, pairs=True, out=tmp_path / "read", **options)
    dataset.make(
        corpus.read([file], Reading(pairs=True)), TextOptions(pairs=True), folder=tmp_path / "data"
    )
    prepared = charrnn.train(tmp_path / "data", out=tmp_path / "prepared", **options)
    assert prepared.valid_nats == read.valid_nats
    with pytest.raises(charrnn.CharRNNError, match="pairs are read whole"):
        charrnn.train(tmp_path / "data", out=tmp_path / "x", seq_len=8, **options)


def test_sources_and_targets_change_places(tmp_path: Path, file: Path) -> None:
    options = {name: value for name, value in SMALL.items() if name != "pairs"}
    swapped = tmp_path / "swapped.tsv"
    swapped.write_text("".join(f"{target}\t{source}\n" for source, target in REVERSED))
    one = charrnn.train(file, pairs=True, swap=True, out=tmp_path / "one", **options)
    two = charrnn.train(swapped, pairs=True, out=tmp_path / "two", **options)
    assert one.train_nats == two.train_nats


def test_the_plan_fits_pairs_and_time(tmp_path: Path, file: Path) -> None:
    planned: list[charrnn.Planned] = []

    def callback(event: charrnn.Event) -> bool:
        if isinstance(event, charrnn.Planned):
            planned.append(event)
        return False

    charrnn.train(file, pairs=True, out=tmp_path / "run", minutes=0.05, callback=callback)
    (found,) = planned
    model, train = found.plan.model, found.plan.train
    assert (model.encoder, model.context, model.num_layers) == ("bidirectional", "attention", 2)
    assert (train.minutes, train.batch_size) == (0.05, 14)  # 8 batches of the 109 pairs
    assert train.learning_rate > 0
