"""Statistics of a finished table: its rows and columns, checked as comparable when it was built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.core.errors import unknown_name
from bench.reporting.frame import ScoreIndex
from bench.reporting.statistics.across import AcrossDatasets, across_datasets
from bench.reporting.statistics.comparison import Comparison, compare_rows
from bench.reporting.statistics.ranking import (
    Ranking,
    best_set,
    kendall_tau,
    leads_of_means,
    leads_of_wins,
    ranking,
)
from bench.reporting.statistics.resampling import (
    LEAST_SEEDS,
    RESAMPLES,
    bootstrap_means,
    draw,
)
from bench.reporting.statistics.samples import Sample, make_sample
from bench.reporting.tables.entries import MARKED_BY_MEAN, TIES_TESTED
from bench.reporting.tables.table import UNITS, Column, Entry, Table

LEAST_GROUPS = 20  # with fewer, bootstrap intervals are too narrow


@dataclass(frozen=True)
class MetricStatistics:
    """One metric of one column. ranking: of the complete rows, in their order; None below two.

    comparisons: label -> row against the reference, None without a common seed.
    """

    sample: Sample
    ranking: Ranking | None
    comparisons: Mapping[str, Comparison | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnStatistics:
    """One test set. title: its heading in the table. reference: label of a row, None without one."""

    column: Column
    title: str
    reference: str | None
    metrics: Mapping[str, MetricStatistics]

    def agreement(self) -> dict[tuple[str, str], float]:
        """Kendall's tau-b between the rankings of two metrics, where both rank the same rows."""
        ranked = [(name, one) for name, one in self.metrics.items() if one.ranking]
        return {
            (name, other): float(kendall_tau(one.ranking.ranks, second.ranking.ranks))
            for place, (name, one) in enumerate(ranked)
            for other, second in ranked[place + 1 :]
            if one.ranking and second.ranking and one.sample.complete == second.sample.complete
        }

    def warnings(self) -> list[str]:
        """What limits every interval of this column."""
        sample = next(iter(self.metrics.values())).sample
        lines = [
            "Conditional on one split: another split of the cases is not part of any interval."
        ]
        if not sample.groups_known:
            lines.append("Groups (patients, lesions) unknown: cases assumed independent.")
        if sample.groups < LEAST_GROUPS:
            unit = "groups" if sample.groups_known else "cases"
            lines.append(
                f"Only {sample.groups} {unit} (under {LEAST_GROUPS}): intervals may be too narrow."
            )
        if len(sample.seeds) < LEAST_SEEDS:
            lines.append(
                f"Only {len(sample.seeds)} seed{'s' * (len(sample.seeds) > 1)} (under "
                f"{LEAST_SEEDS}): no interval has a seed component, so another training may differ "
                "by more."
            )
        if sample.dropped:
            lines.append(f"{sample.dropped} cases that some row lacks are left out.")
        lacking = [label for label in sample.rows if label not in sample.complete]
        if lacking:
            lines.append(
                f"Without all seeds ({', '.join(map(str, sample.seeds))}), so compared on the "
                f"seeds shared with the reference, not ranked and not marked: {', '.join(lacking)}."
            )
        return lines


@dataclass(frozen=True)
class TableStatistics:
    """All columns of one table. resamples: of every interval."""

    table: Table
    reference: str | None
    columns: tuple[ColumnStatistics, ...]
    resamples: int = RESAMPLES


def row_names(table: Table) -> list[str]:
    """A name for each row: its label, with a number from the second row of that label on."""
    names: list[str] = []
    for row in table.rows:
        same = sum(other.label == row.label for other in table.rows[: len(names)])
        names.append(f"{row.label} ({same + 1})" if same else row.label)
    return names


def reference_row(table: Table, method: str | None) -> str | None:
    """Name of the reference row: the last row of the method, an unchanged one where there is one.

    None where the table has no such row. In a table of one method's variants that is its default,
    the last of the rows that change no setting.
    """
    facts = [
        (name, dict(row.facts)) for name, row in zip(row_names(table), table.rows, strict=True)
    ]
    if len({fact["method"] for _, fact in facts}) == 1:
        method = facts[0][1]["method"]
    own = [(label, fact) for label, fact in facts if fact["method"] == method]
    plain = [label for label, fact in own if fact["changes"] in ("", "{}")]
    labels = plain or [label for label, _ in own]
    return labels[-1] if labels else None


def require_reference(tables: Sequence[Table], method: str) -> None:
    """BenchError when no table has a row of the method."""
    methods = {dict(row.facts)["method"] for table in tables for row in table.rows}
    if method not in methods:
        raise unknown_name("reference", method, methods, "Give a method with stored cells.")


def table_statistics(
    table: Table, scores: ScoreIndex, reference: str | None = None, resamples: int = RESAMPLES
) -> TableStatistics | None:
    """The statistics of a table; None where no column has two scored rows and two groups.

    scores: those that the table was built from. reference: a method. The table's own checks have
    refused what cannot be compared.
    """
    label = reference_row(table, reference)
    columns = []
    for column, title in _columns(table):
        found = _column(table, column, title, scores, label, resamples)
        if found is not None:
            columns.append(found)
    return TableStatistics(table, label, tuple(columns), resamples) if columns else None


def _columns(table: Table) -> list[tuple[Column, str]]:
    """The table's test sets with their headings."""
    columns = dict.fromkeys(
        entry.column for row in table.rows for entry in row.entries if entry.column
    )
    return list(zip(columns, [title for title, _ in table.spans], strict=True)) if columns else []


def _column(
    table: Table,
    column: Column,
    title: str,
    scores: ScoreIndex,
    reference: str | None,
    resamples: int,
) -> ColumnStatistics | None:
    entries: dict[str, dict[str, Entry]] = {}
    for name, row in zip(row_names(table), table.rows, strict=True):
        for entry in row.entries:
            if entry.column == column and entry.cells:
                entries.setdefault(entry.metric, {})[name] = entry
    grid = dict(table.facts)["grid"]
    samples = [_sample(name, own, scores, grid) for name, own in entries.items() if len(own) > 1]
    metrics = {
        sample.metric: _metric(sample, reference, resamples)
        for sample in samples
        if sample.groups > 1  # of one group nothing can be resampled
    }
    if not metrics:
        return None
    there = reference in next(iter(metrics.values())).sample.rows
    return ColumnStatistics(column, title, reference if there else None, metrics)


def _sample(metric: str, entries: Mapping[str, Entry], scores: ScoreIndex, grid: str) -> Sample:
    rows = {
        name: {
            seed: scores.rows(cell, entry.column.test, entry.column.subset, grid, metric)
            for seed, cell in zip(entry.seeds, entry.cells, strict=True)
            if entry.column
        }
        for name, entry in entries.items()
    }
    return make_sample(metric, rows, 100.0 if UNITS[metric] == "%" else 1.0)


def _metric(sample: Sample, reference: str | None, resamples: int) -> MetricStatistics:
    found: dict[str, Comparison | None] = {}
    if reference is not None and reference in sample.rows:
        found = compare_rows(sample, reference, resamples)
    return MetricStatistics(sample, _ranking(sample, resamples), found)


def _ranking(sample: Sample, resamples: int) -> Ranking | None:
    if len(sample.complete) < 2:
        return None
    values = np.stack([sample.sign * sample.rows[label].values for label in sample.complete])
    draws = draw(sample.groups, len(sample.seeds), resamples)
    averaged, replicates = values.mean(axis=1), bootstrap_means(values, sample.group, draws)
    if sample.is_distance:
        leads = leads_of_wins(averaged, sample.group, draws)
    else:
        leads = leads_of_means(averaged.mean(axis=1), replicates)
    return ranking(averaged, replicates, best_set(*leads))


def with_ties(table: Table, found: TableStatistics) -> Table:
    """The table with the entries marked that cannot be told from the best, and a footer on it."""
    tied = {
        (column.column, metric, label)
        for column in found.columns
        for metric, one in column.metrics.items()
        if one.ranking
        for label, best in zip(one.sample.complete, one.ranking.best, strict=True)
        if best
    }
    rows = [
        replace(
            row,
            entries=tuple(
                replace(e, tied=(e.column, e.metric, name) in tied and e.mark != "best")
                for e in row.entries
            ),
        )
        for name, row in zip(row_names(table), table.rows, strict=True)
    ]
    tested = TIES_TESTED.format(units=_units(found))
    footer = [line.replace(MARKED_BY_MEAN, tested) for line in table.footer]
    return replace(table, rows=tuple(rows), footer=tuple(footer))


def _units(found: TableStatistics) -> str:
    """What the resamples of a table draw: "groups of cases and seeds", "cases"."""
    samples = [one.sample for column in found.columns for one in column.metrics.values()]
    units = "groups of cases" if any(sample.groups_known for sample in samples) else "cases"
    return units + " and seeds" * all(len(sample.seeds) >= LEAST_SEEDS for sample in samples)


@dataclass(frozen=True)
class DatasetsStatistics:
    """One metric over the in-domain datasets of several tables.

    labels: rows with scores of all seeds on every dataset; left_out: the other rows.
    """

    metric: str
    labels: tuple[str, ...]
    left_out: tuple[str, ...]
    titles: tuple[str, ...]
    result: AcrossDatasets


def datasets_statistics(found: Sequence[TableStatistics]) -> list[DatasetsStatistics]:
    """Friedman and Nemenyi per metric over the columns, where 2 datasets hold 3 complete rows.

    found: tables of methods; columns tested on other data than they were trained on do not count.
    """
    columns = [c for one in found for c in one.columns if c.column.train == c.column.test]
    columns = list({c.column: c for c in columns}.values())
    results = []
    for metric in dict.fromkeys(name for column in columns for name in column.metrics):
        own = [column for column in columns if metric in column.metrics]
        samples = [column.metrics[metric].sample for column in own]
        rows = dict.fromkeys(label for sample in samples for label in sample.rows)
        labels = [label for label in rows if all(label in s.complete for s in samples)]
        if len(own) < 2 or len(labels) < 3:
            continue
        means = np.array([[s.sign * s.rows[x].values.mean() for x in labels] for s in samples])
        titles = tuple(column.title for column in own)
        out = tuple(label for label in rows if label not in labels)
        across = across_datasets(means)
        results.append(DatasetsStatistics(metric, tuple(labels), out, titles, across))
    return results
