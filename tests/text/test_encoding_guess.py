"""The encoding of each file is decided, or asked for with a line of the text in each candidate."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from text_files import refused, write_file

from charrnn.config import Reading, TextOptions
from charrnn.errors import CorpusError
from charrnn.text import corpus, dataset
from charrnn.text.encoding_guess import SAMPLE

WESTERN = {
    "English": "It’s late, she said. “Don’t you – ever – think…?” The naïve café.",
    "Spanish": "El señor Muñoz vivía aquí. ¿Dónde está? ¡Él está en la 1ª calle!",
    "French": "Le garçon à la fenêtre était là, près de sa mère\xa0; «\xa0où\xa0?\xa0»",
    "German": "Größere Füße passen nicht. „Ach“, sagte die Königin, „süß!“",
    "Portuguese": "A informação não é tão boa como as canções do coração.",
    "Italian": "Perché non è più così? La città è là, la virtù però no.",
    "Catalan": "La il·lusió d’aquell país és més gran que això, però ningú ho sap.",
    "Dutch": "Het café van coördinator Renée is één ding, maar financiële ideeën…",
    "Danish": "På åen sejlede små både, og børnene råbte højt på øen.",
    "Swedish": "Råttan åt både gröt och smörgås på den lilla ön.",
    "Finnish": "Hän söi jäätelöä ja näki šakkia pelaavan pojan metsän äärellä.",
    "Icelandic": "Það var einu sinni kona sem átti þrjá syni í húsi við sjóinn.",
    "Estonian": "Õhtul jõudsime üle jõe ja nägime öist päikest.",
    "measures": "5½ µm at 20°C ± 1 cost £5 or ¥900 – © 2020 Müller™, a²+b².",
    "hyphens": "The soft\xadhyphens of a re\xadcord, and a caf\xe9.",
}
OTHERS = {
    "Polish": ("cp1250", "Zażółć gęślą jaźń, powiedział król i wyszedł na dwór."),
    "Polish again": ("iso8859_2", "Zażółć gęślą jaźń, powiedział król i wyszedł na dwór."),
    "Hungarian": ("cp1250", "Az őszi erdőben fűszeres illat volt, és az öregember ment."),
    "Czech": ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy a všichni se smáli."),
    "Croatian": ("cp1250", "Čovjek je išao kući, a šuma je bila tiha; žena ga čeka već noću."),
    "Romanian": ("cp1250", "Fata împăratului a ieşit în grădină şi a văzut ţăranii."),
    "Turkish": ("cp1254", "Şimdi güneş doğuyor, çocuklar bahçede oynuyor, kışın bittiğini."),
    "Russian": ("cp1251", "Съешь же ещё этих мягких французских булок, да выпей чаю."),
    "Russian of Unix": ("koi8-r", "Съешь же ещё этих мягких французских булок, да выпей чаю."),
    "Russian of DOS": ("cp866", "Съешь же ещё этих мягких французских булок, да выпей чаю."),
    "Greek": ("cp1253", "Μια φορά κι έναν καιρό ήταν ένας βασιλιάς που είχε γιους."),
    "Hebrew": ("cp1255", "בראשית ברא אלוהים את השמים ואת הארץ"),
    "Chinese": ("gb18030", "床前明月光,疑是地上霜。举头望明月,低头思故乡。"),
    "traditional": ("big5", "床前明月光,疑是地上霜。舉頭望明月,低頭思故鄉。"),
    "Japanese": ("shift-jis", "吾輩は猫である。名前はまだ無い。どこで生れたか見当がつかぬ。"),
    "Japanese of Unix": ("euc-jp", "吾輩は猫である。名前はまだ無い。どこで生れたか見当がつかぬ。"),
    "Korean": ("euc-kr", "옛날 옛적에 한 나무꾼이 산속에 살고 있었습니다."),
    "French of Macs": ("mac-roman", "L’été, le garçon était à la fenêtre, près de sa mère."),
    "French of DOS": ("cp850", "Le garçon était à la fenêtre, près de sa mère."),
}


@pytest.mark.parametrize("text", WESTERN.values(), ids=WESTERN)
def test_western_text_is_read_as_cp1252_with_a_notice(tmp_path: Path, text: str) -> None:
    path = write_file(tmp_path, f"{text}\n".encode("cp1252") * 3, "a.txt")
    read = corpus.read([path])
    assert read.text == f"{text}\n" * 3
    (notice,) = read.notices
    start = 'a.txt is not UTF-8 and is read as cp1252, such as "'
    end = '" (if that is wrong, name the encoding with --encoding)'
    assert notice.startswith(start)
    assert notice.endswith(end)
    assert notice[len(start) : -len(end)] in " ".join(text.split())


@pytest.mark.parametrize(("encoding", "text"), OTHERS.values(), ids=OTHERS)
def test_a_text_in_another_encoding_is_refused_with_lines_to_choose_from(
    tmp_path: Path, encoding: str, text: str
) -> None:
    data = f"An English title\n{text}\n".encode(encoding) * 20
    message = refused(write_file(tmp_path, data))
    assert "choose the `encoding` in which it reads right: " in message
    candidates = dict(re.findall(r'([\w-]+) \("([^"]+)"\)', message))
    assert 1 <= len(candidates) <= 4
    right = [name for name, line in candidates.items() if line in text]
    assert right
    for name in right:
        read = corpus.read([tmp_path / "text.txt"], Reading(encoding=name))
        assert read.text == data.decode(encoding)


def test_cp1252_is_among_the_candidates_where_nothing_is_undefined_in_it(tmp_path: Path) -> None:
    path = write_file(tmp_path, "café hello ÀÁÂÃÄÅ\n".encode("cp1252"))
    assert 'cp1252 ("café hello ÀÁÂÃÄÅ")' in refused(path)


@pytest.mark.parametrize("cut", range(3))
@pytest.mark.parametrize("encoding", ["gb18030", "shift-jis", "euc-jp", "big5"])
def test_the_sample_of_a_long_line_is_not_cut_inside_a_character(
    tmp_path: Path, cut: int, encoding: str
) -> None:
    data = b"x" * cut + "日月明光上下大小山川".encode(encoding) * (SAMPLE // 20 + 99)
    assert f'{encoding} ("' in refused(write_file(tmp_path, data))


def test_a_line_is_shown_around_its_first_character_beyond_ascii(tmp_path: Path) -> None:
    path = write_file(tmp_path, b"word " * 99 + b"caf\xe9" + b" word" * 99 + b"\n")
    (notice,) = corpus.read([path]).notices
    shown = re.findall('"(.*)"', notice)[0]
    assert "word café word" in shown
    assert len(shown) <= 60


def test_each_file_of_a_folder_has_its_own_encoding(tmp_path: Path) -> None:
    texts = {"a.txt": "It’s late.\n", "b.txt": "Café.\n", "c.md": "naïve “ü”\n", "d.txt": "no\n"}
    codecs = {"a.txt": "cp1252", "b.txt": "cp1252", "c.md": "utf-8", "d.txt": "ascii"}
    wide = {"e.txt": "utf-16", "f.txt": "utf-32", "g.txt": "utf-8-sig"}
    for name, codec in {**codecs, **wide}.items():
        write_file(tmp_path, texts.get(name, "wide é\n").encode(codec), name)
    read = corpus.read([tmp_path])
    assert read.text == "".join(texts.values()) + "wide é\n" * 3
    assert read.notices == (
        '2 files are not UTF-8 and are read as cp1252: a.txt, b.txt; a.txt has "It’s late." '
        "(if that is wrong, name the encoding with --encoding)",
        "e.txt is read as UTF-16",
        "f.txt is read as UTF-32",
        f"{tmp_path / 'g.txt'}: a byte order mark at its start was dropped",
    )
    again = corpus.read([tmp_path], Reading(newline="lf"))
    assert again.sha256 == read.sha256


def test_the_encoding_that_is_named_is_for_files_that_are_not_utf8(tmp_path: Path) -> None:
    russian = "Съешь же ещё этих булок.\n"
    for name, codec in {"a.txt": "cp1251", "b.txt": "utf-8", "c.txt": "utf-16"}.items():
        write_file(tmp_path, russian.encode(codec), name)
    write_file(tmp_path, b"ascii\n", "d.txt")
    read = corpus.read([tmp_path], Reading(encoding="cp1251"))
    assert read.text == russian * 3 + "ascii\n"
    assert read.notices == (
        "b.txt is read as UTF-8, not as cp1251",
        "c.txt is read as UTF-16, not as cp1251",
    )


def test_the_named_encoding_utf8_is_for_every_file(tmp_path: Path) -> None:
    write_file(tmp_path, "wide".encode("utf-16"))
    for encoding in ("utf-8", "UTF8"):
        with pytest.raises(CorpusError, match="byte order mark tells its encoding: leave `encodi"):
            corpus.read([tmp_path / "text.txt"], Reading(encoding=encoding))


def test_an_encoding_that_is_not_like_ascii_is_taken_as_named(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "cp500", "utf-7", "iso2022_jp"):
        path = write_file(tmp_path, "日本 + plain".encode(encoding, "replace"), "wide")
        read = corpus.read([path], Reading(encoding=encoding))
        assert read.text == "日本 + plain".encode(encoding, "replace").decode(encoding)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("é ü à ".encode() + b"\xff", "most of it is UTF-8, and it may be damaged"),
        ("é ü à".encode()[:-1], "it ends inside a character, and may be cut off"),
        ("é".encode() + b" caf\xe9 ", "most of it is UTF-8, and it may be damaged"),
    ],
)
def test_damaged_utf8_is_not_taken_for_another_encoding(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = write_file(tmp_path, data)
    assert words in refused(path)
    assert "\ufffd" in corpus.read([path], Reading(errors="replace")).text


def test_bytes_are_replaced_only_where_no_encoding_is_certain(tmp_path: Path) -> None:
    write_file(tmp_path, b"caf\xe9\n", "a.txt")
    write_file(tmp_path, "Съешь\n".encode("cp1251"), "b.txt")
    read = corpus.read([tmp_path], Reading(errors="replace"))
    assert read.text == "café\n" + "\ufffd" * 5 + "\n"
    assert [notice for notice in read.notices if "became U+FFFD" in notice]


def test_binary_data_is_never_read_as_cp1252(tmp_path: Path) -> None:
    assert "is not UTF-8" in refused(write_file(tmp_path, bytes(range(160, 256)) * 50))


def test_old_configurations_mean_strictly_utf8(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not UTF-8"):
        corpus.read([write_file(tmp_path, b"caf\xe9")], TextOptions(encoding="utf-8"))


def test_the_cache_of_datasets_knows_the_text_not_its_encoding(tmp_path: Path) -> None:
    text = "It’s a café.\n" * 30
    one = corpus.read([write_file(tmp_path, text.encode("cp1252"), "one.txt")])
    two = corpus.read([write_file(tmp_path, text.encode(), "two.txt")])
    assert one.sha256 == two.sha256
    assert dataset.make(one).folder == dataset.make(two).folder
    assert dataset.make(one).tokenizer.decode(dataset.make(one).train[:12]) == "It’s a café."
