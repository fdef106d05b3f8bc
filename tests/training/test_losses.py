import pytest
import torch

from bench.core.errors import BenchError
from bench.training.losses import balanced_bce_dice, get_loss, soft_dice_loss


def four(values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 2, 2)


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


def test_balanced_bce_weighs_one_foreground_pixel_like_the_whole_background():
    logits = four([0, 0, 0, 0])
    masks = four([1, 0, 0, 0])
    dice = 1 - (2 * 0.5 + 4e-5) / (4 * 0.25 + 1 + 4e-5)
    expected = 0.5 * 0.6931472 + 0.5 * dice
    assert float(balanced_bce_dice(logits, masks)) == pytest.approx(expected, abs=1e-5)


def test_balanced_bce_survives_an_empty_mask():
    assert torch.isfinite(balanced_bce_dice(four([1, 2, 3, 4]), four([0, 0, 0, 0])))


def test_unknown_loss_names_the_known():
    with pytest.raises(BenchError, match="Known: balanced-bce"):
        get_loss("focal")
