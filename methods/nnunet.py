"""nnU-Net, 2-D configuration for 224 x 224 images (Isensee et al., Nature Methods 18, 2021).

The network is the authors' own library (dynamic-network-architectures), as nnU-Net v2 plans it for
a 224 x 224 patch: six stages. Two classes under a softmax, a segmentation head at every decoder
stage, batch Dice plus cross-entropy at five resolutions, and inference that averages the
logits over the four flips.

What differs from the nnU-Net pipeline: no cascade, no sliding window (one tile covers the image),
no five-fold ensemble, no automatic post-processing, and one network size whatever the image size. By
default images stay in [0, 1], nnU-Net's scheme for channels named R,
G, B; recipe.normalise=zscore is its default scheme, applied here after augmentation, not before.

Upstream: MIC-DKFZ/nnUNet@0e49508 (Apache-2.0), read for facts only; the code here is our own.
"""

import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from pydantic import Field
from torch import Tensor, nn

from bench.contracts import Batch, BuildContext, MethodSpec, Settings, SizeRule
from bench.method import Method
from bench.recipes import Original, Recipe

HEAD_WEIGHTS = (8 / 15, 4 / 15, 2 / 15, 1 / 15)  # 1, 1/2, 1/4, 1/8, normalised; fine first


class NnUNetSettings(Settings):
    """base_channels: width of the first stage, doubled up to 16 times it.

    mirroring: average the logits over both flips and their combination when predicting.
    """

    base_channels: int = Field(32, ge=2)
    mirroring: bool = True


def plain_network(base_channels: int) -> PlainConvUNet:
    """The planned 2-D network: six stages of two convolutions, instance norm, LeakyReLU 0.01."""
    network = PlainConvUNet(
        input_channels=3,
        n_stages=6,
        features_per_stage=[base_channels * times for times in (1, 2, 4, 8, 16, 16)],
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1, 2, 2, 2, 2, 2],
        n_conv_per_stage=2,
        num_classes=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )
    network.apply(network.initialize)  # He with slope 0.01, zero bias
    return network


def dice_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy plus 1 - Dice of the foreground, pooled over the whole batch.

    logits: (N, 2, H, W); masks: {0, 1} (N, 1, H, W). nnU-Net adds -Dice, a constant less.
    """
    foreground = logits.float().softmax(1)[:, 1:]
    overlap = (foreground * masks).sum()
    dice = (2 * overlap + 1e-5) / (foreground.sum() + masks.sum() + 1e-5)
    return F.cross_entropy(logits, masks[:, 0].long()) + 1 - dice


class NnUNet(Method):
    """Images (N, 3, H, W), H and W multiples of 32, to foreground probabilities (N, 1, H, W)."""

    normalisation = "none"

    def __init__(self, settings: NnUNetSettings):
        super().__init__()
        self.settings = settings
        self.unet = plain_network(settings.base_channels)
        # The coarsest head is built and counted, but nnU-Net's plan gives it the weight 0.
        self.unused_parameters = tuple(f"unet.decoder.seg_layers.0.{p}" for p in ("weight", "bias"))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of (background, foreground) at full resolution, (N, 2, H, W)."""
        return self.unet.decoder.seg_layers[-1](self._features(images)[-1])

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """Logits of all five heads, (N, 2, H / 2^i, W / 2^i) for i = 0..4."""
        heads = self.unet.decoder.seg_layers
        logits = [head(x) for head, x in zip(heads, self._features(images), strict=True)]
        return logits[::-1]

    def _features(self, images: Tensor) -> list[Tensor]:
        """Outputs of the five decoder stages, coarse to fine."""
        *skips, x = self.unet.encoder(images)
        decoder = self.unet.decoder
        features = []
        for up, stage in zip(decoder.transpconvs, decoder.stages, strict=True):
            x = stage(torch.cat([up(x), skips.pop()], dim=1))
            features.append(x)
        return features

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Deep supervision: the loss of the four finer heads on masks resized to them (nearest)."""
        heads = self.all_logits(self.normalise(batch.images))
        total = torch.zeros((), device=batch.images.device)
        for weight, logits in zip(HEAD_WEIGHTS, heads, strict=False):
            masks = F.interpolate(batch.masks, logits.shape[-2:], mode="nearest-exact")
            total = total + weight * dice_cross_entropy(logits, masks)
        return {"loss": total}

    def predict_step(self, images: Tensor) -> Tensor:
        """Probabilities of one pass, without mirroring: what GMACs and latency mean."""
        return self(self.normalise(images)).float().softmax(1)[:, 1:]

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, 1, H, W): softmax of the mean logits over the flips."""
        images = self.normalise(images)
        logits = self(images).float()
        if self.settings.mirroring:
            flips = ((2,), (3,), (2, 3))
            logits = logits + sum(self(images.flip(axes)).float().flip(axes) for axes in flips)
            logits = logits / 4
        return logits.softmax(1)[:, 1:]


def build(settings: NnUNetSettings, context: BuildContext) -> nn.Module:
    """The method, randomly initialised; it has no pretrained part."""
    return NnUNet(settings)


RECIPE = Recipe(
    name="nnunet",
    optimizer="sgd",
    lr=1e-2,
    momentum=0.99,
    nesterov=True,
    weight_decay=3e-5,
    schedule="poly",
    power=0.9,
    epochs=1000,
    steps_per_epoch=250,
    batch_size=26,
    on_dataset={
        "bus": {"batch_size": 7},
        "busi": {"batch_size": 26},
        "glas": {"batch_size": 4},
        "kvasir-instrument": {"batch_size": 24},
        "ham10000": {"batch_size": 65},
    },
    drop_last=False,
    replacement=True,
    augmentation="nnunet",
    grad_clip=12.0,
)
"""nnU-Net's trainer: 250,000 steps. Its planner sets the batch from the data (65 for 224 x 224 under
8 GB, but at most 5 % of the training pixels of the paper's lists); another dataset gets BUSI's. The
paper does not say what GMS ran."""

ORIGINAL = Original(
    code="MIC-DKFZ/nnUNet@0e49508 with batchgeneratorsv2",
    topics={
        "optimizer": (
            "SGD 1e-2, Nesterov momentum 0.99, weight decay 3e-5, gradients clipped at norm 12",
            "nnUNetTrainer.py:153-154, 552-555, 1042",
        ),
        "schedule": ("(1 - epoch / epochs)^0.9", "nnUNetTrainer.py:555"),
        "length": ("1000 epochs of 250 steps", "nnUNetTrainer.py:157-159"),
        "batches": (
            "planned from the data; cases drawn with replacement",
            "batchgenerators data_loader.py, DataLoader.get_indices",
        ),
        "augmentation": (
            (
                "rotation by any angle and scaling, p 0.2 each; noise of SD up to 0.1, blur, "
                "brightness, contrast, low resolution, gamma that keeps mean and SD; mirroring; no "
                "clamping"
            ),
            "nnUNetTrainer.py:739-835",
        ),
        "masks": ("rotated bilinearly, majority", "batchgeneratorsv2 spatial.py"),
        "selection": ("the last weights", "nnUNetTrainer.py, on_train_end"),
    },
    departures=(
        (
            "The loader moves a third of each batch towards a foreground pixel where the rotation's "
            "margin lets it (right and down only: data_loader.py:145). Here no picture is moved."
        ),
        "recipe.normalise=zscore standardises after the augmentation, nnU-Net before it.",
        (
            "Batch sizes are planned for the paper's lists, also where a protocol trains on fewer "
            "cases; nnU-Net itself would train on four fifths of them."
        ),
        "The checkpoint is chosen as the protocol says.",
    ),
)

SPEC = MethodSpec(
    name="nnunet",
    title="nnUNet",
    family="CNN",
    build=build,
    summary="Self-configuring U-Net: the 2-D plan for 224 x 224 with its own loss and inference",
    citation="Isensee, Jaeger, Kohl, Petersen, Maier-Hein. nnU-Net: a self-configuring method for "
    "deep learning-based biomedical image segmentation. Nature Methods 18 (2021) 203-211",
    upstream="MIC-DKFZ/nnUNet@0e49508, MIC-DKFZ/dynamic-network-architectures@d35f85c",
    licence="Apache-2.0",
    settings=NnUNetSettings,
    recipe=RECIPE,
    search={"recipe.loss": None},  # its objective is its own
    original=ORIGINAL,
    size=SizeRule(multiple=32),
    # The overfitting check learns four images, not their flips, so it predicts without flips.
    reduced={"base_channels": 8, "mirroring": False},
)
