"""SwinUNet: a U-Net whose encoder and decoder are both Swin Transformers.

Cao, Wang, Chen, Jiang, Zhang, Tian, Wang, "Swin-Unet: Unet-like pure transformer for medical image
segmentation", ECCV Workshops 2022, 205-218, arXiv:2105.05537. Read in HuCaoFighting/Swin-Unet
@f48f623 (no licence stated) and in the copy that the paper's rows come from,
kiharalab/ACC-UNet@d2bbae4 (GPL-3.0); written anew.

Differs from the paper and from the code: the released "decoder depths" are ignored upstream, the
decoder has the encoder's depths, and so here. One logit instead of two classes with softmax.
"""

from typing import Literal

import torch
from pydantic import Field
from timm.layers import PatchEmbed
from torch import Tensor, nn

from bench.contracts import BuildContext, MethodSpec, Settings, SizeRule
from methods.layers.recipes import ACC_UNET_SGD, ACC_UNET_SGD_ORIGINAL
from methods.layers.swin import PatchExpand, PatchMerge, SwinStage, init_linear, load_pretrained

SIDE = 224
HEADS = (3, 6, 12, 24)
BLOCKS = 2  # per stage


class SwinUNet(nn.Module):
    """images float32 (N, 3, 224, 224) in [0, 1] to logits (N, 1, 224, 224).

    embed_dim: channels at 1/4 resolution; they double at each of the three mergings. drop_path:
    rate of the last encoder block, rising linearly from 0; a decoder stage repeats the rates of the
    encoder stage of its width.
    """

    # From scratch and at reduced width its loss stands still for some 40 steps, while the small
    # initial weights grow, so the contract's overfitting check gets twice the usual budget.
    overfit_steps = 400

    def __init__(self, embed_dim: int = 96, drop_path: float = 0.2) -> None:
        super().__init__()
        widths = [embed_dim * 2**level for level in range(4)]
        sides = [SIDE // 4 // 2**level for level in range(4)]
        rates = [[drop_path * (2 * level + i) / 7 for i in range(BLOCKS)] for level in range(4)]
        self.patch_embed = PatchEmbed(
            SIDE, patch_size=4, embed_dim=embed_dim, norm_layer=nn.LayerNorm, output_fmt="NHWC"
        )
        self.encoder = nn.ModuleList(
            SwinStage(
                widths[level],
                sides[level],
                HEADS[level],
                rates[level],
                PatchMerge(widths[level]) if level < 3 else None,
            )
            for level in range(4)
        )
        self.decoder = nn.ModuleList([PatchExpand(widths[3], widths[2], factor=2)])
        self.concat = nn.ModuleList()
        for level in (2, 1, 0):
            expand = PatchExpand(widths[level], widths[level - 1], factor=2) if level else None
            self.decoder.append(
                SwinStage(widths[level], sides[level], HEADS[level], rates[level], expand)
            )
            self.concat.append(nn.Linear(2 * widths[level], widths[level]))
        self.norm = nn.LayerNorm(widths[3])
        self.norm_up = nn.LayerNorm(embed_dim)
        self.up = PatchExpand(embed_dim, embed_dim, factor=4)
        self.head = nn.Conv2d(embed_dim, 1, 1, bias=False)
        self.apply(init_linear)

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The bottleneck (N, 7, 7, 8C) and the skips (N, 56, 56, C), (.., 28, 28, 2C),
        (.., 14, 14, 4C): the *inputs* of the first three stages.

        Raises ValueError unless images are 3 x 224 x 224.
        """
        if images.shape[1:] != (3, SIDE, SIDE):
            raise ValueError(
                f"This network takes images (N, 3, {SIDE}, {SIDE}); got {tuple(images.shape)}. "
                f"Resize to {SIDE} first, as SizeRule(fixed={SIDE}) asks."
            )
        x = self.patch_embed(images)
        skips = []
        for stage in self.encoder:
            skips.append(x)
            x = stage(x)
        return self.norm(x), skips[:3]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Logits (N, 1, 224, 224) of the bottleneck and the three skips, finest first."""
        x = self.decoder[0](bottleneck)
        for stage, concat, skip in zip(self.decoder[1:], self.concat, skips[::-1], strict=True):
            x = stage(concat(torch.cat([x, skip], dim=-1)))
        x = self.up(self.norm_up(x))
        return self.head(x.permute(0, 3, 1, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(*self.encode(images))


class SwinUNetSettings(Settings):
    """Options of SwinUNet; the defaults are the published network.

    pretrained: "imagenet" (the paper: Swin-T on ImageNet-1k), "none", or the path of a safetensors
    file in timm's layout. embed_dim: a multiple of 3, the heads of the first stage. drop_path: rate of
    the last blocks' stochastic depth, which grows from 0.
    """

    pretrained: Literal["imagenet", "none"] | str = "imagenet"
    embed_dim: int = Field(96, gt=0, multiple_of=3)
    drop_path: float = Field(0.2, ge=0, lt=1)


def build(settings: SwinUNetSettings, context: BuildContext) -> SwinUNet:
    """The network of the settings, with pretrained weights where they and the context ask."""
    network = SwinUNet(settings.embed_dim, settings.drop_path)
    if context.load_weights and settings.pretrained != "none":
        load_pretrained(network, settings.pretrained)
    return network


SPEC = MethodSpec(
    name="swin_unet",
    title="SwinUNet",
    family="Transformer",
    build=build,
    summary="U-Net of Swin Transformer blocks, encoder and decoder started from ImageNet Swin-T",
    citation="Cao, Wang, Chen, Jiang, Zhang, Tian, Wang. Swin-Unet: Unet-like Pure Transformer for "
    "Medical Image Segmentation. ECCV Workshops 2022, 205-218. arXiv:2105.05537",
    upstream="kiharalab/ACC-UNet@d2bbae4 (copy of HuCaoFighting/Swin-Unet@f48f623)",
    licence="GPL-3.0 copy, authors' repository states none (upstream; not copied)",
    settings=SwinUNetSettings,
    recipe=ACC_UNET_SGD,
    original=ACC_UNET_SGD_ORIGINAL,
    size=SizeRule(fixed=SIDE),
    count_explanation="27,168,132 is the printed 27.2 M.",
    reduced={"pretrained": "none", "embed_dim": 24, "drop_path": 0.0},
    presets={"light": {"pretrained": "none"}},
)
