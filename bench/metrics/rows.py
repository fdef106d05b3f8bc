"""Per-case rows of scores from predicted masks and their targets.

This module is the root of the scoring digest: what it imports decides stored scores.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics.case import score_case

Mask = NDArray[np.bool_]


def case_rows(
    case_id: str, group: str, pairs: Iterable[tuple[str, Mask, Mask]]
) -> list[dict[str, Any]]:
    """One row per grid of one case: identity, grid and its size in px, then the scores.

    pairs: (grid, pred, target) with bool (H, W) masks of one shape; the grid is "network", the
    profile's square size, or "native", the image's stored size. Raises ValueError otherwise.
    """
    rows = []
    for grid, pred, target in pairs:
        head = {"case_id": case_id, "group": group, "grid": grid}
        size = {"height": target.shape[0], "width": target.shape[1]}
        rows.append(head | size | score_case(pred, target))
    return rows
