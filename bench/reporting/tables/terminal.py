"""Tables for the terminal, through rich; Markdown or CSV where the output is no terminal."""

from collections.abc import Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from bench.reporting.tables.render import entry_text, lead_words, to_csv, to_markdown
from bench.reporting.tables.table import Entry, Table

Format = Literal["auto", "terminal", "markdown", "csv"]

_SUPERSCRIPT = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹˒")
_STYLES = {"best": "bold", "second": "underline", "": ""}
_ENDLESS = 10_000  # columns: the width a table would like to have


def show(table: Table, console: Console, format: Format = "auto") -> None:
    """Print a table; "auto" fits it into a terminal and writes Markdown into a pipe."""
    if format == "terminal" or (format == "auto" and console.is_terminal):
        console.print()
        console.print(to_rich(table))
        return
    text = to_csv(table) if format == "csv" else f"\n{to_markdown(table)}"
    console.print(text, markup=False, highlight=False, soft_wrap=True, end="")


class Fitted:
    """A table, its footnotes and its footer; in blocks of columns where the terminal is too narrow
    for all, so that no number is cut or broken."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self.table
        yield Text(table.caption, style="bold")
        for columns in self._blocks(console, options):
            yield _body(table, columns, fold=not self._fits(columns, console, options))
        yield from (Text(f"{_footnotes((i,))} {text}") for i, text in enumerate(table.footnotes, 1))
        yield from (Text(line, style="dim") for line in table.footer)
        yield Text("")

    def _blocks(self, console: Console, options: ConsoleOptions) -> list[list[int]]:
        """Columns that stand side by side: as many datasets as fit, else as many columns."""
        groups = _groups(self.table)
        if not all(self._fits(group, console, options) for group in groups):
            groups = [[column] for group in groups for column in group]
        blocks: list[list[int]] = []
        for group in groups:
            if blocks and self._fits([*blocks[-1], *group], console, options):
                blocks[-1] += group
            else:
                blocks.append(list(group))
        return blocks or [[]]

    def _fits(self, columns: Sequence[int], console: Console, options: ConsoleOptions) -> bool:
        body = _body(self.table, columns, fold=False)
        wanted = Measurement.get(console, options.update(width=_ENDLESS), body).maximum
        return wanted <= options.max_width


def to_rich(table: Table) -> Fitted:
    """The table as a renderable that fits any width."""
    return Fitted(table)


def _groups(table: Table) -> list[list[int]]:
    """The columns of each dataset; of a table without such heads, each for itself."""
    found, first = [], 0
    for _, width in table.spans:
        found.append(list(range(first, first + width)))
        first += width
    return found + [[column] for column in range(first, len(table.headers))]


def _body(table: Table, columns: Sequence[int], fold: bool) -> RichTable:
    """The leading words and some columns. fold: whether leading words may be broken."""
    body = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    leads, heads = _headers(table, columns)
    for header in leads:
        body.add_column(escape(header), overflow="fold", no_wrap=not fold)
    for header in heads:
        body.add_column(escape(header), justify="right", no_wrap=True)
    previous = None
    for row, lead in zip(table.rows, lead_words(table), strict=True):
        if previous is not None and table.label_at > 0 and row.group != previous:
            body.add_section()
        previous = row.group
        lead[table.label_at] += ("†" if row.dagger else "") + _footnotes(row.footnotes)
        entries = (_entry(row.entries[column]) for column in columns)
        body.add_row(*(Text(word) for word in lead), *entries)
    return body


def _headers(table: Table, columns: Sequence[int]) -> tuple[list[str], list[str]]:
    """(headers of the leading words, of the columns), all of one height; a dataset's name stands
    over the first of its columns that is shown."""
    tops = dict.fromkeys(columns, "")
    for (title, _), group in zip(table.spans, _groups(table), strict=False):
        shown = [column for column in group if column in tops]
        if shown:  # broken where a narrow column may break it
            tops[shown[0]] = title.replace("-", "-\n").replace(" ", "\n") + "\n"
    height = max((top.count("\n") for top in tops.values()), default=0)
    heads = [
        "\n" * (height - tops[column].count("\n")) + tops[column] + table.headers[column]
        for column in columns
    ]
    return ["\n" * height + header for header in table.lead_headers], heads


def _footnotes(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)).translate(_SUPERSCRIPT)


def _entry(entry: Entry) -> Text:
    text = Text(entry.text, style=_STYLES[entry.mark])
    text.append(_footnotes(entry.footnotes), style="not bold not underline")
    beside = entry_text(entry).removeprefix(entry.text).replace(" ", "\n", 1)
    text.append(beside, style="not bold not underline")
    return text
