import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text import streams
from charrnn.text.streams import Cursor, Streams, Window

START = 99


def _whole(made: Streams) -> Window:
    """Return everything that the streams read, as one window."""
    return replace(made, seq_len=made.length, update_every=made.length).window(Cursor())


def test_streams_by_hand() -> None:
    # eleven symbols in two streams: 5 each, the last symbol waits for no one
    made = streams.make(np.arange(11, dtype=np.uint8), 2, 2, START, None)
    assert _whole(made).targets.T.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert _whole(made).inputs.T.tolist() == [[START, 0, 1, 2, 3], [START, 5, 6, 7, 8]]
    assert (made.batch_size, made.windows) == (2, 2)
    window = made.window(Cursor(epoch=3, window=1))
    assert window.inputs.T.tolist() == [[1, 2], [6, 7]]
    assert window.targets.T.tolist() == [[2, 3], [7, 8]]
    # all of it is counted, and the next one starts after it
    assert (window.start, window.counted, window.shift) == (2, 2, 2)


def test_windows_that_overlap_by_hand() -> None:
    # k1 = 2, k2 = 5 in a stream of nine: updates after 2, 4, 6 and 8 symbols, the last one left
    made = streams.make(np.arange(9), 1, 5, START, None, update_every=2)
    windows = [made.window(Cursor(0, number)) for number in range(made.windows)]
    assert [window.targets.T.tolist() for window in windows] == [
        [[0, 1]],
        [[0, 1, 2, 3]],
        [[1, 2, 3, 4, 5]],
        [[3, 4, 5, 6, 7]],
    ]
    assert [window.start for window in windows] == [0, 0, 1, 3]
    assert [window.counted for window in windows] == [2, 2, 2, 2]
    assert [window.shift for window in windows][:3] == [0, 1, 2]
    assert windows[2].inputs.T.tolist() == [[0, 1, 2, 3, 4]]
    assert windows[1].inputs.T.tolist() == [[START, 0, 1, 2]]


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 9))
def test_every_stream_is_contiguous_and_targets_are_one_later(
    length: int, batch_size: int, seq_len: int
) -> None:
    assume(length // batch_size >= seq_len)
    ids = np.random.default_rng(length).integers(0, 50, length).astype(np.uint8)
    made = streams.make(ids, batch_size, seq_len, START, None)
    each = length // batch_size
    for b in range(batch_size):
        assert _whole(made).targets[:, b].tolist() == ids[b * each : (b + 1) * each].tolist()
    assert _whole(made).inputs[1:].tolist() == _whole(made).targets[:-1].tolist()
    assert (_whole(made).inputs == START).any(1).tolist() == [True] + [False] * (each - 1)


def test_an_epoch_reads_every_window_once_and_in_order() -> None:
    made = streams.make(np.arange(47), 3, 4, START, None)  # 15 in a stream: 3 windows, 3 left
    cursor, read = Cursor(), []
    while cursor.epoch == 0:
        read.append(made.window(cursor).targets)
        cursor = made.advance(cursor)
    assert cursor == Cursor(epoch=1, window=0)
    assert np.concatenate(read).tolist() == _whole(made).targets[:12].tolist()
    assert made.windows == len(read) == 3


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 9), st.integers(0, 40))
def test_every_token_counts_once_an_epoch_and_windows_are_as_long_as_possible(
    batch_size: int, update_every: int, more: int, length: int
) -> None:
    seq_len = update_every + more
    each = seq_len + length
    made = streams.make(
        np.arange(batch_size * each), batch_size, seq_len, START, None, update_every
    )
    cursor, counted, next_start = Cursor(), [], 0
    while cursor.epoch == 0:
        window = made.window(cursor)
        end = window.start + len(window.targets)
        assert window.start == next_start
        assert len(window.targets) == min(seq_len, end)  # k2 steps back, or to the beginning
        assert window.targets.tolist() == _whole(made).targets[window.start : end].tolist()
        assert window.inputs.tolist() == _whole(made).inputs[window.start : end].tolist()
        counted.append(window.targets[-window.counted :])
        next_start = window.start + window.shift
        cursor = made.advance(cursor)
    assert cursor == Cursor(1, 0)
    whole = each // update_every * update_every
    assert np.concatenate(counted).tolist() == _whole(made).targets[:whole].tolist()
    assert each - whole < update_every


def test_without_update_every_each_window_is_one_update() -> None:
    made = streams.make(np.arange(20), 2, 3, START, None)
    assert (made.update_every, made.windows) == (3, 3)


def test_a_text_of_one_window_starts_a_new_epoch_each_time() -> None:
    made = streams.make(np.arange(6), 2, 3, START, None)
    assert made.advance(Cursor(4, 0)) == Cursor(5, 0)


def test_a_start_token_may_need_more_bits_than_the_ids() -> None:
    made = streams.make(np.array([255, 255], np.uint8), 1, 2, 256, None)
    assert _whole(made).inputs[0, 0] == 256


def test_streams_begin_where_a_line_begins_nearby() -> None:
    text = "0123456\n9abcdefg\nijklmnopqrstuvw"
    ids = np.frombuffer(text.encode(), np.uint8)
    made = streams.make(ids, 4, 2, START, ord("\n"))
    # 32 symbols, streams near 0, 8, 16 and 24. A line begins at 8 and at 17. From 16 the nearest
    # line start before is 8, from 24 it is 17: further than 8 // 8 = 1, so these stay.
    assert _whole(made).targets[0].tolist() == [ord("0"), ord("9"), ord("\n"), ord(text[24])]


def test_streams_move_back_by_at_most_an_eighth_of_their_length() -> None:
    # Two streams of 32: 32 // 8 = 4. A line that begins at 28 is near enough to 32, at 27 not.
    for line, start in [(28, 28), (27, 32)]:
        ids = np.arange(100, 164)
        ids[line - 1] = 0
        made = streams.make(ids, 2, 4, START, 0)
        assert _whole(made).targets[0].tolist() == [100, 100 + start]
        assert _whole(made).targets[:, 1].tolist() == ids[start : start + 32].tolist()


@given(st.binary(min_size=40, max_size=400), st.integers(1, 5), st.integers(1, 30))
def test_stream_starts_equal_those_of_a_plain_search(
    text: bytes, batch_size: int, block: int
) -> None:
    ids = np.frombuffer(text, np.uint8) % 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "_BLOCK", block)
        made = streams.make(ids, batch_size, 1, START, np.array([3, 5]))
    for start, even in zip(made.starts, range(0, len(ids), made.length), strict=False):
        begins = [0, *(at + 1 for at in range(even) if ids[at] in (3, 5))]
        assert start == (begins[-1] if even - begins[-1] <= made.length // 8 else even)


def test_a_mapped_text_is_read_a_window_at_a_time(tmp_path: Path) -> None:
    # a file of 4 GB with holes for all but its last symbols: reading it whole would take minutes
    size = 2**32
    with (tmp_path / "ids").open("wb") as file:
        file.seek(size - 4)
        file.write(bytes([1, 2, 3, 4]))
    ids = np.memmap(tmp_path / "ids", np.uint8, "r")
    made = streams.make(ids, 2, 4, START, 10)
    last = made.window(Cursor(0, made.windows - 1))
    assert last.targets.T.tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]]


def test_a_text_without_line_ends_is_cut_evenly() -> None:
    made = streams.make(np.arange(12), 3, 2, START, newline=50)
    assert _whole(made).targets[0].tolist() == [0, 4, 8]


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 60), st.sampled_from([None, 0, [0, 1]]))
def test_what_is_kept_back_is_at_the_ends_of_streams_and_never_read(
    batch_size: int, seq_len: int, kept: int, newline: int | list[int] | None
) -> None:
    ids = np.random.default_rng(kept).integers(0, 9, 300)
    made = streams.make(ids, batch_size, seq_len, 9, newline, kept_back=kept)
    read = np.zeros(len(ids), int)
    for window in range(made.windows):
        first = made.starts + window * seq_len
        read[(first + np.arange(seq_len)[:, None]).ravel()] += 1
    for part in made.unread:
        assert not read[part].any()
    if newline is None:
        assert sum(part.stop - part.start for part in made.unread) == (read == 0).sum()
        assert all(part.stop - part.start >= kept // batch_size for part in made.unread)


def test_of_documents_the_last_ones_are_kept_back() -> None:
    ids, starts = np.arange(50), np.array([0, 10, 20, 30, 40])
    made = streams.make(ids, 2, 5, 99, None, documents=starts, kept_back=12)
    assert len(made.ids) == 38
    assert made.unread == []
    assert made.documents
    assert made.documents.ends.tolist() == [10, 20, 30, 38]


def test_streams_begin_anew_where_a_window_begins_at_the_start_of_a_line() -> None:
    # two streams of ten; 7 ends a line, and two of the windows of two begin after one
    ids = np.array([1, 7, 2, 3, 4, 7, 7, 5, 6, 1, 1, 2, 3, 4, 5, 7, 7, 7, 2, 2], np.uint8)
    made = streams.make(ids, 2, 2, START, 7, begins_anew=True)
    made = replace(made, starts=np.array([0, 10]))
    windows = [made.window(Cursor(0, number)) for number in range(made.windows)]
    begins = [None if w.begins is None else w.begins.tolist() for w in windows]
    assert begins == [None, [True, False], [False, False], [True, True], [False, True]]
    assert [w.inputs[0].tolist() for w in windows] == [
        [START, START],
        [START, 2],
        [3, 4],
        [START, START],
        [5, START],
    ]
    assert windows[3].inputs[1].tolist() == [7, 7]  # the rest is as without
    plain = streams.make(ids, 2, 2, START, 7)
    assert all(plain.window(Cursor(0, number)).begins is None for number in range(5))


def test_without_line_ends_streams_begin_anew_in_turn() -> None:
    made = streams.make(np.zeros(400, np.uint8), 4, 1, START, None, begins_anew=True)
    for newline in (None, np.zeros(0, np.int64)):
        made = replace(made, newline=newline)
        anew = [made.window(Cursor(0, number)).begins for number in range(1, made.windows)]
        rows = np.array(anew)
        assert rows.shape == (99, 4)
        for stream in rows.T:
            assert set(np.diff(np.flatnonzero(stream))) == {streams.RESTART}
        assert rows.sum(1).max() == 1


def test_the_error_for_a_short_text_says_what_fits() -> None:
    with pytest.raises(CorpusError) as caught:
        streams.check_fit(1000, 64, 64, "poem")
    assert str(caught.value) == (
        "poem has 1,000 characters to train on; windows of 64 in 64 streams need 4,096: "
        "`batch_size=15` or `seq_len=15` would fit"
    )


@given(st.integers(2, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_the_advised_sizes_are_the_largest_that_fit(
    length: int, batch_size: int, seq_len: int
) -> None:
    try:
        streams.check_fit(length, batch_size, seq_len, "text")
    except CorpusError as error:
        text = error.message.split(": ")[1]
        advice = {name: int(n) for name, n in re.findall(r"--(batch-size|seq-len) (\d+)", text)}
        assert advice
        if " or " in text or len(advice) == 1:  # each alone
            for name, number in advice.items():
                sizes = {"batch-size": batch_size, "seq-len": seq_len}
                streams.check_fit(length, *(sizes | {name: number}).values(), "text")
                with pytest.raises(CorpusError):
                    streams.check_fit(length, *(sizes | {name: number + 1}).values(), "text")
        else:
            streams.check_fit(length, advice["batch-size"], advice["seq-len"], "text")
    else:
        made = streams.make(np.zeros(length, np.uint8), batch_size, seq_len, 1, None)
        assert made.windows >= 1
