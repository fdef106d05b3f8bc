"""What an optimizer step does to which weight: rates, decay, clipping, momentum."""

import math

import pytest
import torch
from torch import nn
from training_doubles import STEADY, batches_of, run_of

from bench.core.errors import BenchError
from bench.method import Method
from bench.recipes import Recipe
from bench.training.losses import LogitsMethod
from bench.training.optimizer import make_optimizer
from bench.training.trainer import train

ONE_STEP = STEADY.model_copy(update={"steps_per_epoch": 1})


class Two(Method):
    """A body and a head, one weight each, that start at 0; the loss falls by 3 and by 4 per unit."""

    def __init__(self):
        super().__init__()
        self.body = nn.Parameter(torch.zeros(1))
        self.head = nn.Parameter(torch.zeros(1))

    def loss(self, batch):
        return {"loss": -3 * self.body.sum() - 4 * self.head.sum()}

    def weights(self):
        return [self.body.item(), self.head.item()]


class TwoWithHead(Two):
    head_parameters = ("head",)


class Normed(Method):
    """One layer and every kind of norm that the recipes name; the loss asks for no change."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.norms = nn.ModuleList(
            [
                nn.BatchNorm2d(1),
                nn.InstanceNorm2d(1, affine=True),
                nn.GroupNorm(1, 1),
                nn.LayerNorm(1),
            ]
        )
        for parameter in self.parameters():
            nn.init.ones_(parameter)

    def loss(self, batch):
        return {"loss": 0 * sum(parameter.sum() for parameter in self.parameters())}


def trained(method, **changes):
    recipe = ONE_STEP.model_copy(update=changes)
    train(method, batches_of(recipe), run_of(recipe))
    return method


def test_a_step_of_plain_descent_is_the_gradient():
    assert trained(Two()).weights() == [3, 4]


def test_clipping_scales_the_whole_gradient_to_the_largest_norm():
    """The gradient (3, 4) has norm 5."""
    assert trained(Two(), grad_clip=1.0).weights() == pytest.approx([0.6, 0.8], abs=1e-5)
    assert trained(Two(), grad_clip=2.5).weights() == pytest.approx([1.5, 2], abs=1e-5)
    assert trained(Two(), grad_clip=6.0).weights() == [3, 4]  # below: left alone


def test_the_head_learns_at_its_own_rate():
    assert trained(TwoWithHead(), head_lr=10.0).weights() == [3, 40]


def test_the_heads_rate_follows_the_schedule():
    """Two steps at rates 1 and 1/2: the head takes 10 of each."""
    two_steps = {"schedule": "linear", "schedule_unit": "step", "steps_per_epoch": 2}
    assert trained(TwoWithHead(), head_lr=10.0, **two_steps).weights() == [4.5, 60]


def test_a_head_is_known_by_how_its_names_begin():
    class Odd(Two):
        head_parameters = ("ead",)

    assert trained(Odd(), head_lr=10.0).weights() == [3, 4]


def test_a_head_rate_without_a_head_is_refused():
    with pytest.raises(BenchError, match=r"head_lr is 10\.0.*names no `head_parameters`"):
        make_optimizer(Two(), ONE_STEP.model_copy(update={"head_lr": 10.0}))


def test_a_head_without_a_head_rate_learns_like_the_rest():
    assert trained(TwoWithHead()).weights() == [3, 4]


def test_every_weight_decays_unless_the_recipe_spares_the_norms():
    """Decay 1/4 at rate 1 takes a quarter of every weight that decays."""
    every = trained(Normed(), weight_decay=0.25)
    assert {p.item() for p in every.parameters()} == {0.75}
    spared = trained(Normed(), weight_decay=0.25, decay_norms=False)
    assert {p.item() for p in spared.layer.parameters()} == {0.75}
    assert {p.item() for p in spared.norms.parameters()} == {1.0}


def test_groups_are_made_of_rate_and_decay():
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 1, 3))
    layers.head_parameters = ("2.",)
    method = LogitsMethod(layers, "bce")
    recipe = Recipe(name="t", head_lr=10.0, decay_norms=False, weight_decay=0.01)
    found = {
        (group["rate"], group["weight_decay"]): [tuple(p.shape) for p in group["params"]]
        for group in make_optimizer(method, recipe).param_groups
    }
    assert found == {
        (1.0, 0.01): [(8, 3, 3, 3), (8,)],
        (1.0, 0.0): [(8,), (8,)],
        (10.0, 0.01): [(1, 8, 3, 3), (1,)],
    }


def test_frozen_weights_are_no_part_of_the_optimizer():
    method = Two()
    method.head.requires_grad_(False)
    groups = make_optimizer(method, ONE_STEP).param_groups
    assert [p is method.body for group in groups for p in group["params"]] == [True]


def test_momentum_repeats_a_share_of_the_step_before_and_nesterov_looks_ahead():
    """Gradient 3: steps of 3 and 3 + 1.5, or, looking ahead, of 4.5 and 3 + 0.5 x 4.5."""
    assert trained(Two(), momentum=0.5, steps_per_epoch=2).weights()[0] == 7.5
    ahead = trained(Two(), momentum=0.5, nesterov=True, steps_per_epoch=2)
    assert ahead.weights()[0] == 4.5 + 5.25


@pytest.mark.parametrize("name, decayed", [("adam", True), ("adamw", False)])
def test_adam_scales_decay_like_the_gradient_and_adamw_does_not(name, decayed):
    """From weights of 1 without a gradient: Adam's first step is the rate, whatever its size; AdamW
    takes rate x decay."""
    method = trained(Normed(), optimizer=name, lr=0.1, weight_decay=0.5)
    expected = 0.9 if decayed else 0.95
    assert method.layer.weight.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_betas_are_the_recipes(name):
    recipe = Recipe(name="t", optimizer=name, betas=(0.5, 0.75), lr=0.3)
    (group,) = make_optimizer(Two(), recipe).param_groups
    assert (group["betas"], group["lr"]) == ((0.5, 0.75), 0.3)


def test_a_weight_that_a_step_does_not_use_stays_where_it_is():
    """Its gradient is absent then, not zero: momentum moves only weights that have a gradient."""

    class Sometimes(Method):
        def __init__(self):
            super().__init__()
            self.once, self.always = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
            self.steps = 0

        def loss(self, batch):
            self.steps += 1
            used = self.always + self.once if self.steps == 1 else self.always
            return {"loss": -used.sum()}

    recipe = STEADY.model_copy(update={"steps_per_epoch": 3, "momentum": 0.5})
    method = Sometimes()
    train(method, batches_of(recipe), run_of(recipe))
    assert method.once.item() == 1.0
    assert method.always.item() == 1 + 1.5 + 1.75


def test_gradients_do_not_add_up_over_steps():
    assert trained(Two(), steps_per_epoch=3).weights() == [9, 12]
    assert math.isclose(sum(trained(Two(), steps_per_epoch=2).weights()), 14)


def test_parameters_named_in_no_decay_do_not_decay():
    """Rate 1, decay 0.5, no gradient: what decays is halved."""
    method = Normed()
    trained(method, optimizer="sgd", lr=1.0, weight_decay=0.5, momentum=0.0, no_decay=("layer.b",))
    assert method.layer.weight.item() == 0.5
    assert method.layer.bias.item() == 1.0
