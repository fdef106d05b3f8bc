"""How many images a recipe shows, and the epochs that a budget of images gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_doubles import squares

from bench.core.errors import BenchError
from bench.experiments.lengths import epochs_of_budget, images_per_epoch
from bench.recipes import Recipe
from bench.training.batches import TrainingBatches

PLAIN = Recipe(name="plain", batch_size=4, augmentation="none")


def plain(**changes) -> Recipe:
    return PLAIN.model_copy(update=changes)


@pytest.mark.parametrize(
    "changes, images",
    [
        ({}, 8),  # 10 cases: two full batches, the rest of two is dropped
        ({"drop_last": False}, 10),
        ({"batch_size": 5}, 10),
        ({"steps_per_epoch": 250}, 1000),
        ({"steps_per_epoch": 7, "drop_last": False}, 24),  # 4 4 2 | 4 4 2 | 4
        ({"batch_size": 1}, 10),
        ({"batch_size": 12, "drop_last": False}, 10),
    ],
)
def test_the_images_of_one_epoch_over_ten_cases(changes, images):
    assert images_per_epoch(plain(**changes), 10) == images


@pytest.mark.parametrize(
    "changes",
    [{}, {"batch_size": 5}, {"steps_per_epoch": 6}, {"batch_size": 5, "drop_last": False}],
)
def test_the_count_is_that_of_the_batches(changes):
    recipe = plain(**changes)
    arrays = replace(squares(), native_masks=())
    batches = TrainingBatches(arrays, np.arange(10), recipe, 0, torch.device("cpu"), None)
    assert images_per_epoch(recipe, 10) == sum(len(batch.images) for batch in batches.epoch(0))


def test_a_batch_that_cannot_be_filled_is_refused():
    with pytest.raises(BenchError, match=r"batches of 12, but this split has 10.*batch_size=10"):
        images_per_epoch(plain(batch_size=12), 10)


@pytest.mark.parametrize(
    "budget, changes, epochs",
    [
        (8000, {}, 1000),
        (8000, {"drop_last": False}, 800),
        (8000, {"steps_per_epoch": 250}, 1000),  # an epoch of a shortened run is one pass
        (83, {}, 10),  # 80 images: nearest
        (1, {}, 1),
    ],
)
def test_a_budget_is_met_to_the_nearest_pass(budget, changes, epochs):
    assert epochs_of_budget(budget, plain(**changes), 10) == epochs
