"""Recipes and the learning rates they give."""

import math

import pytest
from pydantic import ValidationError

from bench.recipes import SHARED, Recipe
from bench.training.schedule import learning_rate

DEFAULTS = {
    "optimizer": "adamw",
    "lr": 2e-3,
    "head_lr": 1.0,
    "weight_decay": 0.01,
    "decay_norms": True,
    "momentum": 0.9,
    "nesterov": False,
    "betas": (0.9, 0.999),
    "schedule": "cosine",
    "schedule_unit": "epoch",
    "period": None,
    "mirrored": False,
    "power": 0.9,
    "min_lr": 0.0,
    "warmup": 0.0,
    "warmup_from": 0.0,
    "epochs": 1000,
    "steps_per_epoch": None,
    "batch_size": 8,
    "drop_last": True,
    "loss": "bce+dice",
    "augmentation": "shared",
    "image_size": None,
    "ema_decay": None,
    "grad_clip": None,
    "foreground_share": 0.0,
    "patience": None,
}


def recipe(**changes) -> Recipe:
    """A recipe at rate 1 whose schedule counts epochs."""
    return Recipe(name="x", **({"lr": 1.0} | changes))


def rates(recipe: Recipe, epochs: int, steps: int = 2) -> list[float]:
    return [learning_rate(recipe, e, s, steps) for e in range(epochs) for s in range(steps)]


# ---- schedules without warm-up


def test_constant_ignores_min_lr():
    assert rates(recipe(schedule="constant", epochs=2, min_lr=0.5), 3, 1) == [1, 1, 1]


def test_cosine_per_epoch_starts_at_lr_and_ends_near_min_lr():
    expected = [1.0, 1.0, 0.8535, 0.8535, 0.5, 0.5, 0.1464, 0.1464]
    assert rates(recipe(epochs=4), 4) == pytest.approx(expected, abs=1e-4)


def test_smooth_cosine_counts_the_steps_that_are_done():
    """Two epochs of two steps: 1/4, 1/2, 3/4 and all of half a wave."""
    expected = [(1 + math.cos(math.pi * t)) / 2 for t in (0.25, 0.5, 0.75, 1)]
    assert rates(recipe(schedule_unit="smooth", epochs=2), 2) == pytest.approx(expected)


def test_cosine_per_step_counts_over_all_epochs():
    expected = [(1 + math.cos(math.pi * t)) / 2 for t in (0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)]
    assert rates(recipe(schedule_unit="step", epochs=2), 2, 3) == pytest.approx(expected)


def test_restarts_jump_back_and_mirrored_ones_rise():
    jump = recipe(schedule="cosine-restarts", period=2, epochs=6)
    assert rates(jump, 5, 1) == pytest.approx([1, 0.5, 1, 0.5, 1])
    mirrored = jump.model_copy(update={"mirrored": True})
    assert rates(mirrored, 5, 1) == pytest.approx([1, 0.5, 0, 0.5, 1])


def test_restarts_without_a_period_take_the_whole_run():
    assert rates(recipe(schedule="cosine-restarts", epochs=2), 3, 1) == pytest.approx([1, 0.5, 1])


def test_poly_and_linear():
    poly = recipe(schedule="poly", power=2, epochs=4)
    assert rates(poly, 4, 1) == pytest.approx([1, 0.5625, 0.25, 0.0625])
    linear = recipe(schedule="linear", schedule_unit="step", epochs=2)
    assert rates(linear, 2, 2) == pytest.approx([1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("cosine", [1, 0.6]),
        ("linear", [1, 0.6]),
        ("poly", [1, 0.4]),  # 0.2 + 0.8 x (1 - 1/2)^2
        ("cosine-restarts", [1, 0.6]),
    ],
)
def test_a_schedule_falls_from_lr_to_min_lr(schedule, expected):
    """Rates 1 and half-way to 0.2."""
    falling = recipe(schedule=schedule, min_lr=0.2, power=2, epochs=2)
    assert rates(falling, 2, 1) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "poly"])
def test_a_schedule_that_has_ended_stays_at_min_lr(schedule):
    assert rates(recipe(schedule=schedule, min_lr=0.2, epochs=2), 4, 1)[2:] == pytest.approx(
        [0.2] * 2
    )


# ---- warm-up


def test_warm_up_per_epoch_runs_the_first_epoch_at_zero_like_the_released_gms():
    assert rates(recipe(warmup=2, schedule="constant", epochs=4), 4, 1) == [0.0, 0.5, 1.0, 1.0]


def test_smooth_warm_up_never_wastes_a_step():
    smooth = recipe(warmup=1, schedule="constant", schedule_unit="smooth")
    assert rates(smooth, 2, 4) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_step_warm_up_starts_at_its_share():
    steps = recipe(schedule="constant", schedule_unit="step", warmup=4, warmup_from=0.5)
    assert rates(steps, 3, 2) == pytest.approx([0.5, 0.625, 0.75, 0.875, 1, 1])


def test_the_schedule_falls_over_what_warm_up_leaves():
    """Two epochs of warm-up, then a whole half wave over the other four."""
    expected = [0, 0.5, 1, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5, 0]
    assert rates(recipe(warmup=2, epochs=6), 7, 1) == pytest.approx(expected, abs=1e-12)


def test_periods_count_from_the_end_of_warm_up():
    restarts = recipe(schedule="cosine-restarts", period=2, warmup=1, epochs=6)
    assert rates(restarts, 5, 1) == pytest.approx([0, 1, 0.5, 1, 0.5])


def test_a_run_of_warm_up_alone_ends_at_lr():
    assert rates(recipe(warmup=2, epochs=2, schedule_unit="smooth"), 2, 1) == [0.5, 1.0]


def test_less_than_an_epoch_is_left_to_fall():
    late = recipe(schedule="linear", schedule_unit="smooth", warmup=1.5, epochs=2)
    assert rates(late, 2, 4)[5:] == pytest.approx([1, 0.5, 0], abs=1e-12)


def test_warm_up_rises_to_lr_whatever_lr_is():
    small = recipe(lr=0.2, warmup=4, warmup_from=0.5, schedule="constant")
    assert rates(small, 5, 1) == pytest.approx([0.1, 0.125, 0.15, 0.175, 0.2])


# ---- recipes


def test_defaults():
    assert Recipe(name="x").model_dump() == DEFAULTS | {"name": "x"}


def test_the_shared_recipe():
    changes = {"name": "shared", "schedule_unit": "smooth", "warmup": 5}
    assert SHARED.model_dump() == DEFAULTS | changes


def test_shortening_scales_the_schedule():
    short = SHARED.shortened(20)
    assert (short.epochs, short.warmup) == (20, 2.0)
    assert SHARED.shortened(500).warmup == 5
    restarts = recipe(schedule="cosine-restarts", period=50, epochs=300, patience=100)
    assert restarts.shortened(12).period == 2
    assert restarts.shortened(2).period == 1  # never 0
    assert recipe(epochs=300).shortened(12).period is None
    steps = recipe(schedule_unit="step", warmup=1000, epochs=100, steps_per_epoch=250)
    assert steps.shortened(10).warmup == 100
    assert steps.shortened(10).steps_per_epoch is None


@pytest.mark.parametrize("patience, kept", [(99, 99), (100, None), (101, None), (None, None)])
def test_patience_as_long_as_a_shortened_run_is_none(patience, kept):
    assert recipe(epochs=300, patience=patience).shortened(100).patience == kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning": 1},
        {"optimizer": "lion"},
        {"lr": 0},
        {"head_lr": 0},
        {"weight_decay": -1e-9},
        {"momentum": 1},
        {"momentum": -1e-9},
        {"period": 0},
        {"min_lr": -1e-9},
        {"warmup": -1e-9},
        {"warmup_from": -1e-9},
        {"warmup_from": 1.01},
        {"epochs": 0},
        {"steps_per_epoch": 0},
        {"batch_size": 0},
        {"image_size": 0},
        {"ema_decay": 0},
        {"ema_decay": 1},
        {"grad_clip": 0},
        {"foreground_share": -1e-9},
        {"foreground_share": 1.01},
        {"patience": 0},
    ],
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        recipe(**wrong)


def test_the_extremes_of_every_range_are_allowed():
    lowest = {"lr": 1e-9, "head_lr": 1e-9, "weight_decay": 0, "momentum": 0, "min_lr": 0}
    lowest |= {"warmup": 0, "warmup_from": 0, "foreground_share": 0, "batch_size": 1}
    lowest |= {"epochs": 1, "steps_per_epoch": 1, "period": 1, "image_size": 1, "patience": 1}
    lowest |= {"ema_decay": 1e-9, "grad_clip": 1e-9}
    highest = {"momentum": 0.999, "warmup_from": 1, "ema_decay": 0.9999, "foreground_share": 1}
    for allowed in (lowest, highest):
        assert recipe(**allowed).model_dump(include=set(allowed)) == allowed
