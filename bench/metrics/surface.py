"""Distances between the borders of two masks, exact, and the two readings of HD95.

Every distance here is the square root of an exact integer, so a value equals medpy's to the last
bit whatever road led to the integer: C's square root, which scipy uses, is correctly rounded.
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

PERCENTILE = 95


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
    pred_points, target_points = border_points(pred[box]), border_points(target[box])
    to_target = directed_distances(pred_points, target_points)
    to_pred = directed_distances(target_points, pred_points)
    pooled = np.percentile(np.concatenate((to_target, to_pred)), PERCENTILE)
    directed = max(np.percentile(to_target, PERCENTILE), np.percentile(to_pred, PERCENTILE))
    return float(pooled), float(directed)


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
    inner = np.zeros_like(mask)
    core = inner[1:-1, 1:-1]
    core[...] = mask[1:-1, 1:-1]
    core &= mask[:-2, 1:-1]
    core &= mask[2:, 1:-1]
    core &= mask[1:-1, :-2]
    core &= mask[1:-1, 2:]
    return mask & ~inner


def border_points(mask: Mask) -> NDArray[np.float64]:
    """Coordinates (row, column) in px of the border of `mask`: float64 (points, 2), row-major."""
    rows, columns = np.divmod(np.flatnonzero(border(mask)), mask.shape[1])
    return np.column_stack((rows, columns)).astype(np.float64)


def directed_distances(
    query: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance in px from each point of `query` (N, 2) to the nearest of `target` (M, 2), exact.

    Returns float64 (N,) in the order of `query`. A k-d tree over border points beats a distance
    transform of the whole window, whose work is every pixel; splitting at midpoints instead of
    medians builds it faster than it slows the search.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(target, balanced_tree=False, compact_nodes=False)
    return cast(NDArray[np.float64], tree.query(query)[0])
