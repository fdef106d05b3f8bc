"""Breast B-mode ultrasound as seen by two scanners (styles ``busi`` and ``bus``).

Both share one anatomy: skin, fat, gland, muscle and chest wall with a hypoechoic lesion. They
differ in what a scanner decides: speckle cell, compression, depth gain, framing and zoom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from ._canvas import Canvas, Field, Mask, sigmoid


@dataclass(frozen=True)
class Scanner:
    """Acquisition settings; lengths are fractions of the picture side."""

    speckle_cells: tuple[int, int]  # resolution cells across x and y
    compounding: int  # independent views averaged into one picture; more is smoother
    speckle_gain: float  # weight of log-compressed speckle in the grey value
    gamma: float  # display curve; above 1 darkens
    gain: tuple[float, float]  # range of the overall gain
    depth_slope: tuple[float, float]  # grey change from top to bottom
    lesion_radius: tuple[float, float]
    convex: bool  # curved footprint with black flanks instead of a full rectangle
    two_lesions: float  # probability


BUSI = Scanner(
    speckle_cells=(58, 84),
    compounding=3,
    speckle_gain=0.08,
    gamma=1.0,
    gain=(0.85, 1.2),
    depth_slope=(-0.22, 0.05),
    lesion_radius=(0.13, 0.25),
    convex=False,
    two_lesions=0.12,
)
BUS = Scanner(
    speckle_cells=(30, 74),
    compounding=1,
    speckle_gain=0.12,
    gamma=1.55,
    gain=(0.75, 1.05),
    depth_slope=(-0.05, 0.2),
    lesion_radius=(0.115, 0.205),
    convex=True,
    two_lesions=0.08,
)


@dataclass(frozen=True)
class Lesion:
    """A drawn lesion: its border field and what it does to the beam below."""

    distance: Field  # (size, size), negative inside
    centre: tuple[float, float]
    radii: tuple[float, float]
    echo: float  # grey level inside
    margin: float  # width of the border blur
    posterior: float  # negative: shadow, positive: enhancement


def _layers(canvas: Canvas, depth: Field) -> Field:
    """Return the (size, size) grey level of healthy tissue without speckle."""
    fat_top = 0.05 + canvas.uniform(-0.015, 0.02)
    gland_top = canvas.uniform(0.16, 0.3)
    muscle_top = canvas.uniform(0.66, 0.8)
    wall_top = muscle_top + canvas.uniform(0.12, 0.2)
    texture = canvas.fractal(7, 2)
    fibres = canvas.noise(8, 36)
    echo = np.full_like(texture, 0.72)
    steps = (
        (fat_top, 0.008, 0.36 + 0.05 * texture, 0.03),
        (gland_top, 0.035, 0.55 + 0.08 * texture + 0.05 * fibres, 0.05),
        (muscle_top, 0.025, 0.4 + 0.11 * fibres, 0.03),
        (wall_top, 0.03, 0.24 + 0.06 * texture + 0.04 * fibres, 0.06),
    )
    for top, waviness, level, width in steps:
        border = top + waviness * canvas.wave(4) + 0.3 * waviness * canvas.wave(11)
        echo = echo + sigmoid(depth - border, width) * (level - echo)
        # Fascia reflects: a thin bright line follows every layer border, brighter in places.
        line = np.exp(-(((depth - border) / 0.012) ** 2))
        echo = echo + line * np.clip(0.07 + 0.07 * canvas.wave(9), 0.0, 0.2)
    return echo


def _draw_lesion(canvas: Canvas, radius: float, centre: tuple[float, float]) -> Lesion:
    """Draw one lesion of a random kind: smooth cyst, lobulated mass or spiculated mass."""
    kind = canvas.uniform(0.0, 1.0)
    flat = canvas.uniform(0.55, 0.95)
    tilt = canvas.uniform(-0.45, 0.45)
    lobes: tuple[float, ...]
    if kind < 0.3:
        lobes, rough, echo = (0.04, 0.02), 0.003, canvas.uniform(0.06, 0.16)
        posterior, margin = canvas.uniform(0.06, 0.2), 0.025
    elif kind < 0.65:
        lobes, rough, echo = (0.09, 0.09, 0.05), 0.008, canvas.uniform(0.16, 0.3)
        posterior, margin = canvas.uniform(-0.12, 0.12), 0.04
    else:
        lobes, rough, echo = (0.1, 0.07, 0.06), 0.018, canvas.uniform(0.12, 0.26)
        posterior, margin = canvas.uniform(-0.28, -0.08), 0.055
        flat *= 1.1
    radii = (radius, radius * flat)
    distance = canvas.lobed(centre, radii, tilt, lobes) + rough * canvas.noise(16)
    return Lesion(distance, centre, radii, echo, margin, posterior)


def _lesions(canvas: Canvas, scanner: Scanner) -> list[Lesion]:
    """Draw one lesion, or two side by side."""
    radius = canvas.uniform(*scanner.lesion_radius)
    depth = canvas.uniform(0.32, 0.6)
    if not canvas.chance(scanner.two_lesions):
        return [_draw_lesion(canvas, radius, (canvas.uniform(0.28, 0.72), depth))]
    left = (canvas.uniform(0.22, 0.32), depth)
    right = (canvas.uniform(0.66, 0.76), depth + canvas.uniform(-0.1, 0.1))
    second = min(0.18, radius * canvas.uniform(0.6, 1.0))
    return [_draw_lesion(canvas, min(0.18, radius), left), _draw_lesion(canvas, second, right)]


def _below(canvas: Canvas, lesion: Lesion) -> Field:
    """Return in [0, 1] where the beam has already crossed the lesion."""
    reach = np.abs(canvas.x - lesion.centre[0]) / lesion.radii[0]
    column = sigmoid(0.85 - reach, 0.35)
    bottom = lesion.centre[1] + lesion.radii[1] * 0.6
    fade = np.exp(-np.maximum(canvas.y - bottom, 0.0) / 0.45)
    return column * sigmoid(canvas.y - bottom, 0.12) * fade


def _distractors(canvas: Canvas, echo: Field) -> Field:
    """Add what a network must not mistake for lesions: lobules, ducts and dropout shadows."""
    for _ in range(int(canvas.rng.integers(2, 5))):
        centre = (canvas.uniform(0.05, 0.95), canvas.uniform(0.12, 0.9))
        radii = (canvas.uniform(0.07, 0.17), canvas.uniform(0.018, 0.045))
        field = canvas.lobed(centre, radii, canvas.uniform(-0.35, 0.35), (0.08, 0.08))
        echo = echo - canvas.uniform(0.1, 0.24) * canvas.inside(field, 0.03)
    for _ in range(int(canvas.rng.integers(0, 3))):
        # Poor contact and Cooper ligaments leave dark columns from the top to the bottom.
        place, width = canvas.uniform(0.0, 1.0), canvas.uniform(0.02, 0.07)
        lean = canvas.uniform(-0.15, 0.15)
        column = np.exp(-(((canvas.x - place - lean * canvas.y) / width) ** 2))
        start = canvas.uniform(0.05, 0.5)
        depth = canvas.uniform(0.08, 0.24)
        echo = echo - depth * column * sigmoid(canvas.y - start, 0.15)
    return echo


def _speckle(canvas: Canvas, cells: tuple[int, int], views: int) -> Field:
    """Return log-compressed fully developed speckle, (size, size), mean about 0, std about 1.

    The intensity of a circular Gaussian field is exponentially distributed, so the mean of
    ``views`` independent ones follows a Gamma law with that shape; digamma and trigamma give
    mean and variance of its logarithm.
    """
    intensity = canvas.noise(*cells) ** 2 + canvas.noise(*cells) ** 2
    for _ in range(views - 1):
        intensity = intensity + canvas.noise(*cells) ** 2 + canvas.noise(*cells) ** 2
    # The floor keeps single dark fringes from becoming black worms on the display.
    level = np.log(np.maximum(intensity / (2 * views), 0.04))
    return (level - float(digamma(views)) + np.log(views)) / np.sqrt(float(polygamma(1, views)))


def _convex_depth(canvas: Canvas) -> tuple[Field, Field]:
    """Return depth below a curved footprint and the coverage of its sector, (size, size)."""
    apex = -canvas.uniform(0.55, 0.9)
    span = canvas.uniform(0.5, 0.62)
    top = canvas.uniform(0.01, 0.04)
    dx, dy = canvas.x - 0.5, canvas.y - apex
    depth = np.hypot(dx, dy) + apex - top
    flank = (np.abs(dx) - span * dy * 0.72) / np.sqrt(1.0 + span**2)
    return depth, canvas.inside(np.maximum(flank, -depth))


def _render(canvas: Canvas, scanner: Scanner) -> tuple[Field, Mask]:
    """Draw one acquisition; picture (size, size, 3) in [0, 1] and mask (size, size)."""
    depth: Field = canvas.y
    sector: Field = np.ones((canvas.size, canvas.size))
    if scanner.convex:
        depth, sector = _convex_depth(canvas)
    lesions = _lesions(canvas, scanner)
    echo = _distractors(canvas, _layers(canvas, depth))
    mask = np.zeros((canvas.size, canvas.size), dtype=bool)
    inner = canvas.noise(9)
    for lesion in lesions:
        echo = echo + lesion.posterior * _below(canvas, lesion)
        cover = canvas.inside(lesion.distance, lesion.margin)
        echo = echo + cover * (lesion.echo + 0.035 * inner - echo)
        mask |= lesion.distance < 0
    echo = echo + 0.07 * canvas.noise(3)  # uneven contact and focusing
    echo = echo + canvas.uniform(*scanner.depth_slope) * (canvas.y - 0.4)
    # Log compression turns multiplicative speckle additive, but the noise floor hides it in
    # nearly echo-free tissue.
    visible = 0.35 + 0.65 * np.clip(echo / 0.4, 0.0, 1.3)
    grey = echo + scanner.speckle_gain * visible * _speckle(
        canvas, scanner.speckle_cells, scanner.compounding
    )
    grey = np.clip(grey * canvas.uniform(*scanner.gain), 0.0, 1.0) ** scanner.gamma * sector
    return np.repeat(grey[..., None], 3, axis=2), mask & (sector > 0.5)


def render_busi(canvas: Canvas) -> tuple[Field, Mask]:
    """Draw a ``busi`` picture: fine speckle, bright display, full rectangular frame."""
    return _render(canvas, BUSI)


def render_bus(canvas: Canvas) -> tuple[Field, Mask]:
    """Draw a ``bus`` picture: coarse anisotropic speckle, dark display, convex frame."""
    return _render(canvas, BUS)
