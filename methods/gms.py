"""GMS: maps an image's latents to its mask's latents between two halves of a frozen autoencoder.

Huo, Ouyang, Ourselin, Sparks, "Generative Medical Segmentation", AAAI 2025, arXiv:2403.18198.
Released code: King-HAW/GMS@e4c7e1b (no licence stated), read and written anew. In order: `Attention`
and `Block`, the `LatentMapping` model that trains, and `GMS` with its losses.

The default is the released network, which differs from the paper's text:

- blocks are pre-activation (norm, PReLU, conv), eight of them in a U shape without resampling, with
  self-attention in each; the paper describes two convolutional blocks and one attention layer;
- losses are summed over three decoder levels; the paper predicts one latent (`supervision="out"`),
  which also costs one decode per step instead of three;
- the latent loss is a mean over elements, not a squared norm;
- the released code adds noise to the image latents (`latent_noise="as-released"`); the paper does
  not mention it, and here it is off by default.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from bench.contracts import Batch, BuildContext, MethodSpec, Settings, Tokenizer
from bench.core.errors import BenchError
from bench.method import Method
from bench.recipes import Original, Recipe
from bench.training.losses import soft_dice_loss

SUPERVISED = ("level2", "level1", "out")  # the heads that the released code trains
RELEASED_NOISE_GAIN = 1 / 0.18215
"""The released code scales the posterior's mean by 0.18215 but not its standard deviation, so its
noise is 5.5 times the posterior's."""


class GMSSettings(Settings):
    """loss: latent matching, image matching, or their sum (the paper's Table 4).

    supervision: "multi" sums the losses of three heads as released, "out" uses the last one as in
    the paper. latent_noise: with p 0.5 per batch, noise of the image posterior's standard deviation
    on the image latents ("posterior"), or 5.5 times that ("as-released"). width: channels of the
    first level.
    """

    loss: Literal["lm", "seg", "lm+seg"] = "lm+seg"
    supervision: Literal["multi", "out"] = "multi"
    latent_noise: Literal["off", "posterior", "as-released"] = "off"
    width: int = Field(default=32, ge=16, multiple_of=16)


def norm(channels: int) -> nn.GroupNorm:
    """The group normalisation used throughout: 16 groups."""
    return nn.GroupNorm(16, channels, eps=1e-6)


class Attention(nn.Module):
    """Single-head self-attention over all positions of (N, C, h, w), with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (
            part(h).flatten(2).transpose(1, 2).unsqueeze(1) for part in (self.q, self.k, self.v)
        )
        h = F.scaled_dot_product_attention(q, k, v)  # scale 1 / sqrt(C)
        return x + self.project(h.squeeze(1).transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    """Residual block of two (norm, PReLU, conv 3x3), then attention: (N, I, h, w) to (N, O, h, w)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.act1, self.act2 = nn.PReLU(), nn.PReLU()  # each one slope for all channels
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.attention = Attention(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.act1(self.norm1(x)))
        h = self.conv2(self.act2(self.norm2(h)))
        return self.attention(self.skip(x) + h)


class LatentMapping(nn.Module):
    """Image latents (N, C, h, w) to mask latents (N, C, h, w) by head name; only this trains.

    U-shaped in its concatenations, at one resolution throughout. heads: those to build, of
    "level3", "level2", "level1", "out". Parameters are registered in the released order.
    """

    def __init__(self, channels: int, width: int, heads: tuple[str, ...]) -> None:
        super().__init__()
        w1, w2, w4 = width, 2 * width, 4 * width
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList([Block(w1, w1), Block(w1, w2), Block(w2, w4), Block(w4, w4)])
        self.up = nn.ModuleList(
            [Block(w4 + w4, w4), Block(w2 + w4, w2), Block(w1 + w2, w1), Block(w1 + w1, w1)]
        )
        widths = {"level3": w4, "level2": w2, "level1": w1, "out": w1}
        self.heads = nn.ModuleDict({name: head(widths[name], channels) for name in heads})
        self.apply(init_conv)

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        features = [self.stem(latents)]
        for block in self.down:
            features.append(block(features[-1]))
        x = features.pop()
        outputs = {}
        for name, block in zip(("level3", "level2", "level1", "out"), self.up, strict=True):
            x = block(torch.cat([features.pop(), x], dim=1))
            if name in self.heads:
                outputs[name] = self.heads[name](x)
        return outputs


def head(channels: int, out_channels: int) -> nn.Sequential:
    """From a decoder feature to latents: norm, SiLU, conv 3x3 without bias."""
    conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(norm(channels), nn.SiLU(), conv)


def init_conv(module: nn.Module) -> None:
    """Kaiming-normal over fan-out with gain sqrt(2), zero bias; attention outputs likewise."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class GMS(Method):
    """The mapping model between encoder and decoder of a frozen tokenizer.

    unused_parameters: the released network has a fourth head, "level3", that no loss reaches
    (4,864 parameters with 4 latent channels); it is kept because it counts.
    """

    tokenizer: Tokenizer
    latent_inputs = ("image", "mask")

    def __init__(self, settings: GMSSettings, tokenizer: Tokenizer) -> None:
        super().__init__()
        if settings.latent_noise != "off" and not tokenizer.has_posterior:
            raise no_posterior(settings, tokenizer)
        multi = settings.supervision == "multi"
        self.settings = settings
        self.supervised = SUPERVISED if multi else ("out",)
        self.mapping = LatentMapping(
            tokenizer.latent_channels,
            settings.width,
            ("level3", *SUPERVISED) if multi else ("out",),
        )
        self.tokenizer = tokenizer
        self.unused_parameters = tuple(
            name for name, _ in self.named_parameters() if name.startswith("mapping.heads.level3.")
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Latent loss (mean squared error) and image loss (soft Dice of the decoded mask), each
        summed over the supervised heads; a loss that is switched off is not computed.

        Raises ValueError unless the batch carries the latents of images and masks.
        """
        if batch.image_latents is None or batch.mask_latents is None:
            raise ValueError("gms trains on batch.image_latents and batch.mask_latents")
        outputs = self.mapping(self._with_noise(batch))
        parts = {}
        if "lm" in self.settings.loss:
            target = batch.mask_latents.float()
            errors = [F.mse_loss(outputs[name].float(), target) for name in self.supervised]
            parts["latent"] = torch.stack(errors).sum()
        if "seg" in self.settings.loss:
            decoded = self._decoded([outputs[name] for name in self.supervised])
            dices = [soft_dice_loss(probs, batch.masks) for probs in decoded]
            parts["image"] = torch.stack(dices).sum()
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def _with_noise(self, batch: Batch) -> Tensor:
        latents = batch.image_latents
        assert latents is not None
        if self.settings.latent_noise == "off":
            return latents
        if batch.image_latents_std is None:
            raise ValueError("latent_noise needs batch.image_latents_std")
        gain = RELEASED_NOISE_GAIN if self.settings.latent_noise == "as-released" else 1.0
        # One coin per batch, drawn on the device so that nothing waits for it.
        coin = torch.rand((), device=latents.device) > 0.5
        return latents + coin * gain * batch.image_latents_std * torch.randn_like(latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Mask probabilities float32 in [0, 1], (N, 1, H, W): the mean decoded channel.

        The clamp also zeroes the gradient of saturated pixels, as in the released code.
        """
        return self.tokenizer.decode_mean(latents).float().clamp(0, 1)

    def _decoded(self, latents: list[Tensor]) -> list[Tensor]:
        """`decode` of each: in one call on a GPU, where it takes a third of the kernels; one after
        the other on a CPU, where one call is no faster and moves through memory three times as far.
        """
        if latents[0].is_cuda:
            return list(self.decode(torch.cat(latents)).chunk(len(latents)))
        return [self.decode(one) for one in latents]

    def predict_latents(self, image_latents: Tensor) -> Tensor:
        """Probabilities (N, 1, H, W) from the latents of the images."""
        return self.decode(self.mapping(image_latents)["out"])

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, 1, H, W) of images (N, 3, H, W) in [0, 1]."""
        return self.predict_latents(self.tokenizer.encode(images))


def no_posterior(settings: GMSSettings, tokenizer: Tokenizer) -> BenchError:
    """The error for latent noise with a tokenizer that gives no standard deviation."""
    return BenchError(
        f"gms has latent_noise={settings.latent_noise!r}, but tokenizer {tokenizer.name!r} has no "
        "posterior to take the noise from. Set latent_noise=off, or use a KL autoencoder such as "
        "sd-vae."
    )


def build(settings: GMSSettings, context: BuildContext) -> GMS:
    """A GMS over the context's tokenizer."""
    if context.tokenizer is None:
        raise ValueError("gms is built over a tokenizer, context.tokenizer is None")
    return GMS(settings, context.tokenizer)


RECIPE = Recipe(
    name="gms",
    lr=2e-3,
    schedule="cosine",
    schedule_unit="epoch",
    warmup=4,  # lr 0, 1/4, 1/2, 3/4, 1: what the released "5 epochs" come to; the first is idle
    hold=1,
    epochs=1000,
    on_dataset={"ham10000": {"epochs": 150}},
    batch_size=8,
    drop_last=True,
    augmentation="gms",
    image_size=224,
)

ORIGINAL = Original(
    code="King-HAW/GMS@e4c7e1b",
    topics={
        "optimizer": ("AdamW 2e-3, weight decay 0.01 (PyTorch's default)", "train.py:111"),
        "schedule": (
            "per epoch: lr 0, 1/4, 1/2, 3/4, 1, 1, then a cosine to 0",
            "train.py:112, utils/lr_scheduler.py:47-80",
        ),
        "length": ("1000 epochs, HAM10000 150", "configs/*_train.yaml:7"),
        "batches": ("8 images, the rest of a pass dropped", "train.py:85"),
        "augmentation": (
            (
                "both flips and a turn by 0 to 3 quarters, each p 0.5; colour jitter of 0.1 in HSV, in "
                "random order, p 0.2; shift 0.15, scale 0.1, rotation 20 degrees, p 0.4, reflected "
                "borders; at the stored size"
            ),
            "data/image_dataset.py:27-36 under albumentations below 2.0",
        ),
        "masks": ("nearest neighbour (cv2) after the augmentation", "data/image_dataset.py:34"),
        "selection": (
            "highest soft Dice, averaged over the batches of the test part",
            "train.py:222-256",
        ),
    },
    departures=(
        (
            "Colours and movements change the picture at the network's size; rotations use its "
            "original aspect. The release changes the stored picture and resizes last, bilinearly "
            "without antialiasing; protocol paper resizes so, first."
        ),
        (
            "The release does not pin albumentations: 1.4.0 scales both axes alike, as here; 1.4.24 "
            "each on its own."
        ),
        (
            "latent_noise is off by default, as in the paper's text; preset as-released sets what the "
            "code does."
        ),
        "The checkpoint is chosen as the protocol says.",
    ),
)

SPEC = MethodSpec(
    name="gms",
    title="GMS",
    family="Generative",
    build=build,
    summary="Latent mapping model between the halves of a frozen autoencoder.",
    citation="Huo et al., Generative Medical Segmentation, AAAI 2025, arXiv:2403.18198",
    upstream="https://github.com/King-HAW/GMS at e4c7e1b",
    licence="none stated",
    settings=GMSSettings,
    recipe=RECIPE,
    search={
        "recipe.loss": None,
        "supervision": {"choices": ["multi", "out"]},
    },  # its objective is its own
    original=ORIGINAL,
    tokenizer="continuous",
    count_explanation="The paper prints 1.5: 1.565 M truncated. It counts the heads of the released "
    "code, of which level3 (4,864 parameters) never trains; with one head it is 1,556,464.",
    presets={
        # The paper's form: one decode per step; no noise, as the embedded tokenizers have no posterior.
        "light": {"supervision": "out", "latent_noise": "off"},
        "as-released": {"latent_noise": "as-released"},
    },
)
