"""Colour jitter: brightness, contrast, saturation and hue, in random order.

As torchvision and albumentations define it: factors about black, about the image's mean grey and
about each pixel's grey, and a turn of the hue in HSV; each result is clamped to [0, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R 601


@dataclass(frozen=True)
class Recolouring:
    """The changes of one image. index: in its batch. steps: (number of the change among brightness,
    contrast, saturation and hue, amount), in their order."""

    index: int
    steps: tuple[tuple[int, float], ...]


def draw_jitter(which: Tensor, amounts: Tensor, generator: torch.Generator) -> list[Recolouring]:
    """The changes of the images of which bool (N,) is true, in an order of their own each.

    amounts (N, 4): brightness, contrast and saturation become factors 1 + amount; hue turns by
    amount of the colour circle.
    """
    recolourings = []
    for index in which.nonzero().flatten().tolist():
        order, own = torch.randperm(4, generator=generator).tolist(), amounts[index].tolist()
        recolourings.append(Recolouring(index, tuple((step, own[step]) for step in order)))
    return recolourings


def jitter(images: Tensor, recolourings: list[Recolouring]) -> Tensor:
    """A copy of the images (N, 3, H, W), changed as drawn; the images themselves for no change."""
    if not recolourings:
        return images
    images = images.clone()
    changes = (_brightness, _contrast, _saturation, turn_hue)
    for recolouring in recolourings:
        image = images[recolouring.index]
        for step, amount in recolouring.steps:
            image = changes[step](image, amount).clamp(0, 1)
        images[recolouring.index] = image
    return images


def _grey(image: Tensor) -> Tensor:
    red, green, blue = image  # numbers, not a tensor of weights, which would have to be sent
    return (red * GREY[0] + green * GREY[1] + blue * GREY[2])[None]


def _brightness(image: Tensor, amount: float) -> Tensor:
    return image * (1 + amount)


def _contrast(image: Tensor, amount: float) -> Tensor:
    mean = _grey(image).mean()
    return mean + (image - mean) * (1 + amount)


def _saturation(image: Tensor, amount: float) -> Tensor:
    grey = _grey(image)
    return grey + (image - grey) * (1 + amount)


def turn_hue(image: Tensor, amount: float) -> Tensor:
    """Colours (3, H, W) with their hue turned by `amount` of the circle; value and chroma stay."""
    value, chroma = image.amax(0), image.amax(0) - image.amin(0)
    red, green, blue = image
    safe = torch.where(chroma > 0, chroma, 1.0)
    sextant = torch.where(
        red == value,
        (green - blue) / safe,
        torch.where(green == value, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sextant = sextant + 6 * amount
    channels = []
    for start in (5.0, 3.0, 1.0):  # of red, green and blue: how far each lies below the value
        distance = (start + sextant) % 6
        channels.append(value - chroma * torch.minimum(distance, 4 - distance).clamp(0, 1))
    return torch.stack(channels)
