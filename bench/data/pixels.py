"""The meaning of the pixels of image files and mask files.

An EXIF orientation is applied, to images and masks alike, each file by its own tag: viewers and
most labelling tools show the turned picture, and masks drawn there carry no tag.
"""

import hashlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bench.protocols import Resize

VERSION = 1
"""Raised whenever the same file could come out as other pixels; part of every content hash."""

UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


class PixelError(Exception):
    """A file that gives no pixels; the text says why, the caller names the file."""


def load(path: Path) -> Image.Image:
    """The decoded image, turned as its EXIF orientation says; PixelError when it is truncated,
    damaged, no image, or no regular file (a pipe would wait for ever)."""
    if path.exists() and not path.is_file():
        raise PixelError("is a folder, a pipe or a device, and no image file")
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image) if orientation(image) != 1 else image
    except FileNotFoundError as error:
        raise PixelError("does not exist") from error
    except UNREADABLE as error:
        raise PixelError(f"cannot be decoded ({error}); it is truncated or no image") from error


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none that EXIF defines."""
    found = image.getexif().get(0x0112, 1)
    return found if found in range(1, 9) else 1


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) of an image of any mode.

    Grey is repeated three times, palettes are looked up, an alpha channel is dropped. Grey images
    of more than 8 bits are divided by 257 when any value is above 255 (65535 -> 255), never
    stretched by their own contrast, so that equal tissue stays equally bright in all cases.
    """
    if image.mode in _WIDE:
        grey = _as_8_bit(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _as_8_bit(values: NDArray) -> NDArray[np.uint8]:
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise PixelError(f"has values {values.min()}..{values.max()}; 0..65535 are allowed")
    return (values / 257 if values.max() > 255 else values).round().astype(np.uint8)


def levels(image: Image.Image) -> NDArray:
    """Grey levels (H, W) of a mask file, 0 = background.

    1-bit: 0 and 255. Grey: as stored (16 bits: divided by 257 when above 255). Colour: the largest
    of the three channels, so that a red mask counts fully; alpha is ignored. Palette: the colours,
    when all that occur are grey and one is bright; otherwise they are labels, and every index
    above 0 is 255.
    """
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8) * 255
    if image.mode == "P":
        return _palette_levels(image)
    if image.mode in ("L", "LA"):
        return np.asarray(image.getchannel(0))
    if image.mode in _WIDE:
        values = np.asarray(image)
        # Instance ids above 255 stay foreground: rounding must not turn id 1 of 300 into 0.
        return np.maximum(_as_8_bit(values), (values > 0).astype(np.uint8))
    return np.asarray(image.convert("RGB")).max(axis=2)


def _palette_levels(image: Image.Image) -> NDArray[np.uint8]:
    indices = np.asarray(image)
    colours = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used = colours[np.unique(indices)]
    if (used == used[:, :1]).all() and used.max() > 127:
        return colours[indices, 0]
    return np.where(indices > 0, 255, 0).astype(np.uint8)


def to_mask(image: Image.Image, rule: str) -> NDArray[np.bool_]:
    """bool (H, W) of a mask file under the rule "> 0" or "> 127" on its `levels`.

    PixelError when the file has foreground levels and the rule keeps none of them: then the rule
    is wrong for this copy.
    """
    grey = levels(image)
    mask = grey > int(rule.removeprefix("> "))
    if grey.any() and not mask.any():
        raise PixelError(
            f"has levels up to {grey.max()}, and the mask rule {rule!r} keeps none of them; "
            "prepare this copy with the mask rule '> 0'"
        )
    return mask


def resized_image(image: NDArray[np.uint8], size: int, how: Resize) -> NDArray[np.uint8]:
    """uint8 (size, size, 3) of an RGB image (H, W, 3), bilinear; the aspect ratio is not kept.

    "pillow": antialiased where the image shrinks. "opencv": cv2's INTER_LINEAR, between the two
    nearest pixels of each axis, in float32 and rounded once.
    """
    if how == "pillow":
        small = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(small)
    values = image.astype(np.float32)
    for axis in (1, 0):
        low, high, share = _neighbours(values.shape[axis], size)
        share = share.reshape(-1, 1) if axis else share.reshape(-1, 1, 1)
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return np.rint(values).astype(np.uint8)


def resized_mask(mask: NDArray[np.bool_], size: int, how: Resize) -> NDArray[np.bool_]:
    """bool (size, size) of a mask (H, W), nearest neighbour.

    "pillow": the pixel in which a target pixel's centre lies. "opencv": cv2's INTER_NEAREST, the
    pixel in which its upper left corner lies.
    """
    if how == "pillow":
        return np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
    rows, columns = (_corners(side, size) for side in mask.shape)
    return mask[np.ix_(rows, columns)]


def _scale(side: int, size: int) -> float:
    """Stored pixels per target pixel, rounded as cv2 does: floors of exact ratios depend on it."""
    return 1.0 / (size / side)


def _corners(side: int, size: int) -> NDArray[np.intp]:
    at = np.floor(np.arange(size) * _scale(side, size)).astype(np.intp)
    return at.clip(max=side - 1)


def _neighbours(
    side: int, size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Per target pixel: the pixel before its centre, the one behind it, and the latter's share.

    Beyond the outermost centres the outermost pixel is repeated.
    """
    at = ((np.arange(size) + 0.5) * _scale(side, size) - 0.5).clip(0, side - 1)
    low = np.floor(at).astype(np.intp)
    return low, (low + 1).clip(max=side - 1), (at - low).astype(np.float32)


def soft_pixels(image: Image.Image, rule: str) -> int:
    """Pixels of a mask file between background (0) and its brightest level, as antialiasing and
    JPEG leave them; 0 under the rule "> 0", where every level is an object of its own."""
    if rule == "> 0":
        return 0
    grey = levels(image)
    return int(((grey > 0) & (grey < grey.max())).sum())


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The mask's bits, row after row without padding between rows: uint8 (ceil(H * W / 8),)."""
    return np.packbits(mask, axis=None)


def unpack(bits: NDArray[np.uint8], height: int, width: int) -> NDArray[np.bool_]:
    """The bool (height, width) mask that `pack` packed."""
    return np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)


def pixel_hash(pixels: NDArray) -> str:
    """sha256, hex, over shape and values of an RGB image or a mask, whatever file held them."""
    content = pack(pixels) if pixels.dtype == bool else np.ascontiguousarray(pixels)
    head = f"{VERSION}:{pixels.dtype}:{'x'.join(map(str, pixels.shape))}:".encode()
    whole = hashlib.sha256(head)
    whole.update(content.data)
    return whole.hexdigest()
