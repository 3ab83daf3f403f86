"""A network of texts as a folder that the library transformers loads.

It holds the weights as safetensors, ``config.json``, a tokenizer, and ``modeling_charrnn.py``: the
network, with the equation of its cell written out. The input product of the first layer is a table
with a row for each token there, as in `charrnn.inference.network_arrays`. The networks of an
ensemble stand side by side.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from charrnn.arrays import Floats
from charrnn.cells.layer import EPSILON
from charrnn.config import SampleConfig
from charrnn.export import tokenizer_json
from charrnn.export.equation import step_source
from charrnn.inference.network_arrays import LayerArrays, NetworkArrays, network_arrays
from charrnn.model.model_file import Model
from charrnn.storage import tensors
from charrnn.storage.files import to_json
from charrnn.terminal import visible

MODELING = "modeling_charrnn.py"
NAMES = (
    *("config.json", "generation_config.json", "model.safetensors", MODELING),
    *("tokenizer.json", "tokenizer_config.json"),
)
_NEW_TOKENS = 300  # that `generate` writes if nobody says how many


def files(model: Model) -> dict[str, bytes]:
    """Return the content of each file of the folder; equal models give equal bytes."""
    each = network_arrays(model.config, model.values)
    start = model.config.start_token
    generation = {
        "bos_token_id": start,
        "pad_token_id": start,
        "do_sample": True,
        "temperature": SampleConfig.temperature,
        "top_k": SampleConfig.top_k,
        "max_new_tokens": _NEW_TOKENS,
    }
    return {
        "config.json": to_json(_config(each[0]) | {"networks": len(each)}),
        "generation_config.json": to_json(generation),
        "model.safetensors": b"".join(tensors.blocks(_weights(each), {"format": "pt"})),
        MODELING: modeling(each[0]).encode(),
        **{name: to_json(value) for name, value in tokenizer_json.files(model.tokenizer).items()},
    }


def modeling(arrays: NetworkArrays) -> str:
    """Return the source of a network, and of others like it."""
    cell = arrays.recurrence.cell
    lines = [f"# {visible(line)}".rstrip() for line in cell.equation.splitlines()]
    template = Path(__file__).with_name("modeling.py.txt").read_text("utf-8")
    return Template(template).substitute(
        title=f"Its cell: {visible(' '.join(cell.title.split()))}.",
        equation="\n".join(lines),
        step=step_source(arrays.recurrence, bool(arrays.zoneout)),
        epsilon=repr(EPSILON),
    )


def _config(arrays: NetworkArrays) -> dict[str, Any]:
    """Return the sizes of a network."""
    config, layer = arrays.config, arrays.layers[0]
    cell, module = layer.recurrence.cell, Path(MODELING).stem
    skips = config.skip_connections and config.num_layers > 1 and arrays.inputs is not None
    return {
        "architectures": ["CharRNNForCausalLM"],
        "auto_map": {
            "AutoConfig": f"{module}.CharRNNConfig",
            "AutoModelForCausalLM": f"{module}.CharRNNForCausalLM",
        },
        "model_type": "charrnn",
        "dtype": "float32",
        "tie_word_embeddings": False,
        "bos_token_id": config.start_token,
        "pad_token_id": config.start_token,
        "vocab_size": config.vocab_size + 1,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "cell": cell.name,
        "blocks": len(cell.blocks),
        "states": len(cell.states),
        "products": [
            [matrix.blocks, matrix.weight.shape[1], matrix.bias is not None, matrix.normalized]
            for matrix in layer.matrices
        ],
        "vectors": len(layer.vectors),
        "symbol_size": arrays.inputs.shape[1] if skips and arrays.inputs is not None else 0,
        "input_depth": config.input_depth,
        "output_depth": config.output_depth,
        "layer_norm": config.layer_norm,
        "learned_start": config.learned_start,
        "skip_connections": config.skip_connections,
        "feeds_back": cell.feeds_back,
        "zoneout": list(arrays.zoneout),
    }


def _weights(each: list[NetworkArrays]) -> dict[str, Floats]:
    """Return the weights of all networks by their names in transformers, sorted."""
    named = {
        f"networks.{k}.{name}": np.ascontiguousarray(value)
        for k, arrays in enumerate(each)
        for name, value in _network_weights(arrays).items()
        if value is not None
    }
    return dict(sorted(named.items()))


def _network_weights(arrays: NetworkArrays) -> dict[str, Floats | None]:
    named: dict[str, Floats | None] = {"table.weight": arrays.table}
    if arrays.config.skip_connections and len(arrays.layers) > 1:
        named["symbols.weight"] = arrays.inputs
    for index, layer in enumerate(arrays.layers):
        named |= _layer_weights(layer, index, learned_start=arrays.config.learned_start)
    named |= _linear("output_maps", arrays.output_maps)
    return named | {"output.weight": arrays.output_weight.T, "output.bias": arrays.output_bias}


def _layer_weights(
    layer: LayerArrays, index: int, *, learned_start: bool
) -> dict[str, Floats | None]:
    prefix, named = f"layers.{index}.", dict[str, Floats | None]()
    if index:
        named |= _linear(f"{prefix}maps", layer.maps)
        named |= {f"{prefix}input.weight": layer.weight.T, f"{prefix}input.bias": layer.bias}
    named |= _linear(
        f"{prefix}products", [(matrix.weight, matrix.bias) for matrix in layer.matrices]
    )
    if layer.vectors:
        named[f"{prefix}vectors"] = np.stack(layer.vectors)
    if learned_start:
        named[f"{prefix}start"] = np.stack(layer.start)
    return named


def _linear(name: str, maps: list[tuple[Floats, Floats]]) -> dict[str, Floats | None]:
    named: dict[str, Floats | None] = {}
    for number, (weight, bias) in enumerate(maps):
        named |= {f"{name}.{number}.weight": weight, f"{name}.{number}.bias": bias}
    return named
