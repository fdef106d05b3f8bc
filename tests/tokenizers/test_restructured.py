"""Cheaper forms of frozen layers: equal to what they stand for, borders included."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.tokenizers.restructured import DoublingConv, averaged, can_double, joined


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conv(channels_in: int, channels_out: int, seed: int = 1, **options) -> nn.Conv2d:
    layer = nn.Conv2d(channels_in, channels_out, 3, padding=1, **options)
    layer.weight.data = random(*layer.weight.shape, seed=seed)
    return layer.requires_grad_(False)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_one_tap_lands_where_doubling_and_convolving_put_it():
    """A single bright pixel through the kernel's top left tap: the doubled pixel moved by (1, 1)."""
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False).requires_grad_(False)
    layer.weight.data = torch.tensor([[[[1.0, 0, 0], [0, 0, 0], [0, 0, 0]]]])
    x = torch.tensor([[[[0.0, 0, 0], [0, 5, 0], [0, 0, 0]]]])
    wanted = torch.zeros(6, 6)
    wanted[3:5, 3:5] = 5
    assert torch.equal(DoublingConv(layer)(x)[0, 0], wanted)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3), (12, 12)])
def test_doubling_and_convolving_in_one(bias, size):
    layer, x = conv(6, 4, bias=bias), random(2, 6, *size)
    wanted = layer(F.interpolate(x, scale_factor=2.0))
    assert relative(DoublingConv(layer)(x), wanted) < 2e-6


def test_the_parameters_and_their_names_stay():
    layer = conv(6, 4)
    doubled = DoublingConv(layer)
    assert doubled.state_dict().keys() == {"conv.weight", "conv.bias"}
    assert sum(p.numel() for p in doubled.parameters()) == sum(
        p.numel() for p in layer.parameters()
    )


@pytest.mark.parametrize(
    "layer, fits",
    [
        (nn.Conv2d(2, 2, 3, padding=1), True),
        (nn.Conv2d(2, 2, 3), False),
        (nn.Conv2d(2, 2, 5, padding=1), False),
        (nn.Conv2d(2, 2, 3, padding=1, stride=2), False),
        (nn.Conv2d(2, 2, 3, padding=1, groups=2), False),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), False),
        (nn.ReLU(), False),
    ],
)
def test_which_convolutions_can_take_the_doubling_in(layer, fits):
    assert can_double(layer) is fits


@pytest.mark.parametrize("bias", [True, False])
def test_the_mean_output_of_a_convolution(bias):
    layer, x = conv(5, 3, bias=bias), random(2, 5, 7, 7)
    assert relative(averaged(layer)(x), layer(x).mean(1, keepdim=True)) < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 8)])
def test_two_convolutions_joined_agree_at_the_borders_too(size):
    first, last, x = conv(5, 6, bias=False), averaged(conv(6, 3, seed=2)), random(2, 5, *size)
    narrow, gather = joined(first, last)
    assert narrow(x).shape[1] == 9
    assert relative(gather(narrow(x)), last(first(x))) < 2e-6
