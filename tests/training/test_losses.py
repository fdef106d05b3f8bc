"""Losses of four pixels, against values worked out by hand."""

import math

import pytest
import torch

from bench.core.errors import BenchError
from bench.training.losses import LOSSES, balanced_bce_dice, get_loss, soft_dice_loss

LN2 = math.log(2)


def four(values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 2, 2)


def logits(probs):
    """Logits of probabilities strictly between 0 and 1."""
    return torch.logit(four(probs))


@pytest.mark.parametrize(
    "probs, masks, expected",
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 0.0),
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([1, 0, 0, 0], [1, 1, 0, 0], 1 / 3),
        ([0.5, 0.5, 0, 0], [1, 1, 0, 0], 1 / 3),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),
    ],
)
def test_soft_dice_of_four_pixels(probs, masks, expected):
    assert float(soft_dice_loss(four(probs), four(masks))) == pytest.approx(expected, abs=1e-4)


def test_squared_denominator_prefers_confidence_differently():
    value = float(soft_dice_loss(four([0.5, 0.5, 0, 0]), four([1, 1, 0, 0]), squared=True))
    assert value == pytest.approx(1 - 2 / 2.5, abs=1e-4)


def test_smoothing_stands_above_and_below_the_line():
    """I = 1, P = 1, M = 2: (2 + 1) / (3 + 1) with a smoothing of 1."""
    value = soft_dice_loss(four([1, 0, 0, 0]), four([1, 1, 0, 0]), smooth=1.0)
    assert float(value) == pytest.approx(1 / 4)


def test_the_smoothing_is_1e_5():
    """A probability of 1e-5 on an empty mask: (0 + 1e-5) / (1e-5 + 1e-5)."""
    value = soft_dice_loss(four([1e-5, 0, 0, 0]), four([0, 0, 0, 0]))
    assert float(value) == pytest.approx(0.5, abs=1e-4)


def test_soft_dice_is_the_mean_over_images_not_over_pixels():
    """Dice 1 of a small object and 2 / 3 of a larger one: a loss of (0 + 1/3) / 2."""
    probs = torch.cat([four([1, 0, 0, 0]), four([1, 1, 0, 0])])
    masks = torch.cat([four([1, 0, 0, 0]), four([1, 1, 1, 1])])
    assert float(soft_dice_loss(probs, masks)) == pytest.approx(1 / 6, abs=1e-4)


def test_bce_is_the_mean_over_pixels():
    """-ln of 1/2, 1/4, 1 - 1/4 and 1 - 1/2."""
    value = get_loss("bce")(logits([0.5, 0.25, 0.25, 0.5]), four([1, 1, 0, 0]))
    assert float(value) == pytest.approx((4 * LN2 + math.log(4 / 3)) / 4)


def test_bce_and_dice_have_equal_weights():
    """All at 1/2: BCE ln 2; I = 1, P = 2, M = 2: Dice 1/2."""
    value = get_loss("bce+dice")(logits([0.5] * 4), four([1, 1, 0, 0]))
    assert float(value) == pytest.approx(LN2 + 0.5, abs=1e-4)


def test_balanced_bce_weighs_one_foreground_pixel_like_the_whole_background():
    masks = four([1, 0, 0, 0])
    dice = 1 - (2 * 0.5 + 4e-5) / (4 * 0.25 + 1 + 4e-5)
    expected = 0.5 * LN2 + 0.5 * dice
    assert float(balanced_bce_dice(four([0, 0, 0, 0]), masks)) == pytest.approx(expected, abs=1e-5)


def test_balanced_bce_is_the_mean_of_foreground_and_background():
    """-ln 1/4 on the foreground's two pixels, -ln 1/2 on the background's two; squared Dice with
    I = 1/2, P = 2/16 + 2/4, M = 2."""
    value = get_loss("balanced-bce+dice")(logits([0.25, 0.25, 0.5, 0.5]), four([1, 1, 0, 0]))
    bce = 0.5 * (2 * LN2 + LN2)
    dice = 1 - 1 / (0.625 + 2)
    assert float(value) == pytest.approx(0.5 * bce + 0.5 * dice, abs=1e-4)


@pytest.mark.parametrize("mask, dice", [(0, 1.0), (1, 1 - 4 / 5)])
def test_a_class_without_pixels_contributes_nothing(mask, dice):
    """All at 1/2, one class alone: 0.5 x ln 2 of balanced BCE. Dice: I = 2 or 0, P = 1, M = 4 or 0."""
    value = balanced_bce_dice(four([0, 0, 0, 0]), four([mask] * 4))
    assert float(value) == pytest.approx(0.5 * 0.5 * LN2 + 0.5 * dice, abs=1e-3)


def test_balanced_dice_is_smoothed_by_4e_5():
    """Probabilities of 2.5e-3 on an empty mask: P = 4 x 6.25e-6 = 2.5e-5, so Dice is
    4e-5 / (2.5e-5 + 4e-5)."""
    p = 2.5e-3
    value = balanced_bce_dice(logits([p] * 4), four([0] * 4))
    expected = 0.25 * -math.log(1 - p) + 0.5 * (1 - 4 / 6.5)
    assert float(value) == pytest.approx(expected, abs=1e-4)


def test_one_background_pixel_weighs_like_the_whole_foreground():
    """-ln 1/4 on three foreground pixels, -ln 1/2 on the only background pixel."""
    value = balanced_bce_dice(logits([0.25, 0.25, 0.25, 0.5]), four([1, 1, 1, 0]))
    dice = 1 - 2 * 0.75 / (3 / 16 + 1 / 4 + 3)
    assert float(value) == pytest.approx(0.25 * 3 * LN2 + 0.5 * dice, abs=1e-4)


def test_every_loss_is_a_finite_scalar_also_for_extreme_logits():
    for loss in LOSSES.values():
        value = loss(four([200, -200, 200, -200]), four([0, 1, 1, 0]))
        assert value.shape == () and torch.isfinite(value)


def test_unknown_loss_names_the_known():
    with pytest.raises(BenchError, match="Known: balanced-bce"):
        get_loss("focal")
