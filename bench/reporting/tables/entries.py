"""From the cells of one row and column to one printed entry."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from bench.core.errors import BenchError
from bench.experiments.cells import CellRecord
from bench.metrics.aggregate import Metric, Summary, summarize
from bench.reporting.frame import ScoreIndex
from bench.reporting.published import Edition
from bench.reporting.tables.comparable import require_one_per_seed
from bench.reporting.tables.data import data_columns
from bench.reporting.tables.incomparable import incomparable
from bench.reporting.tables.rows import Missing, Row
from bench.reporting.tables.table import UNITS, Column, Entry, Footnotes, Grid, Mark
from bench.reporting.tables.training import training_of

NOTHING = "–"

MARKED_BY_MEAN = "by the mean as printed; no test of significance"
TIES_TESTED = (
    "by the mean as printed; ≈ cannot be told from the best at 95 % (bootstrap over {units}, "
    "all rows of a column at once; distances by the probability of the smaller one)"
)


@dataclass
class ColumnScores:
    """One table's view of the scores, and the check that a column's rows hold the same cases."""

    table: str
    grid: Grid
    index: ScoreIndex
    cases: dict[tuple[str, str], tuple[frozenset[str], CellRecord]] = field(default_factory=dict)

    def of(self, record: CellRecord, column: Column, metric: Metric) -> pd.DataFrame:
        """One metric of a test set on the table's grid; empty when it has none on that grid."""
        rows = self.index.rows(record.id, column.test, column.subset, self.grid, metric)
        if len(rows):
            self._require_same_cases(record, column, rows)
        return rows

    def _require_same_cases(self, record: CellRecord, column: Column, rows: pd.DataFrame) -> None:
        cases = frozenset(rows["case"].astype(str))
        first, owner = self.cases.setdefault((column.test, column.subset), (cases, record))
        if cases != first:
            raise BenchError(
                f"Table {self.table!r} would mix test sets of {column.test!r}: {record.id} scored "
                f"{len(cases)} cases and {owner.id} {len(first)}, {len(cases & first)} of them the "
                "same. Score both on one split, or move the old cells out of the results."
            )
        mine, theirs = (one.tests[f"{column.test}-{column.subset}"] for one in (record, owner))
        for name, words in _TESTED.items():
            if getattr(mine, name) != getattr(theirs, name):
                raise BenchError(
                    f"Table {self.table!r} would mix {words} of {column.test!r}: the digest of "
                    f"{name} differs between {record.id} and {owner.id}. Run the matrix again: "
                    "the stored cells are scored again, or move the old ones out of the results."
                )


_TESTED = {"cases": "versions of the test images or masks", "scoring": "versions of the scores"}
"""Digest of a stored test set -> what it means for two cells to differ in it."""


@dataclass
class EntryBuilder:
    """What is needed to fill any entry of one table."""

    table: str
    scores: ColumnScores
    records: Sequence[CellRecord]
    missing: Sequence[Missing]
    footnotes: Footnotes
    edition: Edition | None
    seeds: tuple[int, ...]

    def entry(self, row: Row, column: Column, metric: Metric | Literal["optimism"]) -> Entry:
        """The entry of a row in a column: a mean over seeds, or "–" with its reason."""
        mine = [r for r in self.records if r.key.train == column.train and row.takes(r)]
        require_one_per_seed(self.table, row.label, mine)
        if metric == "optimism":
            return self._optimism(row, column, mine)
        done = {r.key.seed: r for r in mine if r.has_scores(column.test, column.subset)}
        found = {seed: self.scores.of(done[seed], column, metric) for seed in sorted(done)}
        values = {seed: summarize(rows) for seed, rows in found.items() if len(rows)}
        if not values:
            return self._absent(row, column, metric, mine, bool(done))
        behind = [done[seed] for seed in values]
        entry = replace(
            _mean_entry(metric, column, values),
            cells=tuple(record.id for record in behind),
            training=training_of(behind),
            data=tuple(data_columns(behind, column).items()),
        )
        entry = self._with_gaps(entry, mine)
        return self._beside_print(entry, row, column, behind)

    def _optimism(self, row: Row, column: Column, mine: Sequence[CellRecord]) -> Entry:
        """Mean over seeds of the gain that choosing the epoch on test would have given, in points."""
        measured = {
            record.key.seed: 100 * float(record.provenance["optimism"])
            for record in mine
            if record.provenance.get("optimism") is not None
        }
        if not measured:
            done = any(record.status == "done" for record in mine)
            words = "optimism not measured: bench run --optimism does, while a cell trains"
            reason = words if done else self._reason(row, column, mine, scored=False)
            number = self.footnotes.number(reason)
            return Entry(NOTHING, "optimism", column, reason=reason, footnotes=(number,))
        values = pd.Series(measured).sort_index()
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        text = f"{values.mean():.2f}" + (f" ± {sd:.2f}" if sd is not None else "")
        seeds = tuple(int(seed) for seed in values.index)
        entry = Entry(text, "optimism", column, value=float(values.mean()), sd=sd, seeds=seeds)
        return self._with_gaps(replace(entry, ranked=False), mine)

    def _with_gaps(self, entry: Entry, mine: Sequence[CellRecord]) -> Entry:
        """The entry with a footnote on the seeds it lacks; then it takes no part in the marks."""
        gaps = self._gaps(mine, entry.seeds)
        if not gaps:
            return entry
        return replace(entry, footnotes=(self.footnotes.number(gaps),), ranked=False)

    def _gaps(self, mine: Sequence[CellRecord], seeds: Sequence[int]) -> str:
        """What to say when a mean lacks seeds that the table has elsewhere."""
        lacking = [seed for seed in self.seeds if seed not in seeds]
        if not lacking:
            return ""
        there = {record.key.seed: record for record in mine}
        why = [f"seed {seed} {_state(there.get(seed))}" for seed in lacking]
        return f"over {len(seeds)} of {len(self.seeds)} seeds: {', '.join(why)}"

    def _absent(
        self, row: Row, column: Column, metric: str, mine: Sequence[CellRecord], scored: bool
    ) -> Entry:
        reason = self._reason(row, column, mine, scored)
        entry = Entry(
            NOTHING, metric, column, reason=reason, footnotes=(self.footnotes.number(reason),)
        )
        return self._beside_print(entry, row, column, ())

    def _reason(self, row: Row, column: Column, mine: Sequence[CellRecord], scored: bool) -> str:
        if scored:
            return f"no scores on the {self.scores.grid} grid"
        if mine:
            failed = [record for record in mine if record.status == "failed"]
            return _state((failed or mine)[0])
        asked = [m for m in self.missing if (m.method, m.train) == (row.method, column.train)]
        asked.sort(key=lambda m: not _asks_for(m, row))
        return asked[0].reason if asked else "not run"

    def _beside_print(
        self, entry: Entry, row: Row, column: Column, behind: Sequence[CellRecord]
    ) -> Entry:
        """The entry with the printed number, and the difference where it means something."""
        if self.edition is None or row.printed is None:
            return entry
        number = self.edition.find(
            row.method, entry.metric, train=column.train, test=column.test, **row.printed
        )
        if number is None:
            return entry
        entry = replace(entry, printed=number.printed)
        if entry.value is None:
            return entry
        reasons = incomparable(behind, column, self.scores.grid, entry.cases, self.edition)
        if not reasons:
            return replace(entry, difference=entry.value - number.value)
        text = f"not comparable: {'; '.join(reasons)}"
        footnotes = (*entry.footnotes, self.footnotes.number(text))
        return replace(entry, incomparable=text, footnotes=footnotes)


def _asks_for(item: Missing, row: Row) -> bool:
    """Whether an absent training is the one that the row would show."""
    settings = row.settings or (row.variant.settings if row.variant else {})
    names = {row.tokenizer, row.variant.tokenizer, row.variant.role} if row.variant else {None}
    return item.settings == settings and (item.tokenizer is None or item.tokenizer in names)


def _mean_entry(metric: Metric, column: Column, values: dict[int, Summary]) -> Entry:
    scale = 100.0 if UNITS[metric] == "%" else 1.0
    means = pd.Series([scale * summary.mean for summary in values.values()])
    sd = float(means.std(ddof=1)) if len(means) > 1 else None
    text = f"{means.mean():.2f}" + (f" ± {sd:.2f}" if sd is not None else "")
    return Entry(
        text,
        metric,
        column,
        value=float(means.mean()),
        sd=sd,
        seeds=tuple(values),
        cases=next(iter(values.values())).cases,
        empty=sum(summary.empty for summary in values.values()),
    )


def _first_line(error: str | None) -> str:
    line = next((line.strip() for line in (error or "").splitlines() if line.strip()), "no message")
    return line if len(line) <= 120 else line[:117] + "..."


def _state(record: CellRecord | None) -> str:
    """Why a training gives no score here."""
    if record is None:
        return "not run"
    if record.status == "failed":
        return f"failed: {_first_line(record.error)}"
    return "trained, not scored on these cases"


def mark_best(columns: Sequence[Sequence[Entry]], second: bool) -> list[list[Entry]]:
    """The same entries, per column, with the best and (if asked) second-best marked.

    Ranked by the mean as printed, so equal print is an equal mark. A row that lacks a seed which
    another row of the column has gets no mark: the seeds that are left may be the lucky ones. A
    column with one such value has nothing to compare and gets no mark.
    """
    return [_mark_column(entries, second) for entries in columns]


def _mark_column(entries: Sequence[Entry], second: bool) -> list[Entry]:
    seeds = {seed for entry in entries for seed in entry.seeds}
    printed = {
        place: round(entry.value, 2)
        for place, entry in enumerate(entries)
        if entry.value is not None and set(entry.seeds) == seeds
    }
    if len(printed) < 2:
        return list(entries)
    ranked = sorted(set(printed.values()), reverse=UNITS[entries[0].metric] == "%")
    marks: dict[float | None, Mark] = {ranked[0]: "best"}
    if second and len(ranked) > 1:
        marks[ranked[1]] = "second"
    return [
        replace(entry, mark=marks.get(printed.get(place), ""))
        for place, entry in enumerate(entries)
    ]
