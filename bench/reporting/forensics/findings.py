"""All checks of one table's rows, or of one edition, as a list of findings."""

from collections.abc import Iterator, Sequence
from typing import Literal

from bench.core.frozen import Frozen
from bench.experiments.cells import CellRecord
from bench.reporting.forensics.columns import discordant, equal_pairs
from bench.reporting.forensics.copies import Copy, LoggedRuns, compared
from bench.reporting.forensics.leads import Lead, leads
from bench.reporting.forensics.overlaps import (
    breaks_jensen,
    breaks_order,
    gap,
    gap_range,
    iou_of,
    pooled_ways,
)
from bench.reporting.forensics.reading import WAYS
from bench.reporting.forensics.rows import ScoredRow, columns, rows_of_cells, rows_of_edition
from bench.reporting.published import Edition, PrintedNumber, edition_names, load_edition, shared

Check = Literal["jensen", "order", "pooled", "discordance", "equal", "lead", "copy", "edition"]


class Finding(Frozen):
    """One thing that a check found.

    flagged: False for a number that is listed although nothing is wrong with it. where: table and dataset. models: those concerned. value, low, high: the check's number in `unit`,
    and what it may be with the digits as printed; None where the check has no number. text: the
    finding in words. source: of what a number was compared with.
    """

    check: Check
    flagged: bool = True
    where: str
    models: tuple[str, ...]
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: Literal["points", "px", "places", "probability", ""] = ""
    text: str
    source: str = ""


def findings_of_edition(edition: Edition, logged: LoggedRuns | None = None) -> list[Finding]:
    """Every finding on the numbers that an edition prints; copies where runs are given."""
    found = _of_rows(rows_of_edition(edition))
    if logged is not None:
        found += [_copy(copy) for copy in compared(edition, logged) if copy.ways]
    return found + [one for name in edition_names() for one in _against(edition, name)]


def findings_of_cells(cells: Sequence[CellRecord]) -> list[Finding]:
    """Every finding on the means of stored cells."""
    return _of_rows(rows_of_cells(cells))


def _of_rows(rows: Sequence[ScoredRow]) -> list[Finding]:
    found = [finding for row in rows for finding in _of_row(row)]
    for column in columns(rows):
        found += [_discordance(*hit) for hit in discordant(column)]
        found += [_equal(*hit) for hit in equal_pairs(column)]
        found += [_lead(lead) for lead in leads(column)]
    return found


def _of_row(row: ScoredRow) -> Iterator[Finding]:
    if breaks_order(row):
        yield _overlap(row, "order", "IoU exceeds DSC, which it does for no image")
    if breaks_jensen(row):
        yield _overlap(
            row,
            "jensen",
            f"IoU {row.scores['iou'].text} is below {iou_of(row.scores['dsc'].value):.3f} = D/(2-D) "
            f"of DSC {row.scores['dsc'].text}: no mean over images can be",
        )
    ways = pooled_ways(row)
    if ways:
        only = "" if len(ways) == len(WAYS) else f", only if the numbers are {ways[0]}"
        yield _overlap(
            row,
            "pooled",
            f"IoU equals D/(2-D) within its digits{only}: one confusion matrix over all images, or "
            "images that all score alike; left out of rankings and spreads",
        )


def _overlap(row: ScoredRow, check: Check, text: str) -> Finding:
    ranges = [gap_range(row, way) for way in WAYS]
    return Finding(
        check=check,
        where=row.where,
        models=(row.model,),
        metric="dsc, iou",
        value=gap(row),
        low=min(low for low, _ in ranges),
        high=max(high for _, high in ranges),
        unit="points",
        text=text,
    )


def _discordance(row: ScoredRow, overlap: int, distance: int, count: int) -> Finding:
    return Finding(
        check="discordance",
        where=row.where,
        models=(row.model,),
        metric="dsc, hd95",
        value=float(distance - overlap),
        unit="places",
        text=f"place {overlap} by DSC and place {distance} by HD95 among {count} rows",
    )


def _equal(one: ScoredRow, other: ScoredRow, metric: str) -> Finding:
    return Finding(
        check="equal",
        where=one.where,
        models=(one.model, other.model),
        metric=metric,
        value=one.scores[metric].value,
        low=one.scores[metric].low,
        high=one.scores[metric].high,
        unit="px" if metric == "hd95" else "points",
        text=f"both show {one.scores[metric].text}",
    )


def _lead(lead: Lead) -> Finding:
    chances = "; ".join(
        f"{chance.value:.3f} [{chance.low:.3f}, {chance.high:.3f}] if scores correlate by "
        f"{chance.correlation}"
        for chance in lead.chances
    )
    first = lead.chances[0]
    return Finding(
        check="lead",
        flagged=lead.is_noise,
        where=lead.best.where,
        models=(lead.best.model, lead.second.model),
        metric="dsc",
        value=first.value,
        low=first.low,
        high=first.high,
        unit="probability",
        text=f"a lead of {lead.points:.2f} points over {lead.best.cases} images is chance with "
        f"probability {chances}",
    )


def _copy(copy: Copy) -> Finding:
    number = copy.number
    return Finding(
        check="copy",
        where=f"Table {number.table}, {number.key.test}",
        models=(number.model,),
        metric=number.key.metric,
        value=copy.mean,
        unit="points",
        text=f"{number.printed} is the mean {copy.mean:.3f} of {copy.runs} logged runs (SD "
        f"{copy.sd:.1f}), {' or '.join(copy.ways)}",
        source=copy.source,
    )


def _against(edition: Edition, other: str) -> Iterator[Finding]:
    """The numbers that another edition prints differently."""
    if other == edition.name:
        return
    both = shared(edition.name, other)
    for own, foreign in both:
        if own.printed != foreign.printed:
            yield Finding(
                check="edition",
                where=f"Table {own.table}, {own.key.test}",
                models=(own.model,),
                metric=own.key.metric,
                value=own.value - foreign.value,
                unit="px" if own.key.metric == "hd95" else "points",
                text=f"{own.printed} here, {foreign.printed} in {other}"
                f"{_whose(edition, own, foreign.printed)}{_whose(load_edition(other), own, own.printed)}"
                f"; the other {len(both) - 1} shared numbers agree",
            )


def _whose(edition: Edition, number: PrintedNumber, text: str) -> str:
    """Which other model of the same column shows a text in an edition."""
    column = (number.key.train, number.key.test, number.key.metric, number.key.variant)
    owners = [
        other.model
        for other in edition.numbers
        if (other.key.train, other.key.test, other.key.metric, other.key.variant) == column
        and other.printed == text
        and other.key.method != number.key.method
    ]
    return f"; {text} is {owners[0]}'s in {edition.name}" if owners else ""
