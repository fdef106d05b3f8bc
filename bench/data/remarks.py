"""Remarks on images and masks whose files may not mean what their user takes them for.

A remark is stored with its case; `bench data prepare` prints each kind once, with what to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.pixels import UNREADABLE, PixelError, levels, orientation

FLOAT_IMAGE = "the image is of floats in 0..1"
FLOAT_MASK = "a mask is of floats in 0..1"
ALPHA_ONLY = "a mask varies in its alpha channel only"
ANIMATED = "a file holds several pictures, the first is used"
TURNED = "an EXIF orientation is applied"
TURNED_APART = "an EXIF orientation is applied to the image, and not every mask has the same one"

ADVICE = {
    FLOAT_IMAGE: "grey levels are 0 to 255, so the image is nearly black; store it as 8 or 16 bits",
    FLOAT_MASK: "under the rule '> 0' every value above 0 is foreground; store masks as 0 and 255",
    ALPHA_ONLY: "alpha is ignored, so it is all or nothing; store the drawing as grey levels",
    ANIMATED: "store the pictures as single files if others are meant",
    TURNED_APART: "look at one with its mask: a mask drawn on the unturned pixels no longer fits",
}
"""What a user should know or do; remarks without an entry are stored and not printed."""


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels are decoded. orientation: of EXIF, 1 to 8. frames: how many
    pictures it holds."""

    orientation: int
    frames: int


def read_header(path: Path) -> Header:
    """The header of an image file; PixelError where it is damaged."""
    try:
        with Image.open(path) as image:
            return Header(orientation(image), getattr(image, "n_frames", 1))
    except UNREADABLE as error:
        raise PixelError(f"cannot be decoded ({error})") from error


def image_remarks(image: Image.Image, header: Header, masks: Sequence[Header]) -> list[str]:
    """Remarks on a case's image, and on the orientations of its masks beside it."""
    remarks = [FLOAT_IMAGE] if image.mode == "F" and np.asarray(image).max() <= 1 else []
    if any(one.frames > 1 for one in (header, *masks)):
        remarks.append(ANIMATED)
    if any(one.orientation != header.orientation for one in masks):
        remarks.append(TURNED_APART)
    elif header.orientation != 1:
        remarks.append(TURNED)
    return remarks


def mask_remarks(masks: Sequence[Image.Image]) -> list[str]:
    """Remarks on a case's mask files."""
    remarks = [FLOAT_MASK] if any(_fractions(mask) for mask in masks) else []
    if any(_drawn_in_alpha(mask) for mask in masks):
        remarks.append(ALPHA_ONLY)
    return remarks


def _fractions(image: Image.Image) -> bool:
    """Whether a float file has values in 0..1 that are not all 0 or 1."""
    values = np.asarray(image)
    return image.mode == "F" and bool(values.max() <= 1 and (values % 1 > 0).any())


def _drawn_in_alpha(mask: Image.Image) -> bool:
    if mask.mode not in ("LA", "RGBA", "PA"):
        return False
    alpha, grey = np.asarray(mask.getchannel("A")), levels(mask)
    return bool(alpha.min() != alpha.max() and grey.min() == grey.max())
