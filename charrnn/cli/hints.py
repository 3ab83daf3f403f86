"""Explain a command or an option that does not exist, or a wrong value of one."""

from __future__ import annotations

import difflib
from collections.abc import Collection

# What other programs, and people in a hurry, call an option of ours.
_OTHER_NAMES = {
    "-V": "--version",
    "-l": "--length",
    "-o": "--out",
    "-v": "--version",
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
# What they call a text, which has no option.
_TEXTS = {"--corpus", "--data", "--dataset", "--file", "--files", "--input", "--text"}
# And what they call a command.
_OTHER_COMMANDS = {
    "benchmark": "bench",
    "chat": "write",
    "complete": "sample",
    "continue": "sample",
    "corpora download": "corpora fetch",
    "corpora ls": "corpora list",
    "delete": "runs remove",
    "describe": "info",
    "download": "corpora fetch",
    "evaluate": "eval",
    "fine-tune": "train --init-from",
    "finetune": "train --init-from",
    "generate": "sample",
    "help": "--help",
    "list": "runs",
    "ls": "runs",
    "models": "runs",
    "predict": "sample",
    "remove": "runs remove",
    "resume": "train --resume",
    "rm": "runs remove",
    "runs delete": "runs remove",
    "runs list": "runs",
    "runs ls": "runs",
    "runs rm": "runs remove",
    "show": "info",
    "stats": "corpora stats",
    "test": "eval",
    "tokenize": "prepare",
    "version": "--version",
}
_AT_MOST = 3


def meant_command(program: str, path: str, word: str) -> str:
    """Return what someone meant who wrote `word`, which is no command.

    Args:
        program: the program as it was started: charrnn.
        path: the program and the command before the word, if there is one: charrnn runs.
        word: what stands in the place of a command.

    Returns:
        A question, or nothing where no other name is known.
    """
    meant = _OTHER_COMMANDS.get(f"{path.removeprefix(program)} {word.lower()}".strip())
    return f"did you mean '{program} {meant}'?" if meant else ""


def unnamed(option: str, argument: str, words: str) -> str:
    """Return how to name a text for which someone wrote an option; nothing for other options.

    Args:
        option: the unknown option.
        argument: the name of the command's argument; "" if it has none.
        words: the command.
    """
    if option not in _TEXTS or not argument:
        return ""
    return f"give it without an option: '{words} {argument.upper()}'"


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
