"""Tables as a pure function of stored cells: no torch, no training.

    tables = build_tables(matrix.tables, load_cells(folder), missing=[...], published="aaai2025")
    write_tables(tables, folder / "tables")
    show(tables[0], rich.console.Console())

A table compares cells of one comparison key only (profile, protocol, selection rule, image size)
and raises `BenchError` otherwise; `comparable_groups` splits a folder of cells by such keys.
"""

from bench.reporting.tables.build import build_table, build_tables
from bench.reporting.tables.comparable import (
    ComparisonKey,
    comparable_groups,
    comparison_key,
    select,
)
from bench.reporting.tables.render import (
    to_csv,
    to_latex,
    to_latex_document,
    to_markdown,
    write_tables,
)
from bench.reporting.tables.rows import Missing
from bench.reporting.tables.table import Column, Entry, Table, TableRow
from bench.reporting.tables.terminal import Format, show, to_rich

__all__ = [
    "Column",
    "ComparisonKey",
    "Entry",
    "Format",
    "Missing",
    "Table",
    "TableRow",
    "build_table",
    "build_tables",
    "comparable_groups",
    "comparison_key",
    "select",
    "show",
    "to_csv",
    "to_latex",
    "to_latex_document",
    "to_markdown",
    "to_rich",
    "write_tables",
]
