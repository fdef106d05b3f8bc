"""DSU on DeepLab-V3-ResNet-50 (Li et al., ICLR 2022, arXiv:2202.03958).

While training, each image's feature statistics become Gaussian draws around themselves, as wide as
those statistics vary over the batch: domain shifts modelled with uncertainty. No parameters, and
nothing happens in eval mode. What differs from the released code: the coin comes from torch's
generator, not from numpy's, and a batch of 1, whose spread over the batch does not exist (NaN
there), passes unchanged. Deviations are not bounded, as released: a draw can be negative.

Upstream: lixiaotong97/DSU@82a1de0 (no licence stated), read for facts only; the code here is our
own.
"""

import torch
from pydantic import Field
from torch import Tensor

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


class DsuSettings(DeepLabSettings):
    """probability: of a draw, per call of the operator.

    stages: behind which the operator stands; the authors' six, "conv1" being before its batch norm.
    """

    probability: float = Field(0.5, ge=0, le=1)
    stages: tuple[Stage, ...] = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")


class DistributionUncertainty(StyleOperator):
    """Features (N, C, H, W) re-styled by statistics drawn around each image's own.

    Gradients flow through the statistics, unlike MixStyle's.
    """

    def restyled(self, x: Tensor) -> Tensor:
        """x under drawn statistics."""
        values = x.float()
        var, mean = torch.var_mean(values, dim=(2, 3), keepdim=True)
        std = (var + 1e-6).sqrt()
        new_mean = mean + torch.randn_like(mean) * _spread(mean)
        new_std = std + torch.randn_like(std) * _spread(std)
        return ((values - mean) / std * new_std + new_mean).to(x.dtype)


def _spread(statistic: Tensor) -> Tensor:
    """Standard deviation over the batch, (1, C, 1, 1), ddof 1."""
    return (statistic.var(dim=0, keepdim=True) + 1e-6).sqrt()


def build(settings: DsuSettings, context: BuildContext) -> DeepLabHost:
    """The host with the operator. BenchError when asked-for weights cannot be fetched."""
    operator = DistributionUncertainty(settings.probability)
    return build_host(settings, context, operator, settings.stages)


SPEC = MethodSpec(
    name="dsu",
    title="DSU",
    family="Domain generalization",
    build=build,
    summary="DeepLab-V3 that draws feature statistics with the batch's uncertainty while training",
    citation="Li, Dai, Ge, Liu, Shan, Duan. Uncertainty Modeling for Out-of-Distribution "
    "Generalization. ICLR 2022. arXiv:2202.03958",
    upstream="lixiaotong97/DSU@82a1de0; host: torchvision deeplabv3_resnet50",
    licence="none stated (operator, not copied), BSD-3-Clause (torchvision)",
    settings=DsuSettings,
    recipe=RECIPE,
    original=ORIGINAL,
    size=SIZE,
    count_explanation=PARAMETERS,
    reduced=FROM_SCRATCH | {"width": 8},
    presets={"light": FROM_SCRATCH},
)
