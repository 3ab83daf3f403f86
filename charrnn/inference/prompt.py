"""Reads prompts and continuations, and returns the state after them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from charrnn.arrays import Integers
from charrnn.config import END, ModelReading
from charrnn.errors import PromptError, excerpt
from charrnn.inference.engine import Engine, check_finite
from charrnn.inference.pair_engine import PairEngine, check_memory
from charrnn.inference.select import EngineSelector
from charrnn.model.parameters import Parameters
from charrnn.model.saved_state import Prompted
from charrnn.text import line_ends, unknown_symbols
from charrnn.text.notices import Notify
from charrnn.text.pair_order import padded
from charrnn.text.tokenizer import Tokenizer
from charrnn.text.unknown_symbols import Replaced

FILLS = "this model fills gaps in texts: use 'charrnn fill TEXT'"
ANSWERS = "this model answers sources: use 'charrnn beam --source TEXT'"
_WINDOW = 256  # tokens read at a time


def check_continues(reading: ModelReading) -> None:
    """Check that a model goes on with a text.

    Raises:
        PromptError: it answers sources, or fills gaps.
    """
    if reading.pairs or reading.fill:
        raise PromptError(ANSWERS if reading.pairs else FILLS)


class PromptReader:
    """Reads prompts as the text of the training was read.

    A model of separate documents begins anew after each separator. All methods that return a state
    raise RunError where the logits overflow.
    """

    def __init__(
        self,
        selector: EngineSelector,
        tokenizer: Tokenizer,
        reading: ModelReading,
        start_token: int,
        notify: Notify,
        weights: Parameters | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            selector: has the engine that reads.
            tokenizer: of the model.
            reading: how the text of the training was read.
            start_token: is read before a text.
            notify: gets a sentence about unknown characters that were replaced.
            weights: the engine's, if they are not the model's own.
        """
        self._selector, self._tokenizer, self._reading = selector, tokenizer, reading
        self._start_token, self._notify, self._weights = start_token, notify, weights

    def knows(self, text: str) -> bool:
        """Return whether every character of a text is in the vocabulary."""
        return self._tokenizer.knows(text)

    def readable(self, text: str, unknown: str, *, of_source: bool = False) -> str:
        """Return a text in characters and with line ends that the model knows.

        Args:
            text: a prompt, or a source.
            unknown: what happens to other characters: nearest, skip or error.
            of_source: with nearest, characters that only targets of the training had change, too.

        Raises:
            PromptError: there are some, and `unknown` is error.
        """
        replaced = self._replaced(text, unknown, of_source)
        self._tell(replaced)
        return replaced.text

    def _replaced(self, text: str, unknown: str, of_source: bool) -> Replaced:
        if self._reading.newline == "lf":
            data = text.encode(errors="surrogatepass")
            text = line_ends.to_lf(data, line_ends.KINDS).decode(errors="surrogatepass")
        if unknown == "error":
            try:
                self._tokenizer.encode(text)
            except PromptError as error:
                raise PromptError(f"{error.message}, or use --unknown nearest or skip") from None
            return Replaced(text)
        found = unknown_symbols.replace(text, self.knows, nearest=unknown == "nearest")
        forms = self._source_forms if of_source and unknown == "nearest" else {}
        found.changes.update((each, forms[each]) for each in found.text if each in forms)
        return replace(found, text="".join(forms.get(each, each) for each in found.text))

    def _tell(self, replaced: Replaced) -> None:
        if replaced.changes:
            self._notify(f"unknown characters: {replaced}")

    @cached_property
    def _source_forms(self) -> dict[str, str]:
        """The characters that targets had and no source, each with the nearest that sources had.

        Those without one are left as they are.
        """
        only = set(self._reading.target_only)

        def knows(form: str) -> bool:
            return only.isdisjoint(form) and self.knows(form)

        forms = {each: unknown_symbols.nearest_form(each, knows) for each in only}
        return {each: form for each, form in forms.items() if form}

    @property
    def known_separator(self) -> str:
        """The separator of documents; "" if there is none, or the model cannot write it."""
        separator = self._reading.separator
        return separator if self.knows(separator) else ""

    def start(self, before: Prompted | None = None) -> Prompted:
        """Return the state after the start token, with the random numbers of an earlier state.

        Raises:
            PromptError: the model writes nothing without a source.
        """
        check_continues(self._reading)
        engine = self._selector.writing
        first = np.array([self._start_token], np.int64)
        logits, state = engine.step(first, engine.start_state(1))
        check_finite(logits)
        start = Prompted(logits, state, weights=self._weights)
        return replace(start, seed=before.seed, drawn=before.drawn) if before else start

    def read_sources(self, sources: Sequence[str], unknown: str) -> Prompted:
        """Return the states before the targets of sources, one row for each.

        Args:
            sources: in any characters; see `readable`.
            unknown: what happens to characters that the model does not know.

        Raises:
            PromptError: a source is empty, or the model goes on with a text.
        """
        engine = self._selector.engine
        for source in sources:
            if not isinstance(source, str):
                raise PromptError(f"a source must be a str, not {type(source).__name__}")
        if not isinstance(engine, PairEngine):
            raise PromptError(
                "this model goes on with a text: a source is for models of pairs ('charrnn train "
                "--pairs'); give a prompt instead"
            )
        if self._reading.fill and not all(END in source for source in sources):
            raise PromptError(FILLS)
        known, together = list(sources), "".join(sources)
        plain = together.isprintable() and self._source_forms.keys().isdisjoint(together)
        if not (plain and self.knows(together)):  # asking once is faster
            replaced = [self._replaced(source, unknown, True) for source in sources]
            known = [each.text for each in replaced]
            self._tell(Replaced("", sum((each.changes for each in replaced), Counter())))
        read = [self._tokenizer.encode(source) for source in known]
        for source, ids in zip(sources, read, strict=True):
            if not len(ids):
                what = "has no character that the model knows" if source else "is empty"
                raise PromptError(f"the source '{excerpt(source)}' {what}: nothing can answer it")
        lengths = np.array([len(ids) for ids in read])
        starts = np.full(len(read), self._start_token)
        beside = padded(read, 0)
        check_memory(engine.config, beside)
        logits, state = engine.step(starts, engine.encode(beside, lengths))
        check_finite(logits)
        return Prompted(logits, state)

    def read(
        self,
        prompt: str | Prompted,
        before: Prompted | None = None,
        progress: Callable[[int], object] = lambda tokens: None,
    ) -> Prompted:
        """Return the state after a prompt.

        Args:
            prompt: a text in characters that the model knows; a state is returned as it is.
            before: what was read before it; None for the start token.
            progress: called after every window with the number of tokens read; may raise.

        Raises:
            PromptError: the text has characters that are not in the vocabulary.
        """
        if isinstance(prompt, Prompted):
            return prompt
        if not isinstance(prompt, str):
            raise PromptError(
                f"`prompt` must be a str, or what `read` returned, not {type(prompt).__name__}"
            )
        ids = self._tokenizer.encode(prompt).astype(np.int64)
        begins = self._last_document(prompt, before)
        if begins is not None:
            ids = self._tokenizer.encode(prompt[begins:]).astype(np.int64)
            before = self.start(before)
        return _read_ids(self._selector.writing, ids, before or self.start(), progress)

    def read_any(
        self, prompt: str | Prompted, unknown: str, sources: Sequence[str] | None = None
    ) -> Prompted:
        """Return the state after a prompt in any characters, which answers sources, if given."""
        if isinstance(prompt, str):
            prompt = self.readable(prompt, unknown)
        return self.read(prompt, None if sources is None else self.read_sources(sources, unknown))

    def read_sample(
        self, ids: Integers, seed: int | None, before: Prompted, *, stopped: bool
    ) -> Prompted:
        """Return the state after ids (N,) that were sampled with this seed.

        It is the state that the engine had when it sampled them, bit for bit. After a separator
        that `stopped` the sample it is the state before the next document.
        """
        read = _read_sample(self._selector.writing, ids, seed, before)
        ended = stopped and self._last_document("", read) is not None
        return self.start(read) if ended else read

    def exact(self, read: Prompted) -> Prompted:
        """Return what was read as compiled code reads it; see `EngineSelector.exact`."""
        return self._selector.exact(read)

    def _last_document(self, text: str, before: Prompted | None) -> int | None:
        """Return where the last document that begins in `text` begins; None if none does."""
        separator = self._reading.separator
        if not separator:
            return None
        read = np.zeros(0, np.int64) if before is None else before.ids
        size = len(separator)
        last = read[-len(separator.encode()) :]  # tokens may be bytes
        end = self._tokenizer.decode(last)[-size:]  # in which the separator may begin
        found = (end + text).rfind(separator)
        return None if found < 0 else max(0, found + size - len(end))


def _read_ids(
    engine: Engine, ids: Integers, before: Prompted, progress: Callable[[int], object]
) -> Prompted:
    if len(ids) == 0:
        return before
    state, rows = before.state, len(before.logits)
    for first in range(0, len(ids) - 1, _WINDOW):
        part = ids[first : min(first + _WINDOW, len(ids) - 1)]
        state = engine.advance(np.repeat(part[:, None], rows, 1), state)
        progress(first + len(part))
    logits, state = engine.step(np.repeat(ids[-1:], rows), state)
    check_finite(logits)
    read, ids = before.read + len(ids), np.concatenate([before.ids, ids])
    return replace(before, logits=logits, state=state, read=read, ids=ids)


def _read_sample(engine: Engine, ids: Integers, seed: int | None, before: Prompted) -> Prompted:
    logits, state = before.logits, before.state
    if engine.reproducible and len(ids):
        state = engine.advance(ids[:-1, None], state)
        logits, state = engine.step(ids[-1:], state)
    else:
        for token in ids:
            logits, state = engine.step(token[None], state)
    check_finite(logits)
    drawn = len(ids) + (before.drawn if seed == before.seed else 0)
    read, ids = before.read + len(ids), np.concatenate([before.ids, ids])
    return Prompted(logits, state, read, seed, drawn, ids, before.weights)
