"""Augmentation under draws that are fixed by hand."""

import pytest
import torch

from bench.training.augment import Augmentation, augment
from bench.training.movement import Movement


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
    how = Augmentation(move=Movement(p=1.0, rotate=(-180, 180), scale=(0.5, 1.0)))
    mask = block(4, 8)
    _, moved, _ = augment(mask.repeat(1, 3, 1, 1), mask, how, torch.Generator())
    assert torch.equal(moved, expected)
