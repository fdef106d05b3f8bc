"""A table as the renderers see it: words and marks, no records and no arithmetic."""

from dataclasses import dataclass
from typing import Literal

from bench.reporting.tables.training import Training

Mark = Literal["", "best", "second"]
Grid = Literal["network", "native"]

UNITS = {"dsc": "%", "iou": "%", "hd95": "px", "hd95_directed": "px", "optimism": "points"}
HEADERS = {
    "dsc": "DSC↑",
    "iou": "IoU↑",
    "hd95": "HD95↓",
    "hd95_directed": "HD95 directed↓",
    "optimism": "Optim.",
}


@dataclass(frozen=True)
class Column:
    """A test set: trained on `train`, scored on `subset` of `test`."""

    train: str
    test: str
    subset: str = "test"


@dataclass(frozen=True)
class Entry:
    """One number, or one visible absence of it.

    text: as printed, "81.43 ± 0.52" or "–". value, sd: in the printed unit, full precision; sd
    over seeds (ddof 1), None for one seed. seeds: those that the mean is over. cells: their ids, in
    the same order. tied: cannot be told from the best of its column. cases: scored cases per seed.
    empty: cases with an empty mask, summed over seeds. footnotes: numbers of footnotes.
    printed, difference: the published number as printed, and ours minus it; incomparable: why there
    is no difference. reason: why there is no value. training: of the cells behind the value. data:
    columns of the CSV on the data behind it. ranked: whether it takes part in the marks.
    """

    text: str
    metric: str
    column: Column | None = None
    value: float | None = None
    sd: float | None = None
    seeds: tuple[int, ...] = ()
    cells: tuple[str, ...] = ()
    cases: int | None = None
    empty: int | None = None
    mark: Mark = ""
    tied: bool = False
    footnotes: tuple[int, ...] = ()
    printed: str | None = None
    difference: float | None = None
    reason: str | None = None
    training: Training | None = None
    incomparable: str | None = None
    data: tuple[tuple[str, str], ...] = ()
    ranked: bool = True


@dataclass(frozen=True)
class TableRow:
    """A row: its leading words, then its entries.

    group: rows of one group stand together. label: the row's name in plain words. dagger: fewer
    trainable parameters than the matrix's reference method. facts: what a CSV line repeats about
    the row (method, settings, tokenizer, ...).
    """

    group: str
    label: str
    lead: tuple[str, ...]
    entries: tuple[Entry, ...]
    dagger: bool = False
    footnotes: tuple[int, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """A finished table.

    lead_headers: headers of the leading words; `label_at` is the one that daggers and row
    footnotes follow. spans: (title, number of entry columns) over the headers. footnotes: the numbered
    footnotes, 1 first. footer: lines below the table, the most important first. facts: what every
    CSV line repeats about the table.
    """

    name: str
    caption: str
    lead_headers: tuple[str, ...]
    label_at: int
    spans: tuple[tuple[str, int], ...]
    headers: tuple[str, ...]
    rows: tuple[TableRow, ...]
    footnotes: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


class Footnotes:
    """Numbers footnotes from 1 in order of first use; equal texts share a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a footnote."""
        return self._numbers.setdefault(text, len(self._numbers) + 1)

    def texts(self) -> tuple[str, ...]:
        """All footnotes in order."""
        return tuple(self._numbers)
