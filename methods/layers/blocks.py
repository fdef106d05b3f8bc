"""Pieces that several methods share: the convolution unit of the U-Net family.

Default initialisation is PyTorch's own wherever a method does not say otherwise.
"""

import torch
from torch import Tensor, nn


class ConvUnit(nn.Sequential):
    """Convolution with bias and "same" padding, batch norm, then an activation if one is given.

    Maps (N, in_channels, H, W) to (N, out_channels, H, W). `kernel` is odd.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        activation: nn.Module | None = None,
        groups: int = 1,
    ):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups),
            nn.BatchNorm2d(out_channels),
        )
        if activation is not None:
            self.append(activation)


def conv_relu(in_channels: int, out_channels: int, kernel: int = 3) -> ConvUnit:
    """The classic unit: convolution, batch norm, ReLU."""
    return ConvUnit(in_channels, out_channels, kernel, nn.ReLU(inplace=True))


def conv_leaky(in_channels: int, out_channels: int, kernel: int = 3, groups: int = 1) -> ConvUnit:
    """The same with LeakyReLU of slope 0.01."""
    return ConvUnit(in_channels, out_channels, kernel, nn.LeakyReLU(inplace=True), groups)


def pointwise(in_channels: int, out_channels: int) -> ConvUnit:
    """1x1 convolution and batch norm without activation: a projection onto other channels."""
    return ConvUnit(in_channels, out_channels, kernel=1)


class DownLevel(nn.Sequential):
    """Halve the resolution by max-pooling, then two units."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.MaxPool2d(2),
            conv_relu(in_channels, out_channels),
            conv_relu(out_channels, out_channels),
        )


class UpConcat(nn.Module):
    """Double the resolution by a 2x2 transposed convolution and put the skip's channels behind.

    forward(x (N, in_channels, H, W), skip (N, C, 2H, 2W)) -> (N, out_channels + C, 2H, 2W).
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([self.up(x), skip], dim=1)
