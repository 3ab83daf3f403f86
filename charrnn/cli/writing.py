"""What ``sample``, ``greedy`` and ``beam`` share: they read prompts, write, show texts and save."""

from __future__ import annotations

from pathlib import Path

from charrnn.cli.display.sample_output import OutputOptions, Target
from charrnn.cli.display.samples import WriteTexts, novelty_index, show
from charrnn.cli.prompt import (
    PromptOptions,
    check_prompt,
    first_state,
    open_texts,
    prompts_of,
    save_state,
)
from charrnn.cli.shared import load_model
from charrnn.config import BeamConfig, EngineOptions, SampleConfig
from charrnn.errors import OptionError


class Writing:
    """One run of a command that writes texts after prompts.

    Attributes:
        generator: the model that writes.
        index: of the training text; None unless texts are compared with it.
        seed: of the random numbers that a saved state continues; None without any.
    """

    def __init__(
        self,
        model: Path | None,
        cell: str | None,
        engine: EngineOptions,
        prompt: str | None,
        start: PromptOptions,
        output: OutputOptions,
        config: SampleConfig | BeamConfig,
    ) -> None:
        """Check everything and load the model, before anything is written.

        Args:
            model: what ``--model`` names.
            cell: what ``--cell`` names.
            engine: what runs the model.
            prompt: the prompt that has no option of its own.
            start: the other prompts, and states.
            output: where the texts go.
            config: how the texts are written, and how many after each prompt.

        Raises:
            CharRNNError: an option, the model, a prompt or a state cannot be used.
        """
        from charrnn.inference.prompt import check_continues

        check_prompt(prompt, start)
        if output.skip and (isinstance(config, BeamConfig) or not config.temperature):
            raise OptionError("--skip is for many random texts, or for answers to --source-file")
        self.generator = load_model(model, engine, cell)
        reading = self.generator.reading
        check_continues(reading)
        self._start, self._output, self._unknown = start, output, config.unknown
        self._prompts = prompts_of(prompt, start, reading)
        each = config.num_return if isinstance(config, BeamConfig) else config.num_samples
        self._target = Target.of(output, len(self._prompts) * each, config, reading.separator)
        self.index = novelty_index(model, output)  # indexing a text may take minutes
        self._after = first_state(self.generator, start, config.unknown)
        self.seed = self._after.seed if self._after else None

    def run(self, write_texts: WriteTexts, *, ranked: bool = False) -> None:
        """Read the prompts one by one, show what is written after each, save the last state.

        Args:
            write_texts: writes the texts after a prompt that was read; see `show`.
            ranked: whether log-probabilities are reported of short texts, too.
        """
        openings = open_texts(
            self.generator, self._prompts, self._start, self._unknown, self._after
        )
        compared = self.index if self._output.novelty else None
        written = show(openings, self._target, write_texts, compared, ranked=ranked)
        save_state(self.generator, self._start, written)
