"""`bench compare`: statistics of a matrix's tables, from stored cells; imports no torch."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.core.errors import BenchError
from bench.data.cards import list_cards
from bench.experiments.cells import CellRecord
from bench.experiments.matrices import Matrix
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.report import chosen_groups, report_folder
from bench.reporting.statistics import (
    DatasetsStatistics,
    TableStatistics,
    datasets_statistics,
    require_reference,
    table_statistics,
    to_rich,
    write_datasets,
    write_statistics,
)
from bench.reporting.statistics.sheets import datasets_sheet, in_a_row, sheets_of
from bench.reporting.tables import build_tables, comparison_key
from bench.reporting.tables.footer import key_lines
from bench.reporting.tables.narrowing import Narrowing
from bench.reporting.tables.table import Grid


def compare(
    matrix: Matrix,
    out: Path,
    filters: dict[str, str | int | None],
    asked: Narrowing,
    reference: str | None,
    grid: Grid,
    subset: str,
    console: Console,
) -> list[Path]:
    """Print and write the statistics of every comparison key among the stored cells.

    reference: a method; by default that of each table in the matrix file. Files and figures go to
    `out`/statistics/<profile-protocol-selection-size>, with `-against-<reference>` where one is
    given and the part that was asked for behind it. Raises BenchError where the tables refuse to be built, where the reference has no row, and
    where no table has two scored rows.
    """
    files: list[Path] = []
    matrix = matrix.model_copy(update={"tables": tuple(asked.blocks(matrix.tables))})
    for cells, _ in chosen_groups(matrix, out, filters, asked):
        folder = report_folder(comparison_key(cells[0]), grid)
        folder += (f"-against-{reference}" if reference else "") + asked.suffix
        found, datasets = _statistics(matrix, cells, reference, grid, subset)
        if found:
            lines = key_lines(comparison_key(cells[0]), cells)
            files += _produce(found, datasets, lines, out / "statistics" / folder, console)
    if not files:
        raise BenchError(
            f"No table of matrix {matrix.name!r} has two rows with scores in {out / 'cells'}: "
            f"nothing to compare. Run a second method: bench run --matrix {matrix.name}."
        )
    return files


def _statistics(
    matrix: Matrix, cells: Sequence[CellRecord], reference: str | None, grid: Grid, subset: str
) -> tuple[list[TableStatistics], list[DatasetsStatistics]]:
    titles = {card.name: card.title for card in list_cards()}
    scores = ScoreIndex(scores_of(cells))
    blocks = [block for block in matrix.tables if block.kind != "parameters"]
    tables = build_tables(
        blocks,
        cells,
        grid=grid,
        external_subset="all" if subset == "all" else "test",
        titles=titles,
        scores=scores,
    )
    if reference:
        require_reference(tables, reference)
    named = {block.name: block for block in blocks}
    found = [
        one
        for table in tables
        if (one := table_statistics(table, scores, reference or named[table.name].reference))
    ]
    of_methods = [one for one in found if named[one.table.name].kind == "methods"]
    return found, datasets_statistics(of_methods)


def _produce(
    found: Sequence[TableStatistics],
    datasets: Sequence[DatasetsStatistics],
    lines: Sequence[str],
    folder: Path,
    console: Console,
) -> list[Path]:
    for one in found:
        console.print(f"\n[bold underline]{one.table.caption}[/]")
        console.print(*map(to_rich, in_a_row(sheets_of(one))), sep="\n")
    console.print(*(to_rich(datasets_sheet(one)) for one in datasets), sep="\n")
    console.print(*lines, sep="\n", highlight=False)
    files = write_statistics(found, folder) + write_datasets(datasets, folder)
    from bench.reporting.plots.statistics import (
        build_statistics_figures,  # matplotlib is slow to import and not always needed
    )

    files += build_statistics_figures(found, datasets, folder, " ".join(lines))
    console.print(f"{len(files)} files in {folder}")
    return files
