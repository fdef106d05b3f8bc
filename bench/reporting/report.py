"""Tables and figures of a matrix, rebuilt from stored cells; imports no torch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from rich.console import Console

from bench.core.errors import BenchError
from bench.data.cards import list_cards
from bench.experiments.cells import CellRecord, load_cell, readable_cells
from bench.experiments.matrices import Matrix
from bench.experiments.runner import Task
from bench.reporting.cases import Chosen, Images, require_cases
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.html.part import Part
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
from bench.reporting.tables.narrowing import EVERYTHING, Narrowing, effective, left_out, reportable
from bench.reporting.tables.table import Grid

logger = logging.getLogger("bench")


@dataclass(frozen=True)
class View:
    """How a report shows its cells.

    asked: the part that was asked for. published: an edition of published numbers. grid: where
    scores are taken. subset: which cases of a foreign test set. optimism: whether tables have its
    column. statistics: mark ties with the best, and write the statistics of each table of two rows
    or more. format: of printed tables. html: write the page, too, which every run does; data, cards:
    where images of test cases come from. cases: those to be shown besides the worst, median and
    best ones.
    """

    asked: Narrowing = EVERYTHING
    published: str | None = None
    grid: Grid = "network"
    subset: Literal["test", "all"] = "test"
    optimism: bool = False
    statistics: bool = True
    format: Format = "auto"
    html: bool = False
    data: Path | None = None
    cards: tuple[Path, ...] = ()
    cases: Chosen = field(default_factory=dict)

    @cached_property
    def images(self) -> Images:
        """Images of test cases, for figures and the page."""
        return Images(self.data, self.cards)


def of_run(
    matrix: Matrix, tasks: Sequence[Task], out: Path, view: View, console: Console
) -> list[Path]:
    """Write and print the tables, statistics and figures of the cells that a run asked for.

    The subset is that of the run's protocol.
    """
    ids = dict.fromkeys(task.id for task in tasks if task.id)
    files = [out / "cells" / cell / "cell.json" for cell in ids]
    cells = [load_cell(file) for file in files if file.is_file()]
    if not cells:
        return []
    absent = [task for task in tasks if task.state != "done"]
    missing = [Missing.of(task.request, _one_line(task.reason or "not run")) for task in absent]
    view = replace(view, subset=tasks[0].request.protocol.external_subset)
    key = comparison_key(cells[0])
    stored = [cell for cell in readable_cells(out / "cells") if comparison_key(cell) == key]
    files, part = _produce(matrix, cells, stored, missing, out, view, console)
    return files + _page(matrix, [part], out, view, console)


def rebuild(
    matrix: Matrix, out: Path, filters: dict[str, str | int | None], view: View, console: Console
) -> list[Path]:
    """Write and print the tables and figures of every comparison key among the stored cells.

    filters: profile, protocol, selection and image_size; None keeps every value.

    Raises BenchError when nothing is stored, nothing passes the filters, or no cell has scores of a
    case that was asked for.
    """
    groups = chosen_groups(matrix, out, filters, view.asked)
    if view.cases:
        require_cases(view.cases, *_scored([cell for cells, _ in groups for cell in cells]))
    made = [_produce(matrix, cells, stored, (), out, view, console) for cells, stored in groups]
    files = [file for own, _ in made for file in own]
    return files + (
        _page(matrix, [part for _, part in made], out, view, console) if view.html else []
    )


def chosen_groups(
    matrix: Matrix,
    out: Path,
    filters: dict[str, str | int | None],
    asked: Narrowing = EVERYTHING,
) -> list[tuple[list[CellRecord], list[CellRecord]]]:
    """(cells that were asked for, all stored cells) of each comparison key that passes the filters;
    raises as `rebuild`."""
    stored = readable_cells(out / "cells")
    groups = comparable_groups(select(stored, **filters))  # type: ignore[arg-type]
    found = [([c for c in cells if asked.takes(c)], cells) for cells in groups.values()]
    found = [(cells, every) for cells, every in found if cells]
    if not found:
        chosen = ", ".join(
            f"{name} {value}" for name, value in filters.items() if value is not None
        )
        keys = "; ".join(", ".join(map(str, group)) for group in comparable_groups(stored))
        raise BenchError(
            f"No stored cell in {out / 'cells'} to report on{f' of {chosen}' if chosen else ''}. "
            f"Stored (profile, protocol, selection, image size): {keys or 'none'}. Run "
            f"`bench run --matrix {matrix.name}` or change the filters."
        )
    return found


def _produce(
    matrix: Matrix,
    cells: Sequence[CellRecord],
    stored: Sequence[CellRecord],
    missing: Sequence[Missing],
    out: Path,
    view: View,
    console: Console,
) -> tuple[list[Path], Part]:
    """The written files, and what the page shows. stored: all cells of the comparison key."""
    titles = {card.name: card.title for card in list_cards(list(view.cards))}
    cells, scores = _scored(cells)
    stored = reportable(matrix.tables, stored, view.subset)
    narrowed = effective(view.asked, matrix, stored, cells)
    matrix = matrix.model_copy(update={"tables": tuple(narrowed.blocks(matrix.tables))})
    tables = build_tables(
        matrix.tables,
        cells,
        missing=missing,
        grid=view.grid,
        published=view.published,
        external_subset=view.subset,
        titles=titles,
        explanations=_explanations(cells),
        scores=scores,
        optimism=view.optimism,
        remarks=left_out(view.asked, stored, cells),
    )
    tables = [_captioned(table, narrowed) for table in tables]
    found: list[TableStatistics] = []
    if view.statistics:
        tables, found = _with_statistics(matrix, tables, scores)
    folder = report_folder(comparison_key(cells[0]), view.grid)
    for table in tables:
        show(table, console, view.format)
    files = write_tables(tables, out / "tables" / folder, narrowed.suffix)
    files += write_statistics(found, out / "tables" / folder, narrowed.suffix)
    from bench.reporting.plots import (
        build_figures,  # matplotlib is slow to import and not always needed
    )

    figures = build_figures(
        matrix,
        cells,
        out / "figures" / folder,
        titles,
        scores,
        grid=view.grid,
        suffix=narrowed.suffix,
        narrowed=narrowed.words,
        images=view.images,
        chosen=view.cases,
    )
    files += figures
    text = f"{len(files)} files in {out / 'tables' / folder} and {out / 'figures' / folder}"
    console.print(text, markup=False)
    key, words = comparison_key(cells[0]), narrowed.words
    return files, Part(key, cells, tables, found, figures, scores, titles, words)


def _page(
    matrix: Matrix, parts: Sequence[Part], out: Path, view: View, console: Console
) -> list[Path]:
    """The page of all parts, with the claims of the editions that the tables name."""
    from bench.reporting.html.page import page_file, write_page  # jinja2: only for a page

    named = dict.fromkeys([view.published, *(block.edition for block in matrix.tables)])
    file = page_file(out, matrix.name, view.grid, part=any(part.narrowed for part in parts))
    write_page(
        file,
        matrix.title,
        parts,
        editions=[edition for edition in named if edition],
        images=view.images,
        chosen=view.cases,
    )
    console.print(f"Page: {file}", markup=False, highlight=False, soft_wrap=True)
    return [file]


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


def _captioned(table: Table, narrowed: Narrowing) -> Table:
    """The table under a caption that says what it is narrowed to."""
    if not narrowed.words:
        return table
    return replace(table, caption=f"{table.caption} (a part: {narrowed.words})")


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
