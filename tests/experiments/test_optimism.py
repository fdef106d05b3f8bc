"""Test cases scored during training choose nothing; what choosing on them would gain is recorded."""

import math

import pytest
import torch
from torch import nn
from training_doubles import CPU, STEADY, Walk, squares

from bench.data.splits import Split
from bench.experiments.context import optimism
from bench.training.fit import TrainingData, fit

TWENTY = squares(20)
SPLIT = Split("squares", "published", 0, TWENTY.case_ids[:8], TWENTY.case_ids[8:17], TWENTY.case_ids[17:])  # fmt: skip
NAN = math.nan


class Crossed(Walk):
    """Predicts the 3 test cases best after the first epoch, and the 9 validation cases after the
    last one."""

    def predict(self, images):
        steps = int(self.weight)
        error = steps if len(images) == len(SPLIT.test) else 6 - steps
        return (images.amin(1, keepdim=True) > 0.5).float().roll(error, -1)


class Noisy(Walk):
    """Its loss and its predictions draw from torch's global generator."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def loss(self, batch):
        noise = torch.rand(1)
        return {"loss": (noise * self.layer(noise)).sum() - self.weight.sum()}

    def predict(self, images):
        return torch.rand(len(images), 1, *images.shape[2:])


def trained(make, also_test, selection="best-val"):
    torch.manual_seed(0)
    method = make()
    recipe = STEADY.model_copy(update={"epochs": 3, "lr": 1.0})
    run = fit(
        method, TrainingData(TWENTY, TWENTY, SPLIT, None), recipe, CPU, selection=selection,
        validate_every=1, seed=0, resume_file=None, on_progress=lambda event: None, also_test=also_test,
    )  # fmt: skip
    return run, {name: value.clone() for name, value in method.state_dict().items()}


def test_the_epoch_that_validation_prefers_is_kept_whatever_the_test_cases_say():
    run, _ = trained(Crossed, also_test=True)
    test = [row["test_dsc"] for row in run.history]
    assert test == sorted(test, reverse=True) and test[0] > test[-1]
    assert run.epoch == 3
    assert optimism(run.history) == pytest.approx(test[0] - test[-1])


def test_scoring_the_test_cases_changes_no_weight_and_no_other_score():
    plain, weights = trained(Noisy, also_test=False)
    scored, same = trained(Noisy, also_test=True)
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert plain.epoch == scored.epoch
    for name in ("loss", "val_dsc", "lr"):
        assert [row[name] for row in plain.history] == [row[name] for row in scored.history]
    assert all(math.isnan(row["test_dsc"]) for row in plain.history)
    assert not any(math.isnan(row["test_dsc"]) for row in scored.history)


def test_a_rule_that_validates_nothing_is_left_alone():
    run, _ = trained(Noisy, also_test=True, selection="last")
    assert all(math.isnan(row["test_dsc"]) for row in run.history)


@pytest.mark.parametrize(
    "history, gain",
    [
        ([(0.5, 0.6), (0.7, 0.5), (0.6, 0.9)], 0.4),  # validation picks the second
        ([(0.7, 0.6), (0.7, 0.9)], 0.3),  # the earlier epoch wins a tie
        ([(0.7, 0.9), (NAN, 1.0)], 0.0),  # an epoch without validation counts on neither side
        ([(0.7, NAN)], None),
        ([(NAN, 0.9)], None),
    ],
)
def test_the_optimism_is_the_best_test_dsc_minus_that_of_validations_epoch(history, gain):
    rows = [{"val_dsc": val, "test_dsc": test} for val, test in history]
    found = optimism(rows)
    assert found is None if gain is None else found == pytest.approx(gain)
