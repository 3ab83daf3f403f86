"""The random masks of an update: dropout that stays along a window, and dropped weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.config import Regularizers
from charrnn.model import parameters

_RECURRENT = re.compile(r"weight_hh|hidden\..*\.weight")


@dataclass(frozen=True)
class OwnStreams:
    """Which streams of a batch a network reads: their masks are drawn with those of all others.

    A stream's masks are then the same, whichever process reads it.

    Attributes:
        count: B, of the whole batch.
        own: those that are read.
    """

    count: int
    own: slice

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape (T, B, H) of the whole batch, given that of some streams."""
        return (shape[0], self.count, *shape[2:])


@dataclass(frozen=True)
class Noise:
    """Random masks that are drawn once per update and stay the same along its window.

    Attributes:
        dropped: for each layer, masks (1, B, H) of its outputs (Gal and Ghahramani 2016); empty
            if they are drawn anew at every step.
        weights: for each layer, masks of its recurrent weights by name (Merity et al. 2017); empty
            without weight-drop. An encoder's layer counts once for each of its directions.
        streams: those that the network reads; None: whatever it is given.
        generator: draws what is drawn along the window; None: torch's own.
    """

    dropped: tuple[Tensor, ...] = ()
    weights: tuple[Mapping[str, Tensor], ...] = ()
    streams: OwnStreams | None = None
    generator: torch.Generator | None = None

    def masked(self, index: int, layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parameters of a layer without the weights that are dropped."""
        masks = self.weights[index] if self.weights else {}
        return {**layer, **{name: layer[name] * mask for name, mask in masks.items()}}

    def drop(self, outputs: Tensor, rate: float, training: bool) -> Tensor:
        """Return outputs (T, B, H) after dropout that is drawn anew at every step."""
        if not (rate and training):
            return outputs
        if self.streams is None:
            return masked(outputs, _mask(outputs, outputs.shape, rate, self.generator))
        whole, own = self.streams.whole(outputs.shape), self.streams.own
        return masked(outputs, _mask(outputs, whole, rate, self.generator)[:, own])

    def zone(
        self, rates: Sequence[float], like: Tensor, shape: tuple[int, ...], training: bool
    ) -> tuple[Tensor, ...]:
        """Return the share of each part of the old state that stays: random only in training.

        Args:
            rates: the means of the shares.
            like: has the type of the shares, and is where they are.
            shape: that of a layer's outputs, (T, B, H).
            training: whether the shares are random.
        """
        if not training:
            return tuple(like.new_full((1, 1, 1), rate) for rate in rates)
        own = slice(None) if self.streams is None else self.streams.own
        whole = shape if self.streams is None else self.streams.whole(shape)
        shares = [like.new_full(whole, rate) for rate in rates]
        return tuple(torch.bernoulli(each, generator=self.generator)[:, own] for each in shares)


def draw(
    weights: Mapping[str, Tensor],
    regularizers: Regularizers,
    shape: tuple[int, int, int],
    num_layers: int,
    prefixes: Sequence[str],
    streams: OwnStreams | None = None,
    generator: torch.Generator | None = None,
) -> Noise:
    """Return the noise of one update.

    Args:
        weights: the network's parameters by name.
        regularizers: what is dropped.
        shape: that of a layer's output mask, (1, B, H).
        num_layers: L, the number of output masks.
        prefixes: of the parameters of each layer, or of each direction of one.
        streams: those that the network reads, of B; None: all.
        generator: draws it; None: torch's own.
    """
    dropped: tuple[Tensor, ...] = ()
    masks: tuple[Mapping[str, Tensor], ...] = ()
    if regularizers.locked_dropout and regularizers.dropout:
        like, rate = weights["output.bias"], regularizers.dropout
        dropped = tuple(_mask(like, shape, rate, generator) for _ in range(num_layers))
        if streams:
            dropped = tuple(mask[:, streams.own] for mask in dropped)
    if regularizers.weight_drop:
        masks = tuple(
            {
                name: _mask(weight, weight.shape, regularizers.weight_drop, generator)
                for name, weight in parameters.within(weights, prefix).items()
                if is_recurrent(name)
            }
            for prefix in prefixes
        )
    return Noise(dropped, masks, streams, generator)


def _mask(
    like: Tensor, shape: tuple[int, ...], rate: float, generator: torch.Generator | None
) -> Tensor:
    """Return a mask whose values are 0 with this probability, and 1 / (1 - rate) otherwise.

    It is at least float32: bfloat16 would round all values other than 0 in the same direction.
    """
    kept = like.new_empty(shape, dtype=torch.promote_types(like.dtype, torch.float32))
    return kept.bernoulli_(1 - rate, generator=generator).div_(1 - rate)


def masked(outputs: Tensor, mask: Tensor) -> Tensor:
    """Return outputs times a mask, which may be more exact than they are, in their own type."""
    return (outputs * mask).to(outputs.dtype)


def hidden(
    ids: Tensor,
    rate: float,
    streams: OwnStreams | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return a mask (S, B, 1) of tokens (S, B): 0 for each that is hidden, 1 for the others."""
    shape = streams.whole((*ids.shape, 1)) if streams else (*ids.shape, 1)
    chances = torch.full(shape, 1 - rate, device=ids.device)
    shown = torch.bernoulli(chances, generator=generator)
    return shown[:, streams.own] if streams else shown


def is_recurrent(name: str) -> bool:
    """Return whether a layer's parameter is a matrix that multiplies the state."""
    return bool(_RECURRENT.fullmatch(name))
