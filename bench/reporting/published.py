"""The numbers printed in the papers, as data: one edition per pair of files.

`<edition>.toml` says what the edition is, `<edition>.csv` has a line per printed number. They are
kept as printed text, since "93.90" and "93.9" claim different things. The editions differ in
places, so a number is never quoted without its edition.
"""

import csv
import tomllib
from functools import cache
from typing import Literal

from bench.core.errors import unknown_name
from bench.core.frozen import Frozen
from bench.core.paths import shipped

PublishedMetric = Literal["params_m", "dsc", "iou", "hd95"]


class PrintedKey(Frozen):
    """What a printed number is about.

    method: as in our registry. train, test: names of cards, "" for a parameter count. loss and
    tokenizer: set in the ablation tables only ("lm", "seg", "lm+seg"; "vq-vae", "sd-vae").
    metric: params_m (trainable, millions), dsc and iou (per cent), hd95 (the paper names no unit;
    pixels at 224 x 224 by its protocol).
    """

    method: str
    train: str
    test: str
    loss: str
    tokenizer: str
    metric: PublishedMetric


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
    """One edition of the paper. tables: what each numbered table holds, in our words."""

    name: str
    title: str
    citation: str
    url: str
    notes: tuple[str, ...]
    tables: dict[int, str]
    numbers: tuple[PrintedNumber, ...]

    def find(
        self,
        method: str,
        metric: str,
        *,
        train: str = "",
        test: str = "",
        loss: str = "",
        tokenizer: str = "",
    ) -> PrintedNumber | None:
        """The printed number, or None where the edition prints none for this combination."""
        wanted = (method, train, test, loss, tokenizer, metric)
        return _by_key(self.name).get(wanted)


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
    """The edition called `name`; BenchError with the nearest name if there is none."""
    if name not in edition_names():
        raise unknown_name("edition of published numbers", name, edition_names())
    folder = shipped("published")
    facts = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        numbers = tuple(_number(row) for row in csv.DictReader(file))
    return Edition(name=name, numbers=numbers, **facts)


def _number(row: dict[str, str]) -> PrintedNumber:
    key = {field: row.pop(field) for field in PrintedKey.model_fields}
    return PrintedNumber.model_validate({**row, "key": key})


@cache
def _by_key(name: str) -> dict[tuple[str, ...], PrintedNumber]:
    return {tuple(n.key.model_dump().values()): n for n in load_edition(name).numbers}


def differences(first: str, second: str) -> list[Difference]:
    """Every number that both editions print, and print differently, in the first one's order."""
    others = _by_key(second)
    return [
        Difference(key=number.key, first=number.printed, second=others[key].printed)
        for key, number in _by_key(first).items()
        if key in others and others[key].printed != number.printed
    ]


def only_in(first: str, second: str) -> list[PrintedNumber]:
    """The numbers of one edition that the other does not print at all."""
    others = _by_key(second)
    return [number for key, number in _by_key(first).items() if key not in others]
