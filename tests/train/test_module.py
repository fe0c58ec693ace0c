"""Schedule, record of validations, choice of the checkpoint, and the running average of the weights."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from matgl_infomax.errors import DivergedError
from matgl_infomax.train.module import AveragedModule, StepModule, WeightAverage, warmup_cosine


def test_average_forgets_the_start_and_refuses_a_double_swap():
    layer = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, 0.5)
    for value in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        torch.nn.init.constant_(layer.weight, value)
        average.update()
    own = layer.weight.clone()
    with average.applied():
        assert float(layer.weight.detach()) == pytest.approx(1.0, abs=0.02)
        with pytest.raises(RuntimeError, match="leave `applied"):
            average.update()
    assert torch.equal(layer.weight, own)


def test_schedule_rises_then_falls_to_zero():
    factor = warmup_cosine(100, 0.1)
    assert [factor(0), factor(9)] == pytest.approx([0.1, 1.0])
    assert factor(55) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0.0)
    assert all(factor(k) >= factor(k + 1) for k in range(10, 100))


@pytest.mark.parametrize(("steps", "share"), [(1, 0.0), (1, 0.9), (2, 0.5), (7, 0.0), (40, 0.3)])
def test_every_schedule_starts_above_zero_reaches_one_and_ends_at_zero(steps, share):
    factor = warmup_cosine(steps, share)
    values = [factor(k) for k in range(steps)]
    assert min(values) > 0 and max(values) == 1.0
    rise = max(1, round(share * steps))
    assert values[:rise] == pytest.approx([(k + 1) / rise for k in range(rise)])
    assert steps == rise or factor(steps) == pytest.approx(0.0)


class Scored(StepModule):
    """A module whose validations are given."""

    def __init__(self, scores: list[float | None], **more):
        self.layer = None
        super().__init__([], steps=100, weight_decay=0.0, warmup_fraction=0.0, **more)
        self.layer, self.scores, self.now = nn.Linear(1, 1), scores, 0
        self._stop = SimpleNamespace(should_stop=False)

    @property
    def global_step(self):
        return self.now

    @property
    def trainer(self):
        return self._stop

    def validate(self):
        score = self.scores[self.now // 10 - 1]
        return ({} if score is None else {"score": score}), self.layer

    def go(self):
        """All validations, ten steps apart; the weight is the number of the step."""
        for _ in self.scores:
            if not self._stop.should_stop:
                self.now += 10
                nn.init.constant_(self.layer.weight, float(self.now))
                self.on_train_epoch_end()
        return self


def test_the_weights_of_the_best_score_are_kept():
    module = Scored([3.0, 1.0, 2.0, 1.0]).go()
    assert (module.best_step, module.best_score) == (20, 1.0), "the first of equal scores"
    assert float(module.best_state["weight"]) == 20.0, "a copy, which later steps do not change"
    assert [entry["step"] for entry in module.history] == [10, 20, 30, 40]
    assert [entry["validation/score"] for entry in module.history] == [3.0, 1.0, 2.0, 1.0]


def test_without_a_validation_part_the_last_weights_count():
    module = Scored([None, None, None]).go()
    assert module.best_step == 30 and float(module.best_state["weight"]) == 30.0
    assert module.history == [{"step": 10.0}, {"step": 20.0}, {"step": 30.0}]


def test_patience_counts_validations_after_the_best():
    module = Scored([2.0, 1.0, 1.5, 1.2, 0.5], patience=2).go()
    assert module.trainer.should_stop and module.now == 40 and module.best_step == 20
    assert not Scored([2.0, 1.0, 1.5, 1.2], patience=3).go().trainer.should_stop
    again = Scored([2.0] * 5, patience=2)
    again.on_load_checkpoint({"progress": module.progress()})
    assert again.trainer.should_stop and again.best_score == 1.0, "a run that had stopped early stays as it is"


def test_a_score_that_is_no_number_ends_the_training():
    module = Scored([1.0, math.nan])
    with pytest.raises(DivergedError, match=r"The training diverged: score is nan at step 20 of 100\."):
        module.go()
    assert module.best_step == 10, "what was good before is still the best"


def test_losses_of_a_chunk_are_averaged_once():
    module = Scored([1.0, 1.0])
    for value in (1.0, 2.0, 6.0):
        module.count({"loss": torch.tensor(value, requires_grad=True)})
    module.now = 10
    module.on_train_epoch_end()
    module.count({"loss": torch.tensor(5.0)})
    module.now = 20
    module.on_train_epoch_end()
    assert [entry["train/loss"] for entry in module.history] == [3.0, 5.0]


def test_batches_are_numbered_over_the_whole_run():
    module = Scored([1.0], accumulate=3)
    module.now = 4  # steps of the optimiser before this one
    assert [module.batch_number(k) for k in (0, 1, 2)] == [12, 13, 14]
    assert [module.completes_step(k) for k in range(6)] == [False, False, True] * 2


def test_validation_is_without_gradients_and_in_evaluation_mode():
    class Watched(Scored):
        def validate(self):
            self.seen = self.training, torch.is_grad_enabled()
            return super().validate()

    module = Watched([1.0]).train().go()
    assert module.seen == (False, False) and module.training


def test_average_is_that_of_its_formula():
    """The decay rises as k / (k + 10), up to its value."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 7.0)
    average, expected = WeightAverage(layer, 0.25), 7.0
    for k, value in enumerate([1.0, 3.0, -2.0, 5.0, 4.0], start=1):
        nn.init.constant_(layer.weight, value)
        average.update()
        decay = min(0.25, k / (k + 10))
        expected = decay * expected + (1 - decay) * value
        assert float(average.average["weight"]) == pytest.approx(expected)


def test_average_without_decay_is_the_present():
    layer = nn.Linear(2, 2)
    average = WeightAverage(layer, 0.0)
    nn.init.constant_(layer.weight, 3.0)
    average.update()
    assert torch.equal(average.average["weight"], layer.weight)


def test_average_goes_on_from_a_checkpoint_and_comes_back_after_an_error():
    layer = nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, 0.5)
    nn.init.constant_(layer.weight, 2.0)
    average.update()
    state = {"steps": 1, "average": {"weight": average.average["weight"].clone()}}
    other = WeightAverage(layer, 0.5)
    other.restore(state)
    for one in (average, other):
        one.update()
    assert other.steps == 2 and torch.equal(average.average["weight"], other.average["weight"])
    with pytest.raises(ZeroDivisionError), average.applied():
        _ = 1 / 0
    assert float(layer.weight.detach()) == 2.0
    with average.applied(), pytest.raises(RuntimeError, match="leave `applied"):
        average.state()


def test_an_averaged_module_validates_and_keeps_the_average():
    class Averaged(AveragedModule, Scored):
        def validate(self):
            self.seen = float(self.layer.weight.detach())
            return super().validate()

    module = Averaged([1.0], accumulate=2)
    module.average = WeightAverage(module.layer, 0.5)
    nn.init.constant_(module.layer.weight, 6.0)
    before = float(module.average.average["weight"])
    module.on_train_batch_end(None, None, 0)
    assert float(module.average.average["weight"]) == before, "the optimiser has not moved yet"
    module.on_train_batch_end(None, None, 1)
    expected = before / 11 + 6.0 * 10 / 11
    module.now = 10
    module.on_train_epoch_end()
    assert module.seen == pytest.approx(expected) and float(module.best_state["weight"]) == pytest.approx(expected)
    assert float(module.layer.weight.detach()) == 6.0
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["average"]["steps"] == 1 and checkpoint["progress"]["best_step"] == 10
