"""Recipes and the learning rates they give."""

import itertools
import math

import pytest
from pydantic import ValidationError

from bench.recipes import SHARED, Recipe
from bench.registry import get_method, plain_method_names
from bench.training.schedule import ema_decay, learning_rate

DEFAULTS = {
    "optimizer": "adamw",
    "lr": 2e-3,
    "head_lr": 1.0,
    "weight_decay": 0.01,
    "decay_norms": True,
    "no_decay": (),
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
    "hold": 0.0,
    "run_share": 1.0,
    "epochs": 1000,
    "steps_per_epoch": None,
    "batch_size": 8,
    "drop_last": True,
    "replacement": False,
    "loss": "bce+dice",
    "augmentation": "shared",
    "masks": "nearest",
    "normalise": "own",
    "image_size": None,
    "ema_decay": None,
    "ema_warmup": False,
    "ema_horizon": None,
    "grad_clip": None,
    "foreground_share": 0.0,
    "patience": None,
    "on_dataset": {},
    "tuned": None,
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
    steps = recipe(schedule="constant", schedule_unit="step", warmup=2, warmup_from=0.5)
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


# ---- the hold and the share of a schedule


def test_gms_rises_over_four_epochs_and_stays_at_the_peak_for_two():
    """Its scheduler gives lr 0, 1/4, 1/2, 3/4, 1, 1, then the second point of a cosine."""
    gms = recipe(warmup=4, hold=1, epochs=10)
    expected = [0, 0.25, 0.5, 0.75, 1, 1, *((1 + math.cos(math.pi * t / 5)) / 2 for t in (1, 2))]
    assert rates(gms, 8, 1) == pytest.approx(expected)


def test_a_run_that_stops_early_in_its_schedule():
    """DSU runs 20,000 of 31,250 steps of (1 - t)^0.9."""
    poly = recipe(schedule="poly", schedule_unit="step", epochs=80, run_share=0.64)
    assert learning_rate(poly, 0, 0, 250) == 1
    assert learning_rate(poly, 40, 0, 250) == pytest.approx((1 - 10_000 / 31_250) ** 0.9)
    assert learning_rate(poly, 79, 249, 250) == pytest.approx((1 - 19_999 / 31_250) ** 0.9)


# ---- averaged weights


def test_the_decay_of_averaged_weights():
    plain = recipe(ema_decay=0.9999)
    assert ema_decay(plain, 1, 100_000) == ema_decay(plain, 5, 10) == 0.9999
    warm = recipe(ema_decay=0.9999, ema_warmup=True)
    assert [ema_decay(warm, n, 10**5) for n in (1, 8, 100_000)] == [2 / 11, 9 / 18, 0.9999]
    short = plain.shortened(10)
    assert ema_decay(short, 1, 1000) == pytest.approx(1 - 1 / 200)  # a fifth of 1000 steps
    assert ema_decay(short, 1, 10**6) == 0.9999
    assert ema_decay(short, 1, 3) == 0  # less than a step: the weights themselves


# ---- every native recipe keeps its shape at every length


def native_recipes() -> list[Recipe]:
    """The shared one and every method's own, each once."""
    specs = [get_method(name) for name in plain_method_names()]
    found = [one for spec in specs for one in (spec.recipe, *spec.alternatives)]
    return list({one.name: one for one in (SHARED, *found)}.values())


RECIPES = native_recipes()


@pytest.mark.parametrize("steps", [10, 33, 100, 1000])
@pytest.mark.parametrize("epochs", [1, 5, 13, 50, 150])
@pytest.mark.parametrize("full", RECIPES, ids=[one.name for one in RECIPES])
def test_a_shortened_recipe_keeps_its_shape(full, epochs, steps):
    short = full.shortened(epochs)
    found = [
        learning_rate(short, e, s, steps) / full.lr for e in range(epochs) for s in range(steps)
    ]
    total = epochs * steps
    assert 1 - 1.5 / total <= max(found) <= 1 + 1e-12  # the peak, to within a step of the schedule
    assert found.index(max(found)) <= math.ceil(0.1 * total)  # warm-up: a tenth at most
    if full.schedule != "constant" and epochs >= 5:
        assert min(found[len(found) // 2 :]) < 0.65  # DSU's schedule ends at 0.4 of the rate
    if full.schedule == "cosine-restarts" and epochs >= 5:
        period = min(short.period, epochs)
        falling = found[: period * steps]
        assert all(a >= b for a, b in itertools.pairwise(falling))
        assert falling[-1] < 0.4
    if full.ema_decay is not None:
        left = 1.0
        for done in range(1, total + 1):
            decay = ema_decay(short, done, total)
            assert decay <= full.ema_decay
            left *= decay
        assert left < 0.01  # of the initial weights


@pytest.mark.parametrize("full", RECIPES, ids=[one.name for one in RECIPES])
def test_the_horizon_of_averaged_weights_is_at_most_a_fifth_of_a_short_run(full):
    if full.ema_decay is None:
        assert full.shortened(13).ema_horizon is None
        return
    for total in (10, 429, 13_000):
        horizon = 1 / (1 - ema_decay(full.shortened(13), total, total))
        assert horizon <= max(1, total / 5) * (1 + 1e-9)


def test_native_recipes_at_full_length_are_the_published_ones():
    """Literal rates; steps per epoch as published."""
    by_name = {one.name: one for one in RECIPES}
    sdseg = by_name["sdseg"]
    assert learning_rate(sdseg, 0, 0, 1000) == pytest.approx(4e-11)
    assert learning_rate(sdseg, 5, 0, 1000) == pytest.approx(2e-5, rel=1e-5)
    assert learning_rate(sdseg, 10, 0, 1000) == learning_rate(sdseg, 99, 999, 1000) == 4e-5
    for name, lr, epochs, batch in (
        ("gss-cityscapes", 1.5e-3, 160, 16),
        ("gss-ade20k", 1.2e-4, 320, 32),
    ):
        gss = by_name[name]
        assert (gss.lr, gss.epochs * gss.steps_per_epoch, gss.batch_size) == (
            lr,
            epochs * 500,
            batch,
        )
        assert learning_rate(gss, 3, 0, 500) == pytest.approx(lr)  # after 1500 steps
        assert learning_rate(gss, 1, 250, 500) == pytest.approx(lr / 2, rel=1e-5)
    assert by_name["acc-unet"].patience == by_name["acc-unet-sgd"].patience == 101
    gms = by_name["gms"]
    six = [learning_rate(gms, epoch, 0, 16) for epoch in range(7)]
    cosine = 1e-3 * (1 + math.cos(math.pi / 995))
    assert six == pytest.approx([0, 5e-4, 1e-3, 1.5e-3, 2e-3, 2e-3, cosine], rel=1e-12)
    assert gms.on("ham10000").epochs == 150
    assert by_name["nnunet"].on("glas").batch_size == 4


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
    assert restarts.shortened(150).period == restarts.shortened(100).period == 50  # two fit
    assert restarts.shortened(99).period == 99  # the whole length
    assert recipe(epochs=300).shortened(12).period is None
    steps = recipe(schedule_unit="step", warmup=4, epochs=100, steps_per_epoch=250)
    assert steps.shortened(10).warmup == pytest.approx(0.4)
    assert steps.shortened(10).steps_per_epoch is None


@pytest.mark.parametrize(
    "epochs, warmup, hold", [(1, 0, 0), (9, 0, 0), (13, 1, 0), (49, 3, 0), (50, 4, 1), (150, 4, 1)]
)
def test_a_warm_up_that_counts_epochs_is_shortened_to_whole_ones(epochs, warmup, hold):
    """At most a tenth of the run, the hold at the peak included."""
    short = recipe(warmup=4, hold=1, epochs=1000).shortened(epochs)
    assert (short.warmup, short.hold) == (warmup, hold)


def test_only_averaged_weights_get_a_horizon():
    assert recipe().shortened(10).ema_horizon is None
    assert recipe(ema_decay=0.9).shortened(10).ema_horizon == 0.2


def test_a_recipe_on_a_dataset_of_its_own_length():
    both = recipe(epochs=1000, on_dataset={"ham10000": {"epochs": 150, "batch_size": 4}})
    there, elsewhere = both.on("ham10000"), both.on("bus")
    assert (there.epochs, there.batch_size, there.on_dataset) == (150, 4, {})
    assert (elsewhere.epochs, elsewhere.batch_size, elsewhere.on_dataset) == (1000, 8, {})
    with pytest.raises(ValidationError, match="on_dataset changes .'epoch'., which no recipe has"):
        recipe(on_dataset={"bus": {"epoch": 1}})


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
        {"hold": -1e-9},
        {"run_share": 0},
        {"run_share": 1.01},
        {"masks": "bilinear"},
        {"ema_horizon": 0},
        {"ema_horizon": 1.01},
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
