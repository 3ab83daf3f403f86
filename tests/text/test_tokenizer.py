import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import CorpusError, ModelError, PromptError
from charrnn.text import corpus, sources, tokenizer
from charrnn.text.tokenizer import (
    ByteTokenizer,
    CharTokenizer,
    Decoder,
    SentencePieceTokenizer,
    Tokenizer,
)
from charrnn.text.tokenizer import sentencepiece as sentencepieces

any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(any_text)
@example("\x00\U0010ffff")
@example("e\u0301é\r\n\ufeff")
def test_any_text_is_decoded_to_itself(text: str) -> None:
    made = CharTokenizer.from_texts(text)
    ids = made.encode(text)
    assert len(ids) == len(text)
    assert made.decode(ids) == text


@given(any_text, any_text)
def test_the_alphabet_is_every_code_point_of_all_texts_sorted(one: str, other: str) -> None:
    made = CharTokenizer.from_texts(one, other)
    assert list(made.alphabet) == sorted(set(one + other))
    assert made.vocab_size == len(set(one + other))


@given(any_text)
def test_a_tokenizer_is_restored_from_json(text: str) -> None:
    made = CharTokenizer.from_texts(text)
    data = json.loads(json.dumps(made.to_json()))
    assert tokenizer.from_json(data, "here") == made


@given(any_text, any_text)
def test_unknown_characters_and_only_they_are_refused(known: str, text: str) -> None:
    made = CharTokenizer.from_texts(known)
    unknown = set(text) - set(known)
    if not unknown:
        assert made.decode(made.encode(text)) == text
        return
    with pytest.raises(PromptError) as caught:
        made.encode(text)
    listed = {chr(int(code, 16)) for code in re.findall(r"\(U\+([0-9A-F]+)\)", str(caught.value))}
    assert listed <= unknown
    assert len(listed) == min(len(unknown), 8)


def test_ids_are_indices_in_the_sorted_alphabet() -> None:
    made = CharTokenizer.from_texts("hello")
    assert made.alphabet == "ehlo"
    assert made.encode("hello").tolist() == [1, 0, 2, 2, 3]


def test_an_empty_text_has_no_ids() -> None:
    assert CharTokenizer("ab").encode("").shape == (0,)
    assert CharTokenizer("ab").decode([]) == ""


def test_unknown_characters_are_listed_once_each_with_code_points() -> None:
    with pytest.raises(PromptError) as caught:
        CharTokenizer("ab").encode("aXbéX😀")
    message = str(caught.value)
    assert "has never seen 'X' (U+0058), 'é' (U+00E9), '😀' (U+1F600): remove them" in message
    assert "the 2 tokens it knows" in message


def test_the_advice_for_one_unknown_character_is_singular() -> None:
    with pytest.raises(PromptError, match=r"'c' \(U\+0063\): remove it"):
        CharTokenizer("ab").encode("abcc")


def test_a_character_between_known_ones_is_unknown() -> None:
    with pytest.raises(PromptError, match=r"U\+0062"):
        CharTokenizer("ac").encode("abc")


def test_many_unknown_symbols_are_counted() -> None:
    with pytest.raises(PromptError, match=r"'8' \(U\+0038\) and 2 more: remove them"):
        CharTokenizer("ab").encode("1234567890")


def test_a_lone_surrogate_is_an_unknown_symbol() -> None:
    with pytest.raises(PromptError, match=r"U\+DC80"):
        CharTokenizer("ab").encode("a\udc80")


def test_the_message_of_an_unknown_line_feed_is_one_line() -> None:
    with pytest.raises(PromptError, match=r"U\+000A") as caught:
        CharTokenizer("ab").encode("a\n")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vocab_size", "id_type"),
    [
        (255, np.uint8),  # ids 0..254, and 255 for the start token
        (256, np.uint16),  # the start token, 256, does not fit in a byte
        (300, np.uint16),
        (65_535, np.uint16),
        (65_536, np.uint32),
        (70_000, np.uint32),
    ],
)
def test_ids_have_the_smallest_type_that_holds_the_start_token_too(
    vocab_size: int, id_type: type
) -> None:
    symbols = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x20000)][:vocab_size]))
    made = CharTokenizer(symbols)
    ids = made.encode(symbols)
    assert ids.dtype == id_type == made.id_type
    assert ids.tolist() == list(range(vocab_size))
    assert made.decode(ids) == symbols


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "char"},
        {"kind": "bytes", "symbols": "ab"},
        {"kind": "char", "symbols": "a\ud800"},
        {"kind": "char", "symbols": "ab", "byte_fallback": 1},
        {"kind": "sentencepiece"},
        {"kind": "sentencepiece", "model": ""},
        {"kind": "sentencepiece", "model": "%%%"},
        {"kind": "sentencepiece", "model": "AAAA"},
        {"kind": "char", "symbols": ""},
        {"kind": "char", "symbols": 3},
        {"kind": "char", "symbols": ["a", "b"]},
        {"kind": "char", "symbols": "ba"},
        {"kind": "char", "symbols": "aab"},
    ],
)
def test_damaged_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="here is damaged"):
        tokenizer.from_json(data, "here")


STORY = "The quick brown fox\njumps over the lazy dog; café, naïve, 日本語 and 😀.\n\n" * 30


@pytest.fixture(scope="module")
def pieces() -> dict[str, SentencePieceTokenizer]:
    """A tokenizer of each kind that sentencepiece can learn."""
    return {
        kind: tokenizer.train_pieces([STORY.encode()], len(STORY.encode()), kind, 320)
        for kind in ("unigram", "bpe", "char")
    }


SPECIAL = [
    *"\r\n \t\x00▁▅\ufeff\ufffd",
    "\u2028",
    "é",
    "e\u0301",
    "\U0010ffff",
    "<s>",
    "<0x41>",
    "  ",
]


def _random_texts(seed: int, count: int) -> list[str]:
    """Return texts of all of Unicode, with characters that some tokenizer treats specially."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        top = int(rng.choice([0x80, 0x800, 0x10000, 0x110000]))
        points = rng.integers(0, top, rng.integers(0, 9))
        points = points[(points < 0xD800) | (points > 0xDFFF)]
        special = rng.choice(SPECIAL, rng.integers(0, 3))
        texts.append("".join(map(chr, points.tolist())) + "".join(special))
    return texts


@given(st.integers(0, 2**32))
def test_random_texts_come_back_from_every_tokenizer(
    pieces: dict[str, SentencePieceTokenizer],
    tmp_path_factory: pytest.TempPathFactory,
    times: Callable[[int, int], int],
    seed: int,
) -> None:
    """Join a hundred texts in a file that is cut at random positions; `make soak`: a thousand."""
    texts = _random_texts(seed, times(100, 1000))
    whole = "." + "".join(texts)  # a byte order mark at its start would be no text
    path = tmp_path_factory.getbasetemp() / "random-texts"
    path.write_bytes(whole.encode())
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK", int(2 ** rng.uniform(5, 14)))
        read = corpus.read([path])
        blocks = [piece.data for piece in read.pieces()]
    every: list[Tokenizer] = [
        CharTokenizer.from_counts(read.points, read.counts, 1),
        CharTokenizer.from_counts(read.points, read.counts, int(rng.integers(2, 30))),
        ByteTokenizer(),
        *pieces.values(),
    ]
    for made in every:
        encoder, decoder = made.encoder(), Decoder(made)
        ids = np.concatenate([*map(encoder.feed, blocks), encoder.finish()])
        assert ids.dtype == made.id_type
        assert decoder.feed(ids.tolist()) + decoder.finish() == whole
        assert ids.tolist() == made.encode(whole).tolist()  # in a stream as in one go
        assert made.measure(ids) == (len(whole), len(whole.encode()))
        for text in texts[: times(4, 1000)]:
            assert made.decode(made.encode(text)) == text


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
def test_pieces_through_files_with_any_chunks(
    pieces: dict[str, SentencePieceTokenizer],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: Callable[[int, int], int],
) -> None:
    text = "".join(_random_texts(5, times(50, 200))).replace("\ufeff", "")
    (tmp_path / "text").write_bytes(text.encode())
    for chunk in (1, 2, 3, 5, 64, 10**6):
        monkeypatch.setattr(sources, "CHUNK", chunk)
        encoder = pieces[kind].encoder()
        found = [encoder.feed(piece.data) for piece in corpus.read([tmp_path / "text"]).pieces()]
        ids = np.concatenate([*found, encoder.finish()])
        assert ids.tolist() == pieces[kind].encode(text).tolist()


def test_pieces_are_shorter_than_characters(pieces: dict[str, SentencePieceTokenizer]) -> None:
    longer = tokenizer.train_pieces([STORY.encode()], len(STORY.encode()), "bpe", 400)
    assert len(longer.encode(STORY)) < 0.5 * len(STORY)
    assert all(made.vocab_size <= 320 for made in pieces.values())
    assert pieces["char"].token_bytes[:256] == [bytes([byte]) for byte in range(256)]


@given(st.binary(max_size=30))
def test_any_bytes_decode_to_valid_text(data: bytes) -> None:
    decoder, made = Decoder(ByteTokenizer()), ByteTokenizer()
    text = "".join(decoder.feed([byte]) for byte in data) + decoder.finish()
    assert text == data.decode("utf-8", "replace") == made.decode(data)
    text.encode()  # is valid


def test_a_character_of_several_tokens_waits_for_its_last() -> None:
    decoder = Decoder(ByteTokenizer())
    assert [decoder.feed([byte]) for byte in "é😀".encode()] == ["", "é", "", "", "", "😀"]
    assert decoder.finish() == ""


def test_rare_and_unknown_characters_are_encoded_as_bytes() -> None:
    made = CharTokenizer("ab", byte_fallback=True)
    assert made.vocab_size == 258
    assert made.encode("aébZ").tolist() == [0, 2 + 0xC3, 2 + 0xA9, 1, 2 + ord("Z")]
    assert made.decode(made.encode("aébZ")) == "aébZ"
    assert (made.whole_characters, CharTokenizer("ab").whole_characters) == (False, True)


@pytest.mark.parametrize("made", [CharTokenizer("a", byte_fallback=True), ByteTokenizer()])
def test_all_tokenizers_refuse_lone_surrogates(made: Tokenizer) -> None:
    with pytest.raises(PromptError, match=r"U\+DCFF"):
        made.encode("a\udcff")


def test_line_ends_are_the_ids_that_end_with_a_line_feed(
    pieces: dict[str, SentencePieceTokenizer],
) -> None:
    assert CharTokenizer("\n ab").line_ends.tolist() == [0]
    assert CharTokenizer("ab").line_ends.tolist() == []
    assert CharTokenizer("\nab", byte_fallback=True).line_ends.tolist() == [0, 3 + 10]
    assert ByteTokenizer().line_ends.tolist() == [10]
    made = pieces["bpe"]
    assert 10 in made.line_ends
    assert all(made.token_bytes[index].endswith(b"\n") for index in made.line_ends)


def test_every_tokenizer_is_restored_from_json(pieces: dict[str, SentencePieceTokenizer]) -> None:
    for made in (CharTokenizer("ab", byte_fallback=True), ByteTokenizer(), *pieces.values()):
        again = tokenizer.from_json(json.loads(json.dumps(made.to_json())), "here")
        assert again == made
        assert again.encode("abc▁").tolist() == made.encode("abc▁").tolist()


def test_a_sentencepiece_model_that_changes_texts_is_refused() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(STORY.splitlines()),
        model_writer=model,
        vocab_size=320,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=3,
        bos_id=-1,
        eos_id=-1,
    )  # with its own normalisation
    data = {"kind": "sentencepiece", "model": base64.b64encode(model.getvalue()).decode()}
    with pytest.raises(ModelError, match="not one of charrnn's"):
        tokenizer.from_json(data, "here")


def test_learning_pieces_is_repeatable_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (STORY * 20).encode()
    once, again = (tokenizer.train_pieces([text], len(text), "bpe", 300) for _ in range(2))
    assert once == again
    monkeypatch.setattr(sentencepieces, "_TRAINED_ON", len(text) // 10)
    seen: list[str] = []
    drop_rare = sentencepieces._drop_rare

    def look(segments: list[str], limit: int) -> list[str]:
        seen.extend(segments)
        return drop_rare(segments, limit)

    monkeypatch.setattr(sentencepieces, "_drop_rare", look)
    tokenizer.train_pieces([text], len(text), "bpe", 300)
    assert 0.05 < len("".join(seen).encode()) / len(text) < 0.15


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize("text", ["a", "\n", "▁▅", "no-spaces", "\x00\t", "漢" * 5000])
def test_pieces_of_odd_texts(kind: str, text: str) -> None:
    made = tokenizer.train_pieces([text.encode()], len(text.encode()), kind, 300)
    other = f"{text} another ▁▅ text"
    assert made.decode(made.encode(other)) == other


def test_the_error_of_the_sentencepiece_library_is_shown() -> None:
    with pytest.raises(CorpusError, match=r"cannot learn 400 tokens.*`tokenizer`"):
        tokenizer.train_pieces([b"abc"], 3, "nonsense", 400)
