"""Colon glands under H&E stain (look ``glas``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._canvas import Canvas, Field, Mask, blend, sigmoid


@dataclass(frozen=True)
class Gland:
    """One gland as a warped ellipse; lengths in picture sides."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    angle: float
    wall: float  # thickness of the epithelium
    mucin: float  # 0: empty white lumen, 1: lumen filled with bluish mucin


def _place_glands(canvas: Canvas) -> list[Gland]:
    """Scatter glands so that some touch and some leave the picture, but few overlap."""
    scale = canvas.uniform(0.11, 0.17)
    stretch = canvas.uniform(1.05, 1.9)
    heading = canvas.uniform(0.0, np.pi)
    glands: list[Gland] = []
    # The first gland is central so that no picture is without one.
    proposals = canvas.rng.uniform(-0.06, 1.06, size=(60, 2))
    proposals[0] = 0.3 + 0.4 * canvas.rng.random(2)
    sizes = canvas.rng.uniform(0.75, 1.25, size=(60, 5))
    limit = int(canvas.rng.integers(4, 11))
    for (x, y), (grow, thin, turn, wall, mucin) in zip(proposals, sizes, strict=True):
        radius = scale * grow
        reach = 1.12 * radius * np.sqrt(stretch)
        close = any(
            np.hypot(x - g.centre[0], y - g.centre[1]) < 0.8 * (reach + g.radii[0]) for g in glands
        )
        if close or len(glands) == limit:
            continue
        root = np.sqrt(stretch * thin)
        glands.append(
            Gland(
                centre=(float(x), float(y)),
                radii=(float(radius * root), float(radius / root)),
                angle=float(heading + 2.4 * (turn - 1.0)),
                wall=float(0.034 * wall * (0.6 + 0.4 * scale / 0.14)),
                mucin=float(np.clip(2.0 * (mucin - 0.75), 0.0, 1.0)),
            )
        )
    return glands


def _gland_distance(canvas: Canvas, gland: Gland, warp: tuple[Field, Field]) -> Field:
    """Return the approximate signed distance to the gland's outer border, (size, size)."""
    dx = canvas.x - gland.centre[0] + warp[0]
    dy = canvas.y - gland.centre[1] + warp[1]
    c, s = np.cos(gland.angle), np.sin(gland.angle)
    u, v = (dx * c + dy * s) / gland.radii[0], (dy * c - dx * s) / gland.radii[1]
    rho = np.hypot(u, v)
    # Dividing by the gradient of rho keeps the wall equally thick along a slender gland.
    steep = np.hypot(u / gland.radii[0], v / gland.radii[1]) / np.maximum(rho, 1e-6)
    return (rho - 1.0) / np.maximum(steep, 1e-6)


def _stroma(canvas: Canvas, stain: Field) -> Field:
    """Return the pink connective tissue, (size, size, 3), with fibres and scattered nuclei."""
    swirl = canvas.fractal(4, 3)
    fibres = np.sin(26.0 * (canvas.x + 0.6 * canvas.y) + 5.0 * swirl + 1.5 * canvas.noise(20))
    tone = 0.05 * swirl + 0.045 * fibres + 0.03 * canvas.noise(48)
    picture = stain[0] + tone[..., None] * np.array([0.6, 1.3, 0.9])
    pale = sigmoid(canvas.noise(7) - 1.1, 0.5)  # fluid-filled gaps look like lumen
    picture = blend(picture, stain[3], 0.75 * pale)
    crowd = canvas.noise(5)
    radius = np.clip(0.27 + 0.09 * crowd, 0.0, 0.42)
    nuclei = canvas.inside((canvas.dots(30) - radius) / 30.0, 0.01)
    return blend(picture, stain[1], 0.85 * nuclei)


def _stain(canvas: Canvas) -> Field:
    """Draw the stain of one slide: stroma, nuclei, cytoplasm and lumen colours, (4, 3)."""
    base = np.array(
        [[0.83, 0.56, 0.70], [0.38, 0.23, 0.53], [0.68, 0.45, 0.67], [0.92, 0.87, 0.91]]
    )
    shift = canvas.rng.normal(0.0, 0.035, size=3)
    strength = canvas.uniform(0.75, 1.2)
    return np.clip(1.0 - (1.0 - base) * strength + shift, 0.05, 0.97)


def _paint_gland(
    canvas: Canvas,
    picture: Field,
    gland: Gland,
    distance: Field,
    stain: Field,
    nuclei: Field,
    mottle: Field,
) -> Field:
    """Paint epithelium, its nuclei and the lumen of one gland over the picture."""
    wall = gland.wall
    picture = blend(picture, stain[2] + 0.05 * mottle[..., None], canvas.inside(distance, 0.01))
    # Nuclei sit in the basal (outer) part of the epithelial cells.
    basal = np.exp(-(((distance + 0.42 * wall) / (0.42 * wall)) ** 2))
    picture = blend(picture, stain[1], 0.95 * canvas.inside((nuclei - 0.62 * basal) / 36.0, 0.008))
    lumen = canvas.inside(distance + 1.5 * wall + 0.012 * mottle, 0.02)
    filling = gland.mucin * np.clip(0.5 + 0.4 * mottle, 0.0, 1.0)
    inner = blend(np.broadcast_to(stain[3], picture.shape), 0.5 * (stain[2] + stain[3]), filling)
    return blend(picture, inner, 0.95 * lumen)


def render_glas(canvas: Canvas) -> tuple[Field, Mask]:
    """Draw a ``glas`` picture; (size, size, 3) in [0, 1] and the mask of whole glands."""
    stain = _stain(canvas)
    glands = _place_glands(canvas)
    warp = (0.018 * canvas.fractal(6, 2), 0.018 * canvas.fractal(6, 2))
    nuclei = canvas.dots(36, 0.35)
    mottle = canvas.fractal(14, 2)
    picture = _stroma(canvas, stain)
    mask = np.zeros((canvas.size, canvas.size), dtype=bool)
    for gland in glands:
        distance = _gland_distance(canvas, gland, warp)
        picture = _paint_gland(canvas, picture, gland, distance, stain, nuclei, mottle)
        mask |= distance < 0
    light = 1.0 + 0.05 * canvas.noise(2)
    return picture * light[..., None] + 0.015 * canvas.noise(90)[..., None], mask
