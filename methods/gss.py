"""GSS: predicts the discrete tokens of a painted mask, which a frozen decoder turns into pixels.

Chen, Lu, Zhu, Zhang, "Generative Semantic Segmentation", CVPR 2023, 7111-7120, arXiv:2303.11316.
Released code: fudan-zvg/GSS@b9909a4 (no licence file; its setup metadata say Apache-2.0), read and
written anew: stage 2, "GSS-FF". In order: backbones, the two branches, and `GSS` with its palette.

A mask is painted as a picture with one far-apart colour per class (a "maskige"); a frozen discrete
tokenizer maps it to codes; the token branch classifies the code of each cell at a quarter of the
image's side, and the decoded picture is read back by the nearest colour. A pixel branch helps in
training only. Which configuration the comparison counted is not stated:

- `backbone="swin_t"` (default) with 384 channels gives 49,764,572 trainable parameters;
- `backbone="resnet50"` with 512 channels in the token branch gives 49,892,194.

Both hold for 8192 codes (OpenAI's dVAE, tokenizer `dalle`). Another tokenizer has its own number of
codes, and its last layer and count change with it. Differs from the released code: on grids that
windows of 7 do not divide, timm rolls before it pads and mmseg pads before it rolls (equal at 224,
not at 256); no pixel carries an "ignore" label, so that code is absent.
"""

from typing import Literal

import timm
import torch
import torch.nn.functional as F
import torchvision
from pydantic import Field
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from bench.contracts import Batch, BuildContext, MethodSpec, Settings, SizeRule, Tokenizer
from bench.core.errors import BenchError
from bench.method import Method
from bench.recipes import Original, Recipe
from methods.layers.swin import read_pretrained

PAPER_TOKENS = 8192
TOKEN_WEIGHT, PIXEL_WEIGHT = 0.8, 0.2
PALETTE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # background, foreground: the farthest pair
CELL = 4  # px of the image per side of a token's cell
WINDOW = 7
TOKEN_CHANNELS = {"swin_t": 384, "resnet50": 512}


class GSSSettings(Settings):
    """backbone: see the two counts above. pretrained: "imagenet" (ImageNet-1k), "none", or the path
    of a safetensors file (timm's layout for Swin-T, torchvision's for ResNet-50). channels: of the
    merged backbone features. hidden: of the token classifier. embed_dim: of Swin-T's first stage;
    token_heads: of the token branch's attention. drop_path: of the Swin backbone, last block.
    """

    backbone: Literal["swin_t", "resnet50"] = "swin_t"
    pretrained: str = "imagenet"
    channels: int = Field(default=384, ge=16, multiple_of=16)
    hidden: int = Field(default=2048, ge=16)
    embed_dim: int = Field(default=96, ge=24, multiple_of=24)
    token_heads: int = Field(default=16, ge=1)
    drop_path: float = Field(default=0.3, ge=0, lt=1)


class SwinFeatures(nn.Module):
    """Swin-T with a LayerNorm on each of its four outputs, at strides 4, 8, 16, 32."""

    def __init__(self, embed_dim: int, image_size: int, drop_path: float) -> None:
        super().__init__()
        self.stages = timm.create_model(
            "swin_tiny_patch4_window7_224",
            features_only=True,
            img_size=image_size,
            embed_dim=embed_dim,
            drop_path_rate=drop_path,
            always_partition=True,  # windows of 7 on every grid, padded and shifted, as in mmseg
        )
        self.channels = [embed_dim * 2**stage for stage in range(4)]
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in self.channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = zip(self.stages(images), self.norms, strict=True)
        return [norm(x).permute(0, 3, 1, 2) for x, norm in maps]

    def load(self, pretrained: str) -> None:
        """Swin-T's ImageNet weights; the four norms keep their start."""
        tensors, origin = read_pretrained(pretrained)
        renamed = {name.replace("layers.", "layers_", 1): x for name, x in tensors.items()}
        own = self.stages.state_dict()
        _require_all(own, renamed, origin)
        self.stages.load_state_dict({name: renamed[name] for name in own})


class ResNetFeatures(nn.Module):
    """ResNet-50 whose last two stages dilate instead of striding: strides 4, 8, 8, 8."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True])
        self.net.fc = nn.Identity()
        self.channels = [256, 512, 1024, 2048]

    def forward(self, images: Tensor) -> list[Tensor]:
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        maps = []
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def load(self, pretrained: str) -> None:
        """torchvision's ImageNet weights (version 1)."""
        if pretrained == "imagenet":
            tensors, origin = _fetch_resnet(), "torchvision's ResNet-50"
        else:
            tensors, origin = read_pretrained(pretrained)
        own = self.net.state_dict()
        _require_all(own, tensors, origin)
        self.net.load_state_dict({name: tensors[name] for name in own})


def _fetch_resnet() -> dict[str, Tensor]:
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except OSError as error:
        raise BenchError(
            f"Cannot fetch ResNet-50's ImageNet weights from {weights.url}: {error}. Connect once, "
            "give a local safetensors file as pretrained=FILE, or set pretrained=none."
        ) from error


def _require_all(own: dict[str, Tensor], given: dict[str, Tensor], origin: str) -> None:
    for name, tensor in own.items():
        if name not in given or given[name].shape != tensor.shape:
            found = tuple(given[name].shape) if name in given else "missing"
            raise BenchError(
                f"{origin}: {name} is {found}, the backbone needs {tuple(tensor.shape)}. Use the "
                "default width with these weights, or set pretrained=none."
            )


def conv_unit(in_channels: int, out_channels: int) -> nn.Sequential:
    """Conv 1x1 without bias, BatchNorm, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


class Merge(nn.Module):
    """Backbone maps to one map (N, out_channels, H/4, W/4): 1x1 each, resize, concatenate, 1x1."""

    def __init__(self, in_channels: list[int], channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv_unit(c, channels) for c in in_channels)
        self.fuse = conv_unit(channels * len(in_channels), out_channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[0].shape[2:]
        resized = [
            F.interpolate(conv(x), size, mode="bilinear", align_corners=False)
            for conv, x in zip(self.convs, maps, strict=True)
        ]
        # The released order: stride 8, 4, 16, 32.
        return self.fuse(torch.cat([resized[i] for i in (1, 0, 2, 3)], dim=1))


class TokenBranch(nn.Module):
    """Backbone maps to token logits (N, tokens, H/4, W/4)."""

    def __init__(
        self, in_channels: list[int], settings: GSSSettings, tokens: int, grid: int
    ) -> None:
        super().__init__()
        inner = settings.channels * TOKEN_CHANNELS[settings.backbone] // 384
        self.merge = Merge(in_channels, settings.channels, inner)
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                inner,
                (grid, grid),
                num_heads=settings.token_heads,
                window_size=WINDOW,
                shift_size=shift,
                always_partition=True,
                mlp_ratio=2.0,
            )
            for shift in (0, WINDOW // 2)
        )
        self.norm = nn.LayerNorm(inner)
        self.hidden = conv_unit(inner, settings.hidden)
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(settings.hidden, tokens, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        assert self.classify.bias is not None
        nn.init.zeros_(self.classify.bias)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = self.merge(maps).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        x = self.hidden(self.norm(x).permute(0, 3, 1, 2))
        return self.classify(self.dropout(x))


class PixelBranch(nn.Module):
    """Backbone maps to class logits (N, 2, H/4, W/4); used in training only."""

    def __init__(self, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.merge = Merge(in_channels, channels, channels)
        self.classify = nn.Conv2d(channels, len(PALETTE), 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.classify(self.merge(maps))


class GSS(Method):
    """Backbone and two branches, which train, beside a frozen discrete tokenizer.

    The maskige has `factor` px per cell, CELL px of the image: with factor 8 twice the image's side.
    """

    palette: Tensor
    tokenizer: Tokenizer  # read by its tokens, so no latents are encoded

    normalisation = "imagenet"

    def __init__(self, settings: GSSSettings, tokenizer: Tokenizer, image_size: int) -> None:
        super().__init__()
        assert tokenizer.num_tokens is not None
        if settings.backbone == "swin_t":
            self.backbone: SwinFeatures | ResNetFeatures = SwinFeatures(
                settings.embed_dim, image_size, settings.drop_path
            )
        else:
            self.backbone = ResNetFeatures()
        channels = self.backbone.channels
        self.tokens = TokenBranch(channels, settings, tokenizer.num_tokens, image_size // CELL)
        self.pixels = PixelBranch(channels, settings.channels)
        self.tokenizer = tokenizer
        self.register_buffer("palette", torch.tensor(PALETTE), persistent=False)
        self.footnotes = footnotes(settings, tokenizer)

    def features(self, images: Tensor) -> list[Tensor]:
        """The backbone's four maps, finest first."""
        return self.backbone(self.normalise(images))

    def paint(self, classes: Tensor) -> Tensor:
        """The maskige in [0, 1], (N, 3, H, W), of class indices (N, H, W)."""
        return self.palette[classes].permute(0, 3, 1, 2)

    def read(self, pictures: Tensor) -> Tensor:
        """Class indices int64 (N, H, W): the nearest palette colour of each pixel (N, 3, H, W)."""
        colours = self.palette[None, :, :, None, None]
        return (pictures[:, None] - colours).square().sum(2).argmin(1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """0.8 x cross-entropy over tokens + 0.2 x cross-entropy over pixels of the maskige's size.

        Token targets are the codes of the painted mask.
        """
        maps = self.features(batch.images)
        token_logits, pixel_logits = self.tokens(maps).float(), self.pixels(maps).float()
        side = [length * self.tokenizer.factor for length in token_logits.shape[2:]]
        with torch.no_grad():
            # Bilinear, then the larger class; the background wins a tie.
            enlarged = F.interpolate(batch.masks, side, mode="bilinear", align_corners=False)
            classes = (enlarged[:, 0] > 0.5).long()
            targets = self.tokenizer.encode_tokens(self.paint(classes))
        pixel_logits = F.interpolate(pixel_logits, side, mode="bilinear", align_corners=False)
        parts = {
            "token": F.cross_entropy(token_logits, targets),
            "pixel": F.cross_entropy(pixel_logits, classes),
        }
        return {"loss": TOKEN_WEIGHT * parts["token"] + PIXEL_WEIGHT * parts["pixel"], **parts}

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, 1, H, W): the decoded tokens' nearest colours, 0 or 1, averaged where
        the maskige has more pixels than the image."""
        tokens = self.tokens(self.features(images)).argmax(1)
        classes = self.read(self.tokenizer.decode_tokens(tokens).float().clamp(0, 1))
        painted = classes[:, None].float()
        return F.interpolate(painted, images.shape[2:], mode="bilinear", align_corners=False)


def footnotes(settings: GSSSettings, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Remarks for tables: where this run departs from the paper's."""
    remarks = []
    if settings.pretrained == "none":
        remarks.append("gss starts from random weights (pretrained=none), not from ImageNet's")
    if tokenizer.num_tokens != PAPER_TOKENS:
        remarks.append(
            f"gss predicts the {tokenizer.num_tokens} codes of {tokenizer.name}; the paper's dVAE "
            f"has {PAPER_TOKENS}, and so its counts"
        )
    return tuple(remarks)


def build(settings: GSSSettings, context: BuildContext) -> GSS:
    """A GSS over the context's tokenizer. Raises BenchError for a tokenizer without tokens."""
    tokenizer = context.tokenizer
    if tokenizer is None:
        raise ValueError("gss is built over a tokenizer, context.tokenizer is None")
    if tokenizer.num_tokens is None:
        raise BenchError(
            f"gss predicts discrete tokens, and tokenizer {tokenizer.name!r} is continuous. Use a "
            "discrete one: dalle, vq or tiny-vq."
        )
    method = GSS(settings, tokenizer, context.image_size)
    if context.load_weights and settings.pretrained != "none":
        method.backbone.load(settings.pretrained)
    return method


CITYSCAPES = Recipe(
    name="gss-cityscapes",
    lr=1.5e-3,
    weight_decay=0.01,
    # The release spares what has "norm" or the table in its name: the backbone's and the blocks'
    # norms, not the batch norms, nor the norm behind the blocks.
    no_decay=(
        "patch_embed.norm.",
        "norm1.",
        "norm2.",
        "downsample.norm.",
        "backbone.norms.",
        "relative_position_bias_table",
    ),
    schedule="linear",
    schedule_unit="step",
    warmup=3,  # of 500 steps each
    warmup_from=1e-6,
    epochs=160,  # of 500 steps: 80,000
    steps_per_epoch=500,
    batch_size=16,  # 2 on each of 8 GPUs
    augmentation="horizontal-flip",
)
ADE20K = CITYSCAPES.model_copy(
    update={"name": "gss-ade20k", "lr": 1.2e-4, "epochs": 320, "batch_size": 32}
)
"""The two released Swin-L configurations, each with its own rate, batch and length."""

ORIGINAL = Original(
    code="fudan-zvg/GSS@b9909a4",
    topics={
        "optimizer": (
            (
                "AdamW, weight decay 0.01 except norms and relative_position_bias_table; Cityscapes "
                "1.5e-3, ADE20K 1.2e-4"
            ),
            "configs/gss/*/gss-ff_swin-l_*.py, `optimizer`",
        ),
        "schedule": (
            "1500 steps of warm-up from 1e-6 of the rate, then linear to 0",
            "configs/gss/*/gss-ff_swin-l_*.py, `lr_config`",
        ),
        "length": (
            "Cityscapes 80,000 steps, ADE20K 160,000",
            "configs/gss/*/gss-ff_swin-l_*.py, `runner`",
        ),
        "batches": (
            "Cityscapes 2 images on each GPU, ADE20K 4; the rest of a pass dropped",
            (
                "configs/gss/_base_/datasets/cityscapes_768x768.py:42, ade_20k_512x512.py:2; "
                "mmseg/apis/train.py:89"
            ),
        ),
        "augmentation": (
            "resize by 0.5 to 2, crop, horizontal flip p 0.5, photometric distortion",
            "configs/gss/_base_/datasets/cityscapes_768x768.py:6-22",
        ),
    },
    departures=(
        (
            "gss-cityscapes is the default; --set recipe.name=gss-ade20k chooses the other. Neither was "
            "made for the Swin-T that the counts point to."
        ),
        "Eight GPUs are assumed, as in the release's commands: batches of 16 and 32.",
        "Resizing, crops and photometric distortion are left out: pictures here are whole.",
        "The checkpoint is chosen as the protocol says.",
    ),
)

SPEC = MethodSpec(
    name="gss",
    title="GSS",
    family="Generative",
    build=build,
    summary="Predicts the discrete tokens of a painted mask; a frozen decoder paints the pixels.",
    citation="Chen et al., Generative Semantic Segmentation, CVPR 2023, 7111-7120, arXiv:2303.11316",
    upstream="https://github.com/fudan-zvg/GSS at b9909a4",
    licence="none stated (setup metadata: Apache-2.0)",
    settings=GSSSettings,
    recipe=CITYSCAPES,
    search={
        "recipe.loss": None,
        "drop_path": {"low": 0.0, "high": 0.5},
    },  # its objective is its own
    alternatives=(ADE20K,),
    original=ORIGINAL,
    size=SizeRule(multiple=32),
    tokenizer="discrete",
    reference_tokenizer="dalle",
    count_explanation="The paper prints 49.8 and no configuration. Swin-T with the head's defaults "
    "gives 49,764,572 and rounds to it; ResNet-50 with 512 token channels gives 49,892,194, which "
    "prints 49.8 only if cut. Both with the 8192 codes of OpenAI's dVAE.",
    reduced={
        "pretrained": "none",
        "channels": 48,
        "hidden": 256,
        "embed_dim": 24,
        "token_heads": 4,
        "drop_path": 0.0,
    },
    presets={"light": {"pretrained": "none"}},
)
