"""Whether the lead of a column's best row exceeds the noise of its test set."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.reporting.forensics.columns import per_image
from bench.reporting.forensics.overlaps import has_overlaps, iou_of
from bench.reporting.forensics.reading import WAYS
from bench.reporting.forensics.rows import ScoredRow

CORRELATIONS = (0.5, 0.7, 0.9)
"""Between the two methods' scores of one image; nothing in a table tells it."""

LEVEL = 0.05


@dataclass(frozen=True)
class Chance:
    """The probability that a true lead of zero shows as the printed one or a greater one.

    low, high: over all values that the digits leave.
    """

    correlation: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Lead:
    """The best row's DSC above that of the second-best, in points, and its chance by correlation."""

    best: ScoredRow
    second: ScoredRow
    points: float
    chances: tuple[Chance, ...]

    @property
    def is_noise(self) -> bool:
        """Whether the least correlation of `CORRELATIONS` leaves more than 5 % to chance."""
        return self.chances[0].value > LEVEL


def spread(dsc: float, iou: float) -> float:
    """SD of DSC over images, in points, from the two means in per cent.

    Second-order expansion of IoU = D / (2 - D) around the mean: the gap of Jensen's inequality is
    half the variance times the second derivative 4 / (2 - D)^3. It understates the SD by 2-18 %.
    """
    excess = max(iou - iou_of(dsc), 0.0) / 100
    return 100 * math.sqrt(excess * (2 - dsc / 100) ** 3 / 2)


def chance_of(
    best: tuple[float, float], second: tuple[float, float], cases: int, correlation: float
) -> float:
    """P(lead by chance) of two rows' (DSC, IoU) in per cent, from a normal paired difference."""
    one, other = spread(*best), spread(*second)
    variance = (one**2 + other**2 - 2 * correlation * one * other) / cases
    lead = best[0] - second[0]
    if variance <= 0:
        return 0.0 if lead > 0 else 1.0
    return 0.5 * math.erfc(lead / math.sqrt(2 * variance))


def leads(rows: Sequence[ScoredRow]) -> Iterator[Lead]:
    """The lead of one column's best row over the best row of another method.

    Nothing for a column of one method, one without IoU, or one whose number of images is unknown.
    Rows that look pooled are left out.
    """
    kept = [row for row in per_image(rows) if has_overlaps(row) and (row.cases or 0) > 1]
    ranked = sorted(kept, key=lambda row: row.scores["dsc"].value, reverse=True)
    rivals = [row for row in ranked if row.method != ranked[0].method]
    if rivals:
        best, second = ranked[0], rivals[0]
        points = best.scores["dsc"].value - second.scores["dsc"].value
        yield Lead(best, second, points, tuple(_chance(best, second, r) for r in CORRELATIONS))


def _chance(best: ScoredRow, second: ScoredRow, correlation: float) -> Chance:
    assert best.cases is not None
    readings = [row.scores[metric] for row in (best, second) for metric in ("dsc", "iou")]
    found = [
        chance_of((d1, i1), (d2, i2), best.cases, correlation)
        for way in WAYS
        for d1, i1, d2, i2 in itertools.product(*(reading.ranges[way] for reading in readings))
    ]
    d1, i1, d2, i2 = (reading.value for reading in readings)
    value = chance_of((d1, i1), (d2, i2), best.cases, correlation)
    return Chance(correlation, value, min(found), max(found))
