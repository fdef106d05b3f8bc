"""Outlines of masks as SVG paths along the edges of pixels."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Point = tuple[int, int]


def outline(mask: NDArray[np.bool_]) -> str:
    """A path of closed rings around the foreground of a mask (H, W), in pixels; "" for none.

    Exact: filling the path gives the mask back. Corners where two pixels touch belong to both.
    """
    following = _edges(mask)
    parts = []
    for start in sorted(following):
        while start in following:
            parts.append(_ring(_walk(following, start)))
    return "".join(parts)


def _walk(following: dict[Point, list[Point]], start: Point) -> list[Point]:
    """The corners from `start` back to it; takes the edges it walks out of `following`."""
    ring, at = [start], start
    while len(ring) == 1 or at != start:
        ends = following[at]
        after = ends.pop()
        if not ends:
            del following[at]
        ring.append(after)
        at = after
    return ring


def _edges(mask: NDArray[np.bool_]) -> dict[Point, list[Point]]:
    """Every edge between foreground and background, from corner to corner (x, y), the foreground on
    its right."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # above: to the right
        (padded[1:-1, 2:], (1, 0), (1, 1)),  # right: down
        (padded[2:, 1:-1], (1, 1), (0, 1)),  # below: to the left
        (padded[1:-1, :-2], (0, 1), (0, 0)),  # left: up
    )
    following: dict[Point, list[Point]] = {}
    for neighbour, start, stop in sides:
        for y, x in np.argwhere(inner & ~neighbour).tolist():
            end = (x + stop[0], y + stop[1])
            following.setdefault((x + start[0], y + start[1]), []).append(end)
    return following


def _ring(points: list[Point]) -> str:
    """`M3 4h2v1h-2z`: steps in one direction are one step."""
    steps: list[tuple[str, int]] = []
    for (x, y), (u, v) in pairwise(points):
        way, length = ("h", u - x) if v == y else ("v", v - y)
        if steps and steps[-1][0] == way:
            steps[-1] = (way, steps[-1][1] + length)
        else:
            steps.append((way, length))
    return f"M{points[0][0]} {points[0][1]}{''.join(f'{way}{length}' for way, length in steps)}z"
