"""Rotation, scaling and shift of an image and its mask."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training.transfers import Upload


@dataclass(frozen=True)
class Movement:
    """One movement per sample with probability `p`; every range is drawn uniformly.

    rotate: (low, high) in degrees. whole_degrees: only integers, both bounds included. scale:
    (low, high) factor of the object's size, or of the sampled region's where `zoom_out`. apart:
    rotation and scaling each with probability p, on their own. shift: share of the side.
    border: what lies beyond the picture: "zeros"; "cut", zeros already beyond the outer pixels'
    centres, as scipy fills; "reflect", about those centres; or "minimum", the picture's own.
    nearest: interpolation of the image. mask: interpolation of the mask; "majority" is bilinear,
    cut at one half. native: rotate the picture as it was before it was made square.
    """

    p: float = 0.0
    rotate: tuple[float, float] = (0.0, 0.0)
    whole_degrees: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    zoom_out: bool = False
    apart: bool = False
    shift: float = 0.0
    border: Literal["zeros", "cut", "reflect", "minimum"] = "zeros"
    nearest: bool = False
    mask: Literal["nearest", "majority"] = "nearest"
    native: bool = False


@dataclass(frozen=True)
class Shift:
    """The moved samples of a batch, as places in an `Upload`.

    at: their indices, int64 (k,). maps: of `_inverse_maps`, (k, 2, 3). sides: (width, height).
    """

    at: int
    maps: int
    sides: int


def draw_move(
    moved: Tensor,
    unit: Tensor,
    how: Movement,
    aspects: Tensor | None,
    size: tuple[int, int],
    upload: Upload,
) -> Shift | None:
    """The movement of the samples of which bool (N,) is true, None where there is none.

    unit: (N, 4) in [0, 1): angle, scale (NaN for none), shift along the width, along the height.
    aspects: height over width of the pictures before they were made square, None for square ones.
    size: (H, W) of the images.
    """
    if not moved.any():
        return None
    aspects = aspects[moved] if aspects is not None and how.native else None
    return Shift(
        at=upload.add(moved.nonzero().flatten()),
        maps=upload.add(_inverse_maps(unit[moved], how, aspects)),
        sides=upload.add(torch.tensor([size[1], size[0]], dtype=torch.float32)),
    )


def move(
    images: Tensor, masks: Tensor, shift: Shift, how: Movement, sent: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Copies with the samples of a draw moved; sent: what its upload gave on the device."""
    at, maps, sides = sent[shift.at], sent[shift.maps], sent[shift.sides]
    images, masks = images.clone(), masks.clone()
    grid = _grid(maps, images.shape[-2:], sides, how.border)
    mode = "nearest" if how.nearest else "bilinear"
    images[at] = _sample(images[at], grid, mode, how.border)
    border = "zeros" if how.border == "minimum" else how.border
    if how.mask == "nearest":
        masks[at] = _sample(masks[at], grid, "nearest", border)
    else:
        masks[at] = (_sample(masks[at], grid, "bilinear", border) >= 0.5).to(masks.dtype)
    return images, masks


def _inverse_maps(unit: Tensor, how: Movement, aspects: Tensor | None) -> Tensor:
    """From the new picture to the old one, (N, 2, 3), in coordinates from -1 to 1.

    The picture is rotated and scaled about its centre, then shifted.
    """
    low, high = how.rotate
    degrees = low + unit[:, 0] * (high - low)
    if how.whole_degrees:
        degrees = (low + unit[:, 0] * (high - low + 1)).floor()
    angle = degrees * (math.pi / 180)
    scale = (how.scale[0] + unit[:, 1] * (how.scale[1] - how.scale[0])).nan_to_num(1.0)
    step = scale if how.zoom_out else 1 / scale
    cos, sin = angle.cos() * step, angle.sin() * step
    # Square coordinates stretch the longer side less: a turn of the true picture is a shear there.
    ratio = torch.ones_like(cos) if aspects is None else aspects
    rows = [cos, sin * ratio, -sin / ratio, cos]
    shift = (unit[:, 2:] * 2 - 1) * how.shift * 2  # the coordinates run from -1 to 1
    linear = torch.stack(rows, dim=1).view(-1, 2, 2)
    return torch.cat([linear, linear @ shift[:, :, None]], dim=2)


def _grid(maps: Tensor, size: torch.Size, sides: Tensor, border: str) -> Tensor:
    """Sampling points (N, H, W, 2) for `_sample`; sides: float32 (width, height)."""
    grid = F.affine_grid(maps, [len(maps), 1, *size], align_corners=False)
    if border in ("reflect", "cut"):  # -1 and 1 become the centres of the outer pixels
        grid = grid * sides / (sides - 1)
    return grid


def _sample(x: Tensor, grid: Tensor, mode: str, border: str) -> Tensor:
    if border == "reflect":
        return F.grid_sample(x, grid, mode, padding_mode="reflection", align_corners=True)
    if border == "cut":
        inside = (grid.abs() <= 1 + 1e-5).all(-1)[:, None]
        return F.grid_sample(x, grid, mode, padding_mode="border", align_corners=True) * inside
    floor = x.amin((1, 2, 3), keepdim=True) if border == "minimum" else 0.0
    return F.grid_sample(x - floor, grid, mode, align_corners=False) + floor
