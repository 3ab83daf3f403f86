r"""Constraints on a text (pattern, characters, lines) as one table that any decoder can follow.

Every limit is a regular expression over characters. Their intersection is compiled to one
automaton, whose transitions are then taken over the model's tokens (characters, pieces of text, or
bytes). A token is allowed if the state after it can still reach an accepting one within the tokens
that are left. So there are no dead ends: every text matches in full.

Sampling under a constraint is exact for each step: each allowed token has the model's probability,
renormalized over the allowed tokens. It is not the model's distribution conditioned on whole texts
that match; that would also weigh how likely each prefix is to be completed, which needs lookahead.

Where a pattern is satisfied and could also continue, the model decides: choosing a token that
cannot continue it ends the text before that token. So ``\d+`` ends as often as the model would
write something other than a digit.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.arrays import Floats64
from charrnn.config import END, Limits
from charrnn.decoding.automaton import (
    MAX_STATES,
    MAX_TABLE,
    Automaton,
    TooLargeError,
    distances,
    minimized,
    trimmed,
)
from charrnn.decoding.expressions import Expressions, explore
from charrnn.decoding.regex_parser import Leaf, UnsupportedError, expression, members
from charrnn.decoding.token_automaton import Tokens, as_texts, over_tokens
from charrnn.errors import OptionError, counted, excerpt
from charrnn.terminal import character_name, visible
from charrnn.text.line_ends import CHARACTERS

_UNREACHABLE = np.int32(2**31 - 1)


class Constraint(NamedTuple):
    """An automaton over tokens that a text must follow; state 0 is before the first token.

    Token v is allowed in state s with r tokens left (including v) if and only if
    ``next[s, v] >= 0 and distance[next[s, v]] <= r - 1``. In an accepting state a token of `ends`
    that is not allowed may be chosen, too: it ends the text before that token. Where no token is
    allowed, the text has ended.

    Attributes:
        next: (S, V) the state after each token; -1 where it is forbidden.
        distance: (S,) the fewest further tokens to an accepting state.
        accepting: (S,) whether a text may end here.
        ends: (V,) whether choosing a token that is not allowed ends the text.
    """

    next: NDArray[np.int32]
    distance: NDArray[np.int32]
    accepting: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    def allowed(self, state: Any, left: int) -> NDArray[np.bool_]:
        """Return the tokens (V,) allowed in `state`, `left` before the end; (B, V) for (B,)."""
        after = self.next[state]
        return np.asarray((after >= 0) & (self.distance[after] <= left - 1))

    def choices(self, state: Any, left: int) -> NDArray[np.bool_]:
        """Return the tokens that may be chosen: the allowed ones and those that end the text.

        Shapes are those of `allowed`; all are false where the text has ended.
        """
        allowed = self.allowed(state, left)
        ending = allowed.any(-1) & self.accepting[state]
        return np.asarray(allowed | (ending[..., None] & self.ends))

    def ending(self, log_probs: Floats64, states: Any, left: int) -> Floats64:
        """Return the log-probabilities (B,) of ending here, given those of the tokens (B, V).

        0 where no token is allowed, -inf where the text may not end.
        """
        allowed = self.allowed(states, left)
        ends = self.accepting[states][:, None] & self.ends & ~allowed
        with np.errstate(divide="ignore"):
            result = np.log(np.where(ends, np.exp(log_probs), 0.0).sum(-1))
        return np.asarray(np.where(allowed.any(-1), np.minimum(result, 0.0), 0.0))

    def advance(self, state: Any, token: Any) -> Any:
        """Return the state after an allowed token; (B,) for states and tokens (B,)."""
        return self.next[state, token]


# Allows every text: it has no states, and decoders do not follow it.
UNCONSTRAINED = Constraint(
    np.zeros((0, 0), np.int32), np.zeros(0, np.int32), np.zeros(0, np.bool_), np.zeros(0, np.bool_)
)


def build(tokens: Tokens, limits: Limits, length: int, end: int | None = None) -> Constraint | None:
    """Return the constraint of texts of up to `length` tokens; None if every text is allowed.

    Tokens that are parts of characters always write valid UTF-8, even without limits.

    Args:
        tokens: what each token writes (V,); one that writes nothing is never chosen.
        limits: what the text must match.
        length: the maximum number of tokens.
        end: the token that ends a text, if there is one: it may be chosen where a text may end, or
            where a pattern says so that names `END`.

    Raises:
        OptionError: nothing can match with these tokens or within the length; or the pattern is
            not supported or too large.
    """
    if limits == Limits():
        return utf8(tokens) if as_texts(tokens) is None else None
    if limits.regex is not None and END in limits.regex:
        end = None
    if end is not None:  # it writes nothing that a limit could be about
        tokens = [*tokens[:end], tokens[end][:0], *tokens[end + 1 :]]
    texts = as_texts(tokens)
    alphabet = _unicode() if texts is None else "".join(sorted(set().union(*texts)))
    compiler = _LimitsCompiler(limits, alphabet)
    try:
        automaton = compiler.automaton(length * max(map(len, tokens)))
        steps = over_tokens(automaton, compiler.class_of, tokens, alphabet)
    except (TooLargeError, RecursionError):
        raise OptionError(
            f"{compiler.name} needs more than {MAX_STATES:,} states or {MAX_TABLE:,} transitions, "
            "or takes too long to compile: simplify it (fewer and smaller repetitions), "
            "or ask for a shorter --length"
        ) from None
    ends = np.full(len(tokens), limits.regex is not None)
    if ends.any():
        ends &= _writes_only(compiler.permitted, tokens, alphabet)
    if end is not None:
        ends[end] = True
    constraint = _constraint(steps, ends)
    if constraint.distance[0] > length:
        raise OptionError(compiler.too_short(length, int(constraint.distance[0])))
    return constraint


def utf8(tokens: Tokens) -> Constraint:
    """Return the constraint that tokens of one or more bytes write valid UTF-8."""
    anything = Automaton(np.zeros((1, 1), np.int32), np.ones(1, np.bool_))
    class_of = np.zeros(0x110000 - 0x800, np.int64)
    return _constraint(over_tokens(anything, class_of, tokens, ""), np.zeros(len(tokens), bool))


def _constraint(steps: Automaton, ends: NDArray[np.bool_]) -> Constraint:
    """Return the constraint of an automaton over tokens."""
    steps = trimmed(steps)
    away = distances(steps)
    distance = np.where(np.isinf(away), _UNREACHABLE, away).astype(np.int32)
    return Constraint(steps.next, distance, steps.accepting, ends)


class _LimitsCompiler:
    """Compiles limits to an automaton over classes of characters.

    Attributes:
        permitted: (A,) the characters that --allow and --forbid leave.
        class_of: (A,) the class of each character; the limits treat all of a class alike.
    """

    def __init__(self, limits: Limits, alphabet: str) -> None:
        self._limits = limits
        self._alphabet = alphabet
        self.permitted = np.ones(len(alphabet), np.bool_)
        for name, characters in (("--allow", limits.allow), ("--forbid", limits.forbid)):
            if characters is not None:
                matches = members(f"[{characters}]", 0, alphabet)
                self.permitted &= matches if name == "--allow" else ~matches
        if not self.permitted.any():
            raise OptionError(
                "--allow and --forbid leave no character to write: "
                "'charrnn info' lists those that the model knows"
            )
        if limits.regex is not None and END in limits.regex:  # it is no character of the text
            self.permitted |= members(END, 0, alphabet)
        self._members: dict[tuple[str, int], NDArray[np.bool_]] = {}
        self.class_of = np.zeros(len(alphabet), np.int64)

    @property
    def name(self) -> str:
        """The option that error messages name."""
        limits = self._limits
        return "--max-lines" if limits.regex is None else f"--regex '{excerpt(limits.regex)}'"

    def automaton(self, length: int) -> Automaton:
        """Return the smallest automaton of all limits over classes of characters.

        Args:
            length: in characters; states that no shorter text reaches may be left out.
        """
        # Parse twice: first for the sets of characters in the pattern, then with their classes.
        self._members[_ANY] = self.permitted
        self._expression(Expressions(1), self._collect)
        for matches in self._members.values():
            self.class_of = self.class_of * 2 + matches
            used = np.bincount(self.class_of) > 0
            self.class_of = (np.cumsum(used) - 1)[self.class_of]
        make = Expressions(int(self.class_of.max()) + 1)
        result = trimmed(explore(make, self._expression(make, self._classes), length))
        if not result.accepting.any():
            raise OptionError(self._impossible())
        return minimized(result)

    def _expression(self, make: Expressions, leaf: Leaf) -> int:
        """Return the intersection of all limits."""
        parts = [make.repeat(make.classes(leaf(*_ANY)), 0, None)]
        if self._limits.regex is not None:
            try:
                parts.append(expression(self._limits.regex, make, leaf))
            except UnsupportedError as error:
                raise OptionError(f"{self.name} has {error}, which is not supported") from None
        if self._limits.max_lines is not None:
            parts.append(expression(_lines_pattern(self._limits.max_lines), make, leaf))
        return make.intersection(parts)

    def _collect(self, pattern: str, flags: int) -> int:
        """Record the characters that a one-character pattern matches; return some class."""
        key = (pattern, flags)
        if key not in self._members:
            self._members[key] = members(pattern, flags, self._alphabet) & self.permitted
        return 1

    def _classes(self, pattern: str, flags: int) -> int:
        """Return the classes that a one-character pattern matches, as the bits of an int."""
        classes = np.unique(self.class_of[self._members[pattern, flags]])
        return sum(1 << int(cls) for cls in classes)

    def _impossible(self) -> str:
        """Explain why no text of any length matches."""
        missing = [_readable(key[0]) for key, found in self._members.items() if not found.any()]
        if not missing:
            return f"{self.name} matches no text that the model could write"
        allowed = self._limits.allow is None and self._limits.forbid is None
        reason = "the model has never seen" if allowed else "is unknown or left out"
        return (
            f"{self.name} cannot match: it needs {', '.join(missing[:8])}, which {reason}; "
            "'charrnn info' lists the characters the model knows"
        )

    def too_short(self, length: int, shortest: int) -> str:
        """Explain why nothing matches within the length."""
        if shortest == _UNREACHABLE:
            return f"{self.name} matches nothing that the model's tokens could write"
        return (
            f"{self.name} matches nothing of up to {counted(length, 'token')}: "
            f"the shortest match has {shortest:,}; raise --length"
        )


_ANY = ("", 0)  # the leaf that stands for every permitted character


def _lines_pattern(count: int) -> str:
    """Return the pattern of at most `count` lines."""
    line, end = f"[^{CHARACTERS}]*", f"(?:\r\n|[{CHARACTERS}])"
    return f"(?:{line}{end}){{0,{count - 1}}}{line}{end}?"


def _readable(pattern: str) -> str:
    """Return a set of characters for a message: the character's name if it is a single one."""
    one = re.fullmatch(r"\[\\U([0-9a-f]{8})\]", pattern)
    if one:
        return character_name(chr(int(one[1], 16)))
    return re.sub(r"\\U([0-9a-f]{8})", lambda code: visible(chr(int(code[1], 16))), pattern)


@cache
def _unicode() -> str:
    """Return every code point that UTF-8 can encode, sorted."""
    return "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))


def _writes_only(permitted: NDArray[np.bool_], tokens: Tokens, alphabet: str) -> NDArray[np.bool_]:
    """Return which tokens (V,) write permitted characters only; incomplete characters count."""
    points = np.frombuffer(alphabet.encode("utf-32-le"), "<u4")  # sorted
    allowed = []
    for token in tokens:
        text = token.decode("utf-8", "ignore") if isinstance(token, bytes) else token
        indices = np.searchsorted(
            points, np.array([ord(character) for character in text], np.uint32)
        )
        allowed.append(bool(permitted[indices].all()))
    return np.array(allowed)
