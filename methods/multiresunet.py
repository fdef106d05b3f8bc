"""MultiResUNet (Ibtehaz and Rahman, Neural Networks 121, 2020, arXiv:1902.04049).

The variant that the paper's numbers come from, in the ACC-UNet harness: 32 base filters, alpha
1.67, one output channel. The authors' own port emits one channel more (7,251,376 parameters).
Two odd behaviours of that code are kept because they change numbers: a batch norm on the single
logit, and one batch norm used twice in every ResPath step.

Upstream: kiharalab/ACC-UNet@d2bbae4 (GPL-3.0; the authors' repository nibtehaz/MultiResUNet is
MIT), read for facts only; the code here is our own.
"""

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.contracts import BuildContext, MethodSpec, Settings, SizeRule
from methods.layers.blocks import UpConcat, conv_relu, pointwise
from methods.layers.recipes import ACC_UNET, ACC_UNET_ORIGINAL


class MultiResUNetSettings(Settings):
    """base_channels: U of the first level, doubled at each of the four levels below.

    alpha: the block's width is about alpha x U.
    """

    base_channels: int = Field(32, ge=4)
    alpha: float = Field(1.67, gt=1)


def branch_widths(unet_width: int, alpha: float) -> list[int]:
    """Widths of the three branches of a block that stands for a U-Net level of `unet_width`."""
    width = unet_width * alpha
    return [int(width * share) for share in (0.167, 0.333, 0.5)]


class MultiResBlock(nn.Module):
    """Three chained 3x3 units, their outputs side by side, plus a projected shortcut.

    The chain sees 3x3, 5x5 and 7x7 neighbourhoods. (N, in_channels, H, W) to
    (N, out_channels, H, W) with out_channels the sum of the branch widths.
    """

    def __init__(self, in_channels: int, unet_width: int, alpha: float):
        super().__init__()
        widths = branch_widths(unet_width, alpha)
        self.out_channels = sum(widths)
        self.shortcut = pointwise(in_channels, self.out_channels)
        self.chain = nn.ModuleList(conv_relu(a, b) for a, b in pairwise([in_channels, *widths]))
        self.branch_norm = nn.BatchNorm2d(self.out_channels)
        self.sum_norm = nn.BatchNorm2d(self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        branches = []
        for unit in self.chain:
            x = unit(x)
            branches.append(x)
        x = self.branch_norm(torch.cat(branches, dim=1)) + shortcut
        return self.sum_norm(x).relu()


class ResPath(nn.Module):
    """A skip connection of `length` residual steps, (N, in, H, W) to (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, length: int):
        super().__init__()
        inputs = [in_channels] + [out_channels] * (length - 1)
        self.shortcuts = nn.ModuleList(pointwise(width, out_channels) for width in inputs)
        self.units = nn.ModuleList(conv_relu(width, out_channels) for width in inputs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels) for _ in inputs)

    def forward(self, x: Tensor) -> Tensor:
        for shortcut, unit, norm in zip(self.shortcuts, self.units, self.norms, strict=True):
            residual = norm(unit(x)).relu()
            # The same norm again, as upstream: its running statistics mix the residual with the
            # sum, so eval mode normalises each with the average of both.
            x = norm(residual + shortcut(x)).relu()
        return x


class EncoderLevel(nn.Module):
    """A block, whose output goes down through max-pooling and across through a ResPath."""

    def __init__(self, in_channels: int, unet_width: int, alpha: float, path_length: int):
        super().__init__()
        self.block = MultiResBlock(in_channels, unet_width, alpha)
        self.path = ResPath(self.block.out_channels, unet_width, path_length)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(skip at this resolution, input of the next level)."""
        x = self.block(x)
        return self.path(x), self.pool(x)


class DecoderLevel(nn.Module):
    """Upsample to U channels, concatenate the skip of U channels, one block."""

    def __init__(self, in_channels: int, unet_width: int, alpha: float):
        super().__init__()
        self.join = UpConcat(in_channels, unet_width)
        self.block = MultiResBlock(2 * unet_width, unet_width, alpha)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.block(self.join(x, skip))


class MultiResUNet(nn.Module):
    """Images (N, 3, H, W), H and W multiples of 16, to logits (N, 1, H, W)."""

    def __init__(self, base_channels: int = 32, alpha: float = 1.67):
        super().__init__()
        widths = [base_channels * 2**level for level in range(4)]
        self.encoder = nn.ModuleList()
        channels = 3
        for width, path_length in zip(widths, (4, 3, 2, 1), strict=True):
            self.encoder.append(EncoderLevel(channels, width, alpha, path_length))
            channels = sum(branch_widths(width, alpha))
        self.bottleneck = MultiResBlock(channels, 16 * base_channels, alpha)
        channels = self.bottleneck.out_channels
        self.decoder = nn.ModuleList()
        for width in reversed(widths):
            self.decoder.append(DecoderLevel(channels, width, alpha))
            channels = sum(branch_widths(width, alpha))
        # A batch norm on the single logit, as upstream: it fixes the mean and spread of the logit
        # over the batch, so the predicted foreground share depends on the batch while training.
        self.head = pointwise(channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        x, skips = images, []
        for level in self.encoder:
            skip, x = level(x)
            skips.append(skip)
        x = self.bottleneck(x)
        for level in self.decoder:
            x = level(x, skips.pop())
        return self.head(x)


def build(settings: MultiResUNetSettings, context: BuildContext) -> nn.Module:
    """The network, randomly initialised; it has no pretrained part."""
    return MultiResUNet(settings.base_channels, settings.alpha)


SPEC = MethodSpec(
    name="multiresunet",
    title="MultiResUNet",
    family="CNN",
    build=build,
    summary="U-Net with multi-resolution blocks and residual skip paths",
    citation="Ibtehaz, Rahman. MultiResUNet: Rethinking the U-Net architecture for multimodal "
    "biomedical image segmentation. Neural Networks 121 (2020) 74-87. arXiv:1902.04049",
    upstream="kiharalab/ACC-UNet@d2bbae4 (nfilt 32, alpha 1.67); nibtehaz/MultiResUNet@5318aaf",
    licence="GPL-3.0 (upstream copy; the authors' own is MIT; not copied)",
    settings=MultiResUNetSettings,
    recipe=ACC_UNET,
    original=ACC_UNET_ORIGINAL,
    size=SizeRule(multiple=16),
    reduced={"base_channels": 16},
)
