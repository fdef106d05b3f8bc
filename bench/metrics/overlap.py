"""Dice and IoU of hard masks from pixel counts: the one place where they are computed."""

from typing import overload

import numpy as np
from numpy.typing import NDArray

from bench.metrics.empty import overlap_when_empty, which_empty

Counts = NDArray[np.integer]


@overload
def dice(tp: int, pred: int, target: int) -> float: ...
@overload
def dice(tp: Counts, pred: Counts, target: Counts) -> NDArray[np.float64]: ...
def dice(tp: int | Counts, pred: int | Counts, target: int | Counts) -> float | NDArray[np.float64]:
    """Dice coefficient 2 tp / (pred + target), in [0, 1].

    tp, pred, target: foreground pixels in both masks, in the prediction and in the target; ints,
    or integer arrays of one shape, which give a float64 array of that shape.
    Source: Dice 1945; empty rule: bench/metrics/empty.py.
    """
    return _overlap(2 * tp, pred + target, pred, target)


@overload
def iou(tp: int, pred: int, target: int) -> float: ...
@overload
def iou(tp: Counts, pred: Counts, target: Counts) -> NDArray[np.float64]: ...
def iou(tp: int | Counts, pred: int | Counts, target: int | Counts) -> float | NDArray[np.float64]:
    """Intersection over union tp / (pred + target - tp), in [0, 1]; counts as in `dice`.

    Source: Jaccard 1912; empty rule: bench/metrics/empty.py.
    """
    return _overlap(tp, pred + target - tp, pred, target)


def _overlap(part, whole, pred, target):  # type: ignore[no-untyped-def]
    if isinstance(whole, np.ndarray):
        return np.vectorize(_of_one_case, otypes=[np.float64])(part, whole, pred, target)
    return _of_one_case(part, whole, pred, target)


def _of_one_case(part: int, whole: int, pred: int, target: int) -> float:
    kind = which_empty(pred, target)
    return part / whole if kind == "none" else overlap_when_empty(kind)
