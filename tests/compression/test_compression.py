from __future__ import annotations

import contextlib
import functools
import gzip
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from damage import flips, truncations
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn import compression
from charrnn.compression import compress, decompress
from charrnn.compression.archive import CHECKSUM_SIZE, HEADER, MAGIC, checksum
from charrnn.compression.coder import Coder
from charrnn.config import ModelConfig
from charrnn.errors import ArchiveError, OptionError, RunError
from charrnn.generator import Generator
from charrnn.inference import select
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.inference.distribution import PRECISION, frequencies
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.text import sources
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, train_pieces

LETTERS = CharTokenizer.from_texts("abcdefghijklmnopqrstuvwxyz .,\né日")
STORY = ("it was a quiet harbour, and the sea was old.\nno café was open, 日日.\n" * 20).encode()


def made(tokenizer: Tokenizer, seed: int = 1, threads: int = 1, **more: Any) -> Generator:
    """Return a model with random weights that are not small."""
    config = ModelConfig(tokenizer.vocab_size, **{"hidden_size": 24, "num_layers": 2} | more)
    values = parameters.initial(config, seed)
    for value in values.values():
        value *= 2
    return Generator(Model(config, tokenizer, values), threads=threads)


MADE = made(LETTERS)


@functools.cache
def a_text() -> bytes:
    """Return a text that no other program packs as well as its model; the first call compiles."""
    return MADE.sample(length=1500, seed=1, temperature=1.0).text.encode()


@functools.cache
def an_archive() -> compression.Compressed:
    return compress(MADE, a_text(), "charrnn 7")


@pytest.fixture(scope="module", autouse=True)
def _made_as_usual() -> None:
    """Make the archive before a test changes how archives are made."""
    an_archive()


@pytest.fixture
def _streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short texts into streams, too, and code them even if that does not help."""
    monkeypatch.setattr(compression, "PER_STREAM", 100)
    monkeypatch.setattr(compression, "_helps", lambda coded, data: True)


def sealed(body: bytes) -> bytes:
    """Return a forged archive with a valid checksum."""
    return body + checksum(body)


def test_the_size_is_what_the_score_predicts() -> None:
    promised = MADE.score(a_text().decode(), exact=True).total_nats / np.log(2) / 8
    head = HEADER.size + len("charrnn 7") + CHECKSUM_SIZE
    assert promised < len(an_archive().data) - head < 1.001 * promised + 8  # two words at its end
    assert (an_archive().tokens, an_archive().literals) == (len(a_text().decode()), 0)


NAMES = "".join(f"{name}\n" for name in STORY.decode().replace("\n", " ").split())


def _apart(separator: str, tokenizer: Tokenizer = LETTERS, **more: str) -> Generator:
    """Return the model of `made` as one of documents that end in a separator."""
    reading = {"document_separator": separator, "documents_apart": True, **more}
    return Generator(replace(made(tokenizer)._model, training={"reading": reading}))


@pytest.mark.parametrize("separator", ["\n", "r\n", "café"])
def test_a_model_of_documents_codes_each_by_itself(
    separator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_helps", lambda coded, data: True)
    model, text = _apart(separator), NAMES.encode()
    archive = compress(model, text, "charrnn 7")
    promised = model.score(NAMES, exact=True).total_nats / np.log(2) / 8
    assert archive.data[len(MAGIC)] == 2
    head = HEADER.size + len("charrnn 7") + CHECKSUM_SIZE
    head += 2 + len(separator.encode())
    assert promised < len(archive.data) - head < 1.001 * promised + 8
    assert decompress(_apart(separator), archive.data) == text
    # The archive says what ends a document, so the same weights decode it in any case.
    assert decompress(MADE, archive.data) == text


@pytest.mark.usefixtures("_streams")
@pytest.mark.parametrize("tokenizer", [LETTERS, ByteTokenizer()])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_streams_of_documents_and_any_line_ends_come_back(tokenizer: Tokenizer, ends: str) -> None:
    text = NAMES.replace("\n", ends).encode() * 3
    archive = compress(_apart("\n", tokenizer, newline="lf"), text, "x")
    assert archive.literals == 0
    assert decompress(_apart("\n", tokenizer), archive.data) == text
    mixed = text + b"the end\r\n\n"
    assert decompress(MADE, compress(_apart("\n", newline="lf"), mixed, "x").data) == mixed


def test_the_archive_of_a_model_of_one_text_is_of_the_first_version() -> None:
    assert an_archive().data[len(MAGIC)] == 1


@pytest.mark.parametrize("field", [b"", b"\0", b"\0\1\xff"])
def test_a_damaged_separator_is_an_error(field: bytes) -> None:
    head = HEADER.size + len("charrnn 7")
    body = bytearray(an_archive().data[:head])
    body[len(MAGIC)] = 2
    with pytest.raises(ArchiveError, match="its separator cannot be read"):
        decompress(MADE, sealed(bytes(body) + field))


@pytest.mark.usefixtures("_streams")
@pytest.mark.parametrize("cell", ["gru", "jordan", "elman"])
def test_every_cell_and_number_of_threads_round_trips(cell: str) -> None:
    form = {"cell": cell, "num_layers": 1, "hidden_size": 70}
    archive = compress(made(LETTERS, **form), a_text(), "x").data
    assert decompress(made(LETTERS, threads=3, **form), archive) == a_text()
    assert archive == compress(made(LETTERS, threads=2, **form), a_text(), "x").data


PIECES = train_pieces([STORY], len(STORY), "bpe", 300)
MODELS = {
    "char": MADE,
    "fallback": made(CharTokenizer("abc\n", byte_fallback=True)),
    "byte": made(ByteTokenizer()),
    "pieces": made(PIECES),
    "one symbol": made(CharTokenizer("a")),
}
ODD = [
    b"",
    b"a",
    b"aaaaaaaaa" * 20,
    b"\xef\xbb\xbfwith a mark\r\nand line ends\r\n" * 5,
    b"never seen: Q, \x00 and \xf0\x9f\x99\x82. also \xff\xfe and half \xe6\x97",
    "▁▅ <s> ﬁ Å é".encode(),
    b"\xed\xa0\x80\xed\xb0\x80",
    os.urandom(300),
    gzip.compress(STORY, mtime=0),
    "все другое 日本語".encode() * 9,
]


@pytest.mark.usefixtures("_streams")
@pytest.mark.parametrize("data", ODD)
@pytest.mark.parametrize("name", MODELS)
def test_arbitrary_bytes_round_trip(name: str, data: bytes) -> None:
    archive = compress(MODELS[name], data, "x")
    assert decompress(MODELS[name], archive.data) == data


@given(st.lists(st.sampled_from([b"a", b"bc\n", b"\r", b"\xff", "é日".encode(), b"Q"])))
def test_known_and_unknown_parts_in_any_order_round_trip(parts: list[bytes]) -> None:
    data = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_helps", lambda coded, data: True)
        assert decompress(MADE, compress(MADE, data, "x").data) == data


@pytest.mark.usefixtures("_streams")
@pytest.mark.parametrize("length", [199, 200, 201, 299, 1000, 1001])
def test_streams_of_any_length(length: int) -> None:
    data = (STORY.decode().encode("ascii", "ignore"))[:length]
    calls: list[tuple[int, int]] = []
    archive = compress(MADE, data, "x", lambda *done: calls.append(done)).data
    assert decompress(MADE, archive, lambda *done: calls.append(done)) == data
    assert calls[-1] == (length, length)
    assert calls.count((length, length)) >= 2


def test_unknown_characters_take_little_space() -> None:
    lines = a_text().replace(b"\n", b"\r\n")
    more = len(compress(MADE, lines, "x").data) - len(compress(MADE, a_text(), "x").data)
    assert 0 < more < 3 * a_text().count(b"\n")


def test_another_text_is_packed_as_a_whole() -> None:
    other = "Совсем другой текст. ".encode() * 50
    archive = compress(MADE, other, "x")
    assert (archive.tokens, archive.literals, archive.helped) == (0, len(other), False)
    assert len(archive.data) < 250


def test_an_archive_is_not_larger_than_the_packed_bytes() -> None:
    rude = b"zqxj" * 500  # on which the model does not help
    archive = compress(MADE, rude, "x")
    assert (archive.tokens, archive.helped) == (0, False)
    assert compress(MADE, a_text(), "x").helped
    assert compress(MADE, b"", "x").helped
    assert len(archive.data) < 150
    assert decompress(MADE, archive.data) == rude


def test_a_flipped_bit_in_any_byte_is_found_before_decoding() -> None:
    for damaged in flips(an_archive().data):
        with pytest.raises(ArchiveError):
            decompress(MADE, damaged, lambda done, total: pytest.fail("it began"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "not an archive"),
        (lambda data: b"charrnn", "not an archive"),
        (lambda data: gzip.compress(b"text", mtime=0), "not an archive"),
        (lambda data: b"charrnn\x04" + data[8:], "upgrade charrnn"),
        (lambda data: data[:-1], "damaged or truncated"),
        (lambda data: data[:40], "damaged or truncated"),
        (lambda data: data + b"\0", "damaged or truncated"),
    ],
)
def test_an_incomplete_archive_is_refused(change: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        decompress(MADE, change(an_archive().data))


def test_an_archive_belongs_to_its_model() -> None:
    with pytest.raises(ArchiveError, match="another model"):
        decompress(made(LETTERS, seed=2), an_archive().data)


def test_nothing_is_decoded_where_results_are_rounded_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = made(LETTERS)
    step = CompiledEngine.step

    def rounded(self: CompiledEngine, ids: Any, state: Any) -> Any:
        logits, state = step(self, ids, state)
        logits[-1, -1] = np.nextafter(logits[-1, -1], np.float32(9))  # one bit in all of them
        return logits, state

    monkeypatch.setattr(CompiledEngine, "step", rounded)
    with pytest.raises(ArchiveError, match=r"made by charrnn 7, where .* rounded differently"):
        decompress(other, an_archive().data)


def test_the_numpy_engine_is_refused() -> None:
    plain = made(LETTERS)
    plain.engine = NumpyEngine(plain.config, plain._model.values)
    with pytest.raises(OptionError, match="compiled engine"):
        compress(plain, a_text(), "x")


def _with(**fields: Any) -> bytes:
    """Return the archive with other values in its head."""
    names = ("magic", "version", "model", "fingerprint", "sha256")
    names += ("size", "symbols", "streams", "literals", "named")
    head = dict(zip(names, HEADER.unpack_from(an_archive().data), strict=True)) | fields
    rest = an_archive().data[HEADER.size : -CHECKSUM_SIZE]
    return sealed(HEADER.pack(*head.values()) + rest)


@pytest.mark.parametrize(
    "fields",
    [
        {"symbols": 2**60},
        {"streams": 0},
        {"streams": 2**31},
        {"symbols": 10**8, "size": 10**8},
        {"symbols": 10**8, "size": 10**8, "streams": 128},
        {"literals": 2**32 - 1},
        {"literals": 1},
        {"literals": 8},
        {"named": 255},
    ],
    ids=str,
)
def test_forged_sizes_are_refused_without_allocating_memory(fields: dict[str, int]) -> None:
    _is_refused_in_little_memory(**fields)


def test_sizes_a_little_larger_than_the_right_ones_are_refused() -> None:
    size = len(a_text())
    _is_refused_in_little_memory(symbols=an_archive().tokens + 200, size=size + 200)
    _is_refused_in_little_memory(size=size + 1)


def _is_refused_in_little_memory(**fields: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="damaged"):
            decompress(MADE, _with(**fields))
        assert tracemalloc.get_traced_memory()[1] < 2**27  # the unpacker has a window of 2^26
    finally:
        tracemalloc.stop()


def test_literals_take_memory_for_their_real_size_only() -> None:
    packed = compress(MADE, b"\xff" * 99, "x").data
    head = list(HEADER.unpack_from(packed))
    head[5] = 10**8  # the size
    rest = packed[HEADER.size : -CHECKSUM_SIZE]
    with pytest.raises(ArchiveError, match="not have the stated length"):
        decompress(MADE, sealed(HEADER.pack(*head) + rest))


@pytest.mark.parametrize("size", [10**8 + 1, 2**60, 2**64 - 1])
def test_an_archive_that_states_a_huge_text_needs_leave(size: int) -> None:
    with pytest.raises(ArchiveError, match=rf"unpacks to {size:,}: .* raise `max_unpacked`"):
        decompress(MADE, _with(size=size, symbols=0))
    with pytest.raises(ArchiveError, match="damaged"):
        decompress(MADE, _with(size=size, symbols=0), max_unpacked=2**64)


def test_zeros_that_take_no_space_need_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MIN_UNPACKED", 50_000)
    zeros = bytes(2_000_000)
    made = compress(MADE, zeros, "x")
    assert not made.helped
    assert len(made.data) < 1000
    with pytest.raises(ArchiveError, match=r"says that it unpacks to 2,000,000"):
        decompress(MADE, made.data)
    assert decompress(MADE, made.data, max_unpacked=len(zeros)) == zeros
    head = list(HEADER.unpack_from(made.data))
    head[5] = 40_000  # it lies about the size
    forged = sealed(HEADER.pack(*head) + made.data[HEADER.size : -CHECKSUM_SIZE])
    with pytest.raises(ArchiveError, match=r"no tokens for unpacks to more than [0-9,]+ bytes"):
        decompress(MADE, forged)


def test_pieces_that_are_longer_than_stated_take_no_memory() -> None:
    tokenizer = train_pieces([b"ab" * 2000], 4000, "bpe", 270)
    model = made(tokenizer)
    longest = max(range(tokenizer.vocab_size), key=lambda i: len(tokenizer.token_bytes[i]))
    text = tokenizer.token_bytes[longest] * 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_helps", lambda coded, data: True)
        archive = compress(model, text, "x")
    assert 0 < archive.tokens < len(text)
    assert decompress(model, archive.data) == text
    head = list(HEADER.unpack_from(archive.data))
    head[5] = archive.tokens
    with pytest.raises(ArchiveError, match="not have the stated length"):
        decompress(model, sealed(HEADER.pack(*head) + archive.data[HEADER.size : -CHECKSUM_SIZE]))


def test_every_truncation_of_an_archive_is_refused() -> None:
    for content in truncations(an_archive().data):
        with pytest.raises(ArchiveError, match=r"not an archive|damaged|format"):
            decompress(MADE, content)


MIXED = STORY[:90].replace(b"\n", b"\r\n")


@functools.cache
def _body() -> bytes:
    """Return an archive of `MIXED` without its checksum."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_helps", lambda coded, data: True)
        return compress(MADE, MIXED, "x").data[:-CHECKSUM_SIZE]


numbers = st.binary(max_size=9) | st.sampled_from([b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f"])
# Most are in the header, after magic, model and fingerprint, which are checked first.
edits = st.deferred(
    lambda: st.tuples(
        st.integers(32, 100) | st.integers(0, len(_body())), st.integers(0, 9), numbers
    )
)


@given(st.lists(edits, min_size=1, max_size=3))
def test_any_archive_with_a_valid_checksum_is_read_or_refused(
    changes: list[tuple[int, int, bytes]],
) -> None:
    body = _body()
    for at, gone, put in changes:
        body = body[:at] + put + body[at + gone :]
    with contextlib.suppress(ArchiveError, RunError):
        assert decompress(MADE, sealed(body)) == MIXED


def test_the_result_is_compared_with_the_original() -> None:
    with pytest.raises(ArchiveError, match="not have the stated length"):
        decompress(MADE, _with(symbols=an_archive().tokens - 1))
    with pytest.raises(RunError, match="not the one that was compressed"):
        decompress(MADE, _with(sha256=bytes(32)))


def test_forged_words_are_reported_in_one_sentence() -> None:
    head = an_archive().data[: HEADER.size + len("charrnn 7")]
    with pytest.raises((RunError, ArchiveError)):
        decompress(MADE, sealed(head + b"\xff" * 400))
    with pytest.raises((RunError, ArchiveError)):
        decompress(MADE, sealed(head))


def _logits(rows: int, symbols: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return (5 * rng.standard_normal((rows, symbols))).astype(np.float32)


@pytest.mark.parametrize("symbols", [1, 2, 65, 5000])
def test_frequencies_are_whole_numbers_near_probabilities(symbols: int) -> None:
    logits = _logits(7, symbols)
    found = frequencies(logits)
    assert (found == np.floor(found)).all()
    assert found.min() >= 1
    sums = found.sum(-1, dtype=np.float64)
    assert (sums <= PRECISION + 2 * symbols).all()
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(-1, keepdims=True)
    excess = (p * np.log(p / (found / sums[:, None]))).sum(-1)
    assert excess.max() < 2e-3 * symbols / 5000 + 1e-6  # nats for each symbol
    np.testing.assert_array_equal(frequencies(logits[3:4]), found[3:4])


def test_archives_of_the_older_rounding_are_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older(Coder):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, older=True)

    monkeypatch.setattr(select, "OLDER_PRODUCT", lambda x, weight: x @ weight * np.float32(1.001))
    generator = made(LETTERS, embedding_size=8)
    with monkeypatch.context() as patched:
        patched.setattr(compression, "Coder", Older)
        old = compress(generator, a_text(), "charrnn 7").data
    assert old != compress(generator, a_text(), "charrnn 7").data
    assert decompress(generator, old) == a_text()
