"""Compose a collection of tunes in ABC notation, the same one every time.

    python corpora/make_tunes.py [--output FILE] [--tunes NUMBER] [--seed NUMBER]

No tune is copied: each is composed from the rules below, which are those of dance music for fiddle
and whistle.

* Form: two parts (sometimes three), each repeated. A part has two phrases of four bars. The second
  phrase begins like the first, and the last bars of the parts often rhyme.
* Harmony: a phrase opens on the home chord, pauses halfway on the dominant (or on the chord below
  home, in modes without a leading tone), and returns home in the last bar.
* Melody: the first note of a figure belongs to the chord; the figure then runs, turns or leaps
  towards the next one, to within a step of it if possible. Each tune prefers a few figures and
  rhythms, so that its parts belong together.
* Meter: every bar is full. If a part has a pick-up, its last bar is shorter by that length.

The script only uses `random.Random.random` with an integer seed, because Python guarantees its
sequence, and adds up weights in a plain loop, because `sum` of floats changed in Python 3.12.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Table = tuple[tuple[str, float], ...]


def table(text: str) -> Table:
    """Parse "item:weight; item:weight"."""
    pairs = [entry.split(":") for entry in text.split("; ")]
    return tuple((item, float(weight)) for item, weight in pairs)


def words(text: str) -> list[str]:
    return text.split(", ")


# ---------------------------------------------------------------------------------------------
# Chance
# ---------------------------------------------------------------------------------------------


class Luck:
    """A seeded source of choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, bound: int) -> int:
        """Return an integer from 0 to bound - 1."""
        return int(self._random() * bound)

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def weigh(self, options: Sequence[tuple[T, float]]) -> T:
        """Return one of the options, with probability proportional to its weight."""
        total = 0.0
        for _, weight in options:
            total += weight
        mark = self._random() * total
        for option, weight in options:
            mark -= weight
            if mark < 0:
                return option
        return options[-1][0]


# ---------------------------------------------------------------------------------------------
# Pitch and key. A pitch counts white keys from middle C: 0 is C, 7 is c, -1 is B, (low).
# ---------------------------------------------------------------------------------------------

LETTERS = "CDEFGAB"
SHARP_ORDER = "FCGDAEB"
SEMITONES = (0, 2, 4, 5, 7, 9, 11)
LOWEST, HIGHEST = -1, 13  # low B to high b: a fiddle in first position
EASY_LOW, EASY_HIGH = 1, 12  # the range of a whistle in D, for most notes


@dataclass(frozen=True)
class Mode:
    """The usual chords of a mode. Digits are chords, 1 is the home chord, "45" two in a bar."""

    openings: tuple[str, ...]  # bars 1 to 3 of a phrase
    halves: tuple[str, ...]  # bar 4: the half cadence
    closes: tuple[str, ...]  # bar 7: before the cadence
    dominants: str  # chords that may lead home in bar 8


MAJOR = Mode(
    openings=("1 1 4", "1 5 1", "1 4 1", "1 6 4", "1 1 5", "1 14 1", "1 2 15", "1 15 1"),
    halves=("5", "45", "15", "25"),
    closes=("45", "25", "15", "14", "4"),
    dominants="5",
)
MIXOLYDIAN = Mode(
    openings=("1 1 7", "1 7 1", "1 17 1", "1 4 1", "1 7 4", "1 1 47"),
    halves=("7", "17", "47", "5"),
    closes=("17", "47", "7", "14"),
    dominants="775",
)
DORIAN = Mode(
    openings=("1 1 7", "1 7 1", "1 17 1", "1 4 1", "1 3 7", "1 1 37"),
    halves=("7", "17", "37", "5"),
    closes=("17", "37", "7", "35"),
    dominants="775",
)
MINOR = Mode(
    openings=("1 1 7", "1 7 1", "1 4 1", "1 6 7", "1 3 7", "1 1 4", "1 15 1"),
    halves=("7", "5", "15", "17", "45"),
    closes=("67", "45", "37", "15", "4"),
    dominants="755",
)


@dataclass(frozen=True)
class Key:
    """A key signature and its home note."""

    name: str
    tonic: int
    sharps: int
    mode: Mode

    def degree(self, pitch: int) -> int:
        """Return 0 for home, 4 for the fifth above, 6 for the note below home, in any octave."""
        return (pitch - self.tonic) % 7

    def semitone(self, pitch: int) -> int:
        octave, step = divmod(pitch, 7)
        return 12 * octave + SEMITONES[step] + (LETTERS[step] in SHARP_ORDER[: self.sharps])

    def in_chord(self, pitch: int, chord: int) -> bool:
        """Return whether a pitch is root, third or fifth of the chord on a degree (1 to 7)."""
        return (self.degree(pitch) - (chord - 1)) % 7 in (0, 2, 4)

    def is_tritone(self, pitch: int, other: int) -> bool:
        """Return whether two pitches are a tritone apart, which sounds wrong in this music."""
        return abs(self.semitone(pitch) - self.semitone(other)) == 6


def make_key(name: str, sharps: int, mode: Mode) -> Key:
    return Key(name, LETTERS.index(name[0]), sharps, mode)


KEYS = {
    key.name: key
    for key in (
        make_key("D", 2, MAJOR),
        make_key("G", 1, MAJOR),
        make_key("A", 3, MAJOR),
        make_key("C", 0, MAJOR),
        make_key("Dmix", 1, MIXOLYDIAN),
        make_key("Amix", 2, MIXOLYDIAN),
        make_key("Ador", 1, DORIAN),
        make_key("Edor", 2, DORIAN),
        make_key("Em", 1, MINOR),
        make_key("Bm", 2, MINOR),
        make_key("Am", 0, MINOR),
    )
}

# ---------------------------------------------------------------------------------------------
# Rhythm. A cell is a string: digits count eighth notes, d and s are a dotted eighth and the
# sixteenth after it, t is an eighth of a triplet, h is a sixteenth; a space ends a beam.
# ---------------------------------------------------------------------------------------------

EIGHTH = 12  # ticks: divisible by two for sixteenths and by three for triplets
TICKS = {"d": 18, "s": 6, "t": 8, "h": 6}


@cache
def ticks_of(pattern: str) -> tuple[int, ...]:
    """Return the note lengths of one cell, or of several separated by |."""
    marks = pattern.replace(" ", "").replace("|", "")
    return tuple(TICKS[mark] if mark in TICKS else EIGHTH * int(mark) for mark in marks)


@dataclass(frozen=True)
class Dance:
    """A kind of tune: its meter and its rhythms."""

    name: str
    meter: str
    bar: int  # eighth notes in a bar
    chords: int  # chords in a bar, at most
    cells: Table  # rhythms with weights; | separates two figures
    rests: tuple[str, ...]  # the last cell of a half cadence
    finals: tuple[str, ...]  # the last bar, when no pick-up follows
    pickups: tuple[str, ...]
    short_finals: tuple[str, ...]  # the last bar, when a pick-up follows
    lead_back: str  # the last cell of a first ending
    keys: str


DANCES = {
    dance.name: dance
    for dance in (
        Dance(
            name="reel",
            meter="4/4",
            bar=8,
            chords=2,
            cells=table("1111:12; 211:3; 31:0.3; 112:0.4; 2ttt:0.4"),
            rests=("1111", "211", "112", "2 2"),
            finals=("1111|2 2", "211|2 2", "1111|4"),
            pickups=("11", "11", "ttt"),
            short_finals=("1111|2", "211|2", "112|2"),
            lead_back="211",
            keys="D D D G G G A A Dmix Amix Ador Ador Edor Em Em Bm",
        ),
        Dance(
            name="jig",
            meter="6/8",
            bar=6,
            chords=2,
            cells=table("111:12; 21:4; ds1:0.5; 3:0.4; 12:0.3"),
            rests=("21", "3", "111"),
            finals=("111|3", "21|3", "111|21"),
            pickups=("1",),
            short_finals=("111|2", "21|2"),
            lead_back="21",
            keys="D D D G G G A A Dmix Amix Ador Ador Edor Em Em Bm Am",
        ),
        Dance(
            name="hornpipe",
            meter="4/4",
            bar=8,
            chords=2,
            cells=table("dsds:12; tttds:2; dsttt:2; 2ds:2; 2 2:0.3"),
            rests=("2 2", "2ds", "dsds", "tttds"),
            finals=("2 2|4", "dsds|4", "dsds|2 2"),
            pickups=("ds", "ttt", "ds"),
            short_finals=("|2 2 2", "|2 2 2", "dsds|2"),
            lead_back="2ds",
            keys="D D G G G A A C",
        ),
        Dance(
            name="waltz",
            meter="3/4",
            bar=6,
            chords=1,
            cells=table("2 2 2:4; 4 2:4; 2|11 11:3; 11|11 11:2; 4 11:3; 31 2:3; 31 11:2; 2 2 11:3"),
            rests=("4 2", "6", "6", "2 4"),
            finals=("|6", "|6", "11|4", "2|4"),
            pickups=("2", "11", "2"),
            short_finals=("|4", "|4"),
            lead_back="4 2",
            keys="D D D G G G A A C Em Em Am Bm",
        ),
        Dance(
            name="polka",
            meter="2/4",
            bar=4,
            chords=1,
            cells=table("11 11:9; 2 11:4; 11 2:2; 1hh 11:2; 11 1hh:1; ds 11:1"),
            rests=("2 2", "11 2", "2 11"),
            finals=("11|2", "|2 2", "ds|2"),
            pickups=("1", "hh"),
            short_finals=("11|1", "|2 1"),
            lead_back="2 11",
            keys="D D D G G G A A Dmix Amix Ador Em",
        ),
        Dance(
            name="slip jig",
            meter="9/8",
            bar=9,
            chords=2,
            cells=table("111:10; 21:6; 3:0.5; ds1:0.4"),
            rests=("3", "21", "111"),
            finals=("21|111|3", "111|111|3", "111|21|3"),
            pickups=("1",),
            short_finals=("21|111|2", "111|111|2"),
            lead_back="21",
            keys="D D G G A Dmix Amix Ador Edor Em Em Bm",
        ),
    )
}
DANCE_WEIGHTS = table("reel:30; jig:28; hornpipe:12; waltz:12; polka:12; slip jig:6")


# ---------------------------------------------------------------------------------------------
# Figures: the notes of a cell. A number counts steps from the first note; u and U are the next two
# chord notes above it, d and D those below.
# ---------------------------------------------------------------------------------------------

FIGURES = {
    1: table("0:1"),
    2: table("0 1:2; 0 -1:2.2; 0 u:1; 0 d:1.2; 0 2:0.4; 0 0:0.5"),
    3: table(
        "0 1 2:2; 0 -1 -2:2.2; 0 1 0:1; 0 -1 0:1.4; 0 u U:0.9; 0 d D:1.1; 0 d 0:1.1; "
        "0 u 0:0.5; 0 d d:0.8; 0 1 -1:0.6; 0 u 1:0.7; 0 d -1:0.5; 0 u d:0.3"
    ),
    4: table(
        "0 1 2 3:1.8; 0 -1 -2 -3:2; 0 1 2 0:1; 0 -1 -2 0:0.6; 0 1 0 -1:1.3; 0 -1 0 1:1.3; "
        "0 1 2 1:0.8; 0 -1 -2 -1:0.8; 0 u U u:0.9; 0 d D d:0.9; 0 d 1 d:1; 0 d u d:0.6; "
        "0 u 0 d:0.5; 0 d 0 1:0.8; 0 d 0 u:0.5; 0 2 1 0:1; 0 2 1 -1:0.7; 0 U u 0:0.5; "
        "0 -2 -1 0:0.6; 0 1 -1 0:0.4; 0 d d 0:0.3; 0 0 1 0:0.4; 0 0 d 0:0.4"
    ),
    5: table(
        "0 1 2 3 1:1; 0 1 2 1 0:1; 0 -1 -2 -3 -1:1; 0 -1 -2 -1 0:0.8; 0 1 0 -1 0:0.7; "
        "0 u 0 -1 -2:0.8; 0 d 0 1 2:1; 0 u U u 0:0.8; 0 -1 0 1 2:0.8; 0 1 0 -1 -2:0.8"
    ),
}
# The notes of the last cell around the home note, by their number.
HOMECOMINGS = {1: ("0",), 2: ("0 0",), 3: ("0 0 0", "0 d 0", "0 u 0", "0 -1 0")}
# The notes of a pick-up, relative to the first note of the part.
PICKUPS = {
    1: ("-1", "1", "-3", "2"),
    2: ("-2 -1", "2 1", "-1 1", "-3 -1"),
    3: ("-3 -2 -1", "3 2 1"),
}
# How many candidates are composed for a last bar.
FINAL_TRIES = 4
# Weight of an interval between two figures, by its number of steps.
JOINS = (0.6, 3.0, 1.5, 0.6, 0.3, 0.1, 0.03, 0.05)


class Taste:
    """The preferences of one tune: a factor for each figure and rhythm, from 0.15 to 4."""

    def __init__(self, luck: Luck) -> None:
        self._luck = luck
        self._factors: dict[str, float] = {}

    def factor(self, name: str) -> float:
        if name not in self._factors:
            self._factors[name] = self._luck.pick((0.15, 0.5, 1.0, 1.0, 4.0))
        return self._factors[name]


@dataclass(frozen=True)
class Cell:
    """A rhythm with its pitches and chord; `raised` sharpens its sevenths."""

    pattern: str
    pitches: tuple[int, ...]
    chord: int
    raised: bool = False


Bar = tuple[Cell, ...]


@dataclass
class Part:
    """Eight bars, with an optional pick-up and an optional first ending."""

    bars: list[Bar]
    pickup: Cell | None = None
    first_ending: Bar | None = None


@dataclass
class Tune:
    """A tune being composed: what its parts have in common, and the parts so far."""

    luck: Luck
    dance: Dance
    key: Key
    taste: Taste
    has_pickup: bool
    has_endings: bool
    has_leading_tone: bool
    parts: list[Part] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------
# Melody
# ---------------------------------------------------------------------------------------------


def chord_step(key: Key, chord: int, pitch: int, steps: int) -> int:
    """Return the chord note `steps` chord notes above a pitch (below, if negative)."""
    direction = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        pitch += direction
        while not key.in_chord(pitch, chord):
            pitch += direction
    return pitch


def draw_figure(key: Key, chord: int, start: int, figure: str) -> tuple[int, ...]:
    """Return the pitches of a figure that begins on a given note."""
    leaps = {"u": 1, "U": 2, "d": -1, "D": -2}
    return tuple(
        chord_step(key, chord, start, leaps[mark]) if mark in leaps else start + int(mark)
        for mark in figure.split()
    )


def grace(key: Key, chord: int, pitches: Sequence[int], goal: int) -> float:
    """Rate a figure over a chord, when the next figure begins on the goal."""
    line = [*pitches, goal]
    worth = JOINS[min(abs(goal - pitches[-1]), 7)]
    for pitch, after in pairwise(line):
        if key.is_tritone(pitch, after):
            worth *= 0.03
        if abs(after - pitch) > 5:
            worth *= 0.2
    for pitch in pitches:
        if not LOWEST <= pitch <= HIGHEST:
            return 0.0
        if not EASY_LOW <= pitch <= EASY_HIGH:
            worth *= 0.4
    if len(pitches) == 4 and not key.in_chord(pitches[2], chord):
        worth *= 0.5
    return worth


def repose(key: Key, chord: int, pattern: str, pitches: Sequence[int]) -> float:
    """Rate the long notes of a figure, which should belong to the chord."""
    worth = 1.0
    for ticks, pitch in zip(ticks_of(pattern), pitches, strict=True):
        if ticks > TICKS["d"] and not key.in_chord(pitch, chord):
            worth *= 0.2
    return worth


def choose_figure(tune: Tune, pattern: str, chord: int, start: int, goal: int) -> Cell:
    """Choose a cell that leads from one note to another, by the taste of the tune."""
    count = len(ticks_of(pattern))
    options = []
    for figure, weight in FIGURES[count]:
        pitches = draw_figure(tune.key, chord, start, figure)
        worth = grace(tune.key, chord, pitches, goal)
        worth *= repose(tune.key, chord, pattern, pitches)
        options.append((pitches, weight * tune.taste.factor(figure) * worth + 1e-9))
    return Cell(pattern, tune.luck.weigh(options), chord)


def choose_head(tune: Tune, chord: int, ideal: int, before: int | None) -> int:
    """Choose the first note of a cell: a chord note near the ideal and the last note."""
    options = []
    for pitch in range(EASY_LOW, EASY_HIGH + 1):
        if not tune.key.in_chord(pitch, chord):
            continue
        weight = 1.0 / (1 + (pitch - ideal) ** 2)
        if before is not None:
            weight *= (0.5, 1, 1, 1, 0.8, 0.4, 0.1, 0.2)[min(abs(pitch - before), 7)]
        options.append((pitch, weight))
    return tune.luck.weigh(options)


def choose_patterns(tune: Tune, at_rest: bool) -> list[str]:
    """Choose rhythms that fill a bar; `at_rest` ends it with a cell for a half cadence."""
    filled, patterns = 0, []
    bar = tune.dance.bar * EIGHTH
    weighted = [(cell, weight * tune.taste.factor(cell)) for cell, weight in tune.dance.cells]
    while filled < bar:
        pattern = tune.luck.weigh(weighted)
        length = total_ticks(pattern)
        if at_rest and filled + length == bar:
            pattern = tune.luck.pick(tune.dance.rests)
        filled += length
        patterns += pattern.split("|")
    return patterns


def total_ticks(pattern: str) -> int:
    return sum(ticks_of(pattern))


def spread_chords(chords: str, count: int) -> list[int]:
    """Return the chord of each cell: "45" is 4 for the first half of them and 5 for the rest."""
    return [int(chords[index * len(chords) // count]) for index in range(count)]


def fill_cells(
    tune: Tune, patterns: Sequence[str], chords: Sequence[int], head: int, goal: int
) -> Bar:
    """Compose cells that begin on a head, pass through chord notes and lead to the goal."""
    heads = [head]
    for index in range(1, len(patterns)):
        ideal = head + (goal - head) * index // len(patterns) + tune.luck.below(5) - 2
        heads.append(choose_head(tune, chords[index], ideal, heads[-1]))
    goals = [*heads[1:], goal]
    return tuple(
        choose_figure(tune, pattern, chord, start, end)
        for pattern, chord, start, end in zip(patterns, chords, heads, goals, strict=True)
    )


def compose_bar(tune: Tune, chords: str, head: int, goal: int, at_rest: bool) -> Bar:
    patterns = choose_patterns(tune, at_rest)
    return fill_cells(tune, patterns, spread_chords(chords, len(patterns)), head, goal)


def nearest_home(key: Key, pitch: int) -> int:
    """Return the playable home note closest to a pitch."""
    homes = [home for home in range(LOWEST, EASY_HIGH + 1) if key.degree(home) == 0]
    return min(homes, key=lambda home: (abs(home - pitch), home))


def compose_final(tune: Tune, pattern: str, head: int) -> Bar:
    """Compose the last bar, which leads over the dominant to the home note.

    Of several candidates, one that reaches home by a step is preferred.
    """
    *before, last = [cell for cell in pattern.split("|") if cell]
    home = nearest_home(tune.key, head)
    figure = tune.luck.pick(HOMECOMINGS[len(ticks_of(last))])
    stay = Cell(last, draw_figure(tune.key, 1, home, figure), 1)
    if not before:
        return (stay,)
    dominant = int(tune.luck.pick(tune.key.mode.dominants))
    first = choose_head(tune, dominant, head, None)
    ways = [
        fill_cells(tune, before, [dominant] * len(before), first, home) for _ in range(FINAL_TRIES)
    ]
    return (*min(ways, key=lambda way: abs(way[-1].pitches[-1] - home) != 1), stay)


def vary(tune: Tune, bar: Bar, chord: int, goal: int) -> Bar:
    """Return the bar with a different end."""
    last = bar[-1]
    return (*bar[:-1], choose_figure(tune, last.pattern, chord, last.pitches[0], goal))


def transpose(bar: Bar, steps: int) -> Bar:
    """Return the bar moved in the scale: a sequence."""
    return tuple(
        Cell(cell.pattern, tuple(pitch + steps for pitch in cell.pitches), cell.chord)
        for cell in bar
    )


def pitches_of(bars: Sequence[Bar]) -> list[int]:
    return [pitch for bar in bars for cell in bar for pitch in cell.pitches]


# ---------------------------------------------------------------------------------------------
# Form
# ---------------------------------------------------------------------------------------------

# Eight bars of a part. The same letter is the same bar; ' is that bar with a different end, ~ the
# same bar moved in the scale; h is the half cadence and f the final bar.
SCHEMES = (
    "a b a h a b c f",
    "a b a h a b c f",
    "a b c h a b d f",
    "a b c h a b c f",
    "a a' b h a a' c f",
    "a a~ b h a a~ c f",
    "a b a~ h a b c f",
    "a b a' h a b a' f",
    "a b a h d b c f",
    "a a~ b h a c d f",
)
# The height of each bar above the middle of the part.
CONTOURS = (
    (0, 2, 3, 1, 0, 2, 1, 0),
    (3, 2, 1, 0, 3, 2, 1, -1),
    (-2, 0, 2, 2, -2, 0, 1, 0),
    (0, 0, 2, 1, 2, 3, 1, 0),
    (2, 1, 3, 1, 2, 1, 0, -1),
    (0, -1, 1, 2, 0, -1, 0, -2),
)


def plan_chords(tune: Tune, scheme: Sequence[str]) -> list[str]:
    """Choose the chords of the eight bars; a repeated bar repeats its chords."""
    luck, mode = tune.luck, tune.key.mode
    first, second = luck.pick(mode.openings).split(), luck.pick(mode.openings).split()
    chords = [*first, luck.pick(mode.halves), *second[:2], luck.pick(mode.closes), "1"]
    if tune.dance.chords == 1:
        chords = [chord[-1] for chord in chords]
    known: dict[str, str] = {}
    return [
        known.setdefault(token.rstrip("'"), chord)
        for token, chord in zip(scheme, chords, strict=True)
    ]


def plan_heads(tune: Tune, scheme: Sequence[str], chords: Sequence[str], center: int) -> list[int]:
    """Choose the first note of each bar; together they are the outline of the part."""
    contour = tune.luck.pick(CONTOURS)
    known: dict[str, int] = {}
    heads: list[int] = []
    for index, token in enumerate(scheme):
        plain = token.rstrip("'")
        if plain not in known:
            before = heads[-1] if heads else None
            ideal = center + contour[index]
            known[plain] = choose_head(tune, int(chords[index][0]), ideal, before)
        heads.append(known[plain])
    return heads


def sequence_steps(tune: Tune, bar: Bar, head: int) -> int:
    """Return how far to move a bar to start near a head; not 0 if the range permits."""
    wish = head - bar[0].pitches[0]
    pitches = pitches_of([bar])
    steps = [
        step
        for step in (-3, -2, -1, 1, 2, 3)
        if min(pitches) + step >= EASY_LOW and max(pitches) + step <= EASY_HIGH
    ]
    return min(steps, key=lambda step: (abs(step - wish), step)) if steps else 0


def compose_bars(
    tune: Tune, scheme: Sequence[str], chords: Sequence[str], heads: Sequence[int]
) -> list[Bar]:
    """Compose the first seven bars of a part, each letter at its first occurrence."""
    known: dict[str, Bar] = {}
    bars: list[Bar] = []
    for index, token in enumerate(scheme[:7]):
        goal = heads[index + 1]
        if token not in known:
            source = known.get(token[0])
            if token.endswith("'") and source:
                known[token] = vary(tune, source, int(chords[index][-1]), goal)
            elif token.endswith("~") and source:
                known[token] = transpose(source, sequence_steps(tune, source, heads[index]))
            else:
                bar = compose_bar(tune, chords[index], heads[index], goal, token == "h")
                known[token] = bar
        bars.append(known[token])
    return bars


def compose_pickup(tune: Tune, head: int) -> Cell:
    pattern = tune.luck.pick(tune.dance.pickups)
    figures = PICKUPS[len(pattern)]
    drawn = [draw_figure(tune.key, 1, head, figure) for figure in figures]
    options = [(p, grace(tune.key, 1, p, head) + 1e-9) for p in drawn]
    return Cell(pattern, tune.luck.weigh(options), 1)


def compose_lead_back(tune: Tune, final: Bar, head: int) -> Bar:
    """Compose the first ending, which touches the home note and leads back to the beginning."""
    home = final[-1].pitches[0]
    pattern = tune.dance.lead_back
    short = total_ticks(final[-1].pattern) < total_ticks(pattern)
    cell = choose_figure(tune, pattern, 1, home, head)
    return (cell,) if short else (*final[:-1], cell)


def compose_part(tune: Tune, center: int, rhyme: Part | None) -> Part:
    """Compose a part; given a part to rhyme with, it ends with the same two bars."""
    scheme = tune.luck.pick(SCHEMES).split()
    chords = plan_chords(tune, scheme)
    heads = plan_heads(tune, scheme, chords, center)
    if rhyme:
        heads[6] = rhyme.bars[6][0].pitches[0]
    bars = compose_bars(tune, scheme, chords, heads)
    if rhyme:
        bars = [*bars[:6], *rhyme.bars[6:]]
    else:
        finals = tune.dance.short_finals if tune.has_pickup else tune.dance.finals
        bars.append(compose_final(tune, tune.luck.pick(finals), heads[7]))
    part = Part(bars)
    if tune.has_pickup:
        part.pickup = compose_pickup(tune, heads[0])
    if tune.has_leading_tone:
        part = raise_leading_tones(tune.key, part)
    if tune.has_endings:
        part.first_ending = compose_lead_back(tune, part.bars[7], heads[0])
    return part


def raise_sevenths(key: Key, cell: Cell, goal: int) -> Cell:
    """Return a cell over the dominant with its sevenths raised, if each of them leads home.

    All are raised or none, so that no note is next to its own sharp; and none after a sixth,
    because the augmented second between them is foreign to this music.
    """
    line = [*cell.pitches, goal]
    sevenths = [index for index, pitch in enumerate(cell.pitches) if key.degree(pitch) == 6]
    led = all(line[index + 1] == line[index] + 1 for index in sevenths)
    wide = any(line[index] - line[index - 1] == 1 for index in sevenths if index)
    return replace(cell, raised=bool(sevenths) and cell.chord == 5 and led and not wide)


def raise_leading_tones(key: Key, part: Part) -> Part:
    """Raise the seventh where it leads home in the last bar."""
    final = part.bars[7]
    raised = [raise_sevenths(key, cell, after.pitches[0]) for cell, after in pairwise(final)]
    return replace(part, bars=[*part.bars[:7], (*raised, final[-1])])


def compose_tune(luck: Luck, dance: Dance, key: Key) -> Tune:
    """Compose a tune: a low part, a higher one that may rhyme with it, sometimes a third."""
    has_pickup = luck.chance(0.45)
    tune = Tune(
        luck=luck,
        dance=dance,
        key=key,
        taste=Taste(luck),
        has_pickup=has_pickup,
        has_endings=not has_pickup and luck.chance(0.3),
        has_leading_tone=key.mode is MINOR and luck.chance(0.6),
    )
    center = 4 + luck.below(4)
    part_centers = [center, center + 2 + luck.below(3)]
    if luck.chance(0.07):
        part_centers.append(center + luck.below(4))
    for number, height in enumerate(part_centers):
        rhyme = tune.parts[0] if number and luck.chance(0.5) else None
        tune.parts.append(compose_part(tune, height, rhyme))
    return tune


# ---------------------------------------------------------------------------------------------
# Selection: each tune is drafted several times; the draft with the fewest faults is used.
# ---------------------------------------------------------------------------------------------

DRAFTS = 5


def longest_stay(line: Sequence[int]) -> int:
    """Return how often a pitch is repeated in a row, at most."""
    longest = run = 1
    for pitch, after in pairwise(line):
        run = run + 1 if after == pitch else 1
        longest = max(longest, run)
    return longest


def faults(tune: Tune) -> int:
    """Count what a fiddler would object to."""
    found = 0
    for part in tune.parts:
        line = pitches_of(part.bars)
        moves = [abs(after - pitch) for pitch, after in pairwise(line)]
        steps = moves.count(1) * 100 // len(moves)
        leaps = sum(1 for move in moves if move > 4)
        found += 3 * max(0, longest_stay(line) - 3)
        found += max(0, 45 - steps) // 4 + max(0, steps - 80) // 4
        found += max(0, leaps - 4) + 4 * sum(1 for move in moves if move > 7)
        found += 2 * max(0, max(line) - min(line) - 11) + 2 * max(0, 6 - max(line) + min(line))
        found += sum(2 for pitch, after in pairwise(line) if tune.key.is_tritone(pitch, after))
    highest = [max(pitches_of(part.bars)) for part in tune.parts]
    return found + (3 if highest[1] <= highest[0] else 0)


def best_draft(luck: Luck) -> Tune:
    dance = DANCES[luck.weigh(DANCE_WEIGHTS)]
    key = KEYS[luck.pick(dance.keys.split())]
    drafts = [compose_tune(luck, dance, key) for _ in range(DRAFTS)]
    return min(drafts, key=faults)


# ---------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------


def write_pitch(pitch: int) -> str:
    octave, step = divmod(pitch, 7)
    letter = LETTERS[step]
    if octave >= 1:
        return letter.lower() + "'" * (octave - 1)
    return letter + "," * -octave


def write_length(ticks: int) -> str:
    """Return the length of a note in eighths: nothing for one, a number, or / for a half."""
    if ticks == TICKS["h"]:
        return "/"
    return "" if ticks == EIGHTH else str(ticks // EIGHTH)


def write_cell(key: Key, cell: Cell) -> str:
    text, index = "", 0
    for position, mark in enumerate(cell.pattern):
        if mark == " ":
            text += " "
            continue
        if mark == "t" and cell.pattern[:position].count("t") % 3 == 0:
            text += "(3"
        pitch = cell.pitches[index]
        first_time = pitch not in cell.pitches[:index]  # an accidental lasts for the bar
        sharp = "^" if cell.raised and key.degree(pitch) == 6 and first_time else ""
        note = sharp + write_pitch(pitch)
        if mark in "dst":  # > or (3 gives the length
            text += note + (">" if mark == "d" else "")
        else:
            text += note + write_length(ticks_of(mark)[0])
        index += 1
    return text


def write_bar(key: Key, bar: Bar) -> str:
    return " ".join(write_cell(key, cell) for cell in bar)


def write_part(key: Key, part: Part) -> str:
    """Return two lines of four bars between repeat marks."""
    bars = [write_bar(key, bar) for bar in part.bars]
    start = "|:" + (write_cell(key, part.pickup) + "|" if part.pickup else "")
    first = start + "|".join(bars[:4]) + "|"
    if part.first_ending:
        ending = f"|1 {write_bar(key, part.first_ending)}:|2 {bars[7]}||"
        return first + "\n" + "|".join(bars[4:7]) + ending
    return first + "\n" + "|".join(bars[4:]) + ":|"


def write_music(tune: Tune) -> str:
    return "\n".join(write_part(tune.key, part) for part in tune.parts)


def write_tune(number: int, title: str, tune: Tune, music: str) -> str:
    header = (
        f"X:{number}",
        f"T:{title}",
        f"R:{tune.dance.name}",
        f"M:{tune.dance.meter}",
        "L:1/8",
        f"K:{tune.key.name}",
    )
    return "\n".join((*header, music)) + "\n"


# ---------------------------------------------------------------------------------------------
# Titles
# ---------------------------------------------------------------------------------------------

FIRST_NAMES = words(
    "Annie, Bessie, Billy, Biddy, Charlie, Con, Dan, Davy, Denis, Dolly, Ellen, Fanny, Grace, "
    "Hannah, Harry, Hugh, Jack, Jamie, Jenny, Joan, Joe, Johnny, Kate, Kitty, Lucy, Maggie, "
    "Martin, Mary, Matt, Meg, Molly, Nan, Ned, Nelly, Nora, Paddy, Peggy, Peter, Phil, Polly, "
    "Rory, Rose, Sally, Sandy, Susan, Tim, Tom, Will, Winnie"
)
SURNAMES = words(
    "Ashby, Barrow, Brody, Calder, Cassidy, Corrigan, Dargan, Dolan, Fallon, Finch, Garvey, "
    "Hartigan, Heron, Hobday, Keaveny, Kinsella, Lacey, Larkin, Lennox, Mackie, Marlow, "
    "McArdle, McGill, Mulvey, Nesbit, Noonan, Pender, Quill, Rafferty, Rowan, Sayers, Scanlan, "
    "Tarrant, Thorne, Toland, Wardle, Whelan, Winter"
)
PLACES = words(
    "Ardcullen, Ballinashee, Barley Hill, Brackenford, Carrickmoy, Castle Dunn, Clonbeg, "
    "Coldwater, Corrabawn, Crow Hill, Drumbane, Dunmarra, Harpers Green, Gallowglen, Glenarra, "
    "Gorse Hill, Harrowdale, Inishvane, Kilcarrow, Kilmoyle, Kirkwhinny, Knockavale, Lisnabree, "
    "Lochindarrow, Marrowby, Mullaghdoo, Newbridge Fair, Otterburn Mill, Pennybridge, "
    "Rathmorna, Rossnaree, Saltcoat, Sandy Bay, Skerrymore, Stonybatch, Strathwillow, "
    "Tandragowan, the Ferry, the Islands, the Long Strand, the Mill, the North, the Quay, the "
    "Shore, Thornybrae, Tullycross, Whinny Moor"
)
MOODS = words(
    "Bashful, Bold, Bonny, Contented, Dancing, Gallant, Handsome, Happy, Hungry, Idle, Jolly, "
    "Laughing, Lazy, Little, Lonely, Merry, Nimble, Old, Patient, Proud, Rambling, Restless, "
    "Roving, Sleepy, Tidy, Thirsty, Wandering, Wild, Willing, Young"
)
LOOKS = words(
    "Blue, Broken, Brown, Crooked, Dancing, Dusty, Empty, Faded, Frosty, Golden, Green, Idle, "
    "Little, Lonely, Lost, Merry, Misty, Moonlit, Old, Patient, Ragged, Red, Roving, Silver, "
    "Stolen, Thirsty, Tidy, Wandering, White, Wild, Windy"
)
PEOPLE = words(
    "Baker, Barber, Beggar, Boatman, Bride, Carter, Cobbler, Cooper, Drover, Dyer, Farmer, "
    "Ferryman, Fiddler, Fisherman, Gardener, Glazier, Hatter, Huntsman, Joiner, Mason, Maid, "
    "Miller, Milkmaid, Pedlar, Piper, Ploughman, Postman, Potter, Sailor, Schoolmaster, "
    "Shepherd, Smith, Soldier, Stranger, Tailor, Thatcher, Tinker, Traveller, Weaver, Widow, "
    "Wheelwright"
)
THINGS = words(
    "Anchor, Barrel, Basket, Bell, Blackbird, Blanket, Boat, Bonnet, Boots, Bramble, "
    "Bread, Bridge, Buckle, Butterfly, Button, Candle, Cart, Chair, Clock, Coat, Crow, Cup, "
    "Donkey, Door, Duck, Feather, Fence, Fiddle, Fox, Garden, Gate, Goose, Hare, Harvest, Hat, "
    "Hay, Hedge, Heron, Horseshoe, Jug, Kettle, Kitchen, Ladder, Lamb, Lantern, Lark, Letter, "
    "Loom, Mare, Meadow, Moon, Nettle, Nightcap, Oats, Orchard, Otter, Pigeon, Pipe, "
    "Plough, Pony, Puddle, Rake, Robin, Rooster, Rope, Rosebud, Saddle, Salmon, Shawl, Shoe, "
    "Slipper, Spade, Spoon, Stile, Swallow, Teapot, Thimble, Thistle, Trout, Turnip, Wagon, "
    "Well, Wheel, Whistle, Wren"
)
PRAISES = words(
    "Delight, Dream, Fancy, Farewell, Favourite, Folly, Frolic, Joy, Ramble, Return, Rest, Welcome"
)
PATTERNS = table(
    "The {mood} {person}:12; The {look} {thing}:12; The {person}'s {thing}:12; "
    "The {person}'s {praise}:5; {name} {surname}'s:8; {name} {surname}'s {praise}:5; "
    "{surname}'s {dance}:5; {surname}'s {praise}:5; The Road to {place}:3; "
    "The {person} of {place}:6; The {thing} in the {thing2}:5; The {thing} and the {thing2}:5; "
    "The {thing} on the {thing2}:3; {mood} {name}:6; {mood} {name} of {place}:4; "
    "Farewell to {place}:2; Off to {place}:2; {name} in the {thing}:3; "
    "{name}, Mind the {thing}:3; Who Hid the {thing}?:2; {name}'s Lost {thing}:3; "
    "The {place} {dance}:3; Down by {place}:2; My {look} {thing}:2"
)


def draw_title(luck: Luck, dance: str) -> str:
    title = luck.weigh(PATTERNS).format(
        mood=luck.pick(MOODS),
        look=luck.pick(LOOKS),
        person=luck.pick(PEOPLE),
        thing=luck.pick(THINGS),
        thing2=luck.pick(THINGS),
        name=luck.pick(FIRST_NAMES),
        surname=luck.pick(SURNAMES),
        praise=luck.pick(PRAISES),
        place=luck.pick(PLACES),
        dance=dance.title(),
    )
    return title.replace("The the ", "The ").replace("s's", "s'")


def is_sound(title: str) -> bool:
    """Return whether no word but "the" occurs twice, unlike in "The Crow and the Crow"."""
    words_in_title = [word for word in title.lower().split() if word != "the"]
    return len(words_in_title) == len(set(words_in_title))


def new_title(luck: Luck, dance: str, taken: set[str]) -> str:
    """Return a title that no other tune has, and add it to `taken`."""
    while True:
        title = draw_title(luck, dance)
        if is_sound(title) and title not in taken:
            taken.add(title)
            return title


# ---------------------------------------------------------------------------------------------
# The collection
# ---------------------------------------------------------------------------------------------


def compose_collection(count: int, seed: int) -> Iterator[str]:
    """Yield the tunes as text, all with different titles and different music."""
    luck = Luck(seed)
    titles: set[str] = set()
    written: set[str] = set()
    while len(written) < count:
        tune = best_draft(luck)
        music = write_music(tune)
        if music in written:
            continue
        written.add(music)
        title = new_title(luck, tune.dance.name, titles)
        yield write_tune(len(written), title, tune, music)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compose a collection of tunes in ABC notation.")
    beside = Path(__file__).resolve().with_name("tunes.abc")
    parser.add_argument(
        "--output",
        type=Path,
        default=beside,
        help="file to write (default: tunes.abc next to this script)",
    )
    parser.add_argument("--tunes", type=int, default=1800, help="number of tunes (default: 1800)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    options = parser.parse_args()
    text = "\n".join(compose_collection(options.tunes, options.seed))
    options.output.write_bytes(text.encode("ascii"))


if __name__ == "__main__":
    main()
