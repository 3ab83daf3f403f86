"""Writes texts after a prompt, by sampling or beam search: from options to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from charrnn.config import MAX_LENGTH, BeamConfig, SampleConfig, new_seed, seeded
from charrnn.decoding import sampler, vocabulary, workers
from charrnn.decoding.beam import beam_search, beam_searches
from charrnn.decoding.hypotheses import Hypothesis
from charrnn.decoding.output_text import OutputText, Sample, Write, text_maker, unwatched
from charrnn.decoding.sampler import Sampler
from charrnn.decoding.vocabulary import ConstraintCache
from charrnn.errors import OptionError, counted
from charrnn.inference.engine import Engine
from charrnn.inference.select import EngineSelector
from charrnn.model.saved_state import Prompted
from charrnn.text.notices import Notify
from charrnn.text.tokenizer import Tokenizer

# Texts that are written for each one that is wanted, if some may not be returned; and at least.
_TRIES, _MIN_TRIES = 50, 500
# Answers that are written side by side: at first few, so that the first ones come soon; then more
# by this factor, up to this many rows; and the symbols of their sources, padded, at most.
_FIRST, _FACTOR, _ROWS, _SYMBOLS = 64, 4, 4096, 2**17
_SAMPLED_ROWS = 512  # likewise, where an engine chooses their tokens itself
# Multiplications of the first tokens of texts that nobody watches and that end by their length
# alone: some hundredths of a second. Of others there are few, as many may be in vain.
_LONG = 10**10
PORTION = 256  # of many texts after one prompt
Accept = Callable[[str], bool]  # whether a text may be returned


class Writer:
    """Writes texts with a model, each after what the model has read."""

    def __init__(
        self, selector: EngineSelector, tokenizer: Tokenizer, separator: str, notify: Notify
    ) -> None:
        """Write nothing yet.

        Args:
            selector: has the engine that writes.
            tokenizer: of the model.
            separator: ends each text of a model of separate documents; "" for other models.
            notify: gets a sentence when too many texts are refused, and about sequences that are
                not one character.
        """
        self._selector, self._tokenizer, self._separator = selector, tokenizer, separator
        self._notify = notify
        self._constraints = ConstraintCache(tokenizer, notify)

    def start(
        self, read: Prompted, config: SampleConfig, writes: Sequence[Write] = (), first: int = 0
    ) -> SampleBatch:
        """Return a batch of empty texts; what they need is compiled or captured, or begins to be.

        Args:
            read: what the model has read.
            config: number and length of the texts, and how their tokens are chosen.
            writes: get the characters of the first texts as they are generated.
            first: how many texts of this seed there are before.
        """
        config = replace(config, stop=self._stops(config))
        given = self._tokenizer, read, config, self._constraints, writes, first
        batch = SampleBatch(*given, openings=self._openings(read))
        self._selector.prepare(batch.chooser, config.num_samples)
        return batch

    def prepare(self, read: Prompted, config: SampleConfig, *, wait: bool = True) -> None:
        """Compile or capture what `texts` needs, or let it be compiled if nobody is to wait."""
        side_by_side = min(config.num_samples, self._portion)
        batch = self.start(read, replace(config, num_samples=side_by_side))
        if wait:
            self._selector.prepare_exactly(batch.chooser, side_by_side)

    def samples(
        self,
        read: Prompted,
        config: SampleConfig,
        write: Write = unwatched,
        first: int = 0,
        accept: Accept | None = None,
    ) -> list[Sample]:
        """Return random texts; arguments as for `start`.

        With `accept`, or if they are to be unique, others are written in place of those that may
        not be returned; a notice says that too many tries failed.
        """
        if config.unique or accept is not None:
            return self._accepted(read, config, write, first, accept or (lambda text: True))
        return list(self.texts(read, config, write, first))

    def texts(
        self, read: Prompted, config: SampleConfig, write: Write = unwatched, first: int = 0
    ) -> Iterator[Sample]:
        """Yield random texts in order, portion after portion; arguments as for `start`."""
        if read.seed is None:
            config = seeded(config)
        for number in range(self.portions(config)):
            yield from self.portion(read, config, number, first, unwatched if number else write)

    def portions(self, config: SampleConfig) -> int:
        """Return in how many portions the texts after one prompt are written."""
        return -(-config.num_samples // self._portion)

    def portion(
        self,
        read: Prompted,
        config: SampleConfig,
        number: int,
        first: int = 0,
        write: Write = unwatched,
    ) -> list[Sample]:
        """Return one portion of the texts of `texts`, written as one batch.

        The seed must be given, by `config` or by what was read.
        """
        before = number * self._portion
        count = min(self._portion, config.num_samples - before)
        return self._written(read, replace(config, num_samples=count), first + before, write)

    @property
    def _portion(self) -> int:
        """How many texts are written side by side: many more are written more slowly on a CPU."""
        return PORTION if self._selector.device == "cpu" else _ROWS

    def _written(
        self, read: Prompted, config: SampleConfig, first: int, write: Write = unwatched
    ) -> list[Sample]:
        batch = self.start(read, config, [write], first)
        for _ in batch.steps(self._selector.writing, workers.cost(self._selector.config)):
            pass
        return batch.finish(self._prompt(read))

    def _accepted(
        self, read: Prompted, config: SampleConfig, write: Write, first: int, accept: Accept
    ) -> list[Sample]:
        """Write batches until there are enough texts that are accepted, or too many tries."""
        seed = read.seed if config.seed is None else config.seed
        alone = replace(config, seed=new_seed() if seed is None else seed, unique=False)
        wanted, tried = config.num_samples, 0
        limit = max(_TRIES * wanted, _MIN_TRIES) if config.temperature else 1
        found: dict[object, Sample] = {}
        while len(found) < wanted and tried < limit:
            for sample in self.texts(read, alone, first=first + tried):
                tried += 1
                if accept(sample.text):
                    found.setdefault(sample.text if config.unique else tried, sample)
        samples = list(found.values())[:wanted]
        write(samples[0].text if samples else "")
        if len(samples) < wanted:
            self._notify(
                f"{len(samples):,} of {counted(wanted, 'text')} after "
                f"{counted(tried, 'try', 'tries')}: the others repeat one of these, or are not new"
            )
        return samples

    def stream(self, read: Prompted, config: SampleConfig) -> Iterator[str]:
        """Return the text of one sample in pieces, each as soon as it is generated."""
        pieces: list[str] = []
        batch = self.start(read, config, [pieces.append])

        def write() -> Iterator[str]:
            for _ in batch.steps(self._selector.writing):
                yield from pieces
                pieces.clear()
            batch.finish()
            yield from pieces

        return write()

    def beams(self, read: Prompted, config: BeamConfig, write: Write = unwatched) -> list[Sample]:
        """Return the texts that beam search finds, best first.

        `write` gets characters of the best one as soon as no later step can change them.
        """
        config, read = replace(config, stop=self._stops(config)), self._selector.exact(read)
        openings = self._openings(read)
        make, seed = self._maker(config, openings), _seed(config)
        best = make(write)
        hypotheses = beam_search(
            self._selector.engine,
            read.logits,
            read.state,
            config,
            stops=vocabulary.stop_ids(self._tokenizer, config.stop),
            openings=vocabulary.stop_ids(self._tokenizer, openings),
            constraint=self._constraints.get(config.limits, config.length),
            rng=None if seed is None else sampler.generator(seed, 0),
            on_settled=best.show,
        )
        best.show(hypotheses[0].ids[best.num_tokens :])
        best.finish(None)
        return self._beam_samples(read, make, hypotheses, seed)

    def _beam_samples(
        self,
        read: Prompted,
        make: Callable[[Write], OutputText],
        found: list[Hypothesis],
        seed: int | None,
    ) -> list[Sample]:
        """Return hypotheses as samples."""
        samples, prompt = [], self._prompt(read)
        for hypothesis in found:
            text = make(unwatched)
            text.show(hypothesis.ids)
            sample = text.finish(seed, prompt)
            finished_by = "stop" if sample.finished_by == "stop" else hypothesis.ended
            samples.append(replace(sample, log_prob=hypothesis.log_prob, finished_by=finished_by))
        return samples

    def answers(
        self,
        sources: Iterable[str],
        read: Callable[[Sequence[str]], Prompted],
        config: SampleConfig | BeamConfig,
        first: int = 0,
    ) -> Iterator[list[Sample]]:
        """Yield the answers to each source, in order; many sources are answered side by side.

        Args:
            sources: any number of them.
            read: returns the states before the answers to some sources.
            config: how an answer is chosen, and how many for each source.
            first: how many sources were answered before with this seed.
        """
        config = replace(config, stop=self._stops(config), seed=_seed(config))
        if isinstance(config, BeamConfig):
            most = _ROWS // config.width
        else:
            most = min(_ROWS, _SAMPLED_ROWS) // config.num_samples
        for batch in _batches(sources, max(1, most)):
            if isinstance(config, BeamConfig):
                yield from self._searched(read(batch), config, first)
            else:
                yield from self._sampled(read(batch), config, first)
            first += len(batch)

    def _sampled(self, read: Prompted, config: SampleConfig, first: int) -> Iterator[list[Sample]]:
        """Yield the random answers to sources that were read, before which there are `first`."""
        each = config.num_samples
        if len(read.logits) == 1:  # there may be many answers to one source
            yield list(self.texts(read, config, first=first * each))
            return
        written = self._written(read, config, first * each)
        yield from (written[row : row + each] for row in range(0, len(written), each))

    def _searched(self, read: Prompted, config: BeamConfig, first: int) -> Iterator[list[Sample]]:
        """Yield the answers that beam search finds, likewise."""
        seed, numbers = config.seed, range(first, first + len(read.logits))
        found = beam_searches(
            self._selector.engine,
            read.logits,
            read.state,
            config,
            stops=vocabulary.stop_ids(self._tokenizer, config.stop),
            constraint=self._constraints.get(config.limits, config.length),
            rngs=None if seed is None else [sampler.generator(seed, row) for row in numbers],
        )
        make = self._maker(config, self._openings(read))
        yield from (self._beam_samples(read, make, each, seed) for each in found)

    def _maker(self, config: BeamConfig, openings: Sequence[str]) -> Callable[[Write], OutputText]:
        given = self._tokenizer, config.stop, MAX_LENGTH
        return text_maker(*given, keep_stop=config.keep_stop, openings=openings)

    def _openings(self, read: Prompted) -> list[str]:
        """Return what ends a text if it begins so: the rest of a separator that was begun."""
        separator = self._separator
        last = read.ids[-len(separator.encode()) :] if separator else read.ids[:0]
        end = self._tokenizer.decode(last.tolist())
        sizes = range(1, len(separator))
        return [separator[size:] for size in sizes if end.endswith(separator[:size])]

    def _stops(self, config: SampleConfig | BeamConfig) -> tuple[str, ...]:
        """Return the strings that end a text: those that were asked for, and the separator.

        Raises:
            OptionError: an option is about the ends of texts, and nothing ends one.
        """
        if not config.stop and not self._separator:
            if config.keep_stop:
                raise OptionError("--keep-stop has no effect without --stop: give both")
            if isinstance(config, BeamConfig) and config.min_length:
                raise OptionError("--min-length only delays --stop: add --stop")
        if self._separator in ("", *config.stop):
            return tuple(config.stop)
        return (*config.stop, self._separator)

    def _prompt(self, read: Prompted) -> str:
        return self._tokenizer.decode(read.ids.tolist())


def _batches(sources: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yield sources in batches of growing size: at most `most`, or those that fit into memory."""
    batch: list[str] = []
    limit, longest = min(_FIRST, most), 0
    for source in sources:
        length = len(source) if isinstance(source, str) else 0  # what it must be, its reader says
        longest = max(longest, length)
        if batch and (len(batch) == limit or (len(batch) + 1) * longest > _SYMBOLS):
            yield batch
            batch, longest = [], length
            limit = min(_FACTOR * limit, most)
        batch.append(source)
    if batch:
        yield batch


def _seed(config: SampleConfig | BeamConfig) -> int | None:
    """Return the seed of texts that are random, given or new; None of a search that is not."""
    if isinstance(config, BeamConfig) and not config.stochastic:
        return None
    return new_seed() if config.seed is None else config.seed


class SampleBatch:
    """Texts that are sampled side by side.

    Attributes:
        prompt: what was read before them.
        texts: as they grow.
        chooser: chooses their tokens.
        max_tokens: that each may have.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Prompted,
        config: SampleConfig,
        constraints: ConstraintCache,
        writes: Sequence[Write] = (),
        first: int = 0,
        *,
        openings: Sequence[str] = (),
    ) -> None:
        """Start empty texts.

        Without a given seed, the randomness of the prompt continues, if it has any.

        Args:
            tokenizer: of the model.
            prompt: what was read before the texts, of one source or of several.
            config: number and length of the texts after each, and how their tokens are chosen.
            constraints: those of the model.
            writes: get the characters of the first texts as they are generated.
            first: how many texts of this seed there are before.
            openings: see `text_maker`.
        """
        given = prompt.seed if config.seed is None else config.seed
        seed = new_seed() if given is None else given
        drawn = prompt.drawn if seed == prompt.seed else 0
        rows = range(first, first + len(prompt.logits) * config.num_samples)
        self.prompt = prompt
        self._seed = seed if config.temperature else None  # None: nothing is random
        self.max_tokens, length = vocabulary.max_tokens_and_characters(tokenizer, config)
        watched = [*writes, *(unwatched for _ in rows[len(writes) :])]
        given_texts = tokenizer, config.stop, length
        make = text_maker(*given_texts, keep_stop=config.keep_stop, openings=openings)
        self.texts = [make(write) for write in watched]
        limited = constraints.get(config.limits, self.max_tokens)
        ends_early = bool(config.stop or openings or limited) or not tokenizer.whole_characters
        self._in_long_steps = not ends_early and all(write is unwatched for write in writes)
        self.chooser = Sampler(
            config,
            [sampler.generator(seed, row, drawn) for row in rows],
            self.max_tokens,
            read=prompt.ids,
            bias=vocabulary.logit_bias(tokenizer, dict(config.logit_bias)),
            constraint=limited,
        )

    def steps(self, engine: Engine, cost: int = 0) -> Iterator[None]:
        """Write the texts to their ends; yield whenever some tokens have been written.

        Args:
            engine: of the model.
            cost: how many multiplications a token takes; 0: unknown.
        """
        first = 0
        if self._in_long_steps and cost:
            long = _LONG // (len(self.texts) * cost)
            first = max(sampler.FIRST_COUNT, long)
        start = (engine, self.prompt.logits, self.prompt.state)
        return sampler.write(*start, self.chooser, self.texts, self.max_tokens, first)

    def finish(self, prompt: str = "") -> list[Sample]:
        """Return the finished texts after a prompt."""
        return [text.finish(self._seed, prompt) for text in self.texts]
