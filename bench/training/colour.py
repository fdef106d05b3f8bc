"""Colour jitter: brightness, contrast, saturation and hue, in random order.

As torchvision and albumentations define it: factors about black, about the image's mean grey and
about each pixel's grey, and a turn of the hue in HSV; each result is clamped to [0, 1].
"""

import torch
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R 601


def jitter(images: Tensor, which: Tensor, amounts: Tensor, generator: torch.Generator) -> Tensor:
    """The images (N, 3, H, W) of which bool (N,) is true, changed by `amounts` (N, 4) in an order
    of their own.

    amounts: brightness, contrast and saturation become factors 1 + amount; hue turns by amount of
    the colour circle.
    """
    images = images.clone()
    changes = (_brightness, _contrast, _saturation, turn_hue)
    for index in which.nonzero().flatten().tolist():
        image = images[index]
        for change in torch.randperm(4, generator=generator).tolist():
            image = changes[change](image, float(amounts[index, change])).clamp(0, 1)
        images[index] = image
    return images


def _grey(image: Tensor) -> Tensor:
    return (image * image.new_tensor(GREY)[:, None, None]).sum(0, keepdim=True)


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
