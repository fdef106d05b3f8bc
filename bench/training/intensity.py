"""nnU-Net's changes of intensity, in its order and per channel: noise, blur, brightness, contrast,
low resolution, inverted gamma, gamma.

Source: nnU-Net v2's default policy with batchgeneratorsv2 (nnUNetTrainer.get_training_transforms).
Values are not clamped, neither in between nor at the end: they may leave [0, 1].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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


def vary(images: Tensor, how: Intensity, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(images, bool (N,) of those that changed); the input is left alone."""
    steps = [
        (how.noise_p, lambda x: _noise(x, how.noise, generator)),
        (how.blur_p, lambda x: _blur(x, how.blur, generator)),
        (how.brightness_p, lambda x: x * _about_one(0.75, 1.25, generator, x)),
        (how.contrast_p, lambda x: contrast(x, _about_one(0.75, 1.25, generator, x))),
        (how.low_resolution_p, lambda x: _low_resolution(x, generator)),
        (how.inverted_gamma_p, lambda x: -gamma(-x, _about_one(0.7, 1.5, generator, x))),
        (how.gamma_p, lambda x: gamma(x, _about_one(0.7, 1.5, generator, x))),
    ]
    n = len(images)
    changed = torch.zeros(n, dtype=torch.bool)
    for p, change in steps:
        if p == 0:
            continue
        hit = torch.rand(n, generator=generator) < p
        if hit.any():
            images = images if changed.any() else images.clone()
        for index in hit.nonzero().flatten().tolist():
            images[index] = change(images[index])
        changed |= hit
    return images, changed


def _about_one(low: float, high: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """One factor per channel (C, 1, 1): in [low, 1] or [1, high], each half of the time."""
    n = len(like)
    below = torch.rand(n, generator=generator) < 0.5
    unit = torch.rand(n, generator=generator)
    factors = torch.where(below, low + unit * (1 - low), 1 + unit * (high - 1))
    return factors[:, None, None].to(like)


def _noise(x: Tensor, highest: float, generator: torch.Generator) -> Tensor:
    deviation = highest * float(torch.rand(1, generator=generator))
    return x + deviation * torch.randn(x.shape, generator=generator).to(x)


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


def _half(x: Tensor, generator: torch.Generator) -> list[int]:
    """The channels that are changed, each with probability one half."""
    return (torch.rand(len(x), generator=generator) < 0.5).nonzero().flatten().tolist()


def _blur(x: Tensor, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    x = x.clone()
    for channel in _half(x, generator):
        rows, columns = (
            bounds[0] + torch.rand(2, generator=generator) * (bounds[1] - bounds[0])
        ).tolist()
        x[channel] = blur(x[channel], rows, columns)
    return x


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


def _low_resolution(x: Tensor, generator: torch.Generator) -> Tensor:
    x = x.clone()
    for channel in _half(x, generator):
        zoom = 0.5 + 0.5 * float(torch.rand(1, generator=generator))
        x[channel] = low_resolution(x[channel], zoom)
    return x


def low_resolution(x: Tensor, zoom: float) -> Tensor:
    """(H, W) sampled at `zoom` times its size (nearest) and back (bilinear)."""
    small = [max(1, round(side * zoom)) for side in x.shape]
    coarse = F.interpolate(x[None, None], small, mode="nearest-exact")
    return F.interpolate(coarse, list(x.shape), mode="bilinear", align_corners=False)[0, 0]
