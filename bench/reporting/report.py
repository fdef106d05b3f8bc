"""Tables and figures of a matrix, rebuilt from stored cells; imports no torch."""

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.core.errors import BenchError
from bench.data.cards import list_cards
from bench.experiments.cells import CellRecord, load_cell, readable_cells
from bench.experiments.matrices import Matrix
from bench.experiments.runner import Task
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.statistics import (
    TableStatistics,
    table_statistics,
    with_ties,
    write_statistics,
)
from bench.reporting.tables import (
    ComparisonKey,
    Format,
    Missing,
    Table,
    build_tables,
    comparable_groups,
    comparison_key,
    select,
    show,
    write_tables,
)
from bench.reporting.tables.table import Grid

logger = logging.getLogger("bench")


def of_run(
    matrix: Matrix,
    tasks: Sequence[Task],
    out: Path,
    published: str | None,
    console: Console,
    grid: Grid = "network",
    format: Format = "auto",
) -> list[Path]:
    """Write and print the tables, statistics and figures of the cells that a run asked for."""
    ids = dict.fromkeys(task.id for task in tasks if task.id)
    files = [out / "cells" / cell / "cell.json" for cell in ids]
    cells = [load_cell(file) for file in files if file.is_file()]
    absent = [task for task in tasks if task.state != "done"]
    missing = [Missing.of(task.request, _one_line(task.reason or "not run")) for task in absent]
    subset = tasks[0].request.protocol.external_subset
    return _produce(matrix, cells, missing, out, published, grid, subset, console, True, format)


def rebuild(
    matrix: Matrix,
    out: Path,
    filters: dict[str, str | int | None],
    published: str | None,
    grid: Grid,
    subset: str,
    console: Console,
    statistics: bool = True,
    format: Format = "auto",
) -> list[Path]:
    """Write and print the tables and figures of every comparison key among the stored cells.

    filters: profile, protocol, selection, image_size and epochs; None keeps every value.
    statistics: mark ties with the best, and write the statistics of each table of two rows or more.

    Raises BenchError when nothing is stored, or nothing passes the filters.
    """
    files: list[Path] = []
    for group in chosen_groups(matrix, out, filters):
        files += _produce(
            matrix, group, (), out, published, grid, subset, console, statistics, format
        )
    return files


def chosen_groups(
    matrix: Matrix, out: Path, filters: dict[str, str | int | None]
) -> list[list[CellRecord]]:
    """The stored cells that pass the filters, by comparison key; raises as `rebuild`."""
    stored = readable_cells(out / "cells")
    epochs = filters.pop("epochs", None)
    cells = [c for c in select(stored, **filters) if epochs in (None, c.key.epochs)]  # type: ignore[arg-type]
    if not cells:
        keys = "; ".join(" ".join(map(str, g)) for g in comparable_groups(stored)) or "none"
        raise BenchError(
            f"No stored cell in {out / 'cells'} to report on. Stored: {keys}. Run "
            f"`bench run --matrix {matrix.name}` or change the filters."
        )
    return list(comparable_groups(cells).values())


def _produce(
    matrix: Matrix,
    cells: Sequence[CellRecord],
    missing: Sequence[Missing],
    out: Path,
    published: str | None,
    grid: Grid,
    subset: str,
    console: Console,
    statistics: bool,
    format: Format,
) -> list[Path]:
    if not cells:
        return []
    titles = {card.name: card.title for card in list_cards()}
    cells, scores = _scored(cells)
    tables = build_tables(
        matrix.tables,
        cells,
        missing=missing,
        grid=grid,
        published=published,
        external_subset="all" if subset == "all" else "test",
        titles=titles,
        explanations=_explanations(cells),
        scores=scores,
    )
    folder = report_folder(comparison_key(cells[0]), grid)
    found: list[TableStatistics] = []
    if statistics:
        tables, found = _with_statistics(matrix, tables, scores)
    for table in tables:
        show(table, console, format)
    files = write_tables(tables, out / "tables" / folder)
    files += write_statistics(found, out / "tables" / folder)
    from bench.reporting.plots import (
        build_figures,  # matplotlib is slow to import and not always needed
    )

    files += build_figures(matrix, cells, out / "figures" / folder, titles, scores)
    text = f"{len(files)} files in {out / 'tables' / folder} and {out / 'figures' / folder}"
    console.print(text, markup=False)
    return files


def _with_statistics(
    matrix: Matrix, tables: Sequence[Table], scores: ScoreIndex
) -> tuple[list[Table], list[TableStatistics]]:
    """The tables with their ties marked, and the statistics of those that have two scored rows."""
    references = {block.name: block.reference for block in matrix.tables}
    found = [table_statistics(table, scores, references[table.name]) for table in tables]
    marked = [
        with_ties(table, one) if one else table for table, one in zip(tables, found, strict=True)
    ]
    return marked, [one for one in found if one]


def _scored(cells: Sequence[CellRecord]) -> tuple[Sequence[CellRecord], ScoreIndex]:
    """The cells and their scores. A damaged score file costs its own test set and no other row: it
    is named in a warning and taken out of its record."""
    try:
        return cells, ScoreIndex(scores_of(cells))
    except BenchError:
        cells = [_without_damaged_tests(cell) for cell in cells]
        return cells, ScoreIndex(scores_of(cells))


def _without_damaged_tests(cell: CellRecord) -> CellRecord:
    tests = dict(cell.tests)
    for label in cell.tests:
        try:
            scores_of([cell.model_copy(update={"tests": {label: tests[label]}})])
        except BenchError as error:
            logger.warning("%s", error)
            del tests[label]
    return cell.model_copy(update={"tests": tests})


def report_folder(key: ComparisonKey, grid: Grid) -> str:
    """`demo-clean-best-val-96`, with `-native` for native scores."""
    tail = "" if grid == "network" else "-native"
    return f"{key.profile}-{key.protocol}-{key.selection}-{key.image_size}{tail}"


def _explanations(cells: Sequence[CellRecord]) -> dict[str, str]:
    found = {cell.key.method: cell.provenance.get("count_explanation") for cell in cells}
    return {method: text for method, text in found.items() if text}


def _one_line(text: str) -> str:
    return text.splitlines()[0]
