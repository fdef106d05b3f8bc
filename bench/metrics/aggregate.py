"""From stored scores, one per case, to the numbers of a table cell.

The per-image mean is primary. The pooled value (one confusion matrix over the whole test set, as
EGE-UNet and MMSegmentation report) is a different quantity and is never printed unlabelled.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from bench.metrics.overlap import dice, iou

Metric = Literal["dsc", "iou", "hd95", "hd95_directed"]
METRICS: tuple[Metric, ...] = ("dsc", "iou", "hd95", "hd95_directed")


@dataclass(frozen=True)
class Summary:
    """One metric over the cases of one test set.

    mean, median, sd: over cases, in the metric's own unit ([0, 1], or px); sd has ddof 1 and is
    None for a single case. cases: number of rows. empty_target, empty_pred, empty_both: how many of
    them had an empty mask; bench/metrics/empty.py rules their scores.
    """

    mean: float
    median: float
    sd: float | None
    cases: int
    empty_target: int
    empty_pred: int
    empty_both: int

    @property
    def empty(self) -> int:
        """Cases in which at least one mask was empty."""
        return self.empty_target + self.empty_pred + self.empty_both


def summarize(rows: pd.DataFrame) -> Summary:
    """Aggregate `rows` of the frame of scores: one metric of one test set of one cell on one grid.

    rows: columns case, grid, metric, value, empty. Raises ValueError for no rows, for two grids or
    metrics at once, for a case that comes twice and for a value that is not finite (the empty rule
    leaves none).
    """
    if rows.empty:
        raise ValueError("no rows to aggregate")
    for name in ("grid", "metric"):
        if rows[name].nunique() > 1:
            raise ValueError(f"rows of one {name} only; got {', '.join(sorted(set(rows[name])))}")
    if rows["case"].duplicated().any():
        raise ValueError("a case comes twice; aggregate one test set of one cell at a time")
    values = rows["value"].astype("float64")
    if not values.abs().lt(float("inf")).all():
        raise ValueError("a value is not finite; the empty rule forbids that")
    empty = rows["empty"].value_counts()
    return Summary(
        mean=float(values.mean()),
        median=float(values.median()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        cases=len(rows),
        empty_target=int(empty.get("target", 0)),
        empty_pred=int(empty.get("pred", 0)),
        empty_both=int(empty.get("both", 0)),
    )


def pooled(rows: pd.DataFrame, metric: Literal["dsc", "iou"]) -> float:
    """DSC or IoU in [0, 1] of the counts summed over `rows`, the per-case rows of a score file."""
    tp, fp, fn = (int(rows[name].sum()) for name in ("tp", "fp", "fn"))
    overlap = dice if metric == "dsc" else iou
    return overlap(tp, tp + fp, tp + fn)
