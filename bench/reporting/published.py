"""The numbers printed in the papers, as data: one edition per pair of files.

`<edition>.toml` says what the edition is, `<edition>.csv` has a line per printed number. They are
kept as printed text, since "93.90" and "93.9" claim different things. The editions differ in
places, so a number is never quoted without its edition.
"""

import csv
import itertools
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench.core.errors import BenchError, faults, unknown_name
from bench.core.frozen import Frozen
from bench.core.paths import shipped
from bench.core.reading import read_text, read_toml
from bench.experiments.matrices import TableBlock

PublishedMetric = Literal["params_m", "dsc", "iou", "hd95"]


class PrintedKey(Frozen):
    """What a printed number is about.

    method: as in our registry. train, test: names of cards, "" for a parameter count. variant: what
    an ablation table varies, such as {"loss": "lm"}: each column of the file beyond the common ones.
    metric: params_m (trainable, millions), dsc and iou (per cent), hd95 (in the edition's unit:
    pixels at its image size where it names none).
    """

    method: str
    train: str
    test: str
    variant: dict[str, str] = {}
    metric: PublishedMetric

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Everything in one tuple, to look numbers up by."""
        variant = itertools.chain(*sorted(self.variant.items()))
        return (self.method, self.train, self.test, self.metric, *variant)


class PrintedNumber(Frozen):
    """One number of one table, with its place: `line` counts the table's rows from 1."""

    table: int
    line: int
    type: str
    model: str
    key: PrintedKey
    printed: str
    mark: Literal["", "best", "second"]

    @property
    def value(self) -> float:
        """The number, in the unit of its metric."""
        return float(self.printed)


class Edition(Frozen):
    """One edition of a paper. tables: what each numbered table holds, in our words.

    image_size: side in px of the images that its scores were taken at. test_cases: dataset -> number
    of test cases behind its in-domain scores; cross_domain_cases: behind scores on another dataset.
    None and absent where the edition does not say it.
    """

    name: str
    title: str
    citation: str
    url: str
    notes: tuple[str, ...]
    tables: dict[int, str]
    image_size: int | None = None
    test_cases: dict[str, int] = {}
    cross_domain_cases: dict[str, int] = {}
    numbers: tuple[PrintedNumber, ...]

    def find(
        self,
        method: str,
        metric: str,
        *,
        train: str = "",
        test: str = "",
        **variant: str,
    ) -> PrintedNumber | None:
        """The printed number, or None where the edition prints none for this combination.

        variant: as in `PrintedKey`, given by name: find(..., loss="lm").
        """
        coordinates = (method, train, test, metric, *itertools.chain(*sorted(variant.items())))
        return _by_key(self.name).get(coordinates)

    @property
    def orders(self) -> tuple[tuple[str, ...], ...]:
        """The methods of each table, in the order of its lines."""
        tables: dict[int, dict[str, None]] = {}
        for number in self.numbers:
            tables.setdefault(number.table, {})[number.key.method] = None
        return tuple(map(tuple, tables.values()))

    def printed_name(self, method: str) -> tuple[str, str]:
        """(group, title) of a method as printed; ("", method) when the edition has no such one."""
        own = [number for number in self.numbers if number.key.method == method]
        group = next((number.type for number in own if number.type), "")
        title = next((number.model for number in own), method)
        return group, title.removesuffix(" (Ours)")


class Difference(Frozen):
    """A number that two editions print differently."""

    key: PrintedKey
    first: str
    second: str


def edition_names() -> list[str]:
    """The shipped editions."""
    return sorted(path.stem for path in shipped("published").glob("*.toml"))


@cache
def load_edition(name: str) -> Edition:
    """A shipped edition by name, or one's own by the path of its .toml file, the .csv beside it.

    Raises BenchError with the nearest name if there is none.
    """
    if name.endswith(".toml"):
        file = Path(name)
        if not file.is_file():
            raise BenchError(f"No edition file {name!r}. Give a path that exists, or a name.")
    else:
        if name not in edition_names():
            raise unknown_name("edition of published numbers", name, edition_names())
        file = shipped("published") / f"{name}.toml"
    facts = read_toml(file, "edition file")
    rows = csv.DictReader(read_text(file.with_suffix(".csv"), "edition table").splitlines())
    try:
        return Edition.model_validate({**facts, "name": name, "numbers": [*map(_number, rows)]})
    except ValidationError as error:
        raise BenchError(f"Edition {file.name} cannot be used: {faults(error)}.") from error
    except (KeyError, TypeError, AttributeError, csv.Error) as error:
        raise BenchError(
            f"{file.with_suffix('.csv')} is no table of printed numbers ({error!r}). The shipped "
            "ones in results/published/ show every column."
        ) from error


def require_editions(tables: Iterable[TableBlock]) -> None:
    """BenchError when a table names an edition that there is not; before any work."""
    for name in sorted({table.edition for table in tables if table.edition}):
        load_edition(name)


def _number(row: dict[str, str]) -> PrintedNumber:
    common = ("table", "line", "type", "model", "printed", "mark")
    number: dict[str, Any] = {name: row.pop(name) for name in common}
    key: dict[str, Any] = {name: row.pop(name) for name in ("method", "train", "test", "metric")}
    key["variant"] = {name: value for name, value in row.items() if value}
    return PrintedNumber.model_validate({**number, "key": key})


@cache
def _by_key(name: str) -> dict[tuple[str, ...], PrintedNumber]:
    return {n.key.coordinates: n for n in load_edition(name).numbers}


def shared(first: str, second: str) -> list[tuple[PrintedNumber, PrintedNumber]]:
    """The numbers of what both editions print, side by side, in the first one's order."""
    others = _by_key(second)
    return [(number, others[key]) for key, number in _by_key(first).items() if key in others]


def differences(first: str, second: str) -> list[Difference]:
    """Every number that both editions print, and print differently, in the first one's order."""
    return [
        Difference(key=one.key, first=one.printed, second=other.printed)
        for one, other in shared(first, second)
        if one.printed != other.printed
    ]


def only_in(first: str, second: str) -> list[PrintedNumber]:
    """The numbers of one edition that the other does not print at all."""
    others = _by_key(second)
    return [number for key, number in _by_key(first).items() if key not in others]
