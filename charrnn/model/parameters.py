"""The parameters of a network by name: their shapes, initial values and number.

embedding                   (V + 1, E)   row V is the start token; absent if tokens are one-hot
layers.l.input.k.weight     (H, X or H)  deeper input maps, from the input upwards
layers.l.input.k.bias       (H,)
layers.l.weight_ih          (G*H, X)     X: the size of the layer's input, H above an input map
layers.l.weight_hh          (R*H, H)     of the R recurrent blocks, all G of most cells; absent if
                                         R = 0; (R*H, V) where the cell feeds the output back
layers.l.hidden.s.k.weight  (H, H)       deeper recurrent maps of product s, and their biases
layers.l.hidden.s.k.bias    (H,)
layers.l.peephole           (3*H,)       if the cell has them
layers.l.gain_ih, gain_hh   (G*H,), (R*H,)   with layer normalization
layers.l.bias               (G*H,)       or bias_ih and bias_hh (R*H,), as the cell declares
layers.l.start.NAME         (H,)         the learned initial value of each part of the state
output.hidden.k.weight      (H, H or Y)  deeper output maps, and their biases
output.hidden.k.bias        (H,)
output.weight               (V, Y)       Y: H, or L*H with skip connections, or H above a map;
                                         (E, Y) if the output is tied: the last matrix is then the
                                         embedding, without the start token, times this one
output.bias                 (V,)

A pair model has these, too. Source and target share the embedding; V counts the end of a target.

encoder.layers.l.forward.*   like layers.l.*, for D units instead of H: the H units of an encoder's
encoder.layers.l.backward.*               layer are divided among its directions
context.start.NAME.weight   (L*H, H)     from the encoder's last outputs to a part of the initial
context.start.NAME.bias     (L*H,)       state of every layer
context.input.weight        (X, H)       from the same to what is added to the first layer's input
attention.query.weight      (H, H)       from the first layer's outputs to queries; with attention,
                                         X and Y of all that is above grow by H

The parameters of an ensemble are those of its K networks, each called k.NAME; its logits are the
mean of theirs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from charrnn.cells import Layer, find
from charrnn.cells.initial import glorot, he
from charrnn.config import ModelConfig

Parameters = Mapping[str, NDArray[np.float32]]
Shape = tuple[int, ...]
Array = TypeVar("Array")
Item = TypeVar("Item")
_OUTPUT = "output.weight", "output.bias"  # what makes the logits


def layer_of(config: ModelConfig) -> Layer:
    """Return the recurrent layer of a network; all its layers have the same cell and form."""
    return Layer(find(config.cell), config.recurrent_depth, config.layer_norm)


def input_sizes(config: ModelConfig, *, encoder: bool = False) -> list[int]:
    """Return the input size of each layer, of the decoder in a pair model or of its encoder."""
    symbols = config.embedding_size or config.vocab_size + 1
    above = config.hidden_size + (symbols if config.skip_connections else 0)
    above += 0 if encoder else _attended(config)
    return [symbols] + [above] * (config.num_layers - 1)


def _attended(config: ModelConfig) -> int:
    """Return how many values attention adds to an input."""
    return config.hidden_size if config.context == "attention" else 0


def shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return names and shapes of all parameters, in the order in which they are stored."""
    if config.ensemble > 1:
        each = shapes(config.member).items()
        return {f"{k}.{name}": shape for k in range(config.ensemble) for name, shape in each}
    recurrence, hidden = layer_of(config), config.hidden_size
    named: dict[str, Shape] = {}
    if config.embedding_size:
        named["embedding"] = (config.vocab_size + 1, config.embedding_size)
    if config.encoder:
        named |= _encoder_shapes(config)
    for index, size in enumerate(input_sizes(config)):
        prefix = f"layers.{index}."
        named |= _layer_shapes(config, prefix, size, hidden)
        if config.learned_start:
            named |= {f"{prefix}start.{name}": (hidden,) for name in recurrence.cell.states}
    size = hidden * (config.num_layers if config.skip_connections else 1) + _attended(config)
    named |= _map_shapes("output.hidden.", config.output_depth, size, hidden)
    rows = config.embedding_size if config.tied_output else config.vocab_size
    named["output.weight"] = (rows, hidden if config.output_depth > 1 else size)
    named["output.bias"] = (config.vocab_size,)
    return named


def _encoder_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the shapes of an encoder, and of what takes the source to the decoder."""
    hidden = config.hidden_size
    named: dict[str, Shape] = {}
    for index, size in enumerate(input_sizes(config, encoder=True)):
        for direction in config.directions:
            prefix = f"encoder.layers.{index}.{direction}."
            named |= _layer_shapes(config, prefix, size, config.encoder_size)
    for name in layer_of(config).cell.states:
        named[f"context.start.{name}.weight"] = (config.num_layers * hidden, hidden)
        named[f"context.start.{name}.bias"] = (config.num_layers * hidden,)
    named["context.input.weight"] = (input_sizes(config)[0], hidden)
    if config.context == "attention":
        named["attention.query.weight"] = (hidden, hidden)
    return named


def _layer_shapes(config: ModelConfig, prefix: str, size: int, hidden: int) -> dict[str, Shape]:
    """Return the shapes of a layer of `hidden` units with its input map."""
    named = _map_shapes(f"{prefix}input.", config.input_depth, size, hidden)
    size = hidden if config.input_depth > 1 else size
    own = layer_of(config).shapes(size, hidden, config.vocab_size)
    return named | {prefix + name: shape for name, shape in own.items()}


def _map_shapes(prefix: str, depth: int, size: int, hidden: int) -> dict[str, Shape]:
    """Return the shapes of all matrices of a deeper map, except the last one."""
    named: dict[str, Shape] = {}
    for k in range(depth - 1):
        named[f"{prefix}{k}.weight"] = (hidden, hidden if k else size)
        named[f"{prefix}{k}.bias"] = (hidden,)
    return named


def count(config: ModelConfig, prefix: str = "") -> int:
    """Return the number of trained values, or of those whose names begin with `prefix`.

    Names are those within each network of an ensemble.
    """
    return config.ensemble * sum(
        math.prod(shape) for name, shape in shapes(config.member).items() if name.startswith(prefix)
    )


def members(config: ModelConfig, values: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Return the parameters of each network of an ensemble; a list of one if it is none."""
    if config.ensemble == 1:
        return [dict(values)]
    return [within(values, f"{k}.") for k in range(config.ensemble)]


def by_network(config: ModelConfig, layers: Sequence[Item]) -> list[Sequence[Item]]:
    """Return the L layers of each network of an ensemble, from those of one after the other."""
    count = config.num_layers
    return [layers[first : first + count] for first in range(0, len(layers), count)]


def together(each: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the parameters of an ensemble from those of its networks; of one network its own."""
    if len(each) == 1:
        return dict(each[0])
    return {f"{k}.{name}": value for k, own in enumerate(each) for name, value in own.items()}


def joined(
    config: ModelConfig, values: Mapping[str, NDArray[Any]]
) -> tuple[ModelConfig, Mapping[str, NDArray[Any]]]:
    """Return an ensemble as one network with zeros between its parts, which says the same.

    Unit i of network k, or value i of its embedding, is number i K + k. What makes the logits is
    divided by K.
    """
    if config.ensemble == 1:
        return config, values
    dense = dataclasses.replace(config, ensemble=1)
    each = members(config, values)
    found = {name: np.zeros(shape, each[0][name].dtype) for name, shape in shapes(dense).items()}
    for k, part in enumerate(each):
        for name, value in part.items():
            own = _own(config, name, value.ndim, k)
            found[name][own] += value / (len(each) if name in _OUTPUT else 1)
    return dense, found


def as_stored(config: ModelConfig, names: Container[str]) -> ModelConfig:
    """Return the network whose parameters are stored under these names.

    Until 30 November 2026 an ensemble was stored as one network; see `joined`.
    """
    is_joined = config.ensemble > 1 and "output.bias" in names
    return dataclasses.replace(config, ensemble=1) if is_joined else config


def as_read(config: ModelConfig, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the parameters of a network as they are now, from those that were stored."""
    if as_stored(config, values) == config:
        return dict(values)
    count = config.ensemble
    return together(
        [
            {
                name: value[_own(config, name, value.ndim, k)]
                * (count if name == "output.weight" else 1)
                for name, value in values.items()
            }
            for k in range(count)
        ]
    )


def _own(config: ModelConfig, name: str, axes: int, k: int) -> tuple[slice, ...]:
    """Return which part of a parameter belongs to network k; an axis of tokens is not divided."""
    own, tokens = slice(k, None, config.ensemble), slice(None)
    if name == "output.bias":
        return (tokens,)
    by_tokens = name == "embedding" or (name == "output.weight" and not config.tied_output)
    return (tokens, own) if by_tokens else (own,) * axes


def with_scaled_logits(values: Parameters, factor: float) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of a network, or an ensemble, whose logits are `factor` times as large.

    Those of a pair model's encoder have other names.
    """
    scaled = np.float32(factor)
    return {
        name: value * scaled if name.endswith(_OUTPUT) else value for name, value in values.items()
    }


def initial(
    config: ModelConfig, seed: int, rule: str = "auto", forget_bias: float | None = None
) -> dict[str, NDArray[np.float32]]:
    """Return initial values: unit normal embedding, the cell's own rules, Glorot or He, zero bias.

    `rule` and `forget_bias` are those of `charrnn.cells.Layer.initial`.
    """
    rng = np.random.default_rng([seed, 0x1217])
    each = [_initial(config.member, rng, rule, forget_bias) for _ in range(config.ensemble)]
    return together(each)


def _initial(
    config: ModelConfig, rng: np.random.Generator, rule: str, forget_bias: float | None
) -> dict[str, NDArray[np.float32]]:
    """Return the initial values of one network."""
    recurrence = layer_of(config)
    values: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes(config).items():
        if name == "embedding":
            values[name] = rng.standard_normal(shape).astype(np.float32)
        elif name.endswith(".weight_ih"):
            prefix = name.removesuffix("weight_ih")
            start = recurrence.initial(
                shape[1],
                shape[0] // len(recurrence.cell.blocks),
                rng,
                output_size=config.vocab_size,
                rule=rule,
                forget_bias=forget_bias,
            )
            values |= {prefix + own: value for own, value in start.items()}
        elif name not in values:
            matrix = he if rule == "he" else glorot
            values[name] = matrix(*shape, rng) if len(shape) == 2 else np.zeros(shape, np.float32)
    if config.tied_output:  # so that logits are small, although the embedding is not
        values["output.weight"] /= np.float32(math.sqrt(config.embedding_size))
    return values


def output_matrix(
    config: ModelConfig, values: Mapping[str, Any], product: Callable[[Any, Any], Any]
) -> Any:
    """Return the matrix (V, Y) that makes the logits; `product` multiplies two matrices."""
    weight = values["output.weight"]
    if not config.tied_output:
        return weight
    return product(values["embedding"][: config.vocab_size], weight)


def layer(parameters: Mapping[str, Array], index: int) -> dict[str, Array]:
    """Return the parameters of one layer, by their names within it."""
    return within(parameters, f"layers.{index}.")


def within(parameters: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Return the parameters whose names begin with `prefix`, by the rest of the name."""
    return {
        name.removeprefix(prefix): value
        for name, value in parameters.items()
        if name.startswith(prefix)
    }


def maps(parameters: Mapping[str, Any], prefix: str) -> list[tuple[Any, Any]]:
    """Return weight and bias of each matrix of a deeper map except the last one, from below."""
    matrices = within(parameters, prefix)
    count = len(matrices) // 2
    return [(matrices[f"{k}.weight"], matrices[f"{k}.bias"]) for k in range(count)]
