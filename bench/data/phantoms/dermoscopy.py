"""Dermatoscopic pictures of pigmented skin lesions (style ``ham10000``)."""

from __future__ import annotations

import numpy as np

from ._canvas import Canvas, Field, Mask, blend, sigmoid


def _skin(canvas: Canvas) -> Field:
    """Return skin of a random tone with pores and blotches, (size, size, 3)."""
    light = np.array([0.93, 0.74, 0.68])
    tan = np.array([0.74, 0.55, 0.46])
    tone = light + canvas.uniform(0.0, 1.0) * (tan - light) + canvas.rng.normal(0.0, 0.025, 3)
    blotch = 0.04 * canvas.fractal(4, 3) + 0.018 * canvas.noise(40)
    pores = canvas.inside((canvas.dots(34) - 0.16) / 34.0, 0.012)
    picture = tone + blotch[..., None] * np.array([0.8, 1.1, 1.1])
    flush = sigmoid(canvas.noise(3) - 0.7, 1.0)[..., None]
    return picture - flush * np.array([0.02, 0.09, 0.07]) - 0.05 * pores[..., None]


def _lesion_distance(canvas: Canvas) -> Field:
    """Return the signed distance-like field of an irregular lesion, (size, size)."""
    radius = canvas.uniform(0.13, 0.33)
    centre = (canvas.uniform(0.36, 0.64), canvas.uniform(0.36, 0.64))
    aspect = canvas.uniform(0.7, 1.0)
    lobes = (0.09, 0.07, 0.05, 0.03)
    irregular = canvas.uniform(0.3, 1.3)
    field = canvas.lobed(
        centre,
        (radius / np.sqrt(aspect), radius * np.sqrt(aspect)),
        canvas.uniform(0.0, np.pi),
        [irregular * amplitude for amplitude in lobes],
    )
    return field + irregular * 0.012 * canvas.fractal(12, 2)


def _pigment(canvas: Canvas, skin: Field, distance: Field) -> Field:
    """Paint the lesion; its strength ranges from barely visible to nearly black."""
    browns = np.array([[0.62, 0.40, 0.28], [0.42, 0.25, 0.17], [0.22, 0.13, 0.11]])
    first, second = canvas.rng.integers(0, 3, size=2)
    mixing = sigmoid(canvas.noise(4), 1.2)[..., None]
    colour = browns[first] + mixing * (browns[second] - browns[first])
    if canvas.chance(0.3):  # blue-white veil or regression
        veil = sigmoid(canvas.noise(5) - 0.8, 0.8)
        colour = blend(colour, (0.55, 0.55, 0.62), 0.8 * veil)
    strength = canvas.uniform(0.34, 0.95)
    softness = canvas.uniform(0.015, 0.09)
    # Density falls towards the border in most naevi and is patchy inside.
    density = 0.75 + 0.25 * np.clip(-distance / 0.12, 0.0, 1.0) + 0.12 * canvas.fractal(8, 2)
    cover = canvas.inside(distance, softness) * np.clip(strength * density, 0.0, 1.0)
    picture = blend(skin, colour, cover)
    inside = canvas.inside(distance + 0.01, 0.03)
    if canvas.chance(0.6):  # pigment network: dark mesh around pale holes
        holes = canvas.dots(int(canvas.rng.integers(18, 29)), 0.42)
        mesh = sigmoid(holes - 0.45, 0.2)
        picture = picture - (0.14 * strength * inside * (mesh - 0.3))[..., None]
    if canvas.chance(0.5):  # globules
        spots = canvas.inside((canvas.dots(20) - 0.2 - 0.06 * canvas.noise(5)) / 20.0, 0.012)
        picture = picture - (0.2 * strength * inside * spots)[..., None]
    return picture


def _hairs(canvas: Canvas, picture: Field) -> Field:
    """Draw zero to ten thin curved hairs in one tint."""
    count = int(canvas.rng.integers(1, 10)) if canvas.chance(0.55) else 0
    tint = np.array([0.16, 0.11, 0.09]) + canvas.uniform(0.0, 0.18)
    for _ in range(count):
        distance = canvas.arc(
            (canvas.uniform(0.0, 1.0), canvas.uniform(0.0, 1.0)),
            canvas.uniform(0.0, 2 * np.pi),
            canvas.uniform(-1.2, 1.2),
            canvas.uniform(0.15, 0.5),
        )
        width = canvas.uniform(0.004, 0.009)
        picture = blend(picture, tint, 0.85 * np.clip(1.5 - distance / width, 0.0, 1.0))
    return picture


def _gel(canvas: Canvas, picture: Field) -> Field:
    """Add immersion-fluid bubbles (bright rims) and a broad reflection."""
    for _ in range(int(canvas.rng.integers(0, 5))):
        x, y = canvas.uniform(0.0, 1.0), canvas.uniform(0.0, 1.0)
        radius = canvas.uniform(0.012, 0.045)
        away = np.hypot(canvas.x - x, canvas.y - y)
        rim = np.exp(-(((away - radius) / 0.005) ** 2))
        glint = np.exp(-((np.hypot(canvas.x - x + 0.4 * radius, canvas.y - y) / 0.008) ** 2))
        picture = blend(picture, (0.97, 0.95, 0.93), np.clip(0.3 * rim + 0.7 * glint, 0.0, 1.0))
    if canvas.chance(0.35):
        x, y = canvas.uniform(0.1, 0.9), canvas.uniform(0.1, 0.9)
        spread = canvas.uniform(0.08, 0.2)
        haze = np.exp(-((canvas.x - x) ** 2 + (canvas.y - y) ** 2) / spread**2)
        picture = blend(picture, (0.96, 0.92, 0.92), 0.35 * haze)
    return picture


def _ruler(canvas: Canvas, picture: Field) -> Field:
    """Draw the millimetre ticks of a contact plate along the bottom or left border."""
    along, across = (canvas.x, 1.0 - canvas.y) if canvas.chance(0.5) else (canvas.y, canvas.x)
    pitch = canvas.uniform(0.045, 0.08)
    phase = along / pitch
    off = np.abs(phase - np.rint(phase)) * pitch
    length = np.where(np.rint(phase) % 5 == 0, 0.075, 0.045)
    ticks = canvas.inside(off - 0.003) * canvas.inside(across - length)
    return blend(picture, (0.12, 0.12, 0.14), 0.8 * ticks)


def _shade(canvas: Canvas, picture: Field) -> Field:
    """Apply vignette, side light and, in some pictures, the black corners of a round optic."""
    x, y = canvas.uniform(0.42, 0.58), canvas.uniform(0.42, 0.58)
    away = np.hypot(canvas.x - x, canvas.y - y)
    fall = canvas.uniform(0.1, 0.75) * np.clip(away / 0.7, 0.0, 1.2) ** 2.4
    heading = canvas.uniform(0.0, 2 * np.pi)
    side = (canvas.x - 0.5) * np.cos(heading) + (canvas.y - 0.5) * np.sin(heading)
    light = 1.0 - fall + canvas.uniform(0.0, 0.28) * side
    if canvas.chance(0.4):
        light = light * canvas.inside(away - canvas.uniform(0.52, 0.62), 0.05)
    return picture * light[..., None]


def render_ham10000(canvas: Canvas) -> tuple[Field, Mask]:
    """Draw a ``ham10000`` picture; (size, size, 3) in [0, 1] and the lesion's mask."""
    skin = _skin(canvas)
    distance = _lesion_distance(canvas)
    picture = _pigment(canvas, skin, distance)
    if canvas.chance(0.25):
        picture = _ruler(canvas, picture)
    picture = _gel(canvas, _hairs(canvas, picture))
    picture = _shade(canvas, picture) + 0.012 * canvas.noise(96)[..., None]
    return picture, distance < 0
