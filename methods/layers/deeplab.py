"""The host of the domain generalization operators: DeepLab-V3 on ResNet-50 (arXiv:1706.05587).

torchvision's network with one output, no auxiliary head, output stride 8. An operator without
parameters is put behind named stages of the backbone. The paper does not say what it started from:
the default is what the recipe was made for, ImageNet weights with frozen batch norms.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3
from torchvision.ops import FrozenBatchNorm2d

from bench.contracts import BuildContext, Settings, SizeRule
from bench.core.errors import BenchError
from bench.recipes import Original, Recipe

Stage = Literal["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"]
SIZE = SizeRule(multiple=8)
PARAMETERS = (
    "Not printed in the paper. The operator has no parameters. 39,633,729, of which the backbone's "
    "batch norms (53,120) do not train while frozen_norm; torchvision's auxiliary head, which is "
    "left out here, would make 41,993,794."
)
FROM_SCRATCH = {"pretrained": "none", "frozen_norm": False}
"""Settings without any download."""


class DeepLabSettings(Settings):
    """pretrained: "imagenet" starts the backbone from torchvision's ResNet-50 (IMAGENET1K_V1) and
    standardises images as it was trained; "none" starts at random on images in [0, 1].

    frozen_norm: keep the backbone's batch norms at their pretrained statistics and scales.
    width: channels of the first stage, 64 in ResNet-50; narrower ones only start at random.
    """

    pretrained: Literal["none", "imagenet"] = "imagenet"
    frozen_norm: bool = True
    width: int = Field(64, ge=4, le=64)


class NarrowResNet(ResNet):
    """ResNet-50 with dilation instead of the last two strides, its stages `width`/64 as wide."""

    def __init__(self, width: int, norm: type[nn.Module]):
        self.width = width  # before the parent builds its layers
        super().__init__(
            Bottleneck,
            [3, 4, 6, 3],
            replace_stride_with_dilation=[False, True, True],
            norm_layer=norm,
        )

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        return super()._make_layer(block, planes * self.width // 64, blocks, stride, dilate)


class StyleOperator(nn.Module):
    """Features (N, C, H, W), re-styled in train mode with some probability per call.

    A subclass says in `restyled` what becomes of the features when the coin falls so; a batch of 1
    has no other style to draw on and stays as it is.
    """

    def __init__(self, probability: float = 0.5):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or len(x) == 1:
            return x
        # A coin on the device, and both answers computed: no wait for the GPU, no graph break.
        coin = torch.rand((), device=x.device)
        return torch.where(coin <= self.probability, self.restyled(x), x)

    def restyled(self, x: Tensor) -> Tensor:
        """x in another style, whatever the coin says; N is at least 2."""
        raise NotImplementedError


class DeepLabHost(nn.Module):
    """Images (N, 3, H, W), normalised, H and W multiples of 8, to logits (N, 1, H, W).

    operator: a module that maps features to features of the same shape, used behind each of
    `stages`; the backbone's own order decides which comes first.
    """

    head_parameters = ("network.classifier.",)

    def __init__(
        self, settings: DeepLabSettings, operator: nn.Module, stages: tuple[Stage, ...], load: bool
    ):
        super().__init__()
        backbone = NarrowResNet(
            settings.width, FrozenBatchNorm2d if settings.frozen_norm else nn.BatchNorm2d
        )
        if settings.pretrained == "imagenet" and load:
            backbone.load_state_dict(_imagenet_weights())
        layers = IntermediateLayerGetter(backbone, {"layer4": "out"})
        for stage in stages:
            layers[stage] = nn.Sequential(layers[stage], operator)
        self.normalisation = settings.pretrained  # "imagenet" or "none", as the weights
        self.network = DeepLabV3(layers, DeepLabHead(32 * settings.width, 1), None)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and len(images) == 1:
            raise BenchError(
                "DeepLab-V3 cannot train on a batch of 1: its image-level branch normalises one "
                "value per channel. Set recipe.batch_size to at least 2."
            )
        return self.network(images)["out"]


def build_host(
    settings: DeepLabSettings, context: BuildContext, operator: nn.Module, stages: tuple[Stage, ...]
) -> DeepLabHost:
    """The host with the operator behind `stages`. Raises BenchError for impossible settings or
    when pretrained weights cannot be fetched."""
    if settings.pretrained == "imagenet" and settings.width != 64:
        raise BenchError(
            f"ImageNet weights exist for width 64, not {settings.width}. Drop width, or set "
            "pretrained=none."
        )
    if settings.frozen_norm and settings.pretrained == "none":
        raise BenchError(
            "frozen_norm keeps pretrained batch norms, and pretrained=none has none. Set "
            "frozen_norm=false as well, or pretrained=imagenet."
        )
    return DeepLabHost(settings, operator, stages, context.load_weights)


def _imagenet_weights() -> dict[str, Tensor]:
    try:
        return dict(ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise BenchError(
            f"torchvision's ImageNet weights of ResNet-50 cannot be fetched: {error}. Connect to "
            "the internet, put the file into torch's hub cache (TORCH_HOME), or set "
            "pretrained=none."
        ) from error


RECIPE = Recipe(
    name="dsu-segmentation",
    optimizer="sgd",
    lr=5e-4,
    momentum=0.9,
    head_lr=10.0,
    weight_decay=5e-4,
    schedule="poly",
    schedule_unit="step",
    power=0.9,
    epochs=80,  # of 250 steps: 20,000
    run_share=0.64,  # of a schedule over 31,250 steps
    steps_per_epoch=250,
    batch_size=8,
    loss="bce",
    augmentation="none",
)
"""DSU's own segmentation set-up (GTA5 to Cityscapes). MixStyle publishes none, and how GMS trained
either is unknown: both carry this one."""

ORIGINAL = Original(
    code="lixiaotong97/DSU@82a1de0, semantic-segmentation",
    topics={
        "optimizer": (
            "SGD 5e-4, the classifier ten times that, momentum 0.9, weight decay 5e-4",
            "train_src.py:75-81, configs/deeplabv2_ur101_src.yaml:17",
        ),
        "schedule": (
            "(1 - step / 31,250)^0.9",
            "train_src.py:136, configs/deeplabv2_ur101_src.yaml:18",
        ),
        "length": (
            "stops at step 20,000",
            "train_src.py:192, configs/deeplabv2_ur101_src.yaml:19",
        ),
        "batches": (
            "8 images, drawn over the end of a pass; the rest of the last dropped",
            "train_src.py:114-122, core/datasets/build.py",
        ),
        "augmentation": ("none", "core/configs/defaults.py:17-36"),
    },
    departures=(
        (
            "The network is DeepLab-V3 on ResNet-50, as the paper says; DSU's is DeepLab-V2 on "
            "ResNet-101."
        ),
        "The loss is binary cross-entropy of one output, not cross-entropy of 19.",
        "The checkpoint is chosen as the protocol says.",
    ),
)
