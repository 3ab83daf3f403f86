"""Decide the encoding of each file: UTF-8, what a byte order mark says, cp1252, or ask the user.

Any file that is valid UTF-8 is read as such. Of all other encodings only cp1252, that of Western
European Windows, is chosen without asking, and only for text in which accents and quotation marks
stand where a Western language has them. Anything else is an error that shows how a line of the text
would read in each likely encoding: a wrong choice would corrupt the text.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from charrnn.config import AUTO, Reading
from charrnn.errors import CorpusError, counted
from charrnn.text.encoding import UndecodableError, decode
from charrnn.text.extract import HTML
from charrnn.text.file_kinds import TEXT, is_like_ascii
from charrnn.text.notices import some
from charrnn.text.sources import Advance, Source, ignore

UTF8, WESTERN = "utf-8", "cp1252"
SAMPLE = 2**16  # bytes of lines beyond ASCII that a decision is based on
_CANDIDATES = 4
_ASCII = bytes(range(128))
_BEFORE = 100  # bytes kept before the first one beyond ASCII of a giant line
_CUT_OFF = "it ends inside a character, and may be cut off"
_DAMAGED = "most of it is UTF-8, and it may be damaged"
_MARKS = {  # that of UTF-16 is the start of that of UTF-32
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Of several encodings in which a text reads the same, the first of these is named.
_COMMON = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp866", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("cp1257", "cp1258", "iso8859_2", "iso8859_5", "iso8859_15", "mac_roman", "mac_cyrillic"),
    *("cp850", "cp437", "cp852", "gb18030", "big5", "shift_jis", "cp932", "euc_jp", "euc_kr"),
    *("cp949", "cp874", "euc_jis_2004"),
)
_SEQUENCE = rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
_UTF8_SEQUENCE = re.compile(_SEQUENCE)

# The letters beyond ASCII of the languages written in cp1252. A text whose accented letters do not
# belong to one of them is Hungarian, Czech, Polish, Turkish, ... in a related encoding.
_LANGUAGES = {
    "Albanian": "çë",
    "Catalan": "àçèéíïòóúü",
    "Danish, Norwegian": "åæøàéêòóôâ",
    "Dutch, Afrikaans": "áèéêëíîïóôöúûüñ",
    "Estonian, Finnish": "äåõöüšžé",
    "French": "àâæçèéêëîïôùûüÿœ",
    "German": "äöüßéàâê",
    "Icelandic, Faroese": "áæéíðóöúýþø",
    "Irish, Gaelic": "áéíóúàèìòù",
    "Italian": "àèéìíîòóùú",
    "Portuguese": "àáâãçéêíóôõúü",
    "Spanish, Galician, Basque": "áéíñóúüçï",
    "Swedish": "åäöéàüèá",
    "Welsh": "âáàäêéèëîíìïôóòöûúùüŷÿ",
}
_ALPHABETS = [set(letters + letters.upper()) for letters in _LANGUAGES.values()]
_FEW_ACCENTS = 0.01  # share of letters: loan words and names may come from any language
_MANY_ACCENTS = 0.4  # share of letters: no Western language has as many
_COVERED = 0.95
_ODD_SHARE = 0.02
_LONG_RUN = re.compile("[ªµºÀ-ÖØ-öø-ÿŠšŒœŽžŸƒ]{4,}")
# A sign that no language has between letters; an accented capital after a small letter;
# two signs in a row that belong to nothing.
_ODD = re.compile(
    "(?<=[a-zà-ÿ])[ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞŠŽŸŒ]"
    "|(?<=[A-Za-zÀ-ÿ])[¡-¬®-³µ¶¸-¿×÷‚„…†‡ˆ‰‹›“”•˜™€](?=[A-Za-zÀ-ÿ])"
    "|[¢-¦¨¬¯±-³´-¶¸¹¼-¾×÷ˆ˜†‡ƒ][¡-¬®-¿×÷ˆ˜†‡ƒ]"
    "|[¡-¬®-¿×÷ˆ˜†‡ƒ][¢-¦¨¬¯±-³´-¶¸¹¼-¾×÷ˆ˜†‡ƒ]"
)


@dataclass(frozen=True)
class Beyond:
    """What the bytes beyond ASCII of a file that is not UTF-8 say about its encoding.

    Attributes:
        lines: its first lines with such bytes.
        cut: whether the last of these lines was cut, perhaps inside a character.
        western: whether every byte of the file is defined in cp1252.
    """

    lines: tuple[bytes, ...]
    cut: bool
    western: bool

    @property
    def sample(self) -> bytes:
        """The lines as one text."""
        return b"\n".join(self.lines)

    def is_damaged_utf8(self) -> bool:
        """Return whether at least half of the characters beyond ASCII are UTF-8."""
        whole = len(_UTF8_SEQUENCE.findall(self.sample))
        broken = len(re.findall(rb"[\x80-\xff]", _UTF8_SEQUENCE.sub(b"", self.sample)))
        return whole >= broken

    def is_western(self) -> bool:
        """Return whether it reads like a text in cp1252."""
        return self.western and _is_western(_decoded(self.sample, WESTERN))

    def candidates(self) -> dict[str, str]:
        """Return likely encodings, the likeliest first, each with a line as it reads in it."""
        guesses = _guesses(self.sample, cut=self.cut)
        if self.western and WESTERN not in guesses[:_CANDIDATES]:
            guesses.insert(_CANDIDATES - 1, WESTERN)  # more texts are in it than in any other
        found: dict[str, str] = {}
        for name in guesses:
            line = self.line(name, 40)
            if line and line not in found.values():
                found[name] = line
        return dict(list(found.items())[:_CANDIDATES])

    def line(self, encoding: str, width: int = 60) -> str:
        """Return the first line beyond ASCII as it reads in an encoding; "" if it cannot be read.

        Of a long line, `width` characters around the first one beyond ASCII.
        """
        text = _decoded(self.lines[0], encoding)
        first = next((index for index, sign in enumerate(text) if not sign.isascii()), 0)
        start = max(0, min(first - width // 2, len(text) - width))
        return " ".join(text[start : start + width].split())


@dataclass(frozen=True)
class Decision:
    """The encoding of a file, and a line of it as it reads, if the encoding was guessed."""

    encoding: str
    line: str = ""


def decide(
    sources: Sequence[Source], reading: Reading, advance: Advance = ignore
) -> tuple[list[Source], list[str]]:
    """Decide the encodings of files.

    Args:
        sources: the files.
        reading: the encoding that was asked for: ``auto``, or that of files that are not UTF-8.
        advance: called with the number of bytes read.

    Returns:
        the files with their encodings, and sentences about what was decided.

    Raises:
        CorpusError: a file cannot be read, or its encoding is not certain.
    """
    decided: list[Source] = []
    made: dict[str, dict[str, str]] = {}  # by encoding: the files, each with a line
    for source in sources:
        if source.format in (TEXT, HTML):
            found = _decide(source, reading, advance)
            source = replace(source, encoding=found.encoding)
            made.setdefault(found.encoding, {})[source.name] = found.line
        decided.append(source)
    return decided, list(_notices(made, reading.encoding))


def refusal(source: Source, error: UndecodableError, max_unpacked: int | None) -> CorpusError:
    """Return the error for a file that is not in the encoding that was named or decided."""
    beyond = _beyond(source.chunks(max_unpacked))
    if error.reason == "unexpected end of data":
        advice = _CUT_OFF
    elif any(source.head(max_unpacked).startswith(mark) for mark in _MARKS):
        advice = "its byte order mark tells its encoding: leave --encoding out"
    elif not beyond.lines or (error.encoding == "UTF-8" and beyond.is_damaged_utf8()):
        advice = _DAMAGED
    elif beyond.is_western():
        advice = f'leave --encoding out, and it is read as {WESTERN}: "{beyond.line(WESTERN)}"'
    else:
        advice = _choices(beyond)
    return CorpusError(error.sentence(source.name, source.chunks(max_unpacked), advice))


def candidates(data: bytes) -> dict[str, str]:
    """Return likely encodings of a text, the likeliest first, each with a line as it reads."""
    beyond = _beyond([data])
    return beyond.candidates() if beyond.lines else {}


def _decide(source: Source, reading: Reading, advance: Advance) -> Decision:
    asked, limit = reading.encoding, reading.max_unpacked
    head = source.head(limit)
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if marked:
        return Decision(marked)
    if not is_like_ascii(asked):
        return Decision(asked)
    error, is_ascii = _check_utf8(source.chunks(limit, advance))
    if asked != AUTO:
        return Decision(asked if error or is_ascii else UTF8)
    if error is None:
        return Decision(UTF8)
    declared = _declared(head) if source.format == HTML else ""
    if declared:
        return Decision(declared)
    beyond = _beyond(source.chunks(limit))
    ended = error.reason == "unexpected end of data"
    damaged = ended or beyond.is_damaged_utf8()
    if not damaged and beyond.is_western():
        return Decision(WESTERN, beyond.line(WESTERN))
    if reading.errors == "replace":
        return Decision(UTF8)
    why = _CUT_OFF if ended else _DAMAGED if damaged else _choices(beyond)
    raise CorpusError(error.sentence(source.name, source.chunks(limit), why))


def _declared(head: bytes) -> str:
    """Return the encoding that a page of HTML names, as browsers understand it; "" if none."""
    found = re.search(rb"""(?:charset|encoding)\s*=\s*["']?([\w.:-]+)""", head[:4096])
    try:
        name = codecs.lookup(found[1].decode()).name if found else ""
    except LookupError:
        return ""
    return WESTERN if name in ("iso8859-1", "ascii") else name


def _choices(beyond: Beyond) -> str:
    """Name the encodings that a user may choose from, with a line as it reads in each."""
    found = [f'{name} ("{line}")' for name, line in beyond.candidates().items()]
    if not found:
        return "name its encoding with --encoding"
    return f"choose the --encoding in which it reads right: {', '.join(found)}"


def _check_utf8(chunks: Iterator[bytes]) -> tuple[UndecodableError | None, bool]:
    """Return why a file is not UTF-8, if it is not, and whether it is ASCII."""
    is_ascii = True
    try:
        for block in decode(chunks, UTF8, "strict"):
            is_ascii = is_ascii and block.isascii()
    except UndecodableError as error:
        return error, False
    return None, is_ascii


def _beyond(chunks: Iterable[bytes]) -> Beyond:
    """Read what is beyond ASCII in a file."""
    seen: set[int] = set()
    lines: list[bytes] = []
    held, size, cut = b"", 0, False  # `held` is the last line, which may go on
    for chunk in chunks:
        seen.update(chunk.translate(None, _ASCII))
        if size >= SAMPLE:
            continue
        *ended, held = (held + chunk).split(b"\n")
        if len(held) > SAMPLE and not held.isascii():
            ended, held, cut = [*ended, held[:SAMPLE]], b"", True
        elif len(held) > SAMPLE:
            held = held[-_BEFORE:]
        ended = [line for line in ended if not line.isascii()]
        size += sum(map(len, ended))
        lines += ended
    if size < SAMPLE and not held.isascii():
        lines.append(held)
    try:
        bytes(seen).decode(WESTERN)
    except UnicodeDecodeError:
        return Beyond(tuple(lines), cut, western=False)
    return Beyond(tuple(lines), cut, western=True)


def _decoded(data: bytes, encoding: str) -> str:
    """Return the text of bytes, without a character cut off at their end; "" if it is another."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeError:
        return ""


def _guesses(sample: bytes, *, cut: bool) -> list[str]:
    """Return encodings in which a sample reads well, likeliest first.

    If it was `cut`, its end may be in a character, which would rule out the encoding: then up to 3
    bytes are left out.
    """
    from charset_normalizer import from_bytes

    matches = [
        match
        for left_out in range(4 if cut else 1)
        for match in from_bytes(sample[: len(sample) - left_out])
    ]
    matches.sort(key=lambda match: (match.chaos, -match.coherence))
    names = (
        next((name for name in _COMMON if name in match.could_be_from_charset), None)
        for match in matches
    )
    return [name.replace("_", "-") for name in dict.fromkeys(names) if name]


def _is_western(text: str) -> bool:
    """Return whether letters and signs beyond ASCII stand where a Western language has them."""
    letters = [sign for sign in text if sign.isalpha() and sign not in "ªºµ"]
    beyond = Counter(sign for sign in letters if not sign.isascii())
    accents = beyond.total()
    if accents > _MANY_ACCENTS * len(letters):
        return False
    runs = sum(map(len, _LONG_RUN.findall(text)))
    odd = len(_ODD.findall(text))
    signs = sum(not sign.isascii() for sign in text)
    if max(runs, odd) > _ODD_SHARE * signs:
        return False
    if accents <= _FEW_ACCENTS * len(letters):
        return True
    covered = max(sum(beyond[letter] for letter in alphabet) for alphabet in _ALPHABETS)
    return covered >= _COVERED * accents


def _notices(made: Mapping[str, Mapping[str, str]], asked: str) -> Iterator[str]:
    """Say which files are read in another encoding than the one that was asked for."""
    for encoding, files in made.items():
        if encoding == (UTF8 if asked == AUTO else asked):
            continue
        names = [Path(name).name for name in files]
        many = len(names) > 1
        which, are = (counted(len(names), "file"), "are") if many else (names[0], "is")
        listed = f": {some(names)}" if many else ""
        guessed = next(((Path(name).name, line) for name, line in files.items() if line), None)
        if guessed:
            example = f"; {guessed[0]} has" if many else ", such as"
            yield (
                f"{which} {are} not UTF-8 and {are} read as {encoding}{listed}{example} "
                f'"{guessed[1]}" (if that is wrong, name the encoding with --encoding)'
            )
        else:
            instead = f", not as {asked}" if asked != AUTO else ""
            yield f"{which} {are} read as {encoding.upper()}{instead}{listed}"
