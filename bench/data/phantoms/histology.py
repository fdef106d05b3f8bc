"""Colon glands under H&E stain (style ``glas``)."""

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
    lumen: float  # depth at which the lumen starts, in walls; large values close it
    fade: float  # 0: dark crisp epithelium, towards 1: hardly darker than stroma
    mucin: float  # 0: empty white lumen, 1: lumen filled with bluish mucin


def _place_glands(canvas: Canvas) -> list[Gland]:
    """Scatter glands so that some touch and some leave the picture, but few overlap."""
    scale = canvas.uniform(0.125, 0.185)
    stretch = canvas.uniform(1.05, 1.9)
    heading = canvas.uniform(0.0, np.pi)
    glands: list[Gland] = []
    # The first gland is central so that no picture is without one.
    proposals = canvas.rng.uniform(-0.06, 1.06, size=(90, 2))
    proposals[0] = 0.3 + 0.4 * canvas.rng.random(2)
    sizes = canvas.rng.uniform(0.75, 1.25, size=(90, 7))
    limit = int(canvas.rng.integers(6, 15))
    # Grade of the tumour: the higher, the more glands have lost their lumen and their order.
    grade = canvas.uniform(0.0, 1.0)
    for (x, y), (grow, thin, turn, wall, mucin, shut, fade) in zip(proposals, sizes, strict=True):
        radius = scale * grow
        reach = 1.12 * radius * np.sqrt(stretch)
        close = any(
            np.hypot(x - g.centre[0], y - g.centre[1]) < 0.74 * (reach + g.radii[0]) for g in glands
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
                lumen=1.5 if shut > 0.8 + 0.3 * grade else 2.6,
                fade=float(np.clip(grade * 2.6 * (fade - 0.75), 0.0, 0.9)),
                mucin=float(np.clip(2.0 * (mucin - 0.75), 0.0, 1.0)),
            )
        )
    return glands


def _window(canvas: Canvas, gland: Gland) -> tuple[slice, slice]:
    """Return rows and columns that surely hold the gland; painting only there saves time."""
    reach = max(gland.radii) + 0.12  # the warp and the soft border stay below 0.12

    def span(centre: float) -> slice:
        first, last = (centre - reach) * canvas.size, (centre + reach) * canvas.size
        return slice(max(0, int(first)), max(0, int(last) + 1))

    return span(gland.centre[1]), span(gland.centre[0])


def _gland_distance(
    canvas: Canvas, gland: Gland, warp: tuple[Field, Field], window: tuple[slice, slice]
) -> Field:
    """Return the approximate signed distance to the gland's outer border in the window."""
    dx = canvas.x[window] - gland.centre[0] + warp[0][window]
    dy = canvas.y[window] - gland.centre[1] + warp[1][window]
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
    for _ in range(int(canvas.rng.integers(1, 5))):
        picture = _vessel(canvas, picture, stain)
    crowd = canvas.noise(4) + 0.5 * canvas.noise(30)  # lymphocytes gather in places
    radius = np.clip(0.1 + 0.14 * crowd, -0.4, 0.4)
    nuclei = canvas.inside((canvas.dots(30) - radius) / 30.0, 0.01)
    return blend(picture, stain[1], 0.85 * nuclei)


def _vessel(canvas: Canvas, picture: Field, stain: Field) -> Field:
    """Paint what resembles a gland but is none: a vessel or a torn gap with a thin rim."""
    radius = canvas.uniform(0.03, 0.085)
    squeeze = canvas.uniform(1.0, 1.7)
    distance = canvas.lobed(
        (canvas.uniform(0.0, 1.0), canvas.uniform(0.0, 1.0)),
        (radius * squeeze, radius / squeeze),
        canvas.uniform(0.0, np.pi),
        (0.12, 0.1, 0.06),
    )
    rim = np.exp(-((distance / 0.01) ** 2))
    blood = stain[0] * np.array([0.95, 0.72, 0.78])
    content = stain[3] if canvas.chance(0.6) else blood
    picture = blend(picture, content, 0.9 * canvas.inside(distance, 0.015))
    return blend(picture, 0.5 * (stain[0] + stain[1]), canvas.uniform(0.3, 0.9) * rim)


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
    """Paint epithelium, its nuclei and the lumen of one gland.

    All fields cover the same (rows, columns) window of the picture, which is (rows, columns, 3).
    """
    wall = gland.wall
    cytoplasm = stain[2] + gland.fade * (stain[0] - stain[2]) + 0.05 * mottle[..., None]
    picture = blend(picture, cytoplasm, canvas.inside(distance, 0.012 + 0.03 * gland.fade))
    # Nuclei sit in the basal (outer) part of the epithelial cells.
    basal = np.exp(-(((distance + 0.42 * wall) / (0.42 * wall)) ** 2))
    if gland.lumen > 2.0:
        basal = np.maximum(basal, 0.6 * (distance < -0.5 * wall))  # crowded, no longer basal
    radius = (0.78 - 0.25 * gland.fade) * basal - 0.22
    dark = (0.95 - 0.4 * gland.fade) * canvas.inside((nuclei - radius) / 36.0, 0.008)
    picture = blend(picture, stain[1], dark)
    lumen = canvas.inside(distance + gland.lumen * wall + 0.012 * mottle, 0.02)
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
        at = _window(canvas, gland)
        distance = _gland_distance(canvas, gland, warp, at)
        picture[at] = _paint_gland(
            canvas, picture[at], gland, distance, stain, nuclei[at], mottle[at]
        )
        mask[at] |= distance < 0
    light = 1.0 + 0.05 * canvas.noise(2)
    return picture * light[..., None] + 0.015 * canvas.noise(90)[..., None], mask
