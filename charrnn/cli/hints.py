"""Explain an option that a command does not have, or a wrong value of one."""

from __future__ import annotations

import difflib
from collections.abc import Collection

# What other programs, and people in a hurry, call an option of ours.
_OTHER_NAMES = {
    "--batch": "--batch-size",
    "--beam-size": "--width",
    "--beams": "--width",
    "--bf16": "--precision bfloat16",
    "--bs": "--batch-size",
    "--checkpoint": "--model",
    "--cuda": "--device cuda",
    "--epoch": "--epochs",
    "--gpu": "--device cuda",
    "--gpus": "--device cuda",
    "--grad-clip": "--clip-norm",
    "--hidden": "--hidden-size",
    "--hidden-dim": "--hidden-size",
    "--iterations": "--steps",
    "--iters": "--steps",
    "--layers": "--num-layers",
    "--lr": "--learning-rate",
    "--max-epochs": "--epochs",
    "--max-iters": "--steps",
    "--max-length": "--length",
    "--max-new-tokens": "--length",
    "--max-tokens": "--length",
    "--n-layers": "--num-layers",
    "--num-beams": "--width",
    "--num-return-sequences": "--num-samples",
    "--output": "--out",
    "--output-dir": "--out",
    "--primetext": "--prompt",
    "--quantize": "--weights int8",
    "--repetition-penalty": "--repeat-penalty",
    "--rnn-size": "--hidden-size",
    "--start": "--prompt",
    "--temp": "--temperature",
    "--time": "--minutes",
    "--topk": "--top-k",
    "--topp": "--top-p",
    "--units": "--hidden-size",
    "--vocab": "--vocab-size",
    "--workers": "--threads",
}
_AT_MOST = 3


def similar_options(name: str, known: Collection[str]) -> list[str]:
    """Return what someone who wrote the unknown option `name` may have meant, the likeliest first.

    Args:
        name: the option with its dashes.
        known: the options of the command.
    """
    meant = _OTHER_NAMES.get(name.lower().replace("_", "-"))
    if meant and meant.split()[0] in known:
        return [meant]
    words = set(name.strip("-").split("-"))
    with_its_words = [each for each in known if words <= set(each.strip("-").split("-"))]
    close = difflib.get_close_matches(name.replace("_", "-"), known, _AT_MOST, cutoff=0.8)
    return list(dict.fromkeys(close + with_its_words))[:_AT_MOST]


def too_many_words(message: str, command: str, takes_words: bool) -> str:
    """Return a message about a word too many with what to do, and any other as it is.

    Args:
        message: of the error.
        command: its name, such as ``charrnn sample``.
        takes_words: whether it has arguments, not only options.
    """
    if not message.startswith("Got unexpected extra argument"):
        return message
    advice = "put words that belong together in quotes"
    if not takes_words:
        advice = f"this command takes options alone, see {command} --help"
    return f"{message}: {advice}"
