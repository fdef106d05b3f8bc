"""The rows that the checks read: from an edition's tables, or from stored cells."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.experiments.cells import CellRecord
from bench.reporting.forensics.reading import Reading, computed, printed
from bench.reporting.frame import scores_of
from bench.reporting.published import Edition, PrintedNumber
from bench.reporting.repetitions import repetition_digest
from bench.reporting.tables import ComparisonKey, comparable_groups
from bench.reporting.variants import variant_of

SCALES = {"dsc": 100.0, "iou": 100.0, "hd95": 1.0}
"""Metric of the checks -> its stored unit in the unit of tables: per cent, or px."""


@dataclass(frozen=True)
class ScoredRow:
    """The scores of one model on one test set.

    table: where the row stands, "Table 2" or a comparison key. model: its name there. scores: metric
    (dsc and iou in per cent, hd95 in px) -> reading. cases: test images, None where unknown.
    """

    table: str
    train: str
    test: str
    method: str
    model: str
    scores: dict[str, Reading]
    cases: int | None = None

    @property
    def column(self) -> tuple[str, str, str]:
        """What the rows share that stand below each other."""
        return self.table, self.train, self.test

    @property
    def where(self) -> str:
        """ "Table 3, busi to bus"."""
        dataset = self.test if self.train == self.test else f"{self.train} to {self.test}"
        return f"{self.table}, {dataset}"


def columns(rows: Iterable[ScoredRow]) -> list[list[ScoredRow]]:
    """The rows that stand below each other, in order of first mention."""
    found: dict[tuple[str, str, str], list[ScoredRow]] = {}
    for row in rows:
        found.setdefault(row.column, []).append(row)
    return list(found.values())


def rows_of_edition(edition: Edition) -> list[ScoredRow]:
    """Every scored row of an edition's tables, a row per test set."""
    found: dict[tuple[int, int, str, str], list[PrintedNumber]] = {}
    for number in edition.numbers:
        if number.key.metric in SCALES:
            place = (number.table, number.line, number.key.train, number.key.test)
            found.setdefault(place, []).append(number)
    return [_printed_row(edition, own) for own in found.values()]


def _printed_row(edition: Edition, numbers: Sequence[PrintedNumber]) -> ScoredRow:
    first = numbers[0]
    words = [f"{name} {value}" for name, value in first.key.variant.items()]
    at_home = first.key.train == first.key.test
    counts = edition.test_cases if at_home else edition.cross_domain_cases
    model = first.model.removesuffix(" (Ours)")
    return ScoredRow(
        table=f"Table {first.table}",
        train=first.key.train,
        test=first.key.test,
        method=first.key.method,
        model=f"{model} [{', '.join(words)}]" if words else model,
        scores={number.key.metric: printed(number.printed) for number in numbers},
        cases=counts.get(first.key.test),
    )


def rows_of_cells(cells: Sequence[CellRecord]) -> list[ScoredRow]:
    """A row per comparison key, kind of training and test set.

    Scores are per-image means on the network grid, averaged over repetitions: cells that differ in
    the seed alone.
    """
    return [
        row
        for key, group in comparable_groups(cells).items()
        for row in _group_rows(key, [cell for cell in group if cell.status == "done"])
    ]


def _group_rows(key: ComparisonKey, cells: Sequence[CellRecord]) -> list[ScoredRow]:
    table = " ".join(map(str, key))
    scores = scores_of(cells)
    scores = scores[(scores["grid"] == "network") & scores["metric"].isin(list(SCALES))]
    if scores.empty:
        return []
    records = {cell.id: cell for cell in cells}
    by_cell = scores.groupby(["cell", "test", "subset", "metric"], observed=True, sort=False)
    means = by_cell["value"].agg(["mean", "size"]).reset_index()
    means["kind"] = [repetition_digest(records[cell]) for cell in means["cell"]]
    groups = means.groupby(["kind", "test", "subset"], observed=True, sort=False)
    return [
        _stored_row(table, records[own["cell"].iloc[0]], str(test), str(subset), own)
        for (_, test, subset), own in groups
    ]


def _stored_row(
    table: str, record: CellRecord, test: str, subset: str, means: pd.DataFrame
) -> ScoredRow:
    variant = variant_of(record).text
    over_seeds = means.groupby("metric", observed=True)["mean"].mean()
    return ScoredRow(
        table=table,
        train=record.key.train,
        test=test if subset == "test" else f"{test} (all cases)",
        method=record.key.method,
        model=f"{record.title} [{variant}]" if variant else record.title,
        scores={str(m): computed(SCALES[str(m)] * float(v)) for m, v in over_seeds.items()},
        cases=int(means["size"].iloc[0]),
    )
