"""SDSeg: latent diffusion of masks that needs a single reverse step.

Lin, Chen, Yan, Zheng, Yu, "Stable Diffusion Segmentation for Biomedical Images with Single-step
Reverse Process", MICCAI 2024, 656-666, arXiv:2406.18361. Released code:
lin-tianyu/Stable-Diffusion-Seg@0b0aa38 (CreativeML Open RAIL-M), read and written anew. In order:
the condition encoder, the denoiser, training and prediction in `SDSeg`, pretrained weights.

A frozen autoencoder (the harness's continuous tokenizer) turns masks into latents; a second,
trainable encoder turns images into a condition of the same shape; a U-Net predicts the noise of the
mask latents beside that condition. What differs from the released code stands in `ORIGINAL`.
"""

import math
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.vae import Encoder
from diffusers.models.resnet import ResnetBlock2D
from pydantic import Field
from torch import Tensor, nn

from bench.contracts import Batch, BuildContext, MethodSpec, Settings, SizeRule, Tokenizer
from bench.core.errors import BenchError
from bench.method import Method
from bench.recipes import Original, Recipe
from methods.layers.diffusion import STEPS, Schedule, run_unet, scaled_linear_betas, zero_outputs
from methods.layers.sdseg_weights import copy_released_unet, read_weights

HEADS = 8
DROPOUT = 0.2
PAPER = "lsun-churches"


class SDSegSettings(Settings):
    """pretrained: "lsun-churches" (the paper's, which has to be given as a file), the path of that
    file, or "none". predict: what the U-Net's output means; "noise" as in the paper, or "latent"
    (the released code's parameterization "x0"), which learns far faster. width: channels of the U-Net's first level; condition_width: of the condition
    encoder's. dropout: in the residual blocks of both.
    """

    pretrained: str = PAPER
    predict: Literal["noise", "latent"] = "noise"
    width: int = Field(default=192, ge=16, multiple_of=16)
    condition_width: int = Field(default=128, ge=16, multiple_of=16)
    dropout: float = Field(default=DROPOUT, ge=0, lt=1)


class ConditionEncoder(nn.Module):
    """The encoder of a KL autoencoder, then 1x1: images in [0, 1] to (N, C, H/f, W/f).

    At width 128, factor 8 and 4 channels: 34,163,628 parameters.
    """

    def __init__(self, width: int, channels: int, factor: int, dropout: float) -> None:
        super().__init__()
        levels = int(math.log2(factor)) + 1
        widths = tuple(width * m for m in (1, 2, 4, 4, 4)[:levels])
        self.encoder = Encoder(
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            block_out_channels=widths,
            layers_per_block=2,
            norm_num_groups=min(32, width),
            double_z=True,
        )
        for module in self.encoder.modules():
            if isinstance(module, ResnetBlock2D):
                module.dropout.p = dropout
        self.out = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.encoder(images * 2 - 1))


def make_denoiser(width: int, channels: int, dropout: float) -> nn.Module:
    """Noisy mask latents and condition (2C channels) to noise (C channels).

    Residual blocks also resample; eight-head attention everywhere but on the coarsest level.
    Parameters at width 192 and C = 4: 294,973,828.
    """
    groups = min(32, width)
    unet: Any = UNet2DModel(
        in_channels=2 * channels,
        out_channels=channels,
        block_out_channels=tuple(width * m for m in (1, 2, 2, 4, 4)),
        layers_per_block=2,
        down_block_types=("AttnDownBlock2D",) * 4 + ("DownBlock2D",),
        up_block_types=("ResnetUpsampleBlock2D",) + ("AttnUpBlock2D",) * 4,
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=width // HEADS,
        norm_num_groups=groups,
        attn_norm_num_groups=groups,
        dropout=dropout,
    )
    for module in unet.modules():
        if isinstance(module, Attention):  # diffusers fixes the heads' width, not their number
            module.heads = HEADS
            module.scale = (module.inner_dim / HEADS) ** -0.5
    zero_outputs(unet)
    return unet


class SDSeg(Method):
    """U-Net and condition encoder, which train, beside a frozen tokenizer.

    latent_std: standard deviation of the first training batch's mask latents, by which all are
    divided; 0 until then. latent_inputs: none where the tokenizer has a posterior, from which the
    mask latents are drawn here.
    """

    latent_std: Tensor
    tokenizer: Tokenizer

    def __init__(self, settings: SDSegSettings, tokenizer: Tokenizer) -> None:
        super().__init__()
        channels = tokenizer.latent_channels
        self.settings = settings
        self.denoiser = make_denoiser(settings.width, channels, settings.dropout)
        self.condition = ConditionEncoder(
            settings.condition_width, channels, tokenizer.factor, settings.dropout
        )
        self.tokenizer = tokenizer
        self.schedule = Schedule(scaled_linear_betas(0.0015, 0.0155))
        self.register_buffer("latent_std", torch.zeros(()))
        self.footnotes = footnotes(settings, tokenizer)
        self.latent_inputs = () if tokenizer.has_posterior else ("mask",)

    def mask_latents(self, batch: Batch) -> Tensor:
        """Latents drawn from the posterior of the masks (N, C, h, w), unit variance over all."""
        if self.tokenizer.has_posterior:
            with torch.no_grad():
                mean, std = self.tokenizer.posterior(batch.masks.expand(-1, 3, -1, -1))
            latents = mean + std * torch.randn_like(mean)
        elif batch.mask_latents is not None:
            latents = batch.mask_latents
        else:
            raise ValueError("sdseg trains on batch.mask_latents where there is no posterior")
        latents = latents.float()
        if self.training:  # kept from the first batch on, without waiting for the device
            self.latent_std.copy_(torch.where(self.latent_std > 0, self.latent_std, latents.std()))
        return latents / self.scale()

    def scale(self) -> Tensor:
        """latent_std, or 1 before the first training batch."""
        return torch.where(self.latent_std > 0, self.latent_std, 1.0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute errors of the noise and of the x0 that it implies, equally weighted; of x0
        alone where the U-Net predicts it.
        """
        x0 = self.mask_latents(batch)
        t = torch.randint(STEPS, (len(x0),), device=x0.device)
        noise = torch.randn_like(x0)
        xt = self.schedule.add_noise(x0, t, noise)
        output = self.denoise(xt, t, self.condition(batch.images))
        parts = {"latent": F.l1_loss(self.x0_of(xt, t, output), x0)}
        if self.settings.predict == "noise":
            parts["noise"] = F.l1_loss(output, noise)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def denoise(self, xt: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The U-Net's output, float32 like xt."""
        return run_unet(self.denoiser, torch.cat([xt, condition], dim=1), t).float()

    def x0_of(self, xt: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """The mask latents that the U-Net's output stands for."""
        if self.settings.predict == "latent":
            return output
        return self.schedule.x0_of(xt, t, output)

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, 1, H, W) in one step from pure noise at the last t."""
        condition = self.condition(images)
        noise = self.noise(condition.shape, images.device)
        t = torch.full((len(images),), STEPS - 1, device=images.device)
        x0 = self.x0_of(noise, t, self.denoise(noise, t, condition))
        decoded = self.tokenizer.decode(x0 * self.scale()).float()
        return decoded.clamp(0, 1).mean(1, keepdim=True)


def footnotes(settings: SDSegSettings, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Remarks for tables: where this run departs from the paper's."""
    remarks = []
    if settings.pretrained == "none":
        remarks.append("sdseg starts from random weights (pretrained=none), not the paper's")
    if not tokenizer.has_posterior:
        remarks.append(
            f"sdseg uses the plain mask latents of {tokenizer.name}, which has no posterior to "
            "sample from"
        )
    return tuple(remarks)


def load_pretrained(method: SDSeg, pretrained: str) -> None:
    """The paper's start: U-Net from a latent diffusion model, condition encoder from the tokenizer.

    The first convolution's condition half starts at 0. Raises BenchError when the file is missing
    or of another network, or when the tokenizer's encoder does not fit.
    """
    if pretrained == PAPER:
        raise BenchError(
            "sdseg starts from the LSUN-Churches-256 latent diffusion model of CompVis "
            "(latent-diffusion release, lsun_churches256/model.ckpt), which this harness does not "
            "download. Give that file as --set pretrained=FILE, or train from random weights "
            "with --set pretrained=none; the cell records which."
        )
    copy_released_unet(method.denoiser, read_weights(Path(pretrained)), pretrained)
    tokenizer: Any = method.tokenizer
    own = method.condition.encoder.state_dict()
    for module in tokenizer.modules():
        if not isinstance(module, AutoencoderKL):
            continue
        autoencoder: Any = module
        theirs = autoencoder.encoder.state_dict()
        if {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in theirs.items()}:
            method.condition.encoder.load_state_dict(theirs)
            return
    raise BenchError(
        f"The condition encoder of sdseg starts from the tokenizer's encoder, and "
        f"{tokenizer.name!r} has none of its shape. Use sd-vae with the default "
        "condition_width, or set pretrained=none."
    )


def build(settings: SDSegSettings, context: BuildContext) -> SDSeg:
    """An SDSeg over the context's tokenizer, with pretrained weights where asked."""
    if context.tokenizer is None:
        raise ValueError("sdseg is built over a tokenizer, context.tokenizer is None")
    method = SDSeg(settings, context.tokenizer)
    if context.load_weights and settings.pretrained != "none":
        load_pretrained(method, settings.pretrained)
    return method


RECIPE = Recipe(
    name="sdseg",
    lr=4e-5,  # 1e-5 per image of the batch
    weight_decay=0.01,
    schedule="constant",
    schedule_unit="step",
    warmup=10,  # of 1000 steps each
    warmup_from=1e-6,
    epochs=100,  # of 1000 steps; the released code runs until stopped, so the length is ours
    steps_per_epoch=1000,
    batch_size=4,
    drop_last=False,
    augmentation="flips",
    image_size=256,
    ema_decay=0.9999,
    ema_warmup=True,
)

ORIGINAL = Original(
    code="lin-tianyu/Stable-Diffusion-Seg@0b0aa38",
    topics={
        "optimizer": (
            "AdamW, 1e-5 for each image of the batch: 4e-5",
            "configs/latent-diffusion/cvc-ldm-kl-8.yaml:2",
        ),
        "schedule": (
            "10,000 steps of warm-up from 1e-6 of the rate, then constant",
            "configs/latent-diffusion/cvc-ldm-kl-8.yaml:25-32",
        ),
        "length": ("until stopped", "main.py"),
        "batches": ("4 images, the rest of a pass as a smaller batch", "main.py:213-221"),
        "augmentation": ("both flips p 0.5", "ldm/data/cvc.py:28-29"),
        "averaging": (
            "decay min(0.9999, (1 + n) / (10 + n)) after n steps",
            "ldm/modules/ema.py:25-41",
        ),
        "selection": ("highest Dice on the part that is scored", "cvc-ldm-kl-8.yaml:22"),
    },
    departures=(
        "The length, 100,000 steps, is ours: the release names none.",
        "The moving average covers the condition encoder too, not the U-Net alone.",
        (
            "Every image is predicted from noise of its own, drawn from the seed and the case id; the "
            "release reuses the first image's."
        ),
        "Evaluation is in full precision unless the profile says bf16.",
        "The checkpoint is chosen as the protocol says.",
    ),
)

SPEC = MethodSpec(
    name="sdseg",
    title="SDSeg",
    family="Generative",
    build=build,
    summary="Latent diffusion of masks with a trainable image encoder and one reverse step.",
    citation="Lin et al., Stable Diffusion Segmentation for Biomedical Images with Single-step "
    "Reverse Process, MICCAI 2024, 656-666, arXiv:2406.18361",
    upstream="https://github.com/lin-tianyu/Stable-Diffusion-Seg at 0b0aa38",
    licence="CreativeML Open RAIL-M",
    settings=SDSegSettings,
    recipe=RECIPE,
    search={"recipe.loss": None},  # its objective is its own
    original=ORIGINAL,
    size=SizeRule(multiple=128),
    tokenizer="continuous",
    count_explanation="The paper prints 329.0: the 329 M of SDSeg's own paper with a digit added; "
    "the code has 329,137,456.",
    reduced={
        "pretrained": "none",
        "predict": "latent",
        "width": 16,
        "condition_width": 16,
        "dropout": 0.0,
    },
    presets={"light": {"pretrained": "none"}},
)
