"""What figures draw, taken from cells by the same rows and columns as the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.experiments.cells import CellRecord
from bench.experiments.matrices import TableBlock
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.tables.footer import column_title
from bench.reporting.tables.layout import Layout, make_layout
from bench.reporting.tables.rows import Row
from bench.reporting.tables.table import Column


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
    """A block's layout and its cells, ready to draw."""

    layout: Layout
    records: Sequence[CellRecord]
    titles: Mapping[str, str]
    scores: ScoreIndex

    def title(self, column: Column) -> str:
        """A column's heading."""
        tail = " (all cases)" if column.subset == "all" else ""
        return column_title(column.train, column.test, self.titles) + tail

    def records_of(self, row: Row, train: str) -> list[CellRecord]:
        """A row's cells trained on one dataset, by seed."""
        own = [r for r in self.records if r.key.train == train and row.takes(r)]
        return sorted(own, key=lambda record: record.key.seed)

    def spread(self, row: Row, column: Column) -> Spread:
        """Per-case DSC on the network grid."""
        own = self.records_of(row, column.train)
        scored = [record for record in own if record.has_scores(column.test, column.subset)]
        if not scored:
            failed = any(record.status == "failed" for record in own)
            return Spread(np.empty(0), "failed" if failed else "not run")
        rows = pd.concat([self.dsc(record, column) for record in scored])
        means = rows.groupby("case", observed=True)["value"].mean()
        return Spread(100 * means.to_numpy(dtype=np.float64))

    def dsc(self, record: CellRecord, column: Column) -> pd.DataFrame:
        """One cell's DSC per case on the network grid: rows of the frame of scores."""
        return self.scores.rows(record.id, column.test, column.subset, "network", "dsc")


def figure_data(
    block: TableBlock,
    records: Sequence[CellRecord],
    titles: Mapping[str, str],
    scores: ScoreIndex | None = None,
) -> FigureData:
    """A block with the cells it shows; foreign test sets in the subset that was scored.

    Rows without any cell are left out. Where both subsets were scored, the test subset is shown.
    scores: the records' scores where they are read already; else they are read from their files.
    """
    scores = scores or ScoreIndex(scores_of(records))
    subsets: tuple[Literal["test", "all"], ...] = ("test", "all")
    layouts = [make_layout(block, records, (), subset) for subset in subsets]
    return FigureData(layouts[0] if layouts[0].rows else layouts[1], records, titles, scores)
