import dataclasses
import math
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
import torch

from charrnn import scoring
from charrnn.config import Form, ModelConfig, TextOptions, TrainConfig, to_json
from charrnn.errors import DivergedError
from charrnn.model import parameters
from charrnn.network.module import CharRNN
from charrnn.text import corpus, dataset, streams
from charrnn.text.dataset import Dataset
from charrnn.text.streams import Cursor
from charrnn.training import trainer as loop
from charrnn.training import validation
from charrnn.training.budget import Budget, Clock, Steps
from charrnn.training.events import Best, Metrics, Progress, Stop, never
from charrnn.training.learning_rate import schedule
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.trainer import Ended, LoopEvent, Trainer
from charrnn.training.training_step import Updater
from charrnn.training.validation import Validation

CONFIG = TrainConfig(
    seq_len=8,
    update_every=8,
    batch_size=4,
    optimizer="adamw",
    learning_rate=0.01,
    weight_decay=0.1,
    dropout=0.0,
    clip_norm=1.0,
    seed=1,
    minutes=None,
    epochs=None,
    steps=None,
)
MANY = 1e9  # characters to be read, as planned: enough to validate often


def _data(text: str, fraction: float = 0.2, valid: str = "") -> Dataset:
    given = corpus.from_text(valid) if valid else None
    options = TextOptions(valid_fraction=fraction)
    return dataset.make(corpus.from_text(text), options, given)


def _trainer(
    data: Dataset,
    *,
    cell: str = "lstm",
    hidden_size: int = 6,
    form: Form | None = None,
    **config: Any,
) -> Trainer:
    train = dataclasses.replace(CONFIG, **config)
    model = ModelConfig(
        data.tokenizer.vocab_size, cell, 1, hidden_size, 4, **to_json(form or Form())
    )
    torch.manual_seed(train.seed)
    network = CharRNN(model, parameters.initial(model, train.seed), regularizers=train)
    made = streams.make(
        data.train,
        train.batch_size,
        train.seq_len,
        model.start_token,
        None,
        train.update_every,
    )
    updater = Updater(StreamBatches(network, made, train))
    return Trainer(updater, Validation(data.valid, data.tokenizer))


def _events(trainer: Trainer, budget: Budget, stop: Stop = never) -> list[LoopEvent]:
    return list(trainer.run(budget, MANY, stop))


def _run(trainer: Trainer, steps: int, stop: Stop = never) -> Ended:
    *_, ended = _events(trainer, Steps(steps), stop)
    assert isinstance(ended, Ended)
    return ended


def _reports(trainer: Trainer, steps: int) -> list[Metrics]:
    events = _events(trainer, Steps(steps))
    return [event.metrics for event in events if isinstance(event, Progress)]


def _everything(trainer: Trainer) -> list[Any]:
    """Return everything that the rest of a training depends on, as comparable values."""
    return [
        [weight.detach().numpy().tobytes() for weight in trainer.updater.network.parameters()],
        [part.numpy().tobytes() for layer in trainer.updater.batches.carried for part in layer],
        {name: value.tobytes() for name, value in trainer.updater.optimizer_state().items()},
        torch.get_rng_state().numpy().tobytes(),
        (trainer.updater.batches.cursor, trainer.updater.step, trainer.updater.network.training),
    ]


def test_a_validation_changes_nothing(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text), dropout=0.3)
    for _ in range(5):
        trainer.updater.update(0.01)
    before = _everything(trainer)
    assert trainer.validate(Steps(1)) == trainer.validate(Steps(1))
    assert _everything(trainer) == before


def test_validations_do_not_change_the_training(tiny_text: str) -> None:
    with_them = _trainer(_data(tiny_text), dropout=0.3)
    validations = sum(p.valid_nats is not None for p in _reports(with_them, 40))
    ends = _everything(with_them)
    without = _trainer(_data(tiny_text), dropout=0.3)
    without.updater.network.train()
    for step in range(40):
        without.updater.update(schedule(step / 40, CONFIG.last_rate) * 0.01)
    assert ends == _everything(without)
    assert validations > 5


def test_a_training_is_reproducible(tiny_text: str) -> None:
    once, again, other = (_trainer(_data(tiny_text), dropout=0.3, seed=s) for s in (1, 1, 2))
    results = []
    for trainer in (once, again, other):
        torch.manual_seed(trainer.updater.config.seed)
        _run(trainer, 12)
        results.append(_everything(trainer))
    assert results[0] == results[1]
    assert results[0][0] != results[2][0]


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru-reset-after"])
def test_windows_are_read_in_order_with_the_state_carried(tiny_text: str, cell: str) -> None:
    trainer = _trainer(_data(tiny_text), cell=cell)
    network, made = trainer.updater.network, trainer.updater.batches.streams
    for windows in (*range(1, made.windows + 1), 1, 2):  # and on into the second epoch
        trainer.updater.update(0.0)  # nothing is learned, so all windows see the same weights
        whole = dataclasses.replace(made, seq_len=windows * 8, update_every=windows * 8)
        inputs, targets = dataclasses.astuple(whole.window(Cursor()))[1:3]
        nats, state = network.nats(inputs, targets, network.start_state(4))
        assert trainer.updater.losses[-1].item() == pytest.approx(nats[-8:].mean(), rel=1e-5)
        torch.testing.assert_close(trainer.updater.batches.carried, state, rtol=1e-5, atol=1e-6)
    assert (trainer.updater.batches.cursor.epoch, trainer.updater.batches.cursor.window) == (1, 2)


def test_the_gradient_reaches_back_one_window_and_no_further(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text), clip_norm=math.inf)
    trainer.updater.update(0.0)
    carried = trainer.updater.batches.carried
    window = trainer.updater.batches.streams.window(trainer.updater.batches.cursor)
    trainer.updater.update(0.0)
    inputs, targets = torch.from_numpy(window.inputs), torch.from_numpy(window.targets)
    logits, _ = trainer.updater.network(inputs, carried)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    weights = trainer.updater.network.weights()
    for name, gradient in zip(
        weights, torch.autograd.grad(loss, list(weights.values())), strict=True
    ):
        torch.testing.assert_close(weights[name].grad, gradient, rtol=1e-5, atol=1e-8)


def _norm(trainer: Trainer) -> float:
    gradients = [weight.grad for weight in trainer.updater.network.parameters()]
    return math.sqrt(sum(float((g**2).sum()) for g in gradients if g is not None))


def test_clipping_bounds_the_norm_and_keeps_the_direction(tiny_text: str) -> None:
    free, clipped = (_trainer(_data(tiny_text), clip_norm=c) for c in (math.inf, 0.01))
    for trainer in (free, clipped):
        trainer.updater.update(0.0)
    assert _norm(free) > 0.1
    assert _norm(clipped) == pytest.approx(0.01, rel=1e-4)
    ratio = 0.01 / _norm(free)
    for whole, cut in zip(
        free.updater.network.parameters(), clipped.updater.network.parameters(), strict=True
    ):
        assert whole.grad is not None
        torch.testing.assert_close(cut.grad, whole.grad * ratio, rtol=1e-3, atol=1e-9)
    reported = clipped.metrics(0.1, None).grad_norm  # as it was
    assert reported == pytest.approx(_norm(free), rel=1e-4)


def test_a_gradient_below_the_bound_is_left_alone(tiny_text: str) -> None:
    free, bounded = (_trainer(_data(tiny_text), clip_norm=c) for c in (math.inf, 1e3))
    for trainer in (free, bounded):
        trainer.updater.update(0.0)
    assert _norm(free) == _norm(bounded)


def test_metrics_have_the_share_of_clipped_updates(tiny_text: str) -> None:
    free = _trainer(_data(tiny_text), clip_norm=math.inf)
    norms = []
    for _ in range(9):
        free.updater.update(0.0)  # nothing is learned: the same norms with any bound
        norms.append(_norm(free))
    assert free.metrics(0.1, None).clipped == 0
    bound = (sorted(norms)[5] + sorted(norms)[6]) / 2  # three of the nine are above
    bounded = _trainer(_data(tiny_text), clip_norm=bound)
    for _ in range(9):
        bounded.updater.update(0.0)
    progress = bounded.metrics(0.1, None)
    assert progress.clipped == pytest.approx(3 / 9)
    assert progress.grad_norm == pytest.approx(max(norms), rel=1e-6)
    bounded.updater.update(0.0)  # what was reported counts no more
    assert bounded.metrics(0.1, None).clipped in (0, 1)


def test_the_first_step_is_that_of_adam_with_decay_of_matrices_alone(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text), weight_decay=0.5, clip_norm=math.inf)
    before = trainer.updater.network.values()
    trainer.updater.update(0.01)
    for name, weight in trainer.updater.network.weights().items():
        assert weight.grad is not None
        gradient = weight.grad.numpy()
        # Adam's first step is lr * g / (|g| + 1e-8); a matrix shrinks by lr * decay before
        decay = 0.01 * 0.5 if gradient.ndim > 1 else 0.0
        step = 0.01 * gradient / (np.abs(gradient) + 1e-8)
        np.testing.assert_allclose(
            weight.detach().numpy(), before[name] * (1 - decay) - step, rtol=1e-4, atol=1e-6
        )


def test_the_first_steps_of_sgd_have_nesterov_momentum_and_decay_of_matrices_alone(
    tiny_text: str,
) -> None:
    trainer = _trainer(
        _data(tiny_text), optimizer="sgd", weight_decay=10.0, clip_norm=math.inf, learning_rate=0.5
    )
    network = trainer.updater.network
    velocity = {name: np.zeros_like(value) for name, value in network.values().items()}
    for _ in range(3):
        before = network.values()
        trainer.updater.update(0.5)
        for name, weight in network.weights().items():
            assert weight.grad is not None
            gradient = weight.grad.numpy()
            if gradient.ndim > 1:
                gradient = gradient + 10.0 * 0.1 / 50 * before[name]
            velocity[name] = 0.9 * velocity[name] + gradient
            step = 0.5 * (gradient + 0.9 * velocity[name])
            np.testing.assert_allclose(
                weight.detach().numpy(), before[name] - step, rtol=1e-4, atol=1e-6
            )


def test_sgd_learns(tiny_text: str) -> None:
    reports = _reports(_trainer(_data(tiny_text), optimizer="sgd", learning_rate=1.0), 60)
    assert reports[-1].valid_nats is not None
    assert reports[-1].valid_nats < reports[0].train_nats - 0.5


def test_the_learning_rate_follows_the_budget(tiny_text: str) -> None:
    reports = _reports(_trainer(_data(tiny_text)), 20)
    assert [p.step for p in reports] == [*range(1, 21)]
    rates = [0.01 * schedule(step / 20, CONFIG.last_rate) for step in range(20)]
    assert [p.learning_rate for p in reports] == rates
    assert [p.fraction for p in reports] == [step / 20 for step in range(1, 21)]


def test_metrics_count_what_was_read(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    windows = trainer.updater.batches.streams.windows
    reports = _reports(trainer, windows + 3)
    assert [p.characters for p in reports] == [32 * p.step for p in reports]
    assert [p.epoch for p in reports] == pytest.approx([p.step / windows for p in reports])
    assert all(p.chars_per_second > 0 for p in reports)
    seconds = [p.seconds for p in reports]
    assert seconds == sorted(seconds)


def test_metrics_have_the_mean_loss_and_largest_norm_since_the_last_report(tiny_text: str) -> None:
    one_by_one, together = (_trainer(_data(tiny_text)) for _ in range(2))
    singles = []
    for step in range(9):
        one_by_one.updater.update(0.05)
        singles.append(one_by_one.metrics(0.1, None))
        together.updater.update(0.05)
        if step in (1, 8):  # after two steps, and after seven more
            since = singles[:2] if step == 1 else singles[2:]
            progress = together.metrics(0.1, None)
            assert progress.train_nats == pytest.approx(np.mean([p.train_nats for p in since]))
            assert progress.grad_norm == max(p.grad_norm for p in since)
            assert progress.grad_norm != since[-1].grad_norm


def test_metrics_count_no_token_twice_in_overlapping_windows(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text), update_every=3)
    assert trainer.updater.batches.streams.windows == trainer.updater.batches.streams.length // 3
    for _ in range(trainer.updater.batches.streams.windows + 1):
        trainer.updater.update(0.0)
    progress = trainer.metrics(0.5, None)
    assert progress.characters == progress.step * 3 * 4
    assert progress.epoch == pytest.approx(1 + 1 / trainer.updater.batches.streams.windows)


@pytest.mark.parametrize(("update_every", "windows"), [(8, 1), (3, 2), (2, 4)])
def test_the_learned_start_is_trained_by_the_windows_that_begin_with_it(
    tiny_text: str, update_every: int, windows: int
) -> None:
    """With windows of 8 steps and updates every 2, four windows reach back to the beginning."""
    form = Form(learned_start=True)
    trainer = _trainer(_data(tiny_text), form=form, weight_decay=0.0, update_every=update_every)
    starts = {n: w for n, w in trainer.updater.network.weights().items() if ".start." in n}
    assert set(starts) == {"layers.0.start.h", "layers.0.start.c"}
    for _ in range(trainer.updater.batches.streams.windows + 1):
        reaches = trainer.updater.batches.cursor.window < windows
        before = [weight.tolist() for weight in starts.values()]
        trainer.updater.update(0.01)
        for weight, old in zip(starts.values(), before, strict=True):
            assert bool((weight.grad is not None) and weight.grad.any()) is reaches
            assert (weight.tolist() != old) is reaches
    assert all(weight.any() for weight in starts.values())


def test_streams_that_begin_anew_read_from_the_learned_start(tiny_text: str) -> None:
    """The other streams go on with the state that was carried."""
    trainer = _trainer(_data(tiny_text), form=Form(learned_start=True))
    updater = trainer.updater
    newline = trainer.validation.tokenizer.encode("e")  # ends more windows than a line end
    updater.batches.streams = dataclasses.replace(
        updater.batches.streams, begins_anew=True, newline=newline
    )
    mixed = 0
    for _ in range(updater.batches.streams.windows):
        window = updater.batches.streams.window(updater.batches.cursor)
        state = updater.batches.carried if window.start else updater.network.start_state(4)
        if window.begins is not None:
            rows = torch.from_numpy(window.begins)
            state = updater.network.reset_rows(state, rows)
            mixed += bool(rows.any()) and not bool(rows.all())
        nats, _ = updater.network.nats(window.inputs, window.targets, state)
        updater.update(0.01)
        assert updater.losses[-1].item() == pytest.approx(nats.mean(), rel=1e-5)
        starts = [w.grad for name, w in updater.network.weights().items() if ".start." in name]
        begins = window.start == 0 or bool(window.begins is not None and window.begins.any())
        assert all(bool(grad is not None and grad.any()) is begins for grad in starts)
    assert mixed


def test_windows_use_the_current_learned_start(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text), form=Form(learned_start=True), update_every=2)
    trainer.updater.update(0.05)
    window = trainer.updater.batches.streams.window(trainer.updater.batches.cursor)
    assert (window.start, len(window.inputs)) == (0, 4)
    now = trainer.updater.network.start_state(4)
    nats, _ = trainer.updater.network.nats(window.inputs, window.targets, now)
    trainer.updater.update(0.05)
    assert trainer.updater.losses[-1].item() == pytest.approx(nats[-2:].mean(), rel=1e-5)


def test_every_window_begins_with_the_learned_start_where_states_are_reset(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text), form=Form(learned_start=True), state="reset")
    for _ in range(4):
        trainer.updater.update(0.01)
        gradient = trainer.updater.network.weights()["layers.0.start.h"].grad
        assert gradient is not None
        assert gradient.any()


def test_a_new_network_predicts_nearly_uniformly(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    trainer.updater.update(0.0)
    even = math.log(trainer.updater.network.config.vocab_size)
    assert trainer.updater.losses[0].item() == pytest.approx(even, rel=0.15)


def test_a_validation_is_the_score_of_the_held_out_text(tiny_text: str) -> None:
    data = _data(tiny_text)
    trainer = _trainer(data)
    start = trainer.updater.network.config.start_token
    expected = scoring.score(trainer.updater.network, data.valid, data.tokenizer, start).nats
    assert trainer.validate(Steps(1)) == (expected, None)


def test_a_part_of_a_long_validation_text_is_scored_in_training(
    tiny_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _data(tiny_text)
    trainer = _trainer(data)
    monkeypatch.setattr(validation, "VALID_CAP", 20)
    start = trainer.updater.network.config.start_token
    expected = scoring.score(trainer.updater.network, data.valid[:20], data.tokenizer, start).nats
    assert trainer.validate(Steps(1)) == (expected, None)


def _overfitting() -> Trainer:
    """Return a trainer that overfits random text."""
    rng = np.random.default_rng(0)
    train, valid = ("".join(rng.choice(list("abcd"), size)) for size in (160, 300))
    data = _data(train, 0.0, valid)
    return _trainer(data, hidden_size=32, learning_rate=0.03, weight_decay=0.0)


def test_the_weights_saved_are_those_of_the_best_validation() -> None:
    trainer = _overfitting()
    events = _events(trainer, Steps(160))
    reports = [event.metrics for event in events if isinstance(event, Progress)]
    saved = [event.metrics for event in events if isinstance(event, Best)]
    ended = events[-1]
    assert isinstance(ended, Ended)
    nats = [p.valid_nats for p in reports if p.valid_nats is not None]
    assert nats[-1] > min(nats) + 0.5  # it did overfit
    assert ended.best.valid_nats == min(nats)
    assert ended.best == saved[-1]
    assert ended.best.step < ended.last.step == 160
    trainer.updater.network.load(ended.values)
    assert trainer.validate(Steps(1)) == (min(nats), None)
    best = [p.valid_nats for p in saved]
    assert best == sorted(best, key=lambda n: -(n or 0))  # each better than the one before
    assert len(best) < len(nats)


def _metrics(valid_nats: float | None, train_nats: float = 2.5) -> Metrics:
    return Metrics(1, 0.0, 1, 0.0, 0.0, train_nats, valid_nats, 0.0, 0.0, 0.0, 1.0)


def test_only_a_smaller_loss_is_better(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    nats = [3.0, 2.0, 2.0, 2.5, 1.0]
    assert [trainer.save_if_best(_metrics(n)) for n in nats] == [True, True, False, False, True]


def test_more_right_answers_are_better_if_most_are_right(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    found = [(0.3, 2.0), (0.4, 2.5), (0.6, 3.0), (0.5, 1.0), (0.6, 2.9), (0.7, math.nan)]
    made = [dataclasses.replace(_metrics(nats), valid_right=right) for right, nats in found]
    wanted = [True, False, True, False, True, False]
    assert [trainer.save_if_best(metrics) for metrics in made] == wanted


def test_the_last_weights_are_kept_if_their_answers_are_right_but_for_chance(
    tiny_text: str,
) -> None:
    trainer = _trainer(_data(tiny_text))
    best = trainer.best
    assert best.take_if_better(dataclasses.replace(_metrics(1.0), valid_right=0.8))
    worse = dataclasses.replace(_metrics(1.5), valid_right=0.75)
    assert not best.take_if_better(worse)
    assert not best.take_if_better(worse, margin=0.04)
    assert best.take_if_better(worse, margin=0.06)
    assert best.metrics == worse
    unsure = dataclasses.replace(_metrics(1.7), valid_right=0.3)
    assert not best.take_if_better(unsure, margin=0.6)  # the loss decides


def test_a_loss_that_is_not_finite_is_never_better(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    nats = [math.nan, 2.0, math.nan, 3.0, 1.0]
    assert [trainer.save_if_best(_metrics(n)) for n in nats] == [False, True, False, False, True]


def test_without_a_validation_text_the_training_loss_decides(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text, 0.0))
    ended = _run(trainer, 30)
    assert ended.best.valid_nats is None
    assert ended.best.train_nats <= ended.last.train_nats
    assert ended.values


def test_the_saved_values_do_not_change_with_the_network(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    trainer.save_if_best(_metrics(1.0))
    before = {name: value.tobytes() for name, value in trainer.best.values.items()}
    trainer.updater.update(0.1)
    assert {name: value.tobytes() for name, value in trainer.best.values.items()} == before


def test_exactly_the_given_steps_are_made(tiny_text: str) -> None:
    for steps in (1, 2, 17, 101):
        trainer = _trainer(_data(tiny_text))
        ended = _run(trainer, steps)
        assert (trainer.updater.step, ended.last.step, ended.interrupted) == (steps, steps, False)


def test_reports_and_validations_are_few_and_the_last_is_at_the_end(tiny_text: str) -> None:
    reports = _reports(_trainer(_data(tiny_text)), 500)
    assert 150 < len(reports) <= 217
    validated = [p.step for p in reports if p.valid_nats is not None]
    assert 2 <= len(validated) <= loop.MAX_VALIDATIONS + 1
    assert validated[-1] == reports[-1].step == 500


def test_stopping_ends_the_training_with_the_best_weights(tiny_text: str) -> None:
    answers = chain([False] * 7, repeat(True))
    trainer = _trainer(_data(tiny_text))
    ended = _run(trainer, 1000, stop=lambda: next(answers))
    assert (ended.interrupted, trainer.updater.step) == (True, 7)
    assert ended.best.valid_nats is not None
    trainer.updater.network.load(ended.values)
    assert trainer.validate(Steps(1)) == (ended.best.valid_nats, None)


def test_a_stop_before_the_first_step_still_leaves_a_model(tiny_text: str) -> None:
    ended = _run(_trainer(_data(tiny_text)), 1000, stop=lambda: True)
    assert (ended.interrupted, ended.last.step) == (True, 1)
    assert ended.values


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_not_made(tiny_text: str, bad: float) -> None:
    trainer = _trainer(_data(tiny_text))
    trainer.updater.update(0.01)
    with torch.no_grad():
        trainer.updater.network.weights()["output.bias"][0] = bad
    before = trainer.updater.network.values()
    assert trainer.updater.update(0.01) is False
    for name, value in trainer.updater.network.values().items():  # no step was taken
        assert value.tobytes() == before[name].tobytes()


def test_an_absurd_learning_rate_diverges(tiny_text: str) -> None:
    with pytest.raises(DivergedError):
        _run(_trainer(_data(tiny_text), cell="elman", learning_rate=1e38), 50)


def test_losses_above_that_of_a_guess_are_a_failure_and_the_best_weights_are_kept(
    tiny_text: str,
) -> None:
    trainer = _trainer(_data(tiny_text), cell="elman", learning_rate=30.0, clip_norm=0.1)
    with pytest.raises(DivergedError, match=r"at its end, step 4, the loss is .* of a guess"):
        _run(trainer, 4)
    assert trainer.best.metrics
    assert trainer.best.metrics.step < 4


def _losses(step: int, train_nats: float, valid_nats: float | None) -> Metrics:
    return Metrics(step, 0.1, 9, 0.1, 1.0, train_nats, valid_nats, 0.01, 1.0, 0.0, 9.0)


def test_a_training_has_diverged_where_both_losses_are_above_that_of_a_guess(
    tiny_text: str,
) -> None:
    trainer = _trainer(_data(tiny_text))
    guess = math.log(trainer.updater.network.config.vocab_size)
    assert trainer.divergence.chance_nats == guess
    for train, valid, diverged in [
        (1.2 * guess, 1.2 * guess, True),
        (1.05 * guess, 1.05 * guess, False),  # hardly trained
        (1.2 * guess, math.nan, True),
        (0.1, 5 * guess, False),  # the validation text is another one
        (1.2 * guess, None, True),
        (0.1, None, False),
        (math.nan, 1.2 * guess, True),
        (math.nan, None, False),  # nothing is known
    ]:
        assert trainer.divergence.has_come(_losses(500, train, valid)) is diverged
    trainer.divergence.first_nats = (
        3 * guess
    )  # the first updates may only begin to mend bad first weights
    assert not trainer.divergence.has_come(_losses(5, 2.5 * guess, 2.5 * guess))
    assert trainer.divergence.has_come(_losses(5, 3.5 * guess, 3.5 * guess))
    assert trainer.divergence.has_come(_losses(500, 2.5 * guess, 2.5 * guess))


def test_weights_of_a_training_that_has_diverged_are_not_the_best(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    assert not trainer.save_if_best(_losses(500, 9.0, 9.0))
    assert trainer.best.metrics is None
    assert trainer.save_if_best(_losses(500, 1.0, 1.0))


@pytest.mark.parametrize("cell", ["elman", "irnn", "gru", "lstm"])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_training_of_a_few_steps_has_not_diverged(cell: str, steps: int) -> None:
    text = "".join(chr(97 + at * at % 23) for at in range(300))
    trainer = _trainer(_data(text), cell=cell, learning_rate=0.03)
    assert _run(trainer, steps).best.step <= steps


def test_the_loss_of_the_first_weights_is_that_of_the_first_window(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    first = _reports(trainer, 3)[0]
    assert trainer.divergence.first_nats == first.train_nats


def test_a_clock_reserves_time_for_the_scoring_at_the_end(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    clock = Clock(deadline=1e12)
    trainer.validate(clock)
    assert clock.reserve > validation.LEAVING
    trainer.validate(Steps(1))  # steps need no such thing


@pytest.mark.usefixtures("ticking")
def test_a_clock_ends_a_training(tiny_text: str) -> None:
    trainer = _trainer(_data(tiny_text))
    now = trainer.start
    clock = Clock(deadline=now + 1.0, start=now)
    *_, ended = _events(trainer, clock)
    assert isinstance(ended, Ended)
    assert not ended.interrupted
    assert ended.last.fraction == 1.0
    assert ended.last.step > 1
