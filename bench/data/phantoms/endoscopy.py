"""Endoscopic scenes with surgical tools (style ``kvasir-instrument``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._canvas import Canvas, Field, Mask, blend, sigmoid

_TOOL_COLOURS = np.array(
    [
        [0.72, 0.73, 0.75],  # steel
        [0.50, 0.51, 0.54],  # dull steel
        [0.86, 0.86, 0.84],  # white sheath
        [0.22, 0.38, 0.68],  # blue sheath
        [0.75, 0.68, 0.30],  # yellow sheath
        [0.20, 0.20, 0.22],  # black sheath
        [0.72, 0.42, 0.25],  # copper: close to mucosa
    ]
)


@dataclass(frozen=True)
class Tool:
    """A placed tool: where its shaft enters, where it ends and how wide it is there."""

    base: tuple[float, float]
    tip: tuple[float, float]
    half_width: float  # at the tip
    taper: float  # how many times wider the shaft looks where it enters, close to the lens
    angle: float  # direction from base to tip


def _mucosa(canvas: Canvas) -> Field:
    """Return the wet red wall with folds, vessels and a dark lumen, (size, size, 3)."""
    tone = np.array([0.76, 0.38, 0.30]) + canvas.rng.normal(0.0, 0.04, size=3)
    cx, cy = canvas.uniform(0.15, 0.85), canvas.uniform(0.15, 0.85)
    swirl = canvas.fractal(4, 3)
    away = np.hypot(canvas.x - cx, canvas.y - cy) + 0.07 * swirl
    rings = np.sin(canvas.uniform(14.0, 30.0) * away + canvas.uniform(0.0, 6.0))
    folds = np.abs(rings) ** 0.6 * np.sign(rings)
    strength = canvas.uniform(0.03, 0.15)
    vessels = np.exp(-((canvas.fractal(7, 2) / 0.09) ** 2)) * sigmoid(canvas.noise(4), 1.5)
    patch = 0.05 * canvas.fractal(8, 2) + 0.02 * canvas.noise(60)
    picture = tone + (strength * folds + patch)[..., None] * np.array([1.0, 0.9, 0.8])
    picture = picture - vessels[..., None] * np.array([0.08, 0.14, 0.10])
    depth = canvas.uniform(0.3, 0.95) * np.exp(-((away / canvas.uniform(0.12, 0.3)) ** 2))
    picture = picture * (1.0 - depth)[..., None]
    if canvas.chance(0.3):  # residue and mucus
        picture = blend(picture, (0.78, 0.66, 0.36), 0.7 * sigmoid(canvas.noise(6) - 1.5, 0.3))
    if canvas.chance(0.3):  # pale polyp or scar tissue
        field = canvas.lobed(
            (canvas.uniform(0.1, 0.9), canvas.uniform(0.1, 0.9)),
            (canvas.uniform(0.1, 0.2), canvas.uniform(0.1, 0.16)),
            canvas.uniform(0.0, np.pi),
            (0.06, 0.05),
        )
        picture = blend(
            picture, tone + np.array([0.12, 0.16, 0.14]), 0.8 * canvas.inside(field, 0.04)
        )
    return picture


def _highlights(canvas: Canvas) -> Field:
    """Return coverage in [0, 1] of specular spots and streaks on wet tissue."""
    level = canvas.uniform(1.8, 2.9)
    spots = sigmoid(canvas.noise(24) + 0.7 * canvas.noise(5) - level, 0.4)
    streaks = sigmoid(canvas.noise(10, 34) + 0.7 * canvas.noise(5) - level - 0.35, 0.4)
    return np.clip(spots + streaks, 0.0, 1.0)


def _place_tool(canvas: Canvas, side: int) -> Tool:
    """Let a tool enter through one border (0 right, 1 bottom, 2 left, 3 top) inwards.

    Sizes follow the dataset's masks: the widest spot measures 0.12 to 0.23 of the picture's side
    there (10th to 90th percentile), most tools are stout, taper inwards and end before the middle.
    """
    along, depth = canvas.uniform(0.2, 0.8), canvas.uniform(0.25, 0.55)
    aside = along + canvas.uniform(-0.25, 0.25)
    base = [(1.08, along), (along, 1.08), (-0.08, along), (along, -0.08)][side]
    tip = [(1 - depth, aside), (aside, 1 - depth), (depth, aside), (aside, depth)][side]
    angle = float(np.arctan2(tip[1] - base[1], tip[0] - base[0]))
    return Tool(base, tip, canvas.uniform(0.045, 0.08), canvas.uniform(1.0, 1.7), angle)


def _ahead(tool: Tool, forward: float, sideways: float) -> tuple[float, float]:
    """Return the point that lies forward and sideways of the tool's tip."""
    c, s = float(np.cos(tool.angle)), float(np.sin(tool.angle))
    return (tool.tip[0] + forward * c - sideways * s, tool.tip[1] + forward * s + sideways * c)


def _jaws(canvas: Canvas, tool: Tool) -> Field:
    """Return the signed distance to two opened forceps jaws."""
    spread = canvas.uniform(0.25, 1.1) * 0.1
    length = canvas.uniform(0.1, 0.18)
    thick = 0.55 * tool.half_width
    distance = np.full((canvas.size, canvas.size), np.inf)
    for way in (-1.0, 1.0):
        elbow = _ahead(tool, 0.45 * length, way * spread)
        end = _ahead(tool, length, way * 0.75 * spread)
        arm = np.minimum(canvas.segment(tool.tip, elbow), canvas.segment(elbow, end))
        distance = np.minimum(distance, arm - thick)
    return distance


def _loop(canvas: Canvas, tool: Tool) -> tuple[Field, Field]:
    """Return the signed distance to the wire loop of a snare and to the area it encloses."""
    length, width = canvas.uniform(0.12, 0.2), canvas.uniform(0.07, 0.13)
    centre = _ahead(tool, length, 0.0)
    along, across = canvas.frame(centre, tool.angle)
    u, v = along / length, across / width
    rho = np.maximum(np.hypot(u, v), 1e-6)
    steep = np.hypot(u / length, v / width) / rho
    distance = (rho - 1.0) / np.maximum(steep, 1e-6)
    wire = canvas.uniform(0.018, 0.026)
    return np.abs(distance) - wire, distance - wire


def _shaft(canvas: Canvas, tool: Tool) -> tuple[Field, Field]:
    """Return the signed distance to the bent shaft and the position across it in [-1, 1]."""
    length = float(np.hypot(tool.tip[0] - tool.base[0], tool.tip[1] - tool.base[1]))
    along, across = canvas.frame(tool.base, tool.angle)
    # The bow vanishes at both ends, so base and tip stay where they were placed.
    bow = canvas.uniform(-0.35, 0.35) * along * (length - along)
    offset = across - bow
    over = np.maximum(along - length, 0.0)
    remaining = np.clip(1.0 - along / length, 0.0, 1.2)
    half_width = tool.half_width * (1.0 + (tool.taper - 1.0) * remaining)
    return np.hypot(offset, over) - half_width, offset / half_width


def _draw_tool(canvas: Canvas, picture: Field, side: int) -> tuple[Field, Mask]:
    """Paint one tool over the picture and return both the picture and the tool's mask."""
    tool = _place_tool(canvas, side)
    colour = _TOOL_COLOURS[int(canvas.rng.integers(len(_TOOL_COLOURS)))]
    shaft, across = _shaft(canvas, tool)
    kind = canvas.uniform(0.0, 1.0)
    head = marked = np.full_like(shaft, np.inf)
    if kind < 0.35:
        head = marked = _jaws(canvas, tool)
    elif kind < 0.45:
        # The dataset's annotators fill a snare: of its 590 masks one has a hole.
        head, marked = _loop(canvas, tool)
    # A cylinder is brightest where its surface faces the lamp, slightly off its axis.
    lamp = canvas.uniform(-0.4, 0.4)
    round_light = 0.55 + 0.5 * np.sqrt(np.clip(1.0 - ((across - lamp) / 1.4) ** 2, 0.0, 1.0))
    glint = np.exp(-(((across - lamp) / 0.18) ** 2)) * np.clip(canvas.noise(8), 0.0, 1.0)
    body = colour * round_light[..., None] + 0.5 * glint[..., None]
    if canvas.chance(0.3):  # printed rings or a coiled sheath
        along, _ = canvas.frame(tool.tip, tool.angle)
        rings = np.sin(along * canvas.uniform(60.0, 120.0))
        body = body * (1.0 + 0.16 * rings)[..., None]
    metal = np.array([0.6, 0.6, 0.62]) + 0.16 * canvas.noise(16)[..., None]
    shadow = canvas.inside(np.minimum(shaft, head) - 0.015, 0.06)
    picture = picture * (1.0 - 0.3 * shadow)[..., None]
    picture = blend(picture, body, canvas.inside(shaft, 0.008))
    picture = blend(picture, metal, canvas.inside(head, 0.008))
    return picture, np.minimum(shaft, marked) < 0


def _field_of_view(canvas: Canvas) -> Field:
    """Return coverage of the lit octagon, cut circle or full frame, (size, size)."""
    dx, dy = np.abs(canvas.x - 0.5), np.abs(canvas.y - 0.5)
    kind = canvas.uniform(0.0, 1.0)
    if kind < 0.5:
        cut = canvas.uniform(0.72, 0.86)
        return canvas.inside(np.maximum(np.maximum(dx, dy) - 0.485, (dx + dy - cut) * 0.7), 0.01)
    if kind < 0.85:
        return canvas.inside(np.hypot(dx, dy) - canvas.uniform(0.5, 0.58), 0.01)
    return np.ones((canvas.size, canvas.size))


def render_kvasir_instrument(canvas: Canvas) -> tuple[Field, Mask]:
    """Draw a ``kvasir-instrument`` picture; (size, size, 3) in [0, 1] and the tools' mask."""
    picture = _mucosa(canvas)
    gloss = _highlights(canvas)
    picture = blend(picture, (1.0, 0.95, 0.91), 0.8 * gloss)
    sides = canvas.rng.permutation(4)
    count = 2 if canvas.chance(0.12) else 1
    mask = np.zeros((canvas.size, canvas.size), dtype=bool)
    for side in sides[:count]:
        picture, tool = _draw_tool(canvas, picture, int(side))
        mask |= tool
    x, y = canvas.uniform(0.3, 0.7), canvas.uniform(0.3, 0.7)
    away = np.hypot(canvas.x - x, canvas.y - y)
    light = canvas.uniform(0.95, 1.25) - canvas.uniform(0.5, 1.0) * away**1.5
    view = _field_of_view(canvas)
    picture = picture * (light * view)[..., None]
    if canvas.chance(0.3):  # the scope's position inset drawn into the recording
        corner = np.maximum(np.abs(canvas.x - 0.1), np.abs(canvas.y - 0.88)) - 0.09
        picture = blend(picture, (0.1, 0.45, 0.2), canvas.inside(corner))
        mask &= corner > 0
    return picture + 0.015 * canvas.noise(90)[..., None], mask & (view > 0.5)
