"""Dynamic evaluation: the model learns from the text that it scores (Mikolov 2010, Krause 2018).

The text is read in order, in segments. Each is scored first, with the current weights, and then
learned from:

    w <- w + DECAY * (w_0 - w) - RATE * g / (sqrt(mean of g^2) + EPSILON)

g is the gradient of the segment's mean loss, w_0 are the model's own weights. g^2 is averaged over
the segments so far; Krause averages over the training text, which is not needed this way.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from charrnn.arrays import Ids
from charrnn.inference.engine import check_finite
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.layers import select
from charrnn.network.module import CharRNN, detached
from charrnn.scoring import Score
from charrnn.training import process_settings

# Tuned on the held-out parts of War and Peace and of folk tunes.
SEGMENT = 32  # tokens between two updates
RATE = 1e-3
DECAY = 1e-2
EPSILON = 1e-8


def score(
    model: Model,
    ids: Ids,
    *,
    threads: int = 1,
    progress: Callable[[int], object] = lambda tokens: None,
) -> Score:
    """Score a text as one stream from the start token, learning from each segment after it.

    Args:
        model: the model, which does not change.
        ids: the text's tokens (N,).
        threads: for torch; one stream hardly keeps a second one busy.
        progress: called after each segment with the number of tokens read.
    """
    with process_settings.threads(threads):
        return _score(model, ids, progress)


def _score(model: Model, ids: Ids, progress: Callable[[int], object]) -> Score:
    config = model.config
    kernel = select(parameters.layer_of(config), torch.device("cpu"), "float32")
    network = CharRNN(config, model.values, sequence=kernel.run).eval()
    weights = list(network.parameters())
    first = [weight.detach().clone() for weight in weights]
    squares = [torch.zeros_like(weight) for weight in weights]
    state = network.start_state(1)
    whole = torch.from_numpy(ids.astype("int64"))
    total = 0.0
    for segment, begin in enumerate(range(0, len(ids), SEGMENT), start=1):
        targets = whole[begin : begin + SEGMENT]
        before = whole[begin - 1 : begin] if begin else torch.tensor([config.start_token])
        inputs = torch.cat([before, targets[:-1]])[:, None]
        logits, state = network(inputs, detached(state))
        nats = F.cross_entropy(logits[:, 0], targets, reduction="sum")
        total += float(nats.detach())
        network.zero_grad()
        (nats / len(targets)).backward()  # type: ignore[no-untyped-call]
        _update(weights, first, squares, segment)
        progress(begin + len(targets))
    check_finite(total)
    return Score(total, *model.tokenizer.measure(ids))


@torch.no_grad()
def _update(
    weights: list[torch.nn.Parameter],
    first: list[torch.Tensor],
    squares: list[torch.Tensor],
    segment: int,
) -> None:
    """Make a step down the gradient, and a small one back to the model's own weights."""
    for weight, start, square in zip(weights, first, squares, strict=True):
        assert weight.grad is not None
        square.addcmul_(weight.grad, weight.grad)
        scale = (square / segment).sqrt_().add_(EPSILON)
        weight.addcdiv_(weight.grad, scale, value=-RATE)
        weight.lerp_(start, DECAY)
