"""What the rows of one column say about each other."""

import itertools
from collections.abc import Iterator, Sequence

from bench.reporting.forensics.overlaps import at_an_end, breaks_jensen, pooled_ways
from bench.reporting.forensics.rows import ScoredRow

FEWEST_ROWS = 6
"""Below this, places are too few for their difference to say anything."""


def per_image(rows: Sequence[ScoredRow]) -> list[ScoredRow]:
    """The rows that rankings and estimates of spread may use: those that can be per-image means and
    do not look pooled."""
    return [row for row in rows if not (pooled_ways(row) or breaks_jensen(row))]


def places(rows: Sequence[ScoredRow], metric: str) -> dict[str, int]:
    """Model -> its place in the column, 1 for the best; equal numbers share the better place."""
    sign = -1 if metric == "hd95" else 1
    values = {row.model: sign * row.scores[metric].value for row in rows if metric in row.scores}
    return {
        model: 1 + sum(other > value for other in values.values())
        for model, value in values.items()
    }


def discordant(rows: Sequence[ScoredRow]) -> Iterator[tuple[ScoredRow, int, int, int]]:
    """(row, place by DSC, place by HD95, rows) of those whose places differ by half the rows.

    Rows that look pooled are left out: their DSC is another quantity.
    """
    kept = [row for row in per_image(rows) if {"dsc", "hd95"} <= row.scores.keys()]
    if len(kept) < FEWEST_ROWS:
        return
    by_overlap, by_distance = places(kept, "dsc"), places(kept, "hd95")
    for row in kept:
        first, second = by_overlap[row.model], by_distance[row.model]
        if 2 * abs(first - second) >= len(kept):
            yield row, first, second, len(kept)


def equal_pairs(rows: Sequence[ScoredRow]) -> Iterator[tuple[ScoredRow, ScoredRow, str]]:
    """(row, other row, metric) wherever two rows of a column show the same number.

    Overlaps of 0 and 100 are left out: models that find nothing, or everything, share them.
    """
    for one, other in itertools.combinations(rows, 2):
        for metric in [metric for metric in one.scores if metric in other.scores]:
            reading = one.scores[metric]
            trivial = metric != "hd95" and at_an_end(reading)
            if reading.text == other.scores[metric].text and not trivial:
                yield one, other, metric
