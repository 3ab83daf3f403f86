"""Every error a user can cause, as a sentence: what, where, what to do.

CharRNNError            catch this one; ``exit_code`` is what the command ends with
├── InputError          wrong use or bad input: nothing was started (exit code 2)
│   ├── OptionError     an option's value, or a combination, that cannot be
│   ├── CorpusError     a text that cannot be read or is too short
│   ├── PromptError     a prompt with symbols the model has never seen
│   ├── ModelError      no model, or a file that is damaged, foreign or too new
│   ├── StateError      a saved state that is damaged, foreign or another model's
│   └── ArchiveError    an archive that is damaged, foreign, another model's or machine's
└── RunError            it failed while running (exit code 1)
    └── DivergedError   the loss or a gradient is no longer a number
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CharRNNError(Exception):
    """Base of all errors that are meant to be shown to the user as they are."""

    exit_code = 1


class InputError(CharRNNError):
    """Wrong use or bad input; nothing was started."""

    exit_code = 2


class OptionError(InputError):
    """An option's value, or a combination of options, that cannot be."""


class CorpusError(InputError):
    """A text that cannot be read, or is too short for what was asked."""


class PromptError(InputError):
    """A text with symbols that the model has never seen."""


class ModelError(InputError):
    """No model, or a model file that is damaged, foreign or too new."""


class StateError(InputError):
    """No saved state, or one that is damaged, foreign or another model's."""


class ArchiveError(InputError):
    """No archive, or one that is damaged, foreign, another model's or another machine's."""


class RunError(CharRNNError):
    """Something failed while running."""


class DivergedError(RunError):
    """The loss or a gradient is no longer a finite number."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence's end for an unknown `word`: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
