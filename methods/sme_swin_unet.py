"""SME-SwinUNet: SwinUNet with superpixels, a channel transformer and external attention on skips.

Wang et al., "SMESwin Unet: merging CNN and transformer for medical image
segmentation", MICCAI 2022, 517-526. Read in azusakou/SMESwin-Unet@cc5c7e4 and in the copy that the
paper's rows come from, kiharalab/ACC-UNet@d2bbae4 (GPL-3.0); written anew.

Kept from the code because they change numbers: every level of the channel transformer is a single
token, so it adds one offset per channel; external attention has no residual, so a skip has rank 8
at most; the superpixel level's output is discarded, and a convolution is never used.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from skimage.segmentation import mark_boundaries, slic
from torch import Tensor, nn

from bench.contracts import BuildContext, MethodSpec, Settings, SizeRule
from methods.layers.channel_transformer import ChannelTransformer
from methods.layers.recipes import ACC_UNET_SGD, ACC_UNET_SGD_ORIGINAL
from methods.layers.swin import load_pretrained
from methods.swin_unet import SIDE, SwinUNet

SIDES = (112, 56, 28, 14)
SLOTS = 8  # memory units of the external attention


@torch.compiler.disable
@torch.no_grad()
def superpixel_outlines(images: Tensor) -> Tensor:
    """The images with the borders of their superpixels drawn in yellow, as (N, 3, H, W).

    images: RGB in [0, 1]. SLIC (Achanta et al. 2012) of scikit-image: about 100 segments,
    compactness 10; runs on the CPU, an image per thread, and its segments depend on scikit-image's
    version.
    """
    if images.is_meta:  # counting: shapes only
        return images
    pictures = images.detach().float().permute(0, 2, 3, 1).cpu().numpy()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # SLIC computes without the GIL
        drawn = list(pool.map(_outlined, pictures))
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).to(images)


def _outlined(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return mark_boundaries(picture, slic(picture, n_segments=100, compactness=10))


class ExternalAttention(nn.Module):
    """Attention to a learned memory of `SLOTS` units: tokens (N, L, C) to (N, L, C).

    Guo et al., "Beyond self-attention: external attention using two linear layers", 2021.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.key = nn.Linear(channels, SLOTS, bias=False)
        self.value = nn.Linear(SLOTS, channels, bias=False)
        for linear in (self.key, self.value):
            nn.init.normal_(linear.weight, std=0.001)

    def forward(self, tokens: Tensor) -> Tensor:
        attention = self.key(tokens).softmax(dim=1)
        return self.value(attention / attention.sum(dim=2, keepdim=True))


class SMESwinUNet(nn.Module):
    """images float32 (N, 3, 224, 224) in [0, 1] to logits (N, 1, 224, 224).

    unused_parameters: names of those that never get a gradient; they are in the published count.
    """

    overfit_steps = SwinUNet.overfit_steps  # its loss stands still even longer, some 100 steps

    def __init__(self, embed_dim: int = 96, drop_path: float = 0.1) -> None:
        super().__init__()
        channels = (embed_dim // 2, embed_dim, 2 * embed_dim, 4 * embed_dim)
        self.swin = SwinUNet(embed_dim, drop_path)
        # Patches as large as the maps: one token per level.
        self.mcct = ChannelTransformer(channels, sides=SIDES, patches=SIDES)
        self.stem = nn.Conv2d(3, channels[0], 3, stride=2, padding=1)
        # Coarsest first, the order in which the original registers them.
        self.external = nn.ModuleList(ExternalAttention(c) for c in channels[:0:-1])
        self.unused = nn.Conv2d(4, 1, 1)  # built by the original, never called
        self.unused_parameters = tuple(
            name for name, _ in self.named_parameters() if name.startswith(_unused_prefixes())
        )

    def forward(self, images: Tensor) -> Tensor:
        bottleneck, skips = self.swin.encode(images)
        outlined = self.stem(superpixel_outlines(images))
        _, *maps = self.mcct([outlined, *(skip.permute(0, 3, 1, 2) for skip in skips)])
        enhanced = [
            attention(x.flatten(2).transpose(1, 2)).unflatten(1, x.shape[2:])
            for attention, x in zip(reversed(self.external), maps, strict=True)
        ]
        return self.swin.decode(bottleneck, enhanced)


def _unused_prefixes() -> tuple[str, ...]:
    """Where the superpixel level's output would come from after its last use, as keys and values
    of the last layer's attention."""
    last, level = "mcct.encoder.layers.3", 0
    return (
        f"{last}.attention_norms.{level}.",
        f"{last}.attention.query.{level}.",
        f"{last}.attention.out.{level}.",
        f"{last}.mlp_norms.{level}.",
        f"{last}.mlps.{level}.",
        f"mcct.encoder.norms.{level}.",
        f"mcct.reconstructions.{level}.",
        "unused.",
    )


class SMESwinUNetSettings(Settings):
    """Options of SME-SwinUNet; the defaults are the published network.

    pretrained: "imagenet" (the paper: Swin-T on ImageNet-1k), "none", or the path of a safetensors
    file in timm's layout. embed_dim: a multiple of 6: the heads of the first stage, and half of it
    is the width of the superpixel branch. drop_path: rate of the last blocks' stochastic depth,
    which grows from 0.
    """

    pretrained: Literal["imagenet", "none"] | str = "imagenet"
    embed_dim: int = Field(96, gt=0, multiple_of=6)
    drop_path: float = Field(0.1, ge=0, lt=1)


def build(settings: SMESwinUNetSettings, context: BuildContext) -> SMESwinUNet:
    """The network of the settings, with pretrained weights where they and the context ask."""
    network = SMESwinUNet(settings.embed_dim, settings.drop_path)
    if context.load_weights and settings.pretrained != "none":
        load_pretrained(network.swin, settings.pretrained)
    return network


SPEC = MethodSpec(
    name="sme_swin_unet",
    title="SME-SwinUNet",
    family="Transformer",
    build=build,
    summary="SwinUNet with superpixels, a channel transformer and external attention on its skips",
    citation="Wang et al. SMESwin Unet: Merging CNN and Transformer for Medical Image Segmentation. "
    "MICCAI 2022, 517-526",
    upstream="kiharalab/ACC-UNet@d2bbae4 (copy of azusakou/SMESwin-Unet@cc5c7e4)",
    licence="GPL-3.0 (upstream; not copied)",
    settings=SMESwinUNetSettings,
    recipe=ACC_UNET_SGD,
    original=ACC_UNET_SGD_ORIGINAL.model_copy(
        update={
            "departures": (
                *ACC_UNET_SGD_ORIGINAL.departures,
                "SLIC sees RGB images, in the release BGR ones (nets/SMESwinUnet.py).",
            )
        }
    ),
    size=SizeRule(fixed=SIDE),
    count_explanation=(
        "169,790,777 is the printed 169.8 M; 115.6 M of them are the four patch convolutions, "
        "32,933 never get a gradient."
    ),
    reduced={"pretrained": "none", "embed_dim": 12, "drop_path": 0.0},
    presets={"light": {"pretrained": "none"}},
)
