"""The contract's pieces that need torch."""

from torch import Tensor


def to_images(pixels: Tensor) -> Tensor:
    """float32 in [0, 1], (N, 3, H, W), of uint8 (N, H, W, 3)."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)
