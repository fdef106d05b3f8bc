"""The tables of an edition as they are printed, with their bold and underlined numbers."""

from collections.abc import Sequence

from bench.reporting.published import Edition, PrintedNumber
from bench.reporting.tables.footer import column_title
from bench.reporting.tables.table import HEADERS, Column, Entry, Table, TableRow

ABSENT = "–"
PARAMETERS = "Trainable Params (M)"

Place = tuple[str, str, str]
"""Training set, test set and metric of a column; two empty names for parameters."""


def printed_tables(edition: Edition) -> list[Table]:
    """Every table of an edition, in its order; a row per model and variant."""
    return [_table(edition, number) for number in sorted({n.table for n in edition.numbers})]


def _table(edition: Edition, number: int) -> Table:
    own = [one for one in edition.numbers if one.table == number]
    places = list(dict.fromkeys(_place(one) for one in own))
    varied = list(dict.fromkeys(name for one in own for name in one.key.variant))
    rows: dict[tuple[str, ...], list[PrintedNumber]] = {}
    for one in own:
        rows.setdefault((one.type, one.model, *_words(one, varied)), []).append(one)
    typed = any(one.type for one in own)
    return Table(
        name=f"{edition.name}-table{number}",
        caption=f"Table {number} of {edition.title}: {edition.tables[number]}",
        lead_headers=("Type", "Model", *varied) if typed else ("Model", *varied),
        label_at=int(typed),
        spans=_spans(places),
        headers=tuple(HEADERS.get(metric, PARAMETERS) for *_, metric in places),
        rows=tuple(_row(lead, numbers, places, typed) for lead, numbers in rows.items()),
        footer=("As printed: best bold, second underlined, where the edition's text shows it.",),
        facts=(("edition", edition.name),),
    )


def _place(number: PrintedNumber) -> Place:
    return number.key.train, number.key.test, number.key.metric


def _words(number: PrintedNumber, varied: Sequence[str]) -> list[str]:
    return [number.key.variant.get(name, "") for name in varied]


def _spans(places: Sequence[Place]) -> tuple[tuple[str, int], ...]:
    widths: dict[tuple[str, str], int] = {}
    for train, test, _ in places:
        widths[train, test] = widths.get((train, test), 0) + 1
    return tuple((column_title(*pair, {}), width) for pair, width in widths.items())


def _row(
    lead: tuple[str, ...], numbers: Sequence[PrintedNumber], places: Sequence[Place], typed: bool
) -> TableRow:
    """lead: type, model and the varied values. typed: whether the table shows the type."""
    found = {_place(number): number for number in numbers}
    return TableRow(
        group=lead[0],
        label=lead[1],
        lead=lead if typed else lead[1:],
        entries=tuple(_entry(place, found.get(place)) for place in places),
        facts=(("method", numbers[0].key.method),),
    )


def _entry(place: Place, number: PrintedNumber | None) -> Entry:
    train, test, metric = place
    column = Column(train, test) if train else None
    if number is None:
        return Entry(ABSENT, metric, column, reason="not printed")
    return Entry(number.printed, metric, column, value=number.value, mark=number.mark)
