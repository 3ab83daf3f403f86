"""Documents kept apart (--reset-at-documents): in streams, training and scores."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from following import Follower, resume, train
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn import scoring
from charrnn.config import ITEM_ENDS, ModelConfig, Reading, TrainConfig, TrainOptions
from charrnn.errors import CorpusError, OptionError
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.model import model_file, parameters
from charrnn.model.model_file import Model
from charrnn.network import layers
from charrnn.network.module import CharRNN
from charrnn.text import streams
from charrnn.text.corpus import from_text
from charrnn.text.documents import Piece, split_documents
from charrnn.text.streams import IGNORED, Cursor
from charrnn.text.tokenizer import CharTokenizer
from charrnn.training.events import Result
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.training_step import Updater

START = 3
LENGTHS = [5, 1, 12, 3, 4, 8, 2, 7]
TOKENIZER = CharTokenizer("abc")


def cut(lengths: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint64], list[Any]]:
    """Return a text of documents of these lengths, their starts, and each document."""
    ids = np.random.default_rng(sum(lengths)).integers(0, 3, sum(lengths)).astype(np.uint8)
    starts = np.append(0, np.cumsum(lengths))[:-1].astype(np.uint64)
    return ids, starts, np.split(ids, starts[1:].astype(int))


def test_documents_by_hand() -> None:
    ids = np.arange(10, 20, dtype=np.uint8)  # documents of 3, 5 and 2
    made = streams.make(ids, 2, 2, START, None, documents=np.array([0, 3, 8], np.uint64))
    assert (made.windows, made.batch_size, made.update_every) == (3, 2, 2)
    windows = [made.window(Cursor(0, number)) for number in range(3)]
    none = IGNORED
    assert [w.targets.T.tolist() for w in windows] == [
        [[10, 11], [15, 16]],  # the second stream starts within a document
        [[12, none], [17, none]],
        [[13, 14], [18, 19]],
    ]
    assert [w.inputs[0].tolist() for w in windows] == [[START, START], [11, 16], [START, START]]
    assert [w.inputs[1, 0] for w in windows][::2] == [10, 13]
    begins = [None if w.begins is None else w.begins.tolist() for w in windows]
    assert begins == [[True, False], [False, False], [True, True]]
    assert made.counted == pytest.approx(10 / 3)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 9))
def test_every_token_counts_once_after_its_predecessor(lengths: list[int], seq: int) -> None:
    ids, starts, documents = cut(lengths)
    made = streams.make(ids, 1, seq, START, None, documents=starts)
    read: list[list[int]] = []
    for number in range(made.windows):
        window = made.window(Cursor(0, number))
        assert window.begins is not None
        if window.begins[0]:
            read.append([])
        for given_, wanted in zip(window.inputs[:, 0], window.targets[:, 0], strict=True):
            if wanted != IGNORED:
                assert given_ == (read[-1][-1] if read[-1] else START)
                read[-1].append(int(wanted))
    assert read == [document.tolist() for document in documents]


def test_streams_need_a_window_each() -> None:
    with pytest.raises(CorpusError, match=r"3 windows of 4: too few for 4 streams"):
        streams.make(np.zeros(12), 4, 4, START, None, documents=np.array([0, 4, 8]))


def alone(network: CharRNN, document: NDArray[Any]) -> torch.Tensor:
    """Return the nats of a document's tokens (N,), read alone and at once."""
    inputs = torch.from_numpy(np.append(START, document[:-1]).astype(np.int64))[:, None]
    logits, _ = network(inputs, network.start_state(1))
    targets = torch.from_numpy(document.astype(np.int64))
    return torch.nn.functional.cross_entropy(logits[:, 0], targets, reduction="none")


@pytest.mark.parametrize("backend", ["reference", "library", "fused"])
@pytest.mark.parametrize("learned", [False, True])
def test_training_reads_each_document_as_if_it_were_alone(
    backend: str, learned: bool, make_values: Callable[..., Any]
) -> None:
    ids, starts, documents = cut(LENGTHS)
    model = ModelConfig(3, hidden_size=8, embedding_size=4, learned_start=learned)
    kernel = layers.select(
        parameters.layer_of(model), torch.device("cpu"), "float32", backend=backend
    )
    network = CharRNN(model, make_values(model), sequence=kernel.run)
    config = TrainConfig(seq_len=3, update_every=3, batch_size=1, reset_at_documents=True)
    made = streams.make(ids, 1, 3, START, None, documents=starts)
    updater = Updater(StreamBatches(network.train(), made, config))
    with torch.no_grad():
        wanted = [alone(network, document).split(3) for document in documents]
    expected = torch.cat([part.mean()[None] for parts in wanted for part in parts])
    first = network.values()
    for _ in range(made.windows):
        assert updater.update(0.0)
        network.load(first)  # a rate of 0, but weight decay
    torch.testing.assert_close(torch.stack(updater.losses), expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_that_of_the_documents_and_of_the_learned_start(
    make_values: Callable[..., Any],
) -> None:
    # Whole documents in a window: what is summed over rows is what each gives by itself.
    ids, starts, documents = cut([4, 2, 3, 4])
    model = ModelConfig(3, hidden_size=5, embedding_size=4, learned_start=True)
    network = CharRNN(model, make_values(model))
    config = TrainConfig(seq_len=4, update_every=4, batch_size=2, reset_at_documents=True)
    made = streams.make(ids, 2, 4, START, None, documents=starts)
    batches = StreamBatches(network, made, config)
    batches.cursor = Cursor(0, 1)  # the second and the fourth document
    batches.loss().nats.backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad for name, weight in network.weights().items()}
    network.zero_grad()
    torch.cat([alone(network, documents[1]), alone(network, documents[3])]).mean().backward()
    for name, weight in network.weights().items():
        torch.testing.assert_close(found[name], weight.grad, msg=name)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_scores_are_those_of_the_documents(
    exact: bool, learned: bool, make_model: Callable[..., Model]
) -> None:
    model = make_model("abc", learned_start=learned)
    lengths = [*np.random.default_rng(1).integers(1, 90, 50).tolist(), 600]
    ids, starts, documents = cut(lengths)
    for engine in (CompiledEngine(model.config, model.values), CharRNN(model.config, model.values)):
        with torch.no_grad():
            found = scoring.score(engine, ids, TOKENIZER, START, exact=exact, documents=starts)
            wanted = sum(
                scoring.score(engine, document, TOKENIZER, START, exact=True).total_nats
                for document in documents
            )
        assert found.characters == len(ids)
        assert found.total_nats == pytest.approx(wanted, rel=1e-5)
    together = scoring.score(engine, ids, TOKENIZER, START)
    assert together.total_nats != pytest.approx(wanted, rel=1e-4)


def test_a_part_of_a_score_is_that_of_the_streams_beginnings(
    make_model: Callable[..., Model],
) -> None:
    model = make_model("abc")
    ids, starts, _ = cut(np.random.default_rng(2).integers(1, 60, 300).tolist())
    engine = CompiledEngine(model.config, model.values)
    few = scoring.score(engine, ids, TOKENIZER, START, documents=starts, limit=2000)
    read = scoring.spread(ids, 2000, documents=starts)
    assert few.characters == len(read)
    assert 1000 < len(read) <= 2000
    assert (read[:50] == ids[:50]).all()
    whole = scoring.score(engine, ids, TOKENIZER, START, documents=starts)
    assert few.nats == pytest.approx(whole.nats, rel=0.05)
    assert len(scoring.spread(ids, 10**6, documents=starts)) == len(ids)


@given(
    st.lists(st.sampled_from(["a", "\n", "\n\n", "é"]), max_size=30),
    st.lists(st.integers(0, 40), max_size=5),
    st.sampled_from(["lines", "blank-lines"]),
)
def test_blank_lines_after_an_item_belong_to_it(
    parts: list[str], cuts: list[int], items: str
) -> None:
    text = "".join(parts).encode()
    ends = sorted({cut for cut in cuts if text[cut : cut + 1] != b"\xa9"} | {0, len(text)})
    blocks = [text[a:b] for a, b in itertools.pairwise(ends) if a < b]
    pieces = [Piece(number == 0, block) for number, block in enumerate(blocks)]
    separator = ITEM_ENDS[items].encode()
    found: list[bytes] = []
    for piece in split_documents(pieces, separator, blank_lines=True):
        found += [b""] if piece.begins else []
        found[-1] += piece.data
    pattern = rb"(?:(?!%b)[\s\S])*%b\n*" % (separator, separator)
    whole = re.findall(pattern, text)
    rest = text[len(b"".join(whole)) :]
    assert found == [*whole, *([rest] if rest else [])]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_epoch_reads_all_items_in_an_order_of_its_own(batch_size: int) -> None:
    lengths = [1, 2, 3] * 8  # a window each, so that streams begin with items
    ids = np.arange(sum(lengths), dtype=np.uint8)
    starts = np.append(0, np.cumsum(lengths))[:-1].astype(np.uint64)
    items = [part.tolist() for part in np.split(ids, starts[1:].astype(int))]

    def epochs(seed: int) -> list[list[list[int]]]:
        made = streams.make(ids, batch_size, 3, 3, None, documents=starts, shuffle=seed)
        assert made.windows == len(items) // batch_size
        return [_read(made, epoch) for epoch in (0, 1, 2)]

    def _read(made: streams.Streams, epoch: int) -> list[list[int]]:
        windows = [made.window(Cursor(epoch, number)) for number in range(made.windows)]
        columns = [w.targets[:, b] for b in range(batch_size) for w in windows]
        assert all((w.inputs[0] == 3).all() and w.begins is not None for w in windows)
        return [column[column != IGNORED].tolist() for column in columns]

    first, other = epochs(1), epochs(2)
    assert all(sorted(epoch) == items for epoch in (*first, *other))
    assert all(epoch != items for epoch in first)
    assert first[0] != first[1] != first[2] != other[2]
    assert epochs(1) == first
    # An epoch does not depend on those that were read before it.
    made = streams.make(ids, batch_size, 3, 3, None, documents=starts, shuffle=1)
    assert [_read(made, epoch) for epoch in (2, 0, 2)] == [first[2], first[0], first[2]]


def _items_of(made: streams.Streams, epoch: int) -> list[list[int]]:
    """Return the items of an epoch as its streams read them, one stream after the other."""
    windows = [made.window(Cursor(epoch, number)) for number in range(made.windows)]
    items: list[list[int]] = []
    for stream in range(made.batch_size):
        for window in windows:
            assert window.begins is not None
            if window.begins[stream] or not items:
                assert window.inputs[0, stream] == START
                items.append([])
            targets = window.targets[:, stream]
            items[-1] += targets[targets != IGNORED].tolist()
    return items


def test_items_of_several_windows_stay_whole_when_they_are_shuffled() -> None:
    ids, starts, documents = cut(LENGTHS)
    made = streams.make(ids, 1, 3, START, None, documents=starts, shuffle=5)
    for epoch in range(4):
        read = _items_of(made, epoch)
        assert sorted(read) == sorted(document.tolist() for document in documents)


TEXT = "anna\nbob\nclara\ndora\nemil\nfanny\ngustav\nhanna\n" * 30
OPTIONS: dict[str, Any] = {"hidden_size": 8, "batch_size": 4, "reset_at_documents": True}
OPTIONS |= {"cell": "lstm", "backend": "library", "device": "cpu"}


class Stopping(Follower):
    """Ends a training after a number of steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def stop(self) -> bool:
        self.left -= 1
        return self.left < 0


def _train(out: Path, follower: Follower | None = None) -> Result:
    options = TrainOptions(steps=60, **OPTIONS)
    return train(from_text(TEXT, "names", separator="\n"), options, out=out, follower=follower)


def _resume(out: Path, **given: Any) -> Result:
    return resume(from_text(TEXT, "names", separator="\n"), given, out=out)


def test_training_on_documents_is_exact_and_resumes_exactly(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole")
    # A window as long as a name in the mean would be shorter than the shortest planned.
    assert '"seq_len": 8,' in (tmp_path / "whole" / "config.json").read_text()
    # Counted are the names, not what fills up their windows: each takes one of four rows.
    assert whole.characters == pytest.approx(60 * 4 * len(TEXT) / 240, rel=0.05)
    cut_off = _train(tmp_path / "parts", Stopping(25))
    assert 0 < cut_off.steps < 60
    parts = _resume(tmp_path / "parts", steps=60)
    assert Path(parts.model).read_bytes() == Path(whole.model).read_bytes()
    with pytest.raises(OptionError, match="`reset_at_documents` was True, now False"):
        _resume(tmp_path / "parts", reset_at_documents=False)


@pytest.mark.parametrize("stopped_after", [7, 25])  # in the first epoch and later
def test_training_on_items_resumes_exactly(stopped_after: int, tmp_path: Path) -> None:
    given = OPTIONS | {"items": "lines", "dropout": 0.2, "threads": 1}
    given.pop("reset_at_documents")
    text = from_text("".join(f"{name}{end}\n" for name in TEXT.split()[:8] for end in "abcdef"))

    def run(out: Path, follower: Follower | None = None) -> Result:
        return train(text_of_items, TrainOptions(steps=60, **given), out=out, follower=follower)

    text_of_items = from_text(text.text, "names", reading=Reading(items="lines"))
    whole = run(tmp_path / "whole")
    assert whole.epochs > 3
    run(tmp_path / "parts", Stopping(stopped_after))
    parts = resume(text_of_items, {"steps": 60}, out=tmp_path / "parts")
    assert Path(parts.model).read_bytes() == Path(whole.model).read_bytes()
    reading = model_file.load(Path(whole.model)).reading
    assert (reading.items, reading.separator, reading.newline) == ("lines", "\n", "lf")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"state": "reset"}, "give one of them"),
        ({"update_every": 4}, "leave out `update_every`"),
        ({"seq_len": "full"}, "leave out `seq_len` full"),
    ],
)
def test_options_that_exclude_separate_documents_are_refused(
    more: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        TrainOptions(reset_at_documents=True, **more)
    with pytest.raises(OptionError, match="`items`"):
        TrainOptions(items="lines", **more)
