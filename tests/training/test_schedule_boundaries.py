"""The schedule of a run that is shorter than one of its units."""

import pytest

from bench.recipes import Recipe
from bench.training.schedule import learning_rate


@pytest.mark.parametrize("step, share", [(0, 0.5), (1, 1.0), (2, 0.5), (3, 0.0)])
def test_half_an_epoch_of_warm_up_leaves_half_an_epoch_to_fall(step, share):
    """Smooth units: a step of four stands for the quarter of an epoch that ends with it."""
    recipe = Recipe(
        name="short", lr=2.0, schedule="linear", schedule_unit="smooth", epochs=1, warmup=0.5
    )
    assert learning_rate(recipe, 0, step, 4) == pytest.approx(2.0 * share)
