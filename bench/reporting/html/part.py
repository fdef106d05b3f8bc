"""What a report made of the cells of one comparison key; the page is built of such parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.experiments.cells import CellRecord
from bench.reporting.frame import ScoreIndex
from bench.reporting.statistics import TableStatistics
from bench.reporting.tables import ComparisonKey, Table
from bench.reporting.tables.leaks import leak_line


@dataclass(frozen=True)
class Part:
    """What a report made of the cells of one comparison key.

    titles: dataset -> heading. scores: those of `cells`. figures: written files. narrowed: to what
    the report was narrowed, in words.
    """

    key: ComparisonKey
    cells: Sequence[CellRecord]
    tables: Sequence[Table]
    statistics: Sequence[TableStatistics]
    figures: Sequence[Path]
    scores: ScoreIndex
    titles: dict[str, str]
    narrowed: str = ""

    @property
    def title(self) -> str:
        """In words."""
        profile, protocol, selection, size = self.key
        words = f"Profile {profile}, protocol {protocol}, selection {selection}, {size} px"
        return f"{words} (a part: {self.narrowed})" if self.narrowed else words

    @property
    def leaks(self) -> str:
        """The audit line of all its cells."""
        done = [cell for cell in self.cells if cell.status == "done"]
        line = leak_line(done, self.titles) if done else None
        return line or "Leaks: no cell here is trained on real images."
