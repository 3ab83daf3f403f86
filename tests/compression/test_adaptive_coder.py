from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn import compression
from charrnn.adaptive import network
from charrnn.compression import compress, decompress
from charrnn.compression.adaptive_coder import AdaptiveCoder
from charrnn.compression.archive import CHECKSUM_SIZE, HEADER, MAGIC, Archive, checksum
from charrnn.config import ModelConfig
from charrnn.errors import ArchiveError, OptionError
from charrnn.generator import Generator
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer

LETTERS = CharTokenizer.from_texts("abcdefghijklmnopqrstuvwxyz .,\né日")
TEXT = "it was a quiet harbour, and the sea was old.\nno café was open, 日日.\n" * 8


def made(
    tokenizer: Tokenizer = LETTERS, seed: int = 1, ensemble: int = 1, **more: Any
) -> Generator:
    """Return a model with random weights."""
    config = ModelConfig(tokenizer.vocab_size, hidden_size=24, num_layers=2, ensemble=ensemble)
    reading = {"document_separator": more.pop("separator", ""), "documents_apart": True}
    training = {"reading": reading} if reading["document_separator"] else {}
    return Generator(Model(config, tokenizer, parameters.initial(config, seed), training), **more)


MADE = made(threads=1)


@pytest.fixture(scope="module")
def archive() -> bytes:
    return compress(MADE, TEXT.encode(), "charrnn 7", dynamic=True).data


def test_a_text_comes_back_and_takes_what_its_score_promises(archive: bytes) -> None:
    assert archive[len(MAGIC)] == 3
    assert decompress(MADE, archive) == TEXT.encode()
    promised = MADE.score(TEXT, dynamic=True).total_nats / np.log(2) / 8
    head = HEADER.size + len("charrnn 7") + 3 + CHECKSUM_SIZE
    assert promised < len(archive) - head < 1.005 * promised + 8
    assert len(archive) < len(compress(MADE, TEXT.encode(), "charrnn 7").data)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_archives_do_not_depend_on_threads(archive: bytes, ensemble: int) -> None:
    one, other = (made(threads=threads, ensemble=ensemble) for threads in (1, 2))
    if ensemble > 1:
        archive = compress(one, TEXT.encode(), "charrnn 7", dynamic=True).data
    assert compress(other, TEXT.encode(), "charrnn 7", dynamic=True).data == archive
    assert decompress(one, archive) == decompress(other, archive) == TEXT.encode()


@pytest.mark.parametrize(
    "data", [b"", b"a", b"never seen: Q, \x00 and \xf0\x9f\x99\x82, half \xe6\x97\r\n" * 4]
)
@pytest.mark.parametrize("tokenizer", [LETTERS, ByteTokenizer(), CharTokenizer("a")])
def test_arbitrary_bytes_round_trip(
    tokenizer: Tokenizer, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_helps", lambda coded, data: True)
    model = made(tokenizer)
    assert decompress(model, compress(model, data, "x", dynamic=True).data) == data


def test_documents_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_helps", lambda coded, data: True)
    model = made(separator="\n")
    packed = compress(model, TEXT.encode(), "x", dynamic=True).data
    promised = model.score(TEXT, dynamic=True).total_nats / np.log(2) / 8
    head = HEADER.size + 1 + 4 + CHECKSUM_SIZE
    assert promised < len(packed) - head < 1.005 * promised + 8
    assert decompress(made(), packed) != b""  # the archive says what ends a document
    assert decompress(made(), packed) == TEXT.encode()


def test_nothing_is_decoded_where_learning_is_rounded_differently(
    archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "RATE", np.nextafter(np.float32(network.RATE), 1))
    with pytest.raises(ArchiveError, match=r"made by charrnn 7, where .* rounded differently"):
        decompress(MADE, archive)


def test_archives_of_the_older_predictor_are_still_read(
    archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Older(AdaptiveCoder):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, older=True)

    with monkeypatch.context() as patched:
        patched.setattr(compression, "AdaptiveCoder", Older)
        old = compress(MADE, TEXT.encode(), "charrnn 7", dynamic=True).data
    assert old != archive
    assert decompress(MADE, old) == TEXT.encode()


def _sealed(body: bytes) -> bytes:
    return body + checksum(body)


def test_damage_is_refused(archive: bytes) -> None:
    body = archive[:-CHECKSUM_SIZE]
    at = HEADER.size + len("charrnn 7")
    for forged, why in [
        (body[:at] + b"\xff" + body[at + 1 :], "damaged"),
        (body[:-40], "words end before its text does"),
    ]:
        with pytest.raises(ArchiveError, match=why):
            decompress(MADE, _sealed(forged))
    fields = list(HEADER.unpack_from(body))
    fields[7] = 2  # streams
    with pytest.raises(ArchiveError, match="one stream"):
        decompress(MADE, _sealed(HEADER.pack(*fields) + body[HEADER.size :]))


def test_rounded_weights_cannot_learn() -> None:
    with pytest.raises(OptionError, match="must be float32"):
        compress(made(weights="int8"), b"text", "x", dynamic=True)


def test_what_was_counted_before_is_needed_again() -> None:
    before = LETTERS.encode(TEXT)
    text = (TEXT[:200] + TEXT[:100]).encode()
    packed = compress(MADE, text, "x", dynamic=True, counted=before).data
    assert len(packed) < len(compress(MADE, text, "x", dynamic=True).data) - 20
    assert decompress(MADE, packed, recall=lambda: before) == text
    ids = LETTERS.encode(text.decode())
    (read,) = MADE.adaptive(len(ids), before).surprisals([ids])
    promised = read.nats.sum() / np.log(2) / 8
    assert promised < len(Archive.parse(packed).words) < 1.005 * promised + 8
    with pytest.raises(ArchiveError, match="a text was counted before it"):
        decompress(MADE, packed)
    with pytest.raises(ArchiveError, match="that of the training changed"):
        decompress(MADE, packed, recall=lambda: before[1:])
