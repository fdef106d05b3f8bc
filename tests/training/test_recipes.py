import pytest
from pydantic import ValidationError

from bench.recipes import SHARED, Recipe
from bench.training.schedule import learning_rate


def rates(recipe: Recipe, epochs: int, steps: int = 2) -> list[float]:
    return [learning_rate(recipe, e, s, steps) for e in range(epochs) for s in range(steps)]


def test_cosine_per_epoch_starts_at_lr_and_ends_near_min_lr():
    recipe = Recipe(name="x", lr=1.0, schedule="cosine", epochs=4)
    expected = [1.0, 1.0, 0.8535, 0.8535, 0.5, 0.5, 0.1464, 0.1464]
    assert rates(recipe, 4) == pytest.approx(expected, abs=1e-4)


def test_warm_up_per_epoch_runs_the_first_epoch_at_zero_like_the_released_gms():
    recipe = Recipe(name="x", lr=1.0, warmup=2, schedule="constant", epochs=4)
    assert rates(recipe, 4, 1) == [0.0, 0.5, 1.0, 1.0]


def test_smooth_warm_up_never_wastes_a_step():
    recipe = Recipe(name="x", lr=1.0, warmup=1, schedule="constant", schedule_unit="smooth")
    assert rates(recipe, 2, 4) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_restarts_jump_back_and_mirrored_ones_rise():
    jump = Recipe(name="x", lr=1.0, schedule="cosine-restarts", period=2, epochs=6)
    assert rates(jump, 5, 1) == pytest.approx([1, 0.5, 1, 0.5, 1])
    mirrored = jump.model_copy(update={"mirrored": True})
    assert rates(mirrored, 5, 1) == pytest.approx([1, 0.5, 0, 0.5, 1])


def test_poly_and_linear():
    poly = Recipe(name="x", lr=1.0, schedule="poly", power=2, epochs=4)
    assert rates(poly, 4, 1) == pytest.approx([1, 0.5625, 0.25, 0.0625])
    linear = Recipe(name="x", lr=1.0, schedule="linear", schedule_unit="step", epochs=2)
    assert rates(linear, 2, 2) == pytest.approx([1, 0.75, 0.5, 0.25])


def test_step_warm_up_starts_at_its_share():
    recipe = Recipe(
        name="x", lr=1.0, schedule="constant", schedule_unit="step", warmup=4, warmup_from=0.5
    )
    assert rates(recipe, 3, 2) == pytest.approx([0.5, 0.625, 0.75, 0.875, 1, 1])


def test_shortening_scales_the_schedule():
    short = SHARED.shortened(20)
    assert (short.epochs, short.warmup) == (20, 2.0)
    restarts = Recipe(name="x", schedule="cosine-restarts", period=50, epochs=300, patience=100)
    assert restarts.shortened(12).period == 2
    assert restarts.shortened(12).patience is None
    steps = Recipe(name="x", schedule_unit="step", warmup=1000, epochs=100, steps_per_epoch=250)
    assert steps.shortened(10).warmup == 100
    assert steps.shortened(10).steps_per_epoch is None


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"epochs": 0}, {"momentum": 1}, {"learning": 1}])
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        Recipe(name="x", **wrong)
