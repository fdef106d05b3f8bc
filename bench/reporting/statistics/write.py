"""Statistics for the terminal and as Markdown, LaTeX and CSV files."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from bench.core.files import write_text
from bench.reporting.statistics.comparison import Comparison
from bench.reporting.statistics.sheets import Sheet, datasets_sheet, in_a_row, sheets_of
from bench.reporting.statistics.tables import (
    ColumnStatistics,
    DatasetsStatistics,
    TableStatistics,
)
from bench.reporting.tables.render import PREAMBLE, escape_latex, escape_markdown

Line = dict[str, object]


def to_rich(sheet: Sheet) -> Group:
    """A sheet for the terminal."""
    body = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, header in enumerate(sheet.headers):
        body.add_column(header, justify="right" if place else "left", overflow="fold")
    for row in sheet.rows:
        body.add_row(*map(Text, row))
    notes = [Text(line, style="dim") for line in (*sheet.notes, *sheet.common)]
    return Group(Text(sheet.title, style="bold"), body, *notes, Text(""))


def to_markdown(sheet: Sheet) -> str:
    """GitHub Markdown: title, table, notes."""
    rules = [":--", *["--:"] * (len(sheet.headers) - 1)]
    rows = [sheet.headers, rules, *(map(escape_markdown, row) for row in sheet.rows)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    notes = "<br>\n".join(map(escape_markdown, (*sheet.notes, *sheet.common)))
    return f"### {escape_markdown(sheet.title)}\n\n" + "\n".join(lines) + f"\n\n{notes}\n"


def to_latex(sheet: Sheet) -> str:
    """A `table` environment; needs the packages booktabs, graphicx and amssymb."""
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape_latex(sheet.title)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(sheet.headers) - 1)}}}",
        r"\toprule",
        _latex_line(sheet.headers),
        r"\midrule",
        *map(_latex_line, sheet.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize",
        *(rf"{escape_latex(line)}\par" for line in (*sheet.notes, *sheet.common)),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_line(words: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, words)) + r" \\"


def write_statistics(
    found: Sequence[TableStatistics], folder: Path, suffix: str = ""
) -> list[Path]:
    """Per table <name>-statistics.md and .tex, <name>-differences.csv and <name>-ranks.csv.

    suffix: of a narrowed report; it follows each name, as it does the names of its tables.
    """
    paths = []
    for one in found:
        name, sheets = one.table.name, sheets_of(one)
        foot = tuple(f"Of the table: {line}" for line in one.table.footer)
        paths += _write_sheets(
            folder / f"{name}-statistics{suffix}", one.table.caption, sheets, foot
        )
        for kind, lines in (("differences", _difference_lines(one)), ("ranks", _rank_lines(one))):
            if lines:
                paths.append(folder / f"{name}-{kind}{suffix}.csv")
                write_text(paths[-1], _csv(lines))
    return paths


def write_datasets(found: Sequence[DatasetsStatistics], folder: Path) -> list[Path]:
    """over-datasets-statistics.md, .tex and .csv; none without a result."""
    if not found:
        return []
    stem = folder / "over-datasets-statistics"
    paths = _write_sheets(stem, "Methods over datasets", [datasets_sheet(one) for one in found], ())
    lines: list[Line] = [
        {
            "metric": one.metric,
            "row": label,
            "mean_rank": float(rank),
            "datasets": " ".join(one.titles),
            "friedman_p": one.result.p,
            "critical_difference": one.result.difference,
        }
        for one in found
        for label, rank in zip(one.labels, one.result.ranks, strict=True)
    ]
    paths.append(stem.with_suffix(".csv"))
    write_text(paths[-1], _csv(lines))
    return paths


def _write_sheets(
    stem: Path, title: str, sheets: Sequence[Sheet], foot: tuple[str, ...]
) -> list[Path]:
    parts = [f"## {escape_markdown(title)}\n", *map(to_markdown, in_a_row(sheets))]
    if foot:
        parts.append("<br>\n".join(map(escape_markdown, foot)) + "\n")
    floats = "\\clearpage\n".join(map(to_latex, sheets))
    lines = "".join(rf"{escape_latex(line)}\par" + "\n" for line in foot)
    document = f"{PREAMBLE}\n\\begin{{document}}\n{floats}{lines}\\end{{document}}\n"
    paths = [stem.with_name(f"{stem.name}.md"), stem.with_name(f"{stem.name}.tex")]
    for path, text in zip(paths, ("\n".join(parts), document), strict=True):
        write_text(path, text)
    return paths


# ---- CSV


def _csv(lines: Sequence[Line]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in line.items()} for line in lines)
    return target.getvalue()


def _cell(value: object) -> object:
    """Empty where a number does not apply."""
    return "" if isinstance(value, float) and math.isnan(value) else value


def _place(found: TableStatistics, column: ColumnStatistics, metric: str) -> Line:
    at, sample = column.column, column.metrics[metric].sample
    return {
        "table": found.table.name,
        "train": at.train,
        "test": at.test,
        "subset": at.subset,
        "metric": metric,
        "groups_known": "yes" if sample.groups_known else "no",
        "dropped_cases": sample.dropped,
        "resamples": found.resamples,
        **dict(found.table.facts),
    }


def _difference_lines(found: TableStatistics) -> list[Line]:
    return [
        _place(found, column, metric)
        | {"row": one.label, "reference": column.reference, "version": version}
        | _difference_line(one)
        for column in found.columns
        for metric, own in column.metrics.items()
        for version, one in _versions(own.comparisons.values())
    ]


def _versions(comparisons: Iterable[Comparison | None]) -> Iterable[tuple[str, Comparison]]:
    for one in comparisons:
        if one:
            yield "all", one
            if one.without_empty:
                yield "without_empty", one.without_empty


def _difference_line(one: Comparison) -> Line:
    line: Line = {
        "seeds": " ".join(map(str, one.seeds)),
        "cases": one.cases,
        "groups": one.groups,
    }
    estimates = {
        "mean_difference": one.mean, "p_better": one.better, "median_difference": one.median
    }  # fmt: skip
    for name, estimate in estimates.items():
        line |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return line | {
        "mean_p": one.mean.p,
        "p_better_p": one.better.p,
        "holm_p": one.p_holm,
        "wilcoxon_p": one.p_wilcoxon,
        "told_apart": "yes" if one.told_apart else "no",
        "ties": one.ties,
        "empty": one.empty,
        "reference_empty": one.reference_empty,
    }


def _rank_lines(found: TableStatistics) -> list[Line]:
    return [
        _place(found, column, metric)
        | {
            "row": label,
            "rank": float(own.ranking.ranks[at]),
            "rank_low": float(own.ranking.low[at]),
            "rank_high": float(own.ranking.high[at]),
            "p_first": float(own.ranking.first[at]),
            "rank_per_case": float(own.ranking.case_ranks[at]),
            "in_best_set": "yes" if own.ranking.best[at] else "no",
            "tau": own.ranking.tau,
            "tau_low": own.ranking.tau_low,
        }
        for column in found.columns
        for metric, own in column.metrics.items()
        if own.ranking
        for at, label in enumerate(own.sample.complete)
    ]
