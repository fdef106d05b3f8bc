"""What a tokenizer in training minimises: pictures faithful, masks binary.

Nothing here needs a downloaded network: the structural term is the Laplacian pyramid
(Burt and Adelson 1983; as a loss: Bojanowski et al. 2018, arXiv:1707.05776).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.metrics.overlap import dice
from bench.tokenizers.embedded_training.recipes import TokenizerRecipe

SHARPNESS = 10.0
"""Slope that turns the decoded mean into a logit: 0 and 1 become odds of about 1 to 150."""


def pyramid_loss(decoded: Tensor, images: Tensor, levels: int = 3) -> Tensor:
    """Mean absolute difference of the band-pass levels of two batches (N, C, H, W), summed."""
    difference = decoded - images  # the pyramid is linear: one suffices
    total = difference.new_zeros(())
    for level in range(levels):
        low = F.avg_pool2d(difference, 2)
        band = difference - F.interpolate(low, scale_factor=2.0, mode="nearest")
        total = total + band.abs().mean() * 2.0**-level
        difference = low
    return total


def colour_loss(decoded: Tensor, images: Tensor) -> Tensor:
    """Mean absolute difference of the colours, less their brightness, of squares of 8 px."""
    difference = F.avg_pool2d(decoded - images, 8)
    return (difference - difference.mean(dim=1, keepdim=True)).abs().mean()


def image_loss(
    decoded: Tensor, images: Tensor, recipe: TokenizerRecipe, step: int
) -> dict[str, Tensor]:
    """L1, pyramid and, in its steps, colour of pictures (N, 3, H, W) in [0, 1]."""
    l1 = (decoded - images).abs().mean()
    colour = colour_loss(decoded, images)
    total = l1 + recipe.pyramid * pyramid_loss(decoded, images)
    if recipe.colours_count(recipe.colour_start, step):
        total = total + recipe.colour * colour
    return {"image": total, "image_l1": l1, "colour": colour}


def mask_loss(decoded: Tensor, masks: Tensor, recipe: TokenizerRecipe) -> dict[str, Tensor]:
    """L1, cross-entropy and soft Dice of decoded masks.

    decoded: (N, 3, H, W); masks: 0/1 (N, 1, H, W). Cross-entropy and Dice look at the mean of
    the channels, as everything that uses decoded masks does.
    """
    l1 = (decoded - masks).abs().mean()
    logits = (decoded.mean(dim=1, keepdim=True) - 0.5) * SHARPNESS
    bce = F.binary_cross_entropy_with_logits(logits, masks)
    probs = logits.sigmoid()
    overlap = (probs * masks).sum(dim=(1, 2, 3))
    sizes = probs.sum(dim=(1, 2, 3)) + masks.sum(dim=(1, 2, 3))
    dice = (1 - (2 * overlap + 16) / (sizes + 16)).mean()  # 16 px: calm where masks are empty
    return {"mask": l1 + recipe.mask_bce * bce + recipe.mask_dice * dice, "mask_bce": bce}


def probe_loss(read: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error of colours (N, 3, h, w) read off the latents, of squares of 8 px."""
    return (read - F.avg_pool2d(images, 8)).abs().mean()


def range_loss(latents: Tensor, limit: float = 3.0) -> Tensor:
    """Keeps latents (N, C, h, w) inside +-`limit`, where AutoencoderTiny's decoder clamps."""
    return 0.01 * (latents.abs() - limit).clamp_min(0).square().mean()


@torch.no_grad()
def hard_dice(decoded: Tensor, masks: Tensor) -> Tensor:
    """Dice float32 (N,) of the thresholded mean of the channels; see bench/metrics/overlap.py."""
    preds = decoded.mean(dim=1, keepdim=True) > 0.5
    target = masks > 0.5
    counts = torch.stack([mask.flatten(1).sum(1) for mask in (preds & target, preds, target)])
    scores = dice(*counts.cpu().numpy())
    return torch.tensor(scores, dtype=torch.float32, device=decoded.device)


@torch.no_grad()
def psnr(decoded: Tensor, images: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (N,) in dB of decoded images, clamped to [0, 1]."""
    error = (decoded.clamp(0, 1) - images).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp_min(1e-10))
