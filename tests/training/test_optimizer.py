"""The optimizers against those of torch.optim, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from charrnn.config import TrainConfig
from charrnn.errors import ModelError
from charrnn.training import optimizer
from charrnn.training.plan import SGD_RATE

RATES = (0.02, 0.01, 0.003, 0.0)


def _weights() -> dict[str, torch.nn.Parameter]:
    drawn = torch.Generator().manual_seed(3)
    shapes = {"output.weight": (7, 33), "output.bias": (33,), "unused": (2, 2)}
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=drawn))
        for name, shape in shapes.items()
    }


def _torch_optimizer(weights: dict[str, torch.nn.Parameter], config: TrainConfig) -> Any:
    decay = config.weight_decay
    if config.optimizer == "sgd":
        decay *= (1 - optimizer.MOMENTUM) / SGD_RATE
    groups = [
        {"params": [w for w in weights.values() if w.ndim > 1], "weight_decay": decay},
        {"params": [w for w in weights.values() if w.ndim == 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.99), fused=True)


def _train(weights: dict[str, torch.nn.Parameter], step: Any) -> None:
    drawn = torch.Generator().manual_seed(4)
    for rate in RATES:
        for weight in [*weights.values()][:2]:
            weight.grad = torch.randn(weight.shape, generator=drawn)
        step(rate)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_weights_change_as_by_torch(name: Any, decay: float) -> None:
    config = TrainConfig(optimizer=name, weight_decay=decay, steps=1)
    ours, theirs = _weights(), _weights()
    made, reference = optimizer.make(ours, config), _torch_optimizer(theirs, config)

    def our_step(rate: float) -> None:
        made.rate = rate
        made.step()

    def their_step(rate: float) -> None:
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()

    _train(ours, our_step)
    _train(theirs, their_step)
    for one, other in zip(ours.values(), theirs.values(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(ours["unused"], _weights()["unused"])
    assert not torch.equal(ours["output.bias"], _weights()["output.bias"])
    stored = [reference.state[w] for w in [*theirs.values()][:2]]
    assert [*made.state()] == [
        f"{name}.{slot}"
        for name, slots in zip(("output.weight", "output.bias"), stored, strict=True)
        for slot in slots
    ]
    for value, slot in zip(
        made.state().values(), (v for slots in stored for v in slots.values()), strict=True
    ):
        assert value.tobytes() == slot.numpy().tobytes()


def test_nadamw_is_adamw_with_nesterov_s_momentum() -> None:
    """By its formulas, written down in float64; the second weight has no gradient at first."""
    drawn = torch.Generator().manual_seed(5)

    def random() -> torch.Tensor:
        return torch.randn(5, 7, generator=drawn, dtype=torch.float64)

    weights = {name: torch.nn.Parameter(random()) for name in ("one", "two")}
    made = optimizer.make(weights, TrainConfig(optimizer="nadamw", weight_decay=0.3, steps=1))
    wanted = {name: weight.detach().clone() for name, weight in weights.items()}
    means = {name: (torch.zeros(5, 7), torch.zeros(5, 7)) for name in weights}
    steps = dict.fromkeys(weights, 0)
    for number in range(12):
        made.rate = 0.1 / (1 + number)
        made.clear()
        for name in ["one", "two"] if number >= 3 else ["one"]:
            weights[name].grad = gradient = random()
            steps[name] += 1
            first = 0.9 * means[name][0] + 0.1 * gradient
            second = 0.99 * means[name][1] + 0.01 * gradient**2
            means[name] = first, second
            ahead = (0.9 * first + 0.1 * gradient) / (1 - 0.9 ** (steps[name] + 1))
            size = (second / (1 - 0.99 ** steps[name])).sqrt() + 1e-8
            wanted[name] = wanted[name] * (1 - made.rate * 0.3) - made.rate * ahead / size
        made.step()
    for name, weight in weights.items():
        torch.testing.assert_close(weight.detach(), wanted[name], rtol=1e-12, atol=1e-12)
        found = torch.from_numpy(made.state()[f"{name}.exp_avg"])
        torch.testing.assert_close(found, means[name][0], rtol=1e-12, atol=1e-12)


def _nadamw_steps(threads: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Weights and means after some steps, of which the last weight takes part from the second."""
    drawn = torch.Generator().manual_seed(6)
    shapes = {"one": (67, 33), "two": (33,), "three": (5, 3)}
    weights = {
        name: torch.nn.Parameter(torch.randn(shape, generator=drawn).to(dtype))
        for name, shape in shapes.items()
    }
    made = optimizer.make(weights, TrainConfig(optimizer="nadamw", weight_decay=0.3, steps=1))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for number in range(6):
        made.rate = 0.1 / (1 + number)
        made.clear()
        for name, weight in weights.items():
            gradient = torch.randn(weight.shape[::-1], generator=drawn).t().to(dtype)
            if dtype == torch.float64:  # torch's function reads any layout as if it were this one
                gradient = gradient.contiguous()
            weight.grad = gradient if number or name != "three" else None
        made.step(0.5)
    torch.set_num_threads(before)
    slots = [torch.from_numpy(each) for each in made.state().values()]
    return [*(weight.detach() for weight in weights.values()), *slots]


def test_compiled_nadamw_is_that_of_torch() -> None:
    found = _nadamw_steps(1)
    for one, other in zip(found, _nadamw_steps(3), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(found, _nadamw_steps(1, torch.float64), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["nadamw", "adamw"])
def test_a_restored_state_goes_on_as_if_never_saved(name: Any) -> None:
    config = TrainConfig(optimizer=name, steps=1)
    weights = _weights()
    del weights["unused"]
    made = optimizer.make(weights, config)
    _train(weights, lambda rate: made.step())
    saved = made.state()
    again = optimizer.make(weights, config)
    again.restore(saved)
    assert {n: v.tobytes() for n, v in again.state().items()} == {
        n: v.tobytes() for n, v in saved.items()
    }
    again.restore({})
    assert again.state() == {}
    with pytest.raises(ModelError, match="is not that of this optimizer"):
        again.restore({**saved, "output.weight.exp_avg": saved["output.bias.exp_avg"]})
    with pytest.raises(ModelError, match="is not that of this optimizer"):
        again.restore({"output.weight.momentum_buffer": saved["output.weight.exp_avg"]})
