"""ACC-UNet (Ibtehaz and Kihara, MICCAI 2023, LNCS 14222, arXiv:2308.13680).

A convolutional U-Net built after what transformers do: HANC blocks aggregate context over several
scales, and three MLFC modules let the four skip connections see each other. As in the released
code, the skip path ends in a second batch norm (its attribute there is named as if it were a
squeeze-and-excitation) and one decoder block expands 34-fold where all others expand 3-fold.

Maps of several scales are mixed by 1x1 convolutions, which commute with nearest-neighbour
enlargement. Upstream enlarges all of them to full size, stacks them, and convolves: up to 21,760
channels at 56 px, copied several times: most of its time goes there. Here each is mixed at its own
size and the sum is enlarged: the same values up to rounding, from the same parameters, for 23.5
instead of 43.0 GMACs per image of 224 px, in two fifths of the time on a CPU.

Upstream: kiharalab/ACC-UNet@d2bbae4 (GPL-3.0), read for facts only; the code here is our own.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from bench.contracts import BuildContext, MethodSpec, Settings, SizeRule
from methods.layers.blocks import ConvUnit, UpConcat, conv_leaky
from methods.layers.recipes import ACC_UNET, ACC_UNET_ORIGINAL


class AccUNetSettings(Settings):
    """base_channels: width of the first level, doubled at each of the four below; at least 8."""

    base_channels: int = Field(32, ge=8)


def double(x: Tensor | None) -> Tensor | float:
    """x at twice its resolution, nearest; 0 for None."""
    return 0.0 if x is None else F.interpolate(x, scale_factor=2)


def versions(conv: nn.Conv2d, count: int) -> list[Tensor]:
    """The kernels (O, C, 1, 1), one per version, of a 1x1 convolution over `count` versions of C
    channels: upstream lets the versions of a channel lie side by side, and so do its weights.
    """
    return list(conv.weight.unflatten(1, (-1, count)).unbind(2))


def after_conv(unit: ConvUnit, mixed: Tensor) -> Tensor:
    """What follows the convolution of a unit."""
    for layer in list(unit)[1:]:
        mixed = layer(mixed)
    return mixed


class SqueezeExcite(nn.Module):
    """Scale the channels by a gate from their means, then batch norm and LeakyReLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 8)
        self.excite = nn.Linear(channels // 8, channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.squeeze(x.mean(dim=(2, 3))))
        gate = self.excite(hidden).sigmoid()[:, :, None, None]
        return F.leaky_relu(self.norm(x * gate))


class ConvExcite(nn.Sequential):
    """1x1 convolution, batch norm, LeakyReLU, then squeeze and excite."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            conv_leaky(in_channels, out_channels, kernel=1), SqueezeExcite(out_channels)
        )

    @property
    def conv(self) -> nn.Conv2d:
        """The 1x1 convolution."""
        return cast(nn.Conv2d, cast(ConvUnit, self[0])[0])

    def after(self, mixed: Tensor) -> Tensor:
        """What follows the convolution, for one that was done in parts."""
        return self[1](after_conv(cast(ConvUnit, self[0]), mixed))


class Aggregate(nn.Module):
    """x beside its average- and max-pooled versions at scales 2 .. 2^(k-1), mixed by a 1x1 unit.

    "Hierarchical aggregation of neighborhood context"; H and W must be multiples of 2^(k-1).
    """

    def __init__(self, in_channels: int, out_channels: int, k: int):
        super().__init__()
        self.k = k
        self.mix = conv_leaky((2 * k - 1) * in_channels, out_channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        conv = cast(nn.Conv2d, self.mix[0])
        kernels = versions(conv, 2 * self.k - 1)
        mixed = F.conv2d(x, kernels[0], conv.bias) + double(self._pooled(x, x, kernels, 1))
        return after_conv(self.mix, mixed)

    def _pooled(
        self, means: Tensor, peaks: Tensor, kernels: list[Tensor], level: int
    ) -> Tensor | None:
        """The mixture of the levels from this one down, at this one's size."""
        if level == self.k:
            return None
        means, peaks = F.avg_pool2d(means, 2), F.max_pool2d(peaks, 2)
        kernel = torch.cat([kernels[level], kernels[self.k - 1 + level]], 1)
        mixed = F.conv2d(torch.cat([means, peaks], 1), kernel)
        return mixed + double(self._pooled(means, peaks, kernels, level + 1))


class HancBlock(nn.Module):
    """Inverted bottleneck around `Aggregate`, residual, then a 1x1 unit and squeeze-and-excite.

    (N, in_channels, H, W) to (N, out_channels, H, W); `expand` widens the depthwise part.
    """

    def __init__(self, in_channels: int, out_channels: int, k: int, expand: int = 3):
        super().__init__()
        hidden = in_channels * expand
        self.expand = conv_leaky(in_channels, hidden, kernel=1)
        self.depthwise = conv_leaky(hidden, hidden, groups=hidden)
        self.aggregate = Aggregate(hidden, in_channels, k)
        self.norm = nn.BatchNorm2d(in_channels)
        self.out = ConvExcite(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        context = self.aggregate(self.depthwise(self.expand(x)))
        return self.out(self.norm(context + x))


class ResPath(nn.Module):
    """A skip connection of `length` residual squeeze-and-excite steps at constant width."""

    def __init__(self, channels: int, length: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(length)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(length))
        self.excites = nn.ModuleList(SqueezeExcite(channels) for _ in range(length))
        self.sum_norm = nn.BatchNorm2d(channels)
        self.last_norm = nn.BatchNorm2d(channels)  # no squeeze-and-excite, whatever upstream's name

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm, excite in zip(self.convs, self.norms, self.excites, strict=True):
            x = x + excite(F.leaky_relu(norm(conv(x))))
        return self.last_norm(F.leaky_relu(self.sum_norm(x)))


class MultiLevelCompilation(nn.Module):
    """MLFC: every level of the skip connections is enriched by all the others.

    Maps (N, C_i, H / 2^i, W / 2^i), i = 0, 1, ..., to maps of the same shapes.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        total = sum(widths)
        self.gathers = nn.ModuleList(ConvExcite(total, width) for width in widths)
        self.merges = nn.ModuleList(ConvExcite(2 * width, width) for width in widths)
        self.gather_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.merge_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.excites = nn.ModuleList(SqueezeExcite(width) for width in widths)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        return [self._level(i, levels) for i in range(len(levels))]

    def _level(self, i: int, levels: list[Tensor]) -> Tensor:
        gathered = F.leaky_relu(self.gather_norms[i](self._gathered(i, levels)))
        merge = cast(ConvExcite, self.merges[i])
        new, old = versions(merge.conv, 2)
        mixed = F.conv2d(gathered, new, merge.conv.bias) + F.conv2d(levels[i], old)
        merged = merge.after(mixed) + levels[i]
        return self.excites[i](F.leaky_relu(self.merge_norms[i](merged)))

    def _gathered(self, i: int, levels: list[Tensor]) -> Tensor:
        """All levels brought to level i's size, by 2x2 means or nearest doubling, and mixed."""
        gather = cast(ConvExcite, self.gathers[i])
        kernels = gather.conv.weight.split([x.shape[1] for x in levels], dim=1)
        below = None
        for j in range(len(levels) - 1, i, -1):
            below = F.conv2d(levels[j], kernels[j]) + double(below)
        mixed = F.conv2d(levels[i], kernels[i], gather.conv.bias) + double(below)
        for j in range(i):
            pooled = levels[j]
            for _ in range(i - j):
                pooled = F.avg_pool2d(pooled, 2)
            mixed = mixed + F.conv2d(pooled, kernels[j])
        return gather.after(mixed)


class DecoderLevel(nn.Module):
    """Halve the channels while doubling the resolution, concatenate the skip, two HANC blocks."""

    def __init__(self, channels: int, k: int, second_expand: int = 3):
        super().__init__()
        self.join = UpConcat(2 * channels, channels)
        self.blocks = nn.Sequential(
            HancBlock(2 * channels, channels, k),
            HancBlock(channels, channels, k, second_expand),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.blocks(self.join(x, skip))


class AccUNet(nn.Module):
    """Images (N, 3, H, W), H and W multiples of 16, to logits (N, 1, H, W)."""

    def __init__(self, base_channels: int = 32):
        super().__init__()
        widths = [base_channels * 2**level for level in range(5)]
        skip_widths = widths[:4]
        self.encoder = nn.ModuleList(
            nn.Sequential(HancBlock(a, b, k), HancBlock(b, b, k))
            for a, b, k in zip([3, *skip_widths], widths, (3, 3, 3, 2, 1), strict=True)
        )
        self.paths = nn.ModuleList(
            ResPath(width, length) for width, length in zip(skip_widths, (4, 3, 2, 1), strict=True)
        )
        self.compilations = nn.ModuleList(MultiLevelCompilation(skip_widths) for _ in range(3))
        c1, c2, c3, c4 = skip_widths
        self.decoder = nn.ModuleList(
            [
                DecoderLevel(c4, k=2),
                DecoderLevel(c3, k=3, second_expand=34),  # 34, not 3: needed for the exact count
                DecoderLevel(c2, k=3),
                DecoderLevel(c1, k=3),
            ]
        )
        self.head = nn.Conv2d(c1, 1, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        levels = [self.encoder[0](images)]
        for blocks in list(self.encoder)[1:]:
            levels.append(blocks(F.max_pool2d(levels[-1], 2)))
        x = levels.pop()
        skips = [path(level) for path, level in zip(self.paths, levels, strict=True)]
        for compilation in self.compilations:
            skips = compilation(skips)
        for level in self.decoder:
            x = level(x, skips.pop())
        return self.head(x)


def build(settings: AccUNetSettings, context: BuildContext) -> nn.Module:
    """The network, randomly initialised; it has no pretrained part."""
    return AccUNet(settings.base_channels)


SPEC = MethodSpec(
    name="acc_unet",
    title="ACC-UNet",
    family="CNN",
    build=build,
    summary="Fully convolutional U-Net with hierarchical context and compiled skip connections",
    citation="Ibtehaz, Kihara. ACC-UNet: A Completely Convolutional UNet Model for the 2020s. "
    "MICCAI 2023, LNCS 14222, 692-702. arXiv:2308.13680",
    upstream="kiharalab/ACC-UNet@d2bbae4 (n_filts 32)",
    licence="GPL-3.0 (upstream; not copied)",
    settings=AccUNetSettings,
    recipe=ACC_UNET,
    original=ACC_UNET_ORIGINAL,
    size=SizeRule(multiple=16),
    reduced={"base_channels": 8},
)
