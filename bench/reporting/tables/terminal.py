"""Tables for the terminal, through rich."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from bench.reporting.tables.render import entry_text, lead_words
from bench.reporting.tables.table import Entry, Table

_SUPERSCRIPT = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹˒")
_STYLES = {"best": "bold", "second": "underline", "": ""}


def to_rich(table: Table) -> Group:
    """The table, its footnotes and its footer as one renderable."""
    body = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    leads = len(table.lead_headers)
    for position, header in enumerate(_padded_headers(table)):
        if position < leads:
            longest = max(map(len, header.split() + [row.lead[position] for row in table.rows]))
            body.add_column(header, overflow="fold", min_width=longest + 1)  # + 1: a dagger
        else:
            body.add_column(header, overflow="fold", justify="right")
    previous = None
    for row, lead in zip(table.rows, lead_words(table), strict=True):
        if previous is not None and table.label_at > 0 and row.group != previous:
            body.add_section()
        previous = row.group
        lead[table.label_at] += ("†" if row.dagger else "") + _footnotes(row.footnotes)
        body.add_row(*(Text(word) for word in lead), *(_entry(entry) for entry in row.entries))
    footnotes = [Text(f"{_footnotes((i,))} {text}") for i, text in enumerate(table.footnotes, 1)]
    footer = [Text(line, style="dim") for line in table.footer]
    title = Text(table.caption, style="bold")
    return Group(title, body, *footnotes, *footer, Text(""))


def _padded_headers(table: Table) -> list[str]:
    """Headers of all columns, all of one height, a dataset's name over the first of its columns."""
    tops = [""] * (len(table.lead_headers) + len(table.headers))
    position = len(table.lead_headers)
    for title, width in table.spans:
        # Broken where a narrow column may break it.
        tops[position] = title.replace("-", "-\n").replace(" to ", " to\n") + "\n"
        position += width
    height = max(top.count("\n") for top in tops)
    headers = (*table.lead_headers, *table.headers)
    return ["\n" * (height - t.count("\n")) + t + h for t, h in zip(tops, headers, strict=True)]


def _footnotes(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)).translate(_SUPERSCRIPT)


def _entry(entry: Entry) -> Text:
    text = Text(entry.text, style=_STYLES[entry.mark])
    text.append(_footnotes(entry.footnotes), style="not bold not underline")
    beside = entry_text(entry).removeprefix(entry.text).replace(" ", "\n", 1)
    text.append(beside, style="not bold not underline")
    return text
