"""EGE-UNet (Ruan, Xie, Gao, Liu, Fu, MICCAI 2023, arXiv:2307.08473).

53 thousand parameters: grouped multi-axis Hadamard product attention (GHPA) on the deep levels and
group aggregation bridges (GAB) instead of plain skips. Five auxiliary outputs share the loss.
Images are stretched to 0..255 each, as in the released code; its dataset constants before the
stretch cancel out, so none are kept.

Upstream: JCruan519/EGE-UNet@f52ba30 (Apache-2.0), read for facts only; the code here is our own.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from bench.contracts import Batch, BuildContext, MethodSpec, Settings, SizeRule
from bench.method import Method
from bench.recipes import Original, Recipe
from bench.training.losses import soft_dice_loss

SIDE_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5)  # coarse to fine
DILATIONS = (1, 2, 5, 7)  # of a bridge's four groups


class EgeUNetSettings(Settings):
    """widths: channels of the six levels, multiples of 4."""

    widths: tuple[int, int, int, int, int, int] = (8, 16, 24, 32, 48, 64)

    @model_validator(mode="after")
    def _groups_of_four(self) -> "EgeUNetSettings":
        if any(width < 4 or width % 4 for width in self.widths):
            raise ValueError(f"widths must be multiples of 4, got {self.widths}")
        return self


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with aligned corners: the only resampling this network uses."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def doubled(x: Tensor) -> Tensor:
    """x at twice its resolution."""
    return resize(x, (2 * x.shape[-2], 2 * x.shape[-1]))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, eps 1e-6."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(dim=1, keepdim=True)
        # Two passes: torch.var_mean rounds otherwise, which deep levels amplify to 1e-5.
        x = x / torch.sqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def depthwise(channels: int, dilation: int = 1) -> nn.Conv2d:
    """3x3 depthwise convolution that keeps the resolution."""
    return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)


def line_mixer(channels: int) -> nn.Sequential:
    """Depthwise 3, GELU, pointwise: along one axis."""
    return nn.Sequential(
        nn.Conv1d(channels, channels, 3, padding=1, groups=channels),
        nn.GELU(),
        nn.Conv1d(channels, channels, 1),
    )


class HadamardAttention(nn.Module):
    """GHPA: four channel groups, three of them multiplied by a learned, resizable map.

    The maps lie over (height, width), (channel, height) and (channel, width). (N, in_channels, H, W)
    to (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, map_size: int = 8):
        super().__init__()
        group = in_channels // 4
        self.plane = nn.Parameter(torch.ones(1, group, map_size, map_size))
        self.rows = nn.Parameter(torch.ones(1, 1, group, map_size))
        self.columns = nn.Parameter(torch.ones(1, 1, group, map_size))
        self.plane_mixer = nn.Sequential(
            depthwise(group), nn.GELU(), nn.Conv2d(group, group, kernel_size=1)
        )
        self.row_mixer = line_mixer(group)
        self.column_mixer = line_mixer(group)
        self.local = nn.Sequential(nn.Conv2d(group, group, 1), nn.GELU(), depthwise(group))
        self.norm_in = ChannelNorm(in_channels)
        self.norm_out = ChannelNorm(in_channels)
        self.out = nn.Sequential(
            depthwise(in_channels), nn.GELU(), nn.Conv2d(in_channels, out_channels, kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        by_plane, by_row, by_column, local = self.norm_in(x).chunk(4, dim=1)
        group, height, width = by_plane.shape[1:]
        plane = self.plane_mixer(resize(self.plane, (height, width)))
        rows = self.row_mixer(resize(self.rows, (group, height))[0])
        columns = self.column_mixer(resize(self.columns, (group, width))[0])
        parts = [by_plane * plane, by_row * rows[..., None], by_column * columns[:, :, None]]
        return self.out(self.norm_out(torch.cat([*parts, self.local(local)], dim=1)))


class AggregationBridge(nn.Module):
    """GAB: merge a deeper feature, this level's feature and the side logit, in four groups.

    deep: (N, deep_channels, h, w); skip: (N, channels, H, W); side: (N, 1, H, W). Returns
    (N, channels, H, W).
    """

    def __init__(self, deep_channels: int, channels: int):
        super().__init__()
        self.project = nn.Conv2d(deep_channels, channels, kernel_size=1)
        group = channels // 2 + 1
        self.groups = nn.ModuleList(
            nn.Sequential(ChannelNorm(group), depthwise(group, dilation)) for dilation in DILATIONS
        )
        self.out = nn.Sequential(
            ChannelNorm(4 * group), nn.Conv2d(4 * group, channels, kernel_size=1)
        )

    def forward(self, deep: Tensor, skip: Tensor, side: Tensor) -> Tensor:
        deep = resize(self.project(deep), (skip.shape[-2], skip.shape[-1]))
        pairs = zip(self.groups, deep.chunk(4, dim=1), skip.chunk(4, dim=1), strict=True)
        inputs = [(mix, torch.cat([high, low, side], dim=1).float()) for mix, high, low in pairs]
        # No autocast on a CPU: bfloat16 weight gradients of these dilated depthwise convolutions
        # came back NaN from one (torch 2.15).
        with torch.autocast("cpu", enabled=False):
            parts = [mix(x) for mix, x in inputs]
        return self.out(torch.cat(parts, dim=1))


def plain(in_channels: int, out_channels: int) -> nn.Conv2d:
    """3x3 convolution: what the shallow levels have instead of attention."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


class EgeUNet(Method):
    """Images (N, 3, H, W), H and W multiples of 32, to probabilities (N, 1, H, W)."""

    normalisation = "stretch"

    def __init__(self, settings: EgeUNetSettings):
        super().__init__()
        c1, c2, c3, c4, c5, c6 = settings.widths
        self.encoder = nn.ModuleList([plain(3, c1), plain(c1, c2), plain(c2, c3)])
        self.encoder.extend([HadamardAttention(a, b) for a, b in ((c3, c4), (c4, c5), (c5, c6))])
        shallow_first = ((c2, c1), (c3, c2), (c4, c3), (c5, c4), (c6, c5))
        self.bridges = nn.ModuleList(AggregationBridge(a, b) for a, b in shallow_first)
        self.side_heads = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in (c5, c4, c3, c2, c1))
        self.decoder = nn.ModuleList(
            [HadamardAttention(a, b) for a, b in ((c6, c5), (c5, c4), (c4, c3))]
        )
        self.decoder.extend([plain(c3, c2), plain(c2, c1)])
        self.encoder_norms = nn.ModuleList(nn.GroupNorm(4, c) for c in (c1, c2, c3, c4, c5))
        self.decoder_norms = nn.ModuleList(nn.GroupNorm(4, c) for c in (c5, c4, c3, c2, c1))
        self.head = nn.Conv2d(c1, 1, kernel_size=1)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, H, W) of normalised images."""
        return self.all_logits(images)[0]

    def all_logits(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The output's logits, and those of the five side heads at H/32 .. H/2, coarse to fine."""
        skips, x = self._encode(images)
        deep, sides = x, []
        for i, (block, norm) in enumerate(zip(self.decoder, self.decoder_norms, strict=True)):
            x = norm(block(x))
            x = F.gelu(doubled(x) if i > 0 else x)  # the first level stays at 1/32
            sides.append(self.side_heads[i](x))
            # A bridge's output is also the deep input of the next, shallower bridge.
            deep = self.bridges[4 - i](deep, skips.pop(), sides[i])
            x = x + deep
        return doubled(self.head(x)), sides

    def _encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Five skips at 1/2 .. 1/32, and the deepest feature, also at 1/32."""
        x, skips = images, []
        for block, norm in zip(list(self.encoder)[:5], self.encoder_norms, strict=True):
            x = F.gelu(F.max_pool2d(norm(block(x)), 2))
            skips.append(x)
        return skips, F.gelu(self.encoder[5](x))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """BCE + Dice of the output, plus the weighted same of every side output at full size."""
        logits, sides = self.all_logits(self.normalise(batch.images))
        main = bce_dice(logits, batch.masks)
        size = (logits.shape[-2], logits.shape[-1])
        side = torch.zeros_like(main)
        for weight, side_logits in zip(SIDE_WEIGHTS, sides, strict=True):
            side = side + weight * bce_dice(resize(side_logits, size), batch.masks)
        return {"loss": main + side, "main": main.detach(), "side": side.detach()}

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, 1, H, W) in one pass."""
        return self(self.normalise(images)).float().sigmoid()


def bce_dice(logits: Tensor, masks: Tensor) -> Tensor:
    """BCE plus soft Dice loss with smoothing 1, not squared."""
    bce = F.binary_cross_entropy_with_logits(logits, masks)
    return bce + soft_dice_loss(logits.sigmoid(), masks, smooth=1.0)


def _initialise(module: nn.Module) -> None:
    """Normal weights of variance 2 / fan-out; zero bias in 2-D, PyTorch's default bias in 1-D."""
    if isinstance(module, nn.Conv1d):
        # Not divided by the groups here, unlike in 2-D: the released code does the same.
        nn.init.normal_(
            module.weight, 0, math.sqrt(2 / (module.kernel_size[0] * module.out_channels))
        )
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(settings: EgeUNetSettings, context: BuildContext) -> nn.Module:
    """The method, randomly initialised; it has no pretrained part."""
    return EgeUNet(settings)


RECIPE = Recipe(
    name="ege-unet",
    optimizer="adamw",
    lr=1e-3,
    weight_decay=1e-2,
    schedule="cosine-restarts",
    period=50,
    mirrored=True,
    min_lr=1e-5,
    epochs=300,
    batch_size=8,
    drop_last=False,
    augmentation="ege-unet",
    masks="soft",
    image_size=256,
)
"""The authors' configuration: the cosine of T_max 50 falls and rises three times in 300 epochs."""

ORIGINAL = Original(
    code="JCruan519/EGE-UNet@f52ba30",
    topics={
        "optimizer": ("AdamW 1e-3, weight decay 1e-2", "configs/config_setting.py:67-97"),
        "schedule": (
            "cosine of T_max 50 down to 1e-5, falling and rising three times",
            "configs/config_setting.py:131-135",
        ),
        "length": ("300 epochs", "configs/config_setting.py:44"),
        "batches": ("8 images, the rest of a pass as a smaller batch", "train.py:55-59"),
        "augmentation": (
            (
                "stretch to 0..255; both flips p 0.5; rotation p 0.5, nearest, zeros outside; at the "
                "stored size"
            ),
            "configs/config_setting.py:53-60, utils.py:331-388",
        ),
        "masks": ("resized bilinearly: values between 0 and 1", "utils.py:322-328"),
        "selection": ("lowest loss on the part that is scored", "train.py:141-153"),
    },
    departures=(
        (
            "The rotation angle is drawn per image. The release draws one at import, before its seed, "
            "for the whole run."
        ),
        (
            "The stretch comes after the augmentation, so corners take the picture's minimum. Where a "
            "rotation turns the brightest pixel out of the picture, the stretch is a little wider."
        ),
        (
            "Images are rotated at the network's size with their original aspect, and resized with "
            "antialiasing."
        ),
        "The checkpoint is chosen as the protocol says.",
    ),
)

SPEC = MethodSpec(
    name="ege_unet",
    title="EGE-UNet",
    family="CNN",
    build=build,
    summary="Tiny U-Net of grouped Hadamard attention and aggregation bridges",
    citation="Ruan, Xie, Gao, Liu, Fu. EGE-UNet: An Efficient Group Enhanced UNet for Skin Lesion "
    "Segmentation. MICCAI 2023, 481-490. arXiv:2307.08473",
    upstream="JCruan519/EGE-UNet@f52ba30",
    licence="Apache-2.0",
    settings=EgeUNetSettings,
    recipe=RECIPE,
    search={"recipe.loss": None},  # its objective is its own
    original=ORIGINAL,
    size=SizeRule(multiple=32),
    count_explanation="Profilers that skip bare parameters report 0.0458 M.",
)
