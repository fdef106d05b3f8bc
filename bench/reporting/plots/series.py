"""What figures draw, taken from cells by the same rows and columns as the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.experiments.cells import CellRecord
from bench.experiments.matrices import TableBlock
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.tables.comparable import (
    require_comparable,
    require_one_per_seed,
    standing,
)
from bench.reporting.tables.entries import ColumnScores
from bench.reporting.tables.footer import column_title
from bench.reporting.tables.layout import Layout, make_layout, used
from bench.reporting.tables.rows import Row
from bench.reporting.tables.table import Column, Grid


@dataclass(frozen=True)
class Spread:
    """DSC of one row on one test set. cases: per cent, one per case, averaged over seeds.

    reason: why there is none.
    """

    cases: NDArray[np.float64]
    reason: str = ""

    @property
    def mean(self) -> float:
        """Mean over cases, per cent."""
        return float(self.cases.mean())


@dataclass(frozen=True)
class FigureData:
    """A block's layout and its cells, ready to draw. grid: where scores are taken."""

    layout: Layout
    records: Sequence[CellRecord]
    titles: Mapping[str, str]
    scores: ColumnScores

    @property
    def grid(self) -> Grid:
        """Where the scores are taken."""
        return self.scores.grid

    def title(self, column: Column) -> str:
        """A column's heading."""
        tail = " (all cases)" if column.subset == "all" else ""
        return column_title(column.train, column.test, self.titles) + tail

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns in which some row has a score: only they get axes."""
        return tuple(
            column
            for column in self.layout.columns
            if any(self._scored(row, column) for row in self.layout.rows)
        )

    @property
    def remark(self) -> str:
        """The columns without any score, "" where all have one."""
        blank = [self.title(c) for c in self.layout.columns if c not in self.columns]
        return f"No scores on {', '.join(blank)}." if blank else ""

    def label(self, row: Row) -> str:
        """A row's name, with the seeds it lacks beside its neighbours."""
        seeds = {record.key.seed for record in self.records}
        counts = [len(self._scored(row, column)) for column in self.columns]
        found = sorted({count for count in counts if count})
        if not found or found[0] == len(seeds):
            return row.label
        span = " to ".join(map(str, dict.fromkeys((found[0], found[-1]))))
        return f"{row.label} ({span} of {len(seeds)} seeds)"

    def records_of(self, row: Row, train: str) -> list[CellRecord]:
        """A row's cells trained on one dataset, by seed."""
        own = [r for r in self.records if r.key.train == train and row.takes(r)]
        require_one_per_seed(self.layout.block.name, row.label, own)
        return sorted(own, key=lambda record: record.key.seed)

    def _scored(self, row: Row, column: Column) -> list[CellRecord]:
        own = self.records_of(row, column.train)
        return [
            record
            for record in own
            if record.has_scores(column.test, column.subset) and len(self.dsc(record, column))
        ]

    def spread(self, row: Row, column: Column) -> Spread:
        """Per-case DSC on the figure's grid."""
        own, scored = self.records_of(row, column.train), self._scored(row, column)
        if not scored:
            failed = any(record.status == "failed" for record in own)
            return Spread(
                np.empty(0), "failed" if failed else "not run" if not own else "no scores"
            )
        rows = pd.concat([self.dsc(record, column) for record in scored])
        means = rows.groupby("case", observed=True)["value"].mean()
        return Spread(100 * means.to_numpy(dtype=np.float64))

    def dsc(self, record: CellRecord, column: Column) -> pd.DataFrame:
        """One cell's DSC per case on the figure's grid: rows of the frame of scores."""
        return self.scores.of(record, column, "dsc")


def figure_data(
    block: TableBlock,
    records: Sequence[CellRecord],
    titles: Mapping[str, str],
    scores: ScoreIndex | None = None,
    grid: Grid = "network",
) -> FigureData:
    """A block with the cells it shows; foreign test sets in the subset that was scored.

    Rows without any cell are left out. Where both subsets were scored, the test subset is shown.
    scores: the records' scores where they are read already; else they are read from their files.
    Raises BenchError, as tables do, when the cells cannot be compared.
    """
    scores = scores or ScoreIndex(scores_of(records))
    records, _ = standing(records)
    subsets: tuple[Literal["test", "all"], ...] = ("test", "all")
    layouts = [make_layout(block, records, (), subset) for subset in subsets]
    layout = layouts[0] if layouts[0].rows else layouts[1]
    shown = used(layout, records)
    if shown:
        require_comparable(block.name, shown)
    return FigureData(layout, shown, titles, ColumnScores(block.name, grid, scores))
