"""Augmentation in batches on the device: one draw for an image and its mask.

images: float32 in [0, 1], (N, 3, H, W). masks: float32 in {0, 1}, (N, 1, H, W). Each sample draws
its own view; randomness comes from the generator that the trainer passes, on the CPU, so that a
run draws the same numbers on every device.

A *view* in 0..7 names one of the eight flips and quarter turns, which map the pixel grid onto
itself: a tokenizer's latents of such a view can be computed once and stored. View -1 marks a sample
whose picture was changed continuously.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.errors import unknown_name

VIEWS = 8


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges of one augmentation policy; every range is drawn uniformly.

    views: which of the eight discrete views are drawn, uniformly, with probability `view_p`.
    rotate: degrees; shift: share of the side; scale: (low, high) factor of the object's size.
    color: (brightness, contrast, saturation, hue) jitter, hue as a share of the colour circle.
    noise: highest variance; blur: (low, high) sigma in px; low_resolution: (low, high) zoom.
    """

    view_p: float = 0.0
    views: tuple[int, ...] = tuple(range(VIEWS))
    affine_p: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    nearest: bool = False  # interpolation of the image
    color_p: float = 0.0
    color: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    noise_p: float = 0.0
    noise: float = 0.0
    blur_p: float = 0.0
    blur: tuple[float, float] = (0.5, 1.0)
    brightness_p: float = 0.0
    contrast_p: float = 0.0
    low_resolution_p: float = 0.0
    gamma_p: float = 0.0
    inverted_gamma_p: float = 0.0
    affine_unless_view: bool = False  # the affine part only for samples left at view 0


_SHARED_COLOR = (0.1, 0.1, 0.1, 0.1)

POLICIES: dict[str, Augmentation] = {
    "none": Augmentation(),
    # Flips and quarter turns only: every latent can come from the cache.
    "discrete": Augmentation(view_p=1.0),
    # GMS (AAAI 2025): flips, rotation, colour jitter in HSV; the probabilities of its released
    # code, less its down-scaling before cropping.
    "shared": Augmentation(
        view_p=1.0,
        affine_p=0.4,
        rotate=20,
        shift=0.15,
        scale=(0.9, 1.1),
        color_p=0.2,
        color=_SHARED_COLOR,
    ),
    # ACC-UNet's harness: half of the samples a quarter turn and a flip, else half of the rest a
    # small rotation without interpolation.
    "acc-unet": Augmentation(
        view_p=0.5, affine_p=0.5, rotate=20, nearest=True, affine_unless_view=True
    ),
    "ege-unet": Augmentation(view_p=0.75, views=(0, 2, 4, 6), affine_p=0.5, rotate=180),
    "flips": Augmentation(view_p=1.0, views=(0, 2, 4, 6)),
    # nnU-Net v2's default 2-D policy; rotation and scaling each have p 0.2 there and are drawn
    # together here with the probability that either happens.
    "nnunet": Augmentation(
        view_p=1.0,
        views=(0, 2, 4, 6),
        affine_p=0.36,
        rotate=180,
        scale=(0.7, 1.4),
        noise_p=0.1,
        noise=0.1,
        blur_p=0.2,
        brightness_p=0.15,
        contrast_p=0.15,
        low_resolution_p=0.25,
        gamma_p=0.3,
        inverted_gamma_p=0.1,
    ),
}

POLICIES["gms"] = POLICIES["shared"]  # GMS's own policy is the shared one


def policy(name: str) -> Augmentation:
    """The augmentation called `name`; BenchError with the nearest match if unknown."""
    if name not in POLICIES:
        raise unknown_name("augmentation", name, POLICIES)
    return POLICIES[name]


def apply_view(x: Tensor, view: int) -> Tensor:
    """One of the eight views of (..., H, W): a horizontal flip if view >= 4, then view % 4 quarter
    turns counter-clockwise."""
    if view >= 4:
        x = x.flip(-1)
    return torch.rot90(x, view % 4, (-2, -1))


def augment(
    images: Tensor, masks: Tensor, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(images, masks, views): one random draw per sample.

    views: int64 (N,) on the CPU, the discrete view of each sample, -1 where its picture was also
    changed continuously.
    """
    n = len(images)

    def chance(p: float) -> Tensor:
        return torch.rand(n, generator=generator) < p

    turned = chance(how.view_p)
    drawn = torch.tensor(how.views)[torch.randint(len(how.views), (n,), generator=generator)]
    views = torch.where(turned, drawn, 0)
    images, masks = _turn(images, views), _turn(masks, views)

    moved = chance(how.affine_p)
    if how.affine_unless_view:
        moved &= ~turned
    theta = _affine(how, n, generator)
    if moved.any():
        images, masks = _move(images, masks, moved, theta, how.nearest)
    coloured = chance(how.color_p)
    factors = torch.rand(n, 4, generator=generator) * 2 - 1
    if coloured.any():
        at = coloured.to(images.device)
        amounts = (factors * torch.tensor(how.color))[coloured].to(images.device)
        images = images.clone()
        images[at] = jitter_hsv(images[at], amounts)
    images, filtered = _intensity(images, how, generator)
    return images, masks, torch.where(moved | coloured | filtered, -1, views)


def _turn(x: Tensor, views: Tensor) -> Tensor:
    out = x.clone()
    for view in views.unique().tolist():
        if view:
            at = (views == view).to(x.device)
            out[at] = apply_view(x[at], view)
    return out


def _affine(how: Augmentation, n: int, generator: torch.Generator) -> Tensor:
    """Inverse maps (N, 2, 3) of a rotation, scaling and shift in normalised coordinates."""
    unit = torch.rand(n, 4, generator=generator)
    angle = (unit[:, 0] * 2 - 1) * math.radians(how.rotate)
    zoom = how.scale[0] + unit[:, 1] * (how.scale[1] - how.scale[0])
    shift = (unit[:, 2:] * 2 - 1) * how.shift * 2  # the grid runs from -1 to 1
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    rows = torch.stack([cos, sin, shift[:, 0], -sin, cos, shift[:, 1]], dim=1)
    return rows.view(n, 2, 3)


def _move(
    images: Tensor, masks: Tensor, moved: Tensor, theta: Tensor, nearest: bool
) -> tuple[Tensor, Tensor]:
    at = moved.to(images.device)
    images, masks = images.clone(), masks.clone()
    grid = F.affine_grid(
        theta[moved].to(images.device), list(images[at].shape), align_corners=False
    )
    mode = "nearest" if nearest else "bilinear"
    images[at] = F.grid_sample(images[at], grid, mode=mode, align_corners=False)
    masks[at] = F.grid_sample(masks[at], grid, mode="nearest", align_corners=False)
    return images, masks


def jitter_hsv(images: Tensor, amounts: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue changed by `amounts` (N, 4).

    The first three are factors 1 + amount; hue turns by amount of the colour circle. Contrast and
    saturation pull towards the image's mean grey and each pixel's grey (ITU-R 601 weights); hue
    turns in the YIQ plane, which keeps grey images grey.
    """
    brightness, contrast, saturation, hue = (amounts[:, i, None, None, None] for i in range(4))
    weights = images.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
    images = (images * (1 + brightness)).clamp(0, 1)
    mean = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = (mean + (images - mean) * (1 + contrast)).clamp(0, 1)
    grey = (images * weights).sum(1, keepdim=True)
    images = (grey + (images - grey) * (1 + saturation)).clamp(0, 1)
    to_yiq = images.new_tensor(
        [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
    )
    y, i, q = torch.einsum("ij,njhw->nihw", to_yiq, images).split(1, dim=1)
    angle = hue * 2 * math.pi
    cos, sin = angle.cos(), angle.sin()
    turned = torch.cat([y, i * cos - q * sin, i * sin + q * cos], dim=1)
    return torch.einsum("ij,njhw->nihw", torch.linalg.inv(to_yiq), turned).clamp(0, 1)


def _intensity(
    images: Tensor, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Noise, blur, brightness, contrast, low resolution and gamma, per sample; and who changed."""
    n = len(images)
    changed = torch.zeros(n, dtype=torch.bool)
    steps = [
        (
            how.noise_p,
            lambda x, u: (
                x + torch.randn(x.shape, generator=generator).to(x) * (how.noise * u) ** 0.5
            ),
        ),
        (how.blur_p, lambda x, u: _blur(x, how.blur[0] + u * (how.blur[1] - how.blur[0]))),
        (how.brightness_p, lambda x, u: x * (0.75 + 0.5 * u)),
        (how.contrast_p, lambda x, u: _around_mean(x, 0.75 + 0.5 * u)),
        (how.low_resolution_p, lambda x, u: _low_resolution(x, 0.5 + 0.5 * u)),
        (how.inverted_gamma_p, lambda x, u: 1 - (1 - x.clamp(0, 1)) ** (0.7 + 0.8 * u)),
        (how.gamma_p, lambda x, u: x.clamp(0, 1) ** (0.7 + 0.8 * u)),
    ]
    for p, change in steps:
        if p == 0:
            continue
        hit = torch.rand(n, generator=generator) < p
        amount = torch.rand(n, generator=generator)
        for index in hit.nonzero().flatten().tolist():
            images = images.clone() if not changed.any() else images
            images[index] = change(images[index : index + 1], float(amount[index]))[0].clamp(0, 1)
            changed[index] = True
    return images, changed


def _around_mean(x: Tensor, factor: float) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return mean + (x - mean) * factor


def _blur(x: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(3 * sigma))
    taps = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    for shape, pad in (((-1, 1), (0, 0, reach, reach)), ((1, -1), (reach, reach, 0, 0))):
        weight = kernel.reshape(x.shape[1], 1, *(len(taps) if s == -1 else 1 for s in shape))
        x = F.conv2d(F.pad(x, pad, mode="replicate"), weight, groups=x.shape[1])
    return x


def _low_resolution(x: Tensor, zoom: float) -> Tensor:
    size = x.shape[-2:]
    small = [max(1, round(side * zoom)) for side in size]
    return F.interpolate(
        F.interpolate(x, small, mode="nearest"), list(size), mode="bicubic", align_corners=False
    )
