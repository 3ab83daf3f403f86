"""Types of keyword arguments, written by tests/keywords.py: run it, do not edit this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict


class TrainKeywords(TypedDict, total=False):
    """Keywords of `charrnn.train`."""

    minutes: float | None
    """Time budget in minutes, from the start of the command to the saved model. Default:
    planned."""
    epochs: float | None
    """Passes over the text, instead of `minutes`. Default: none."""
    steps: int | None
    """Number of updates, instead of `minutes`. Default: none."""
    out: str | PathLike[str] | None
    """The run's folder. Default: a new one in ./runs."""
    resume: bool
    """Resume the run in `out`, or the newest run that was trained on this text; with `seeds`, every
    run that is not finished. Default: False."""
    force: bool
    """Replace the run in `out`. Default: False."""
    valid: str | PathLike[str] | None
    """A separate validation text. Default: none."""
    init_from: str | PathLike[str] | None
    """Start from the network of this model or run, to train it on another text; english is one that
    charrnn comes with. Default: none."""
    config: str | PathLike[str] | None
    """A TOML file with these options, or a run to repeat; flags override it. Default: none."""
    num_layers: int | None
    """L, number of layers. Default: planned."""
    hidden_size: int | None
    """H, units in each layer. Default: planned."""
    cell: str | None
    """Recurrent cell: a name that 'charrnn cells' lists, or a file with one of your own,
    ./my_cell.py, whose code is run. Default: lstm-coupled; lstm where that trains faster."""
    tokenizer: Literal["char", "byte", "sentencepiece"]
    """Tokenizer: char (code points), byte, or sentencepiece. Default: 'char'."""
    seq_len: int | str | None
    """T, the BPTT window: number of steps that gradients flow back, or full. Default: planned."""
    batch_size: int | None
    """B, number of streams read in parallel. Default: planned."""
    learning_rate: float | None
    """Peak learning rate, reached after the warm-up. Default: planned."""
    dropout: float | None
    """Probability that an output of a layer is dropped. Default: planned."""
    seed: int
    """Seed of the initial weights and of dropout. Default: 1."""
    threads: int | None
    """CPU threads. Default: all cores."""
    device: str
    """Device: auto, cpu, cuda or cuda:N. Default: 'auto'."""
    checkpoint_every: int | None
    """Steps between two checkpoints. Default: a minute, or more if saving is slow."""
    sample_every: int | None
    """Steps between two samples, which are added to the run's samples.txt. Default: no samples."""
    precision: Literal["auto", "float32", "bfloat16"]
    """Precision: auto, float32, or bfloat16 (for matrix products only). Default: 'auto'."""
    backend: Literal["auto", "reference", "library", "fused"]
    """What runs the layers: auto, library (torch.nn), fused (compiled here) or reference (a plain
    loop). Default: 'auto'."""
    update_every: int | None
    """Steps between two updates; each update uses a whole window. Default: the window."""
    window_state: Literal["carry", "reset"]
    """Carry the state from one window to the next, or reset it. Default: 'carry'."""
    reset_at_documents: bool
    """Reset the state at the start of each document, which is a file or what `document_separator`
    separates. Default: False."""
    optimizer: Literal["nadamw", "adamw", "sgd"]
    """Optimizer: nadamw (AdamW with Nesterov's momentum), adamw or sgd. Default: 'nadamw'."""
    clip_norm: float
    """Clip the gradient to this norm; inf turns clipping off. Default: 1.0."""
    counts: Literal["off", "on", "auto"]
    """Count what follows what in the training text, for better scores: off, on, or auto (only in
    trainings by the clock, if it gains on a part of the text that is kept back for that). eval,
    score and compress use the counts; sample, greedy, beam and write only `with_counts`. Default:
    'off'."""
    skip_connections: bool
    """Connect the input to every layer and every layer to the output; the plan may turn it on.
    Default: False."""
    input_depth: int
    """Number of matrices from a layer's input to its units, with tanh between them. Default: 1."""
    recurrent_depth: int
    """Number of matrices from the state to the units. Default: 1."""
    output_depth: int
    """Number of matrices from the last layer to the logits. Default: 1."""
    tied_output: bool
    """Make the output's last matrix from the embedding and a small matrix, for many tokens; the
    plan may turn it on. Default: False."""
    learned_start: bool
    """Learn the initial state instead of starting from zero; in training, streams then begin anew
    where a window begins at the start of a line (or of a document, where those are kept apart).
    Default: False."""
    layer_norm: bool
    """Layer normalization of the input and recurrent parts of each gate or candidate. Default:
    False."""
    embedding_size: int | None
    """E, size of the token embedding; 0 means one-hot. Default: planned."""
    encoder: Literal["bidirectional", "forward"] | None
    """With `pairs` or `fill`: how the source is read, in both directions or forward. Default:
    bidirectional."""
    context: Literal["attention", "fixed"] | None
    """With `pairs` or `fill`: what each step of the target sees of the source, its end (fixed) or
    also a weighted mean of all of it (attention). Default: attention."""
    ensemble: int | None
    """Divide the units of each layer and the embedding among this many networks (1, 2, 4 or 8),
    trained side by side, whose logits are averaged. Default: planned."""
    init: Literal["auto", "orthogonal", "glorot", "he"]
    """Initial weights: auto (what suits the cell), orthogonal, glorot or he. Default: 'auto'."""
    forget_bias: float | None
    """Initial bias of the forget gate. Default: 1."""
    zoneout: float
    """Probability that a unit of h keeps its old value. Default: 0.0."""
    zoneout_cell: float
    """Probability that a unit of c keeps its old value. Default: 0.0."""
    locked_dropout: bool
    """Use one dropout mask for a whole window (Gal and Ghahramani 2016). Default: False."""
    source_dropout: float | None
    """With `pairs` or `fill`: probability that a token of the source is hidden. Default:
    planned."""
    weight_drop: float
    """Probability that a recurrent weight is dropped for a window (Merity et al. 2018). Default:
    0.0."""
    activation_penalty: float
    """AR: weight of the mean square of the last layer's outputs. Default: 0.0."""
    slowness_penalty: float
    """TAR: weight of the mean square of the change of these outputs from step to step, within an
    update. Default: 0.0."""
    omega: float
    """Weight of the regularizer of Pascanu et al. (2013), which keeps gradient norms constant over
    time; slow. Default: 0.0."""
    weight_decay: float
    """Weight decay of the matrices. Default: 0.1."""
    min_count: int | str
    """char: write characters that occur fewer times than this as their bytes. auto: those seen
    fewer than 100 times in the training text (fewer still where they are over 2 % of it), if they
    are more than 256; with `init_from`, those that the model writes as bytes. Default: 'auto'."""
    vocab_size: int | None
    """sentencepiece: vocabulary size. Default: 1024."""
    sentencepiece_type: Literal["unigram", "bpe", "char"] | None
    """sentencepiece: unigram, bpe or char. Default: bpe."""
    test: str | PathLike[str] | None
    """A separate test text. Default: none."""
    encoding: str
    """Encoding of files that are not UTF-8 (a Python codec name); auto: decided for each file.
    Default: 'auto'."""
    errors: Literal["strict", "replace"]
    """Bytes that cannot be decoded: strict (report an error) or replace (by U+FFFD). Default:
    'strict'."""
    newline: Literal["keep", "lf"]
    """Line ends: keep them, or lf (turn CR LF, CR, NEL, U+2028 and U+2029 into LF). Default:
    'keep'."""
    include: str | Sequence[str]
    """Read only files of a folder that match this pattern, such as '*.c'; may be repeated. Default:
    all."""
    exclude: str | Sequence[str]
    """Skip files of a folder that match this pattern; may be repeated. Default: none."""
    document_separator: str
    r"""Text that separates documents, besides the end of a file; escapes such as \n work. Default:
    none."""
    items: str
    """Read a list of items: lines, blank-lines (an item ends at a blank line), or the text that
    ends each item. Training shuffles them at every epoch and holds some out by hash; a sample is
    one item. Default: none."""
    pairs: bool
    r"""Read pairs: each line is a source, a tab and its target (\t, \n and \\ stand for a tab, a
    line end and a backslash); in .jsonl files, an object with source and target. Default: False."""
    swap: bool
    """With `pairs`: the source is after the tab, the target before it. Default: False."""
    max_unpacked: int | None
    """Maximum size in bytes of one decompressed file. Default: 200 times the compressed size."""
    split: Literal["position", "document", "hash"] | None
    """Hold out the end of the text (position), the last documents (document), or documents chosen
    by a hash of their content (hash; for pairs, of their source). Default: position; hash with
    `items` and `pairs`."""
    valid_fraction: float
    """Fraction of the text held out for validation. Default: 0.1."""
    test_fraction: float
    """Fraction of the text held out for a final test. Default: 0.0."""
    fill: bool
    """Learn to fill gaps in texts (charrnn fill): passages that are left out of the text, given
    what is left and right of them. Default: False."""


class TrainSeedsKeywords(TrainKeywords, total=False):
    """Keywords of `charrnn.train_seeds`."""

    seeds: int | None
    """Train this many runs, with seeds counted from `seed`; report mean and spread. Default: one
    run."""


class LoadKeywords(TypedDict, total=False):
    """Keywords of `charrnn.load`."""

    weights: Literal["float32", "bfloat16", "int8"]
    """Precision of the weights: float32, bfloat16 or int8 (fastest for a large model). Default:
    'float32'."""
    with_counts: bool
    """Also write with the counts of a model that was trained with `counts`. They predict a text
    better (scoring always uses them), but copy more, and what must match over a distance, such as
    brackets, matches less often. Default: False."""
    threads: int | None
    """CPU threads. Default: chosen for this network."""
    device: str
    """Device: cpu, cuda or cuda:N. Default: 'cpu'."""


class GreedyKeywords(TypedDict, total=False):
    """Keywords of `Generator.greedy`."""

    unknown: Literal["nearest", "skip", "error"]
    """What to do with characters that the model has never seen: nearest (replace: é by e), skip, or
    error. Default: 'nearest'."""
    length: int
    """Characters to write. Default: 1000."""
    stop: str | Sequence[str]
    r"""End the text before this string; escapes such as \n work; may be repeated. Default: none."""
    keep_stop: bool
    """Leave the `stop` string at the end of the text. Default: False."""
    repeat_penalty: float
    """Divide positive logits of recent tokens by this, multiply negative ones; 1 turns it off.
    Default: 1.0."""
    presence_penalty: float
    """Subtract this from the logit of each recent token; 0 turns it off. Default: 0.0."""
    frequency_penalty: float
    """Subtract this from the logit of a recent token for each time it occurs; 0 turns it off.
    Default: 0.0."""
    repeat_last_n: int
    """Number of tokens that count as recent, including the prompt; -1 means all. Default: 64."""
    no_repeat_ngram_size: int
    """Never repeat a sequence of N tokens while another token is possible; 0 turns it off. Default:
    0."""
    logit_bias: Mapping[str, float] | Sequence[tuple[str, float]]
    r"""TOKEN=NUMBER: add NUMBER to the token's logit; -100 forbids the token. Escapes such as \n
    and \u00e9 work; may be repeated. Default: none."""
    regex: str | None
    """The whole text must match this regular expression (Python syntax); a text that matches ends
    before the first character that would not. Default: none."""
    allow: str | None
    """Write only these characters, given as in the brackets of a regular expression: a-z. An emoji
    may be several characters. Default: all."""
    forbid: str | None
    """Never write these characters, given as in the brackets of a regular expression: 0-9. Default:
    none."""
    max_lines: int | None
    """End the text after this many lines. Default: no limit."""


class SampleKeywords(GreedyKeywords, total=False):
    """Keywords of `Generator.sample and stream`."""

    temperature: float
    """Below 1 safer, above 1 wilder; 1 samples from the model's own distribution, 0 is greedy.
    Default: 0.8."""
    seed: int | None
    """Random seed; the same seed gives the same text. Default: a new one, printed."""
    top_k: int
    """Sample from the K most likely tokens; 0 turns it off. Default: 0."""
    typical_p: float
    """Sample from the tokens whose surprisal is closest to the entropy, up to this total
    probability; 1 turns it off. Default: 1.0."""
    top_p: float
    """Sample from the most likely tokens, up to this total probability; 1 turns it off. Default:
    1.0."""
    min_p: float
    """Sample from tokens with at least this share of the best token's probability; 0 turns it off.
    Default: 0.0."""
    xtc_probability: float
    """Probability of dropping all likely tokens except the least likely of them; 0 turns it off.
    Default: 0.0."""
    xtc_threshold: float
    """XTC: tokens with at least this probability count as likely. Default: 0.1."""
    mirostat_ent: float
    """Hold the mean surprisal of the text at this many bits by cutting off unlikely tokens; 0 turns
    it off. Default: 0.0."""
    mirostat_lr: float
    """Mirostat: learning rate of the cutoff. Default: 0.1."""


class SamplesKeywords(SampleKeywords, total=False):
    """Keywords of `Generator.samples`."""

    num_samples: int
    """Number of texts, written side by side. Default: 1."""
    unique: bool
    """Write no text twice; needs `num_samples`. Default: False."""


class BeamKeywords(TypedDict, total=False):
    """Keywords of `Generator.beam`."""

    unknown: Literal["nearest", "skip", "error"]
    """What to do with characters that the model has never seen: nearest (replace: é by e), skip, or
    error. Default: 'nearest'."""
    length: int
    """Tokens to write: characters, unless the model's tokens are bytes or pieces. Default: 200."""
    min_length: int
    """Minimum number of tokens before a text may end, as at a `stop`. Default: 0."""
    width: int
    """Number of prefixes kept at every step. Default: 5."""
    length_penalty: float
    """Rank texts by log p / length^A: 0 favors short texts, 1 is the mean. Default: 1.0."""
    groups: int
    """Number of equal groups of beams, made different by `diversity`. Default: 1."""
    diversity: float
    """Penalty in nats for a token, for each beam of an earlier group that chose it at the same
    step; 0 turns it off. Default: 0.0."""
    stochastic: bool
    """Sample different texts without replacement instead of searching. Default: False."""
    temperature: float
    """Temperature of `stochastic`. Default: 1.0."""
    stop: str | Sequence[str]
    r"""End the text before this string; escapes such as \n work; may be repeated. Default: none."""
    keep_stop: bool
    """Leave the `stop` string at the end of the text. Default: False."""
    seed: int | None
    """Seed of `stochastic`; the same seed gives the same texts. Default: a new one, printed."""
    regex: str | None
    """The whole text must match this regular expression (Python syntax); a text that matches ends
    before the first character that would not. Default: none."""
    allow: str | None
    """Write only these characters, given as in the brackets of a regular expression: a-z. An emoji
    may be several characters. Default: all."""
    forbid: str | None
    """Never write these characters, given as in the brackets of a regular expression: 0-9. Default:
    none."""
    max_lines: int | None
    """End the text after this many lines. Default: no limit."""


class BeamsKeywords(BeamKeywords, total=False):
    """Keywords of `Generator.beams`."""

    num_return: int
    """Number of best texts to print, with their log-probabilities. Default: 1."""


class FillKeywords(TypedDict, total=False):
    """Keywords of `Generator.fill`."""

    unknown: Literal["nearest", "skip", "error"]
    """What to do with characters that the model has never seen: nearest (replace: é by e), skip, or
    error. Default: 'nearest'."""
    gap: str
    """What marks a gap in the text. Default: '___'."""
    length: int | None
    """Characters to write into each gap. Default: as many as fit."""
    width: int
    """Number of prefixes kept at every step. Default: 5."""
    length_penalty: float
    """Rank fillings by log p / length^A: 0 takes the most probable, 1 favors long ones. Default:
    0.0."""
    temperature: float | None
    """Sample instead of searching: below 1 safer, above 1 wilder, 0 is greedy. Default: none: beam
    search."""
    seed: int | None
    """Random seed; the same seed gives the same text. Default: a new one, printed."""
    top_k: int
    """Sample from the K most likely tokens; 0 turns it off. Default: 0."""
    top_p: float
    """Sample from the most likely tokens, up to this total probability; 1 turns it off. Default:
    1.0."""
    min_p: float
    """Sample from tokens with at least this share of the best token's probability; 0 turns it off.
    Default: 0.0."""
    regex: str | None
    """What fills a gap must match this regular expression (Python syntax). Default: none."""
    allow: str | None
    """Write only these characters, given as in the brackets of a regular expression: a-z. An emoji
    may be several characters. Default: all."""
    forbid: str | None
    """Never write these characters, given as in the brackets of a regular expression: 0-9. Default:
    none."""
    max_lines: int | None
    """End what fills a gap after this many lines. Default: no limit."""


class FillsKeywords(FillKeywords, total=False):
    """Keywords of `Generator.fills`."""

    num_samples: int
    """Number of filled texts. Default: 1."""
