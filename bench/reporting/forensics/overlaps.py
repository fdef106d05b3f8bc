"""What DSC and IoU of one row say about how they were averaged.

With one image, or one confusion matrix over a whole test set, IoU = DSC / (2 - DSC). The function is
convex, so for means over images Jensen's inequality gives IoU >= DSC / (2 - DSC), with equality only
where every image scores the same.
"""

from bench.reporting.forensics.reading import WAYS, Reading, Way
from bench.reporting.forensics.rows import ScoredRow


def iou_of(dsc: float) -> float:
    """The IoU that belongs to a DSC, both in per cent."""
    return 100 * dsc / (200 - dsc)


def gap(row: ScoredRow) -> float:
    """IoU - DSC / (2 - DSC) of the numbers as they stand, in points."""
    return row.scores["iou"].value - iou_of(row.scores["dsc"].value)


def gap_range(row: ScoredRow, way: Way) -> tuple[float, float]:
    """The least and greatest gap, in points, that the digits leave under one way of printing."""
    dsc, iou = row.scores["dsc"].ranges[way], row.scores["iou"].ranges[way]
    return iou[0] - iou_of(dsc[1]), iou[1] - iou_of(dsc[0])


def has_overlaps(row: ScoredRow) -> bool:
    """Whether both DSC and IoU are there."""
    return {"dsc", "iou"} <= row.scores.keys()


def at_an_end(reading: Reading) -> bool:
    """Whether an overlap in per cent may be 0 or 100."""
    return reading.low <= 0 or reading.high >= 100


def breaks_jensen(row: ScoredRow) -> bool:
    """Whether IoU is below DSC / (2 - DSC) under every way of printing: no per-image mean is."""
    return has_overlaps(row) and all(gap_range(row, way)[1] < 0 for way in WAYS)


def breaks_order(row: ScoredRow) -> bool:
    """Whether IoU exceeds DSC under every way of printing; it does so for no image."""
    return has_overlaps(row) and all(
        row.scores["iou"].ranges[way][0] > row.scores["dsc"].ranges[way][1] for way in WAYS
    )


def pooled_ways(row: ScoredRow) -> tuple[Way, ...]:
    """The ways of printing under which IoU = DSC / (2 - DSC) is possible.

    Such a row was scored from one confusion matrix over all its test images, or all images score
    the same; with one test image nothing can be told, nor where all images score 0 or 100.
    """
    if not has_overlaps(row) or row.cases == 1 or at_an_end(row.scores["iou"]):
        return ()
    return tuple(way for way in WAYS if gap_range(row, way)[0] <= 0 <= gap_range(row, way)[1])
