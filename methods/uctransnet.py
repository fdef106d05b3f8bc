"""UCTransNet: a U-Net whose skips pass a channel transformer and a gate by the decoder.

Wang, Cao, Wang, Zaiane, "UCTransNet: rethinking the skip connections in U-Net from a channel-wise
perspective with transformer", AAAI 2022, 2441-2449, arXiv:2109.04335. Read in
McGregorWwww/UCTransNet@493bd81 (no licence stated) and in the identical copy that the paper's rows
come from, kiharalab/ACC-UNet@d2bbae4 (GPL-3.0); written anew.

Differs from the paper: nothing known. Of the code's two training variants this is the one from
scratch; the other starts from a trained U-Net.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from bench.contracts import BuildContext, MethodSpec, Settings, SizeRule
from methods.layers.blocks import DownLevel, conv_relu
from methods.layers.channel_transformer import ChannelTransformer
from methods.layers.recipes import ACC_UNET, ACC_UNET_ORIGINAL

SIDE = 224
SIDES = (224, 112, 56, 28)
PATCHES = (16, 8, 4, 2)  # 14 x 14 tokens on every level


class ChannelGate(nn.Module):
    """Scale the skip's channels by what both the skip and the decoder feature average to (CCA).

    forward(x, skip), both (N, C, H, W), gives (N, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.from_skip = nn.Linear(channels, channels)
        self.from_decoder = nn.Linear(channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # avg_pool2d and not mean(): the original's order of summation, so outputs agree to the bit.
        skip_average = F.avg_pool2d(skip, skip.shape[2:]).flatten(1)
        x_average = F.avg_pool2d(x, x.shape[2:]).flatten(1)
        votes = self.from_skip(skip_average) + self.from_decoder(x_average)
        return torch.relu(skip * torch.sigmoid(votes / 2)[:, :, None, None])


class GatedUpLevel(nn.Module):
    """Enlarge to the nearest neighbour, gate the skip of the same width, join, then two units."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.gate = ChannelGate(channels)
        self.units = nn.Sequential(
            conv_relu(2 * channels, out_channels), conv_relu(out_channels, out_channels)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        return self.units(torch.cat([self.gate(x, skip), x], dim=1))


class UCTransNet(nn.Module):
    """images float32 (N, 3, 224, 224) in [0, 1] to logits (N, 1, 224, 224).

    base_channels: width of the first level; the skips have 1, 2, 4 and 8 times it. layers: depth of
    the channel transformer. dropout: of its embeddings and attention.
    """

    def __init__(self, base_channels: int = 64, layers: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        widths = [base_channels * times for times in (1, 2, 4, 8, 8)]
        self.stem = conv_relu(3, widths[0])
        self.downs = nn.ModuleList(DownLevel(a, b) for a, b in pairwise(widths))
        self.transformer = ChannelTransformer(
            widths[:4], SIDES, PATCHES, layers=layers, dropout=dropout
        )
        up_widths = [base_channels * times for times in (8, 4, 2, 1, 1)]
        self.ups = nn.ModuleList(GatedUpLevel(a, b) for a, b in pairwise(up_widths))
        self.head = nn.Conv2d(base_channels, 1, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Raises ValueError unless images are 3 x 224 x 224."""
        if images.shape[1:] != (3, SIDE, SIDE):
            raise ValueError(
                f"uctransnet learns a position for each of its tokens and takes images "
                f"(N, 3, {SIDE}, {SIDE}); got {tuple(images.shape)}. Resize to {SIDE} first, as "
                f"SizeRule(fixed={SIDE}) asks."
            )
        skips = [self.stem(images)]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        skips = self.transformer(skips)
        for up in self.ups:
            x = up(x, skips.pop())
        return self.head(x)


class UCTransNetSettings(Settings):
    """Options of UCTransNet; the defaults are the published network.

    base_channels: width of the first level. layers: depth of the channel transformer. dropout: of
    its embeddings and attention.
    """

    base_channels: int = Field(64, gt=0)
    layers: int = Field(4, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)


def build(settings: UCTransNetSettings, context: BuildContext) -> UCTransNet:
    """The network, randomly initialised; it has no pretrained part."""
    return UCTransNet(settings.base_channels, settings.layers, settings.dropout)


SPEC = MethodSpec(
    name="uctransnet",
    title="UCTransNet",
    family="Transformer",
    build=build,
    summary="U-Net with a channel transformer over its four skips and channel gates",
    citation="Wang, Cao, Wang, Zaiane. UCTransNet: Rethinking the Skip Connections in U-Net from a "
    "Channel-wise Perspective with Transformer. AAAI 2022, 2441-2449. arXiv:2109.04335",
    upstream="kiharalab/ACC-UNet@d2bbae4, identical to McGregorWwww/UCTransNet@493bd81",
    licence="GPL-3.0 copy, authors' repository states none (upstream; not copied)",
    settings=UCTransNetSettings,
    recipe=ACC_UNET,
    original=ACC_UNET_ORIGINAL,
    size=SizeRule(fixed=SIDE),
    count_explanation="66,430,657 is the printed 66.4 M.",
    reduced={"base_channels": 8, "layers": 1, "dropout": 0.0},
)
