"""Augmentation under draws that are fixed by hand."""

import pytest
import torch

from bench.training.augment import Augmentation, augment


def block(height: int, width: int, size: int = 16) -> torch.Tensor:
    """A mask (1, 1, 16, 16) with a block in its centre."""
    mask = torch.zeros(1, 1, size, size)
    top, left = (size - height) // 2, (size - width) // 2
    mask[..., top : top + height, left : left + width] = 1
    return mask


@pytest.mark.parametrize(
    "angle, zoom, expected",
    [
        (0.5, 0.0, block(2, 4)),  # no turn, half the size
        (0.5, 1.0, block(4, 8)),  # no turn, as it is
        (0.75, 0.0, block(4, 2)),  # a quarter turn, half the size
        (0.75, 1.0, block(8, 4)),  # a quarter turn, as it is
    ],
)
def test_angle_and_size_have_draws_of_their_own(monkeypatch, angle, zoom, expected):
    """Of rotations up to 180 degrees and sizes from 1/2 to 1."""
    draws = torch.tensor([[angle, zoom, 0.5, 0.5]])
    monkeypatch.setattr(
        torch, "rand", lambda *size, generator: draws if len(size) == 2 else torch.zeros(size)
    )
    how = Augmentation(affine_p=1.0, rotate=180, scale=(0.5, 1.0))
    mask = block(4, 8)
    _, moved, _ = augment(mask.repeat(1, 3, 1, 1), mask, how, torch.Generator())
    assert torch.equal(moved, expected)


def test_a_narrow_blur_reaches_the_next_pixel_and_no_further():
    """Three times a sigma of 1/4 is less than one pixel."""
    point = torch.zeros(1, 3, 9, 9)
    point[..., 4, 4] = 1
    how = Augmentation(blur_p=1.0, blur=(0.25, 0.25))
    out, _, _ = augment(point, point[:, :1], how, torch.Generator().manual_seed(0))
    assert (out[0, 0] > 0).nonzero().min(0).values.tolist() == [3, 3]
    assert (out[0, 0] > 0).nonzero().max(0).values.tolist() == [5, 5]
