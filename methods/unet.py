"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015, arXiv:1505.04597).

The variant that the paper's numbers come from: the U-Net of the UCTransNet authors, as the
ACC-UNet harness ships it. Differs from the 2015 paper: padded convolutions, batch norm, a single
convolution on the first level and a bottleneck that does not widen (512, not 1024), which is why
it has 14.75 M parameters and not the textbook's 31.0 M.

Upstream: kiharalab/ACC-UNet@d2bbae4 (GPL-3.0), read for facts only; the code here is our own.
"""

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from bench.contracts import BuildContext, MethodSpec, Settings, SizeRule
from methods.layers.blocks import DownLevel, UpConcat, conv_relu
from methods.layers.recipes import ACC_UNET, ACC_UNET_ORIGINAL


class UNetSettings(Settings):
    """base_channels: width of the first level; the others follow as 2, 4, 8 and 8 times it."""

    base_channels: int = Field(64, ge=2, multiple_of=2)


class UpLevel(nn.Module):
    """Upsample at constant width, concatenate the skip of that width, then two units."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.join = UpConcat(channels, channels)
        self.units = nn.Sequential(
            conv_relu(2 * channels, out_channels), conv_relu(out_channels, out_channels)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.units(self.join(x, skip))


class UNet(nn.Module):
    """Images (N, 3, H, W), H and W multiples of 16, to logits (N, 1, H, W)."""

    def __init__(self, base_channels: int = 64, in_channels: int = 3, out_channels: int = 1):
        super().__init__()
        widths = [base_channels * times for times in (1, 2, 4, 8, 8)]
        self.stem = conv_relu(in_channels, widths[0])  # one unit, where later levels have two
        self.downs = nn.ModuleList(DownLevel(a, b) for a, b in pairwise(widths))
        up_widths = [base_channels * times for times in (8, 4, 2, 1, 1)]
        self.ups = nn.ModuleList(UpLevel(a, b) for a, b in pairwise(up_widths))
        self.head = nn.Conv2d(base_channels, out_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        skips = [self.stem(images)]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        return self.head(x)


def build(settings: UNetSettings, context: BuildContext) -> nn.Module:
    """The network, randomly initialised; it has no pretrained part."""
    return UNet(settings.base_channels)


SPEC = MethodSpec(
    name="unet",
    title="UNet",
    family="CNN",
    build=build,
    summary="Encoder and decoder of plain convolutions with skip connections",
    citation="Ronneberger, Fischer, Brox. U-Net: Convolutional Networks for Biomedical Image "
    "Segmentation. MICCAI 2015. arXiv:1505.04597",
    upstream="kiharalab/ACC-UNet@d2bbae4 (UNet_base)",
    licence="GPL-3.0 (upstream; not copied)",
    settings=UNetSettings,
    recipe=ACC_UNET,
    original=ACC_UNET_ORIGINAL,
    size=SizeRule(multiple=16),
    count_explanation="The paper prints 14.0 M: probably the integer 14 quoted from the ACC-UNet "
    "paper with '.0' added. No variant of this family gives 14.0 (13.36 M without the transposed "
    "convolutions).",
    reduced={"base_channels": 16},
)
