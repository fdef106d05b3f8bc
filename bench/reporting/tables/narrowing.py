"""A report on a part of what is stored: which columns and cells it shows, what it leaves out, and a
file name of its own."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.core.files import digest
from bench.experiments.cells import CellRecord
from bench.experiments.matrices import Matrix, TableBlock
from bench.reporting.tables.layout import make_layout, used

LONG = 40  # characters of names beyond which a file name counts them instead


@dataclass(frozen=True)
class Narrowing:
    """What was asked for; empty and None mean everything.

    datasets: training datasets. epochs: a number, or "own" for the recipes' own lengths. part: the
    cells of one run, where others of the same methods, datasets and seeds are stored.
    """

    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    epochs: str | None = None
    part: bool = False

    def takes(self, record: CellRecord) -> bool:
        """Whether a cell was asked for."""
        return not self.against(record)

    def against(self, record: CellRecord) -> str:
        """The first word of this narrowing that leaves a cell out; "" where none does."""
        key = record.key
        if self.methods and key.method not in self.methods:
            return "methods"
        if self.datasets and key.train not in self.datasets:
            return "datasets"
        if self.seeds and key.seed not in self.seeds:
            return "seeds"
        return "epochs" if self.epochs and not _of_length(record, self.epochs) else ""

    def blocks(self, blocks: Iterable[TableBlock]) -> list[TableBlock]:
        """The blocks with the columns that were asked for; those without any are left out."""
        if not self.datasets:
            return list(blocks)
        found = []
        for block in blocks:
            datasets = tuple(name for name in block.datasets if name in self.datasets)
            pairs = tuple(pair for pair in block.pairs if pair[0] in self.datasets)
            if datasets or pairs or block.kind == "parameters":
                update = {"datasets": datasets, "pairs": pairs}
                found.append(block.model_copy(update=update))
        return found

    @property
    def parts(self) -> list[tuple[str, list[str]]]:
        """(word, values) of what is narrowed."""
        listed = {
            "methods": list(self.methods),
            "datasets": list(self.datasets),
            "seeds": list(map(str, self.seeds)),
            "epochs": [self.epochs] if self.epochs else [],
        }
        return [(word, values) for word, values in listed.items() if values]

    @property
    def suffix(self) -> str:
        """What follows the name of each file: "--methods-unet+gms--seeds-1"; "" for everything."""
        named = [f"--{word}-{_short(values)}" for word, values in self.parts]
        return "".join([*named, *(["--this-run"] if self.part else [])])

    @property
    def words(self) -> str:
        """What follows each caption: "methods unet, gms; seeds 1"; "" for everything."""
        named = [f"{word} {', '.join(values)}" for word, values in self.parts]
        return "; ".join([*named, *(["the cells of one run"] if self.part else [])])


EVERYTHING = Narrowing()


def _of_length(record: CellRecord, epochs: str) -> bool:
    if epochs != "own":
        return str(record.key.epochs) == epochs
    request = record.provenance.get("request", {})
    return request.get("profile", {}).get("epochs") is None


def _short(values: Sequence[str]) -> str:
    name = "+".join(re.sub(r"[^\w-]+", "-", value) for value in values)
    return name if len(name) <= LONG else f"{len(values)}-{digest(list(values))[:8]}"


def reportable(
    blocks: Iterable[TableBlock],
    stored: Sequence[CellRecord],
    external_subset: Literal["test", "all"],
) -> list[CellRecord]:
    """The stored cells that tables of everything would show."""
    found: dict[int, CellRecord] = {}
    for block in blocks:
        layout = make_layout(block, stored, (), external_subset)
        found |= {id(record): record for record in used(layout, stored)}
    return list(found.values())


def effective(
    asked: Narrowing, matrix: Matrix, stored: Sequence[CellRecord], shown: Sequence[CellRecord]
) -> Narrowing:
    """The part of `asked` that leaves something out: stored cells, or what the matrix names.

    stored: the cells that a report on everything would show. shown: those that this one is on.
    """
    methods = {name for block in matrix.cells for name in block.methods}
    trains = {name for block in matrix.tables for name in block.datasets}
    trains |= {train for block in matrix.tables for train, _ in block.pairs}
    methods |= {record.key.method for record in stored}
    trains |= {record.key.train for record in stored}
    lengths = asked.epochs and any(not _of_length(record, asked.epochs) for record in stored)
    known = {record.id for record in shown}
    return replace(
        asked,
        methods=asked.methods if methods - set(asked.methods) else (),
        datasets=asked.datasets if trains - set(asked.datasets) else (),
        seeds=asked.seeds if {r.key.seed for r in stored} - set(asked.seeds) else (),
        epochs=asked.epochs if lengths else None,
        part=any(asked.takes(record) and record.id not in known for record in stored),
    )


def left_out(
    narrowing: Narrowing, stored: Sequence[CellRecord], shown: Sequence[CellRecord]
) -> list[str]:
    """A line on the cells that a report on everything would show and this one leaves out, and why."""
    known = {record.id for record in shown}
    hidden = [record for record in stored if record.id not in known]
    if not hidden:
        return []
    named: dict[str, Counter[str]] = {}
    for record in hidden:
        word = narrowing.against(record)
        named.setdefault(word, Counter())[_value(word, record)] += 1
    words = [
        f"{word or 'other runs of'} {', '.join(f'{k} ({n})' for k, n in sorted(counts.items()))}"
        for word, counts in sorted(named.items())
    ]
    total = f"{len(hidden)} cell{'s' * (len(hidden) != 1)}"
    return [f"Stored and left out: {total}: {'; '.join(words)}. `bench report` shows all."]


def _value(word: str, record: CellRecord) -> str:
    key = record.key
    values = {"datasets": key.train, "seeds": str(key.seed), "epochs": str(key.epochs)}
    return values.get(word, key.method)
