"""nnU-Net's changes of intensity, in its order and per channel: noise, blur, brightness, contrast,
low resolution, inverted gamma, gamma.

Source: nnU-Net v2's default policy with batchgeneratorsv2 (nnUNetTrainer.get_training_transforms).
Values are not clamped, neither in between nor at the end: they may leave [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training.transfers import Upload

CHANNELS = 3


@dataclass(frozen=True)
class Intensity:
    """Probabilities per image; every range is drawn uniformly unless said otherwise.

    noise: highest standard deviation, one for all channels. blur: (low, high) sigma in px, drawn
    per channel and axis for half of the channels. Brightness and contrast: factors of 0.75 to 1.25
    per channel. Low resolution: zoom of 0.5 to 1 per channel, half of the channels. Gamma:
    exponents of 0.7 to 1.5 per channel. Factors and exponents are below 1 half of the time.
    """

    noise_p: float = 0.0
    noise: float = 0.1
    blur_p: float = 0.0
    blur: tuple[float, float] = (0.5, 1.0)
    brightness_p: float = 0.0
    contrast_p: float = 0.0
    low_resolution_p: float = 0.0
    gamma_p: float = 0.0
    inverted_gamma_p: float = 0.0


Apply = Callable[[Tensor, list[Tensor]], Tensor]
"""(image (C, H, W), what the draw's upload gave on its device) to the changed image."""


@dataclass(frozen=True)
class Change:
    """One change of one image. index: in its batch."""

    index: int
    apply: Apply


def draw_variation(
    n: int,
    size: tuple[int, int],
    how: Intensity,
    generator: torch.Generator,
    upload: Upload,
) -> tuple[list[Change], Tensor]:
    """(changes in their order, bool (N,) of the images that have any) of n images (3, H, W)."""

    def factors(low: float, high: float) -> int:
        return upload.add(_about_one(low, high, generator))

    def brightness() -> Apply:
        at = factors(0.75, 1.25)
        return lambda x, sent: x * sent[at]

    def contrasted() -> Apply:
        at = factors(0.75, 1.25)
        return lambda x, sent: contrast(x, sent[at])

    def inverted() -> Apply:
        at = factors(0.7, 1.5)
        return lambda x, sent: -gamma(-x, sent[at])

    def curved() -> Apply:
        at = factors(0.7, 1.5)
        return lambda x, sent: gamma(x, sent[at])

    kinds: list[tuple[float, Callable[[], Apply]]] = [
        (how.noise_p, lambda: _noise(size, how.noise, generator, upload)),
        (how.blur_p, lambda: _blur(how.blur, generator)),
        (how.brightness_p, brightness),
        (how.contrast_p, contrasted),
        (how.low_resolution_p, lambda: _low_resolution(generator)),
        (how.inverted_gamma_p, inverted),
        (how.gamma_p, curved),
    ]
    changes: list[Change] = []
    changed = torch.zeros(n, dtype=torch.bool)
    for p, draw in kinds:
        if p == 0:
            continue
        hit = torch.rand(n, generator=generator) < p
        changes += [Change(index, draw()) for index in hit.nonzero().flatten().tolist()]
        changed |= hit
    return changes, changed


def vary(images: Tensor, changes: list[Change], sent: list[Tensor]) -> Tensor:
    """A copy of the images (N, 3, H, W), changed as drawn; the images themselves for no change."""
    if not changes:
        return images
    images = images.clone()
    for change in changes:
        images[change.index] = change.apply(images[change.index], sent)
    return images


def _about_one(low: float, high: float, generator: torch.Generator) -> Tensor:
    """One factor per channel (C, 1, 1): in [low, 1] or [1, high], each half of the time."""
    below = torch.rand(CHANNELS, generator=generator) < 0.5
    unit = torch.rand(CHANNELS, generator=generator)
    factors = torch.where(below, low + unit * (1 - low), 1 + unit * (high - 1))
    return factors[:, None, None]


def _noise(
    size: tuple[int, int], highest: float, generator: torch.Generator, upload: Upload
) -> Apply:
    deviation = highest * float(torch.rand(1, generator=generator))
    at = upload.add(torch.randn((CHANNELS, *size), generator=generator))
    return lambda x, sent: x + deviation * sent[at]


def contrast(x: Tensor, factors: Tensor) -> Tensor:
    """(C, H, W) scaled about each channel's mean, clamped to the channel's own range."""
    mean = x.mean((1, 2), keepdim=True)
    low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    return (mean + (x - mean) * factors).clamp(low, high)


def gamma(x: Tensor, exponents: Tensor) -> Tensor:
    """(C, H, W) under a power law over each channel's range, with its mean and deviation kept."""
    low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    curved = ((x - low) / (high - low).clamp(min=1e-7)) ** exponents * (high - low)
    std, mean = torch.std_mean(x, dim=(1, 2), keepdim=True)
    own_std, own_mean = torch.std_mean(curved, dim=(1, 2), keepdim=True)
    return (curved - own_mean) * (std / own_std.clamp(min=1e-7)) + mean


def _half(generator: torch.Generator) -> list[int]:
    """The channels that are changed, each with probability one half."""
    return (torch.rand(CHANNELS, generator=generator) < 0.5).nonzero().flatten().tolist()


def _blur(bounds: tuple[float, float], generator: torch.Generator) -> Apply:
    sigmas = {}
    for channel in _half(generator):
        unit = torch.rand(2, generator=generator)
        sigmas[channel] = (bounds[0] + unit * (bounds[1] - bounds[0])).tolist()

    def apply(x: Tensor, sent: list[Tensor]) -> Tensor:
        x = x.clone()
        for channel, (rows, columns) in sigmas.items():
            x[channel] = blur(x[channel], rows, columns)
        return x

    return apply


def blur(x: Tensor, rows: float, columns: float) -> Tensor:
    """(H, W) under a Gaussian of these sigmas in px along the height and the width, reflected."""
    x = x[None, None]
    for sigma, axis in ((rows, 2), (columns, 3)):
        reach = max(1, int(3 * sigma + 0.25))  # kernels of 6 sigma, to the nearest odd width
        taps = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
        shape = [1, 1, 1, 1]
        shape[axis] = len(taps)
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        x = F.conv2d(F.pad(x, pad, mode="reflect"), (kernel / kernel.sum()).view(shape))
    return x[0, 0]


def _low_resolution(generator: torch.Generator) -> Apply:
    zooms = {
        channel: 0.5 + 0.5 * float(torch.rand(1, generator=generator))
        for channel in _half(generator)
    }

    def apply(x: Tensor, sent: list[Tensor]) -> Tensor:
        x = x.clone()
        for channel, zoom in zooms.items():
            x[channel] = low_resolution(x[channel], zoom)
        return x

    return apply


def low_resolution(x: Tensor, zoom: float) -> Tensor:
    """(H, W) sampled at `zoom` times its size (nearest) and back (bilinear)."""
    small = [max(1, round(side * zoom)) for side in x.shape]
    coarse = F.interpolate(x[None, None], small, mode="nearest-exact")
    return F.interpolate(coarse, list(x.shape), mode="bilinear", align_corners=False)[0, 0]
