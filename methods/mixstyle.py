"""MixStyle on DeepLab-V3-ResNet-50 (Zhou et al., IJCV 2023, arXiv:2107.02053; first ICLR 2021).

While training, feature statistics of images in a batch are mixed: a new style for the same content.
No parameters, and nothing happens in eval mode. Only the random mode exists here: "cross-domain"
mixing needs two training domains, and the benchmark trains on one data set. What differs from the
released code: the coin and the draws come from torch's generator, not from Python's `random`.

Upstream: KaiyangZhou/mixstyle-release@16f7cf1 (MIT), read for facts only; the code here is our own.
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Beta

from bench.contracts import BuildContext, MethodSpec
from methods.layers.deeplab import (
    FROM_SCRATCH,
    ORIGINAL,
    PARAMETERS,
    RECIPE,
    SIZE,
    DeepLabHost,
    DeepLabSettings,
    Stage,
    StyleOperator,
    build_host,
)


class MixStyleSettings(DeepLabSettings):
    """probability: of mixing, per call of the operator; alpha: of the symmetric Beta distribution.

    stages: behind which the operator stands; its authors advise the first two residual stages and
    never the last layers.
    """

    probability: float = Field(0.5, ge=0, le=1)
    alpha: float = Field(0.1, gt=0)
    stages: tuple[Stage, ...] = ("layer1", "layer2")


class MixStyle(StyleOperator):
    """Features (N, C, H, W) with means and deviations per channel mixed between images."""

    def __init__(self, probability: float = 0.5, alpha: float = 0.1):
        super().__init__(probability)
        self.alpha = alpha

    def restyled(self, x: Tensor) -> Tensor:
        """x in the mixed style."""
        values = x.float()
        var, mean = torch.var_mean(values.detach(), dim=(2, 3), keepdim=True)
        std = (var + 1e-6).sqrt()
        alpha = torch.full((), self.alpha, device=x.device)
        share = Beta(alpha, alpha, validate_args=False).sample((len(x), 1, 1, 1))
        other = torch.randperm(len(x), device=x.device)
        mixed_std = share * std + (1 - share) * std[other]
        mixed_mean = share * mean + (1 - share) * mean[other]
        return ((values - mean) / std * mixed_std + mixed_mean).to(x.dtype)


def build(settings: MixStyleSettings, context: BuildContext) -> DeepLabHost:
    """The host with the operator. BenchError when asked-for weights cannot be fetched."""
    operator = MixStyle(settings.probability, settings.alpha)
    return build_host(settings, context, operator, settings.stages)


SPEC = MethodSpec(
    name="mixstyle",
    title="MixStyle",
    family="Domain generalization",
    build=build,
    summary="DeepLab-V3 that mixes feature statistics between training images",
    citation="Zhou, Yang, Qiao, Xiang. MixStyle Neural Networks for Domain Generalization and "
    "Adaptation. IJCV 2023. arXiv:2107.02053",
    upstream="KaiyangZhou/mixstyle-release@16f7cf1; host: torchvision deeplabv3_resnet50",
    licence="MIT (operator), BSD-3-Clause (torchvision)",
    settings=MixStyleSettings,
    recipe=RECIPE,
    original=ORIGINAL.model_copy(
        update={
            "departures": (
                "MixStyle publishes no segmentation set-up: this is DSU's.",
                *ORIGINAL.departures,
            )
        }
    ),
    size=SIZE,
    count_explanation=PARAMETERS,
    reduced=FROM_SCRATCH | {"width": 8},
    presets={"light": FROM_SCRATCH},
)
