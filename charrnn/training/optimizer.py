"""The optimizer of a training, and its state as arrays."""

from __future__ import annotations

import torch
from torch import nn

from charrnn.config import TrainConfig
from charrnn.errors import ModelError
from charrnn.network.module import CharRNN
from charrnn.storage.tensors import Arrays
from charrnn.training.plan import SGD_RATE

MOMENTUM = 0.9  # of SGD


def make(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW, or SGD with Nesterov momentum; weight decay is on matrices only."""
    decay = config.weight_decay
    if config.optimizer == "sgd":
        # SGD's rate is larger, and momentum adds up what decay adds to the gradient: without this
        # factor a weight decay would shrink weights much more per step than AdamW's does.
        decay *= (1 - MOMENTUM) / SGD_RATE
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    rate = config.learning_rate
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def state(optimizer: torch.optim.Optimizer, network: CharRNN) -> Arrays:
    """Return copies of what the optimizer stores for each parameter, as NAME.SLOT."""
    names = _names(optimizer, network)
    return {
        f"{names[index]}.{slot}": torch.as_tensor(value).detach().cpu().numpy().copy()
        for index, slots in optimizer.state_dict()["state"].items()
        for slot, value in slots.items()
    }


def restore(optimizer: torch.optim.Optimizer, network: CharRNN, arrays: Arrays) -> None:
    """Restore a state; `arrays` is empty if no step has been made.

    Raises:
        ModelError: this is not the state of such an optimizer.
    """
    # A step with learning rate 0 creates the state that this optimizer has, to compare with.
    set_rate(optimizer, 0.0)
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    shapes = {name: value.shape for name, value in state(optimizer, network).items()}
    if arrays and {name: value.shape for name, value in arrays.items()} != shapes:
        raise ModelError("the state is damaged: it is not that of this optimizer")
    indices = {name: index for index, name in _names(optimizer, network).items()}
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in arrays.items():
        parameter, _, slot = name.rpartition(".")
        slots.setdefault(indices[parameter], {})[slot] = torch.from_numpy(value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _names(optimizer: torch.optim.Optimizer, network: CharRNN) -> dict[int, str]:
    """Return the parameters' names by their indices in the optimizer."""
    name_of = {id(weight): name for name, weight in network.weights().items()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return {index: name_of[id(weight)] for index, weight in enumerate(weights)}
