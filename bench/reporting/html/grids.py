"""Tables, statistics and lists in the one form that the page's template draws."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.reporting.claims.listing import Listing
from bench.reporting.claims.listing import to_csv as listing_csv
from bench.reporting.statistics import TableStatistics
from bench.reporting.statistics.sheets import Sheet, in_a_row, sheets_of
from bench.reporting.statistics.write import to_latex as sheet_latex
from bench.reporting.tables import Entry, Table, TableRow, to_csv, to_latex
from bench.reporting.tables.render import entry_text


@dataclass(frozen=True)
class Box:
    """One field of a grid.

    sort: what it is ordered by, None last. mark: "best", "second" or "". beside: words after the
    footnotes. again: repeats the group of the row above. cell: id of the cell behind a number.
    """

    text: str
    sort: float | str | None = None
    mark: str = ""
    notes: str = ""
    beside: str = ""
    again: bool = False
    cell: str | None = None
    hint: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of the page. tops: (title, columns) over the headers. copies: name of a format -> text
    for the clipboard. prose: fields are sentences, which break into lines."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Box, ...], ...]
    tops: tuple[tuple[str, int], ...] = ()
    footnotes: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()
    copies: dict[str, str] = field(default_factory=dict)
    prose: bool = False

    def aligned(self, column: int) -> str:
        """The class of a column: "n" where it holds numbers and no words."""
        words = any(isinstance(row[column].sort, str) for row in self.rows)
        return "" if words or self.prose else "n"


def table_grid(table: Table, shown: frozenset[str]) -> Grid:
    """A table of scores; shown: ids of the cells that the page describes."""
    rows, previous = [], None
    for row in table.rows:
        again = table.label_at > 0 and bool(row.group) and row.group == previous
        previous = row.group
        rows.append((*_leads(table, row, again), *(_entry(e, shown) for e in row.entries)))
    lead = (("", len(table.lead_headers)),) if table.spans else ()
    copies = {"LaTeX": to_latex(table)} | ({"CSV": to_csv(table)} if table.rows else {})
    return Grid(
        title=table.caption,
        headers=(*table.lead_headers, *table.headers),
        rows=tuple(rows),
        tops=(*lead, *table.spans),
        footnotes=table.footnotes,
        footer=table.footer,
        copies=copies,
    )


def _leads(table: Table, row: TableRow, again: bool) -> list[Box]:
    boxes = []
    for place, word in enumerate(row.lead):
        label = place == table.label_at
        notes = ",".join(map(str, row.footnotes)) if label else ""
        text = word + "†" * (row.dagger and label)
        boxes.append(Box(text, order_of(word), notes=notes, again=again and place == 0))
    return boxes


def _entry(entry: Entry, shown: frozenset[str]) -> Box:
    known = [cell for cell in entry.cells if cell in shown]
    seeds = f"seeds {', '.join(map(str, entry.seeds))}" if entry.seeds else ""
    cases = f"{entry.cases} cases" if entry.cases is not None else ""
    return Box(
        text=entry.text,
        sort=entry.value,
        mark=entry.mark,
        notes=",".join(map(str, entry.footnotes)),
        beside=entry_text(entry).removeprefix(entry.text),
        cell=known[0] if known else None,
        hint=entry.reason or ", ".join(filter(None, (seeds, cases))),
    )


def statistics_grids(found: TableStatistics) -> list[Grid]:
    """The sheets of one table."""
    return [_sheet_grid(sheet) for sheet in in_a_row(sheets_of(found))]


def _sheet_grid(sheet: Sheet) -> Grid:
    return Grid(
        title=sheet.title,
        headers=sheet.headers,
        rows=tuple(tuple(Box(word, order_of(word)) for word in row) for row in sheet.rows),
        footer=(*sheet.notes, *sheet.common),
        copies={"LaTeX": sheet_latex(sheet), "CSV": _csv([sheet.headers, *sheet.rows])},
    )


def listing_grid(listing: Listing) -> Grid:
    """Claims or findings."""
    return Grid(
        title=listing.title,
        headers=listing.headers,
        rows=tuple(tuple(Box(word, order_of(word)) for word in row) for row in listing.rows),
        footer=listing.notes,
        copies={"CSV": listing_csv(listing)} if listing.facts else {},
        prose=True,
    )


_NUMBER = re.compile(r"^[<(\[]?([+-]?[0-9][0-9,]*(?:\.[0-9]+)?)(?![0-9A-Za-z])")


def order_of(word: str) -> float | str | None:
    """What a word is sorted by: its leading number, itself, or None for a dash or nothing."""
    word = word.strip()
    if word in ("", "–"):
        return None
    number = _NUMBER.match(word.replace("−", "-"))
    return float(number[1].replace(",", "")) if number else word


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
