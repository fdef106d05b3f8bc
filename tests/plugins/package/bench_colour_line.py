"""Colour Line: one linear decision on each pixel's blurred colour, with an objective of its own.

A lower bound for any network, and an example of a method with its own `loss` and `predict`.
"""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from bench.contracts import Batch, BuildContext, MethodSpec, Settings
from bench.method import Method


class ColourLineSettings(Settings):
    """blur: side of the averaging window in pixels, odd."""

    blur: int = Field(5, ge=1, le=31)


class ColourLine(Method):
    """Four numbers: a weight per channel and a bias."""

    def __init__(self, blur: int) -> None:
        super().__init__()
        self.blur = blur
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.line = nn.Conv2d(3, 1, 1)

    def _logits(self, images: Tensor) -> Tensor:
        smooth = F.avg_pool2d(images, self.blur, 1, self.blur // 2, count_include_pad=False)
        return self.line(self.norm(smooth)).float()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss": mean binary cross-entropy}."""
        return {"loss": F.binary_cross_entropy_with_logits(self._logits(batch.images), batch.masks)}

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities float32 (N, 1, H, W)."""
        return self._logits(images).sigmoid()


def build(settings: ColourLineSettings, context: BuildContext) -> nn.Module:
    """The method; it has nothing pretrained."""
    return ColourLine(settings.blur)


SPEC = MethodSpec(
    name="colour_line",
    title="Colour Line",
    family="Plugin",
    build=build,
    summary="One linear decision on each pixel's blurred colour",
    citation="An example of the harness, unpublished",
    settings=ColourLineSettings,
)
