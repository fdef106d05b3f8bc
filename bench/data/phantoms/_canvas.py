"""Drawing primitives shared by the procedural styles.

Everything is a function of the unit square and of random draws whose *number* never depends on
the picture size. The same generator state therefore gives the same scene at every size; a
larger picture only samples it more finely.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Standard deviation left by a cubic B-spline with white coefficients, per axis:
# sqrt(integral of the squared basis) = sqrt(151 / 315).
_SPLINE_STD = float(np.sqrt(151.0 / 315.0))


@lru_cache(maxsize=256)
def _spline_taps(size: int, cells: int) -> tuple[NDArray[np.int64], Field]:
    """Return first knot (size,) and weights (size, 4) of a cubic B-spline at pixel centres."""
    position = (np.arange(size) + 0.5) / size * cells
    first = np.minimum(position.astype(np.int64), cells - 1)
    t = position - first
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    weights /= 6
    for array in (first, weights):
        array.setflags(write=False)  # cached and shared between calls
    return first, weights


def _upsample(knots: Field, size: int) -> Field:
    """Evaluate (cells + 3, columns) spline coefficients along axis 0; (size, columns).

    Four explicit taps instead of a matrix product: the sum has one order on every machine,
    whatever its BLAS does, and no thread pool starts for a tiny job.
    """
    first, weights = _spline_taps(size, len(knots) - 3)
    total = weights[:, :1] * knots[first]
    for tap in range(1, 4):
        total += weights[:, tap : tap + 1] * knots[first + tap]
    return total


class Canvas:
    """Pixel-centre coordinates of a square picture and random fields over it.

    ``x`` runs right and ``y`` down, both of shape (size, size) with values in (0, 1).
    ``pixel`` is the side of one pixel in these units.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.rng = rng
        self.pixel = 1.0 / size
        axis = (np.arange(size) + 0.5) / size
        self.x: Field = np.broadcast_to(axis, (size, size))
        self.y: Field = np.broadcast_to(axis[:, None], (size, size))

    def uniform(self, low: float, high: float) -> float:
        """Draw one number from [low, high)."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return bool(self.rng.random() < probability)

    def noise(self, cells_x: int, cells_y: int | None = None) -> Field:
        """Return smooth Gaussian noise of shape (size, size), mean 0, standard deviation 1.

        ``cells_x`` and ``cells_y`` count the correlation cells across the picture.
        """
        rows = cells_x if cells_y is None else cells_y
        knots = self.rng.standard_normal((rows + 3, cells_x + 3))
        across = _upsample(knots.T / _SPLINE_STD**2, self.size).T
        return _upsample(np.ascontiguousarray(across), self.size)

    def wave(self, cells: int) -> Field:
        """Return smooth 1-D noise along x of shape (1, size), mean 0, standard deviation 1."""
        knots = self.rng.standard_normal((cells + 3, 1))
        return _upsample(knots / _SPLINE_STD, self.size).T

    def fractal(self, cells: int, octaves: int = 3) -> Field:
        """Return noise with detail at ``cells``, 2*cells, ... (amplitude halves each octave)."""
        total = self.noise(cells)
        for octave in range(1, octaves):
            total = total + self.noise(cells * 2**octave) * 0.5**octave
        return total / np.sqrt(sum(0.25**octave for octave in range(octaves)))

    def inside(self, distance: Field, softness: float = 0.0) -> Field:
        """Turn a signed distance (negative inside) into coverage in [0, 1].

        The ramp is at least one pixel wide (anti-aliasing) and ``softness`` wide if larger.
        """
        return np.clip(0.5 - distance / max(softness, self.pixel), 0.0, 1.0)

    def frame(self, centre: tuple[float, float], angle: float) -> tuple[Field, Field]:
        """Return coordinates (along, across), (size, size) each, of a rotated local frame."""
        dx, dy = self.x - centre[0], self.y - centre[1]
        c, s = np.cos(angle), np.sin(angle)
        return dx * c + dy * s, dy * c - dx * s

    def segment(self, start: tuple[float, float], end: tuple[float, float]) -> Field:
        """Return the (size, size) distance to the straight segment from start to end."""
        length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
        angle = float(np.arctan2(end[1] - start[1], end[0] - start[0]))
        along, across = self.frame(start, angle)
        return np.hypot(along - np.clip(along, 0.0, length), across)

    def arc(
        self, centre: tuple[float, float], angle: float, bend: float, half_length: float
    ) -> Field:
        """Return the approximate (size, size) distance to a parabola ``across = bend*along**2``."""
        along, across = self.frame(centre, angle)
        slope = 2.0 * bend * along
        offset = np.abs(across - bend * along**2) / np.sqrt(1.0 + slope**2)
        return np.hypot(offset, np.maximum(np.abs(along) - half_length, 0.0))

    def lobed(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        angle: float,
        lobes: Sequence[float],
    ) -> Field:
        """Return the signed distance-like field of a rotated ellipse with wavy border.

        ``lobes[k]`` is the relative amplitude of the border's wave of order k + 2; the phases
        are drawn here. Values are in picture units, negative inside.
        """
        along, across = self.frame(centre, angle)
        u, v = along / radii[0], across / radii[1]
        rho = np.hypot(u, v)
        theta = np.arctan2(v, u)
        border = np.ones_like(rho)
        for order, amplitude in enumerate(lobes, start=2):
            border = border + amplitude * np.cos(order * theta + self.uniform(0.0, 2 * np.pi))
        return (rho - border) * float(np.sqrt(radii[0] * radii[1]))

    def dots(self, cells: int, jitter: float = 0.5) -> Field:
        """Return the distance, in cells, to the nearest point of a jittered lattice.

        Only the four closest lattice cells are visited; with jitter at most 0.5 this is the
        true nearest point almost everywhere, at less than half the price of all nine.
        """
        shift = self.rng.uniform(-jitter, jitter, size=(2, cells + 4, cells + 4))
        position = (np.arange(self.size) + 0.5) / self.size * cells + 1.5
        near = np.floor(position - 0.5).astype(np.int64)
        nearest = np.full((self.size, self.size), np.inf)
        for step_y in (0, 1):
            for step_x in (0, 1):
                index = np.ix_(near + step_y, near + step_x)
                dx = (near + step_x + 0.5 - position)[None, :] + shift[0][index]
                dy = (near + step_y + 0.5 - position)[:, None] + shift[1][index]
                nearest = np.minimum(nearest, dx * dx + dy * dy)
        return np.sqrt(nearest)


def sigmoid(value: Field, width: float) -> Field:
    """Return a smooth step from 0 (negative) to 1 (positive) about ``width`` wide."""
    return 0.5 + 0.5 * np.tanh(2.0 * value / width)


def blend(picture: Field, colour: Sequence[float] | Field, coverage: Field) -> Field:
    """Paint ``colour`` ((3,) or (size, size, 3)) over a (size, size, 3) picture."""
    return picture + coverage[..., None] * (np.asarray(colour) - picture)


def to_uint8(picture: Field) -> NDArray[np.uint8]:
    """Round a picture with nominal range [0, 1] to uint8; values outside are clipped."""
    return np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)
