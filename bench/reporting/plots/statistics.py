"""Which figures the statistics of a matrix's tables give, and where they are written."""

from collections.abc import Sequence
from pathlib import Path

from bench.reporting.plots.differences import cases_figure, forest_figure
from bench.reporting.plots.ranks import blob_figure, critical_difference_figure
from bench.reporting.plots.style import save, styled
from bench.reporting.statistics.sheets import NAMES, datasets_notes
from bench.reporting.statistics.tables import ColumnStatistics, DatasetsStatistics, TableStatistics


def build_statistics_figures(
    found: Sequence[TableStatistics],
    datasets: Sequence[DatasetsStatistics],
    folder: Path,
    remark: str,
) -> list[Path]:
    """Forest, ranks and cases per table, and the critical-difference diagram, as PNG and PDF."""
    paths: list[Path] = []
    with styled():
        for one in found:
            paths += _of_table(one, folder, remark)
        for over in datasets:
            title = f"{NAMES[over.metric]}: mean ranks over datasets (Friedman, Nemenyi at 5 %)"
            notes = " ".join([*datasets_notes(over), remark])
            figure = critical_difference_figure(over, title, notes)
            paths += save(figure, folder, f"over-datasets-{over.metric}")
    return paths


def _of_table(one: TableStatistics, folder: Path, remark: str) -> list[Path]:
    name, paths = one.table.name, []
    compared = [column for column in one.columns if column.reference]
    notes = " ".join([*_warnings(one.columns), remark])
    if compared:
        title = f"{one.table.caption}: difference to {one.reference}, 95 % intervals"
        paths += save(forest_figure(compared, title, notes), folder, f"{name}-forest")
    for metric in NAMES:
        ranked = [c for c in one.columns if metric in c.metrics and c.metrics[metric].ranking]
        if ranked:
            title = f"{one.table.caption}: ranks over {one.resamples:,} resamples, {NAMES[metric]}"
            paths += save(
                blob_figure(ranked, metric, title, notes), folder, f"{name}-ranks-{metric}"
            )
    for column in compared:
        title = f"{column.title}: DSC per case against {column.reference}"
        figure = cases_figure(column, "dsc", title, remark)
        if figure is not None:
            at = column.column
            place = at.test if at.train == at.test else f"{at.train}-to-{at.test}"
            paths += save(figure, folder, f"{name}-cases-{place}")
    return paths


def _warnings(columns: Sequence[ColumnStatistics]) -> list[str]:
    """Each warning once, after the test sets that it holds for where it does not hold for all."""
    found: dict[str, list[str]] = {}
    for column in columns:
        for line in column.warnings():
            found.setdefault(line, []).append(column.title)
    return [
        line if len(titles) == len(columns) else f"{', '.join(titles)}: {line[0].lower()}{line[1:]}"
        for line, titles in found.items()
    ]
