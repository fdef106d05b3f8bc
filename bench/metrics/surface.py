"""Distances between the borders of two masks, exact, and the two readings of HD95.

Distances stay squared integers until two of them are picked for a percentile, and only these get a
square root. The root of a float64 is correctly rounded, so a value equals medpy's to the last bit.
"""

import math

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Squares = NDArray[np.float64]
"""Squared distances in px^2: integers."""

PERCENTILE = 95
REACH = 4
"""Distances up to this many px are read from a map when there are many border points."""
MATRIX = 1_200_000
"""Most pairs of border points for which all distances are computed: 1,100 points on each side."""
BLOCK = 100_000
"""Pairs computed at a time, so that they stay in the processor's cache."""


def hd95_pair(pred: Mask, target: Mask) -> tuple[float, float]:
    """Both definitions of HD95 in px: (medpy's, larger of the two directed percentiles).

    pred, target: bool (H, W), both with at least one foreground pixel.
    medpy's (`medpy.metric.binary.hd95`, connectivity 1) is one 95th percentile over both directed
    distance sets pooled; the other (MONAI, DeepMind) is max of the two sets' 95th percentiles.
    Raises ValueError when the shapes differ or a mask is empty: bench/metrics/empty.py rules those.
    """
    if pred.shape != target.shape or pred.ndim != 2:
        raise ValueError(f"need two masks of one shape (H, W); got {pred.shape}, {target.shape}")
    box = joint_box(pred, target)
    to_target, to_pred = squared_distances(border(pred[box]), border(target[box]))
    pooled = percentile_distance(np.concatenate((to_target, to_pred)))
    return pooled, max(percentile_distance(to_target), percentile_distance(to_pred))


def joint_box(pred: Mask, target: Mask) -> tuple[slice, slice]:
    """The smallest window that holds the foreground of both masks.

    Outside it there is only background, which is also what lies beyond an image's edge in
    `border`, so cropping changes no distance.
    """
    either = pred | target
    rows = np.flatnonzero(either.any(axis=1))
    columns = np.flatnonzero(either.any(axis=0))
    if len(rows) == 0 or not pred.any() or not target.any():
        raise ValueError("a mask without foreground has no border; see bench/metrics/empty.py")
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def border(mask: Mask) -> Mask:
    """Foreground pixels with background, or the edge of the array, among their 4 neighbours.

    mask: bool (H, W). The same as mask minus its erosion with the 4-neighbour cross (medpy's
    connectivity 1).
    """
    found = mask.copy()
    core = mask[1:-1, 1:-1] & mask[:-2, 1:-1]
    core &= mask[2:, 1:-1]
    core &= mask[1:-1, :-2]
    core &= mask[1:-1, 2:]
    found[1:-1, 1:-1] ^= core
    return found


def squared_distances(one: Mask, other: Mask) -> tuple[Squares, Squares]:
    """Squared distance in px^2 from each pixel of `one` to the nearest of `other`, and back.

    one, other: bool (H, W) of one shape, the borders of two masks. Each answer is in row-major
    order of its own pixels.
    """
    points = _points(one), _points(other)
    if len(points[0]) * len(points[1]) <= MATRIX:
        return _all_pairs(*points)
    return _near_then_far(one, other, *points), _near_then_far(other, one, *points[::-1])


def percentile_distance(squares: Squares) -> float:
    """The 95th percentile of the distances whose squares are given, in px.

    The same number as numpy.percentile of the roots: linear interpolation between the two order
    statistics (Hyndman and Fan 1996, type 7), in numpy's order of operations.
    """
    place = (len(squares) - 1) * (PERCENTILE / 100)
    lower = int(place)
    upper = min(lower + 1, len(squares) - 1)
    ordered = np.partition(squares, (lower, upper))
    low, high = math.sqrt(ordered[lower]), math.sqrt(ordered[upper])
    share = place - lower
    if share >= 0.5:
        return high - (high - low) * (1 - share)
    return low + (high - low) * share


def _points(mask: Mask) -> NDArray[np.float64]:
    """(row, column) of the pixels of `mask`, from its middle, in row-major order: (points, 2)."""
    height, width = mask.shape
    rows, columns = np.divmod(np.flatnonzero(mask), width)
    return np.column_stack((rows - height // 2, columns - width // 2)).astype(np.float64)


def _factors(
    query: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Matrices (N, 4) and (4, M) whose product holds |q|^2 - 2 q.t + |t|^2.

    Every sum on the way is an integer of at most 4 times the largest |q|^2 or |t|^2. float32 holds
    it exactly below 2^24, float64 for every image.
    """
    ours, theirs = (query**2).sum(axis=1), (target**2).sum(axis=1)
    exact = 4 * max(ours.max(), theirs.max()) < 2**24
    left = np.column_stack((query, ours, np.ones(len(query))))
    right = np.column_stack((-2 * target, np.ones(len(target)), theirs))
    kind = np.float32 if exact else np.float64
    return left.astype(kind), right.T.astype(kind)


def _blocks(rows: int, columns: int) -> list[slice]:
    """Slices of `rows` with about BLOCK pairs each."""
    height = max(1, BLOCK // columns)
    return [slice(start, start + height) for start in range(0, rows, height)]


def _all_pairs(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[Squares, Squares]:
    """Both directions from the matrix of all squared distances."""
    left, right = _factors(one, other)
    there = np.empty(len(one))
    back = np.full(len(other), np.inf)
    for block in _blocks(len(one), len(other)):
        squares = left[block] @ right
        there[block] = squares.min(axis=1)
        np.minimum(back, squares.min(axis=0), out=back)
    return there, back


def _near_then_far(
    query: Mask,
    target: Mask,
    points: NDArray[np.float64],
    targets: NDArray[np.float64],
) -> Squares:
    """One direction for many points: most are near the other border, and one map serves them."""
    squares = _near_map(target).ravel()[np.flatnonzero(query)].astype(np.float64)
    far = np.flatnonzero(squares > REACH**2)
    if len(far):
        left, right = _factors(points[far], targets)
        for block in _blocks(len(far), len(targets)):
            squares[far[block]] = (left[block] @ right).min(axis=1)
    return squares


def _near_map(target: Mask) -> NDArray[np.uint8]:
    """Squared distance of every pixel to `target` where it is at most REACH^2, else more.

    The nearest pixel of each column first, then over the columns; values stay below 256.
    """
    beyond = 255 - 2 * REACH**2
    found = np.where(target, np.uint8(0), np.uint8(beyond))
    for axis in (0, 1):
        source = found.copy()
        along, lines = np.moveaxis(found, axis, 0), np.moveaxis(source, axis, 0)
        for step in range(1, min(REACH, len(lines) - 1) + 1):
            moved = lines + np.uint8(step**2)
            np.minimum(along[step:], moved[:-step], out=along[step:])
            np.minimum(along[:-step], moved[step:], out=along[:-step])
    return found
