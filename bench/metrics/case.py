"""The score of one case: counts first, then the ratios and distances made of them."""

import math
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.metrics.empty import EmptyKind, distance_when_empty, which_empty
from bench.metrics.overlap import dice, iou
from bench.metrics.surface import hd95_pair


class CaseScores(TypedDict):
    """One case on one grid. Counts in pixels, DSC and IoU in [0, 1], distances in pixels."""

    tp: int
    fp: int
    fn: int
    tn: int
    dsc: float
    iou: float
    hd95: float
    hd95_directed: float
    diagonal: float
    empty: EmptyKind


def score_case(pred: NDArray[np.bool_], target: NDArray[np.bool_]) -> CaseScores:
    """Counts, DSC, IoU and both HD95 of one predicted mask against the target.

    pred, target: bool (H, W), any size. Distances are in pixels of that grid, never mm (the public
    images carry no spacing); `diagonal` = sqrt(H^2 + W^2) px, so hd95 / diagonal is the share of
    it. hd95 is medpy's value; hd95_directed the larger directed percentile (MONAI, DeepMind).
    Raises ValueError for other shapes or types.
    Source: Dice 1945, Jaccard 1912, Huttenlocher et al. 1993; empty rule: bench/metrics/empty.py.
    """
    _check(pred, target)
    height, width = target.shape
    tp = int(np.count_nonzero(pred & target))
    in_pred, in_target = int(np.count_nonzero(pred)), int(np.count_nonzero(target))
    diagonal = math.sqrt(height**2 + width**2)
    kind = which_empty(in_pred, in_target)
    if kind == "none":
        hd95, directed = hd95_pair(pred, target)
    else:
        hd95 = directed = distance_when_empty(kind, diagonal)
    return {
        "tp": tp,
        "fp": in_pred - tp,
        "fn": in_target - tp,
        "tn": height * width - (in_pred + in_target - tp),
        "dsc": dice(tp, in_pred, in_target),
        "iou": iou(tp, in_pred, in_target),
        "hd95": hd95,
        "hd95_directed": directed,
        "diagonal": diagonal,
        "empty": kind,
    }


def _check(pred: NDArray[np.bool_], target: NDArray[np.bool_]) -> None:
    if pred.dtype != np.bool_ or target.dtype != np.bool_:
        raise ValueError(f"masks must be bool; got {pred.dtype} and {target.dtype}")
    if pred.shape != target.shape or pred.ndim != 2 or 0 in pred.shape:
        raise ValueError(f"need two masks of one shape (H, W); got {pred.shape}, {target.shape}")
