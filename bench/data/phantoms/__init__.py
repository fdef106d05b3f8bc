"""Procedural stand-ins for five medical segmentation datasets (the harness's demo profile).

Each style imitates the appearance and the typical difficulties of one modality well enough to
train, compare and debug networks without downloading patient data. The pictures carry no
clinical information, and scores on them say nothing about the real datasets.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ._canvas import Canvas, Field, Mask, to_uint8
from .dermoscopy import render_ham10000
from .endoscopy import render_kvasir_instrument
from .histology import render_glas
from .ultrasound import render_bus, render_busi

__all__ = ["MAX_SIZE", "MIN_SIZE", "STYLES", "VERSION", "render"]

#: Raise this whenever any picture or mask changes, so cached scores can be told apart.
VERSION: int = 3

MIN_SIZE = 32
MAX_SIZE = 1024

_PAINTERS: dict[str, Callable[[Canvas], tuple[Field, Mask]]] = {
    "bus": render_bus,
    "busi": render_busi,
    "glas": render_glas,
    "ham10000": render_ham10000,
    "kvasir-instrument": render_kvasir_instrument,
}

STYLES: tuple[str, ...] = ("bus", "busi", "glas", "ham10000", "kvasir-instrument")


def render(
    style: str, index: int, size: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw picture number ``index`` of one style.

    Args:
        style: one of ``STYLES``.
        index: picture number, 0 or larger.
        size: side of the square picture in pixels, 32 to 1024. The scene does not depend on
            it: the same index at two sizes shows the same anatomy.
        seed: dataset seed, 0 or larger.

    Returns:
        The image, uint8 (size, size, 3), and the mask, bool (size, size), never empty.

    Raises:
        ValueError: unknown style, size out of range, or negative index or seed.
    """
    if style not in _PAINTERS:
        known = ", ".join(STYLES)
        raise ValueError(f"unknown style {style!r}; known styles: {known}; pass one of these names")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(
            f"size {size} is outside {MIN_SIZE}..{MAX_SIZE}; choose a side in this range"
        )
    if index < 0 or seed < 0:
        raise ValueError(f"index {index} and seed {seed} must not be negative; start from 0")
    # crc32 rather than hash(): Python salts string hashes anew in every process.
    sequence = np.random.SeedSequence([zlib.crc32(style.encode()), index, seed])
    picture, mask = _PAINTERS[style](Canvas(size, np.random.default_rng(sequence)))
    return to_uint8(picture), mask
