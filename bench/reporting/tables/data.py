"""What a table says of the data behind its numbers, from the facts in the records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.experiments.cells import CellRecord
from bench.experiments.facts import DataFacts
from bench.reporting.tables.commits import commit_of
from bench.reporting.tables.table import Column

UNKNOWN = "not recorded"

FIELDS = (
    *("split_scheme", "split_seed", "split_digest", "split_train", "split_val", "split_test"),
    *("selected_on", "train_data", "test_data", "commit"),
)
"""Columns of the CSV that say on which data a number rests."""


def data_words(facts: DataFacts) -> str:
    """The cases at hand beside the published ones: "98 of 647 published cases, no group ids"."""
    if facts.phantoms:
        return f"{facts.cases} phantoms"
    words = {
        None: f"{facts.cases} cases, published number unknown",
        True: f"all {facts.cases} published cases",
        False: f"{facts.cases} of {facts.published_cases} published cases",
    }[facts.complete]
    size = ""
    if facts.complete is not False and facts.rescaled is None:
        size = ", published image size unknown"
    elif facts.rescaled:
        size = f", {_rescaled(facts)}"
    return f"{words}{size}, {_groups(facts)}"


def shortcomings(facts: DataFacts) -> list[str]:
    """Why data are not the complete published ones at their published size; empty if they may be."""
    words = ["phantoms"] if facts.phantoms else []
    if facts.complete is False:
        words.append(f"{facts.cases} of {facts.published_cases} published cases")
    return [*words, *([_rescaled(facts)] if facts.rescaled else [])]


def _rescaled(facts: DataFacts) -> str:
    assert facts.largest is not None and facts.published_largest is not None
    here, there = _size(facts.largest), _size(facts.published_largest)
    return f"rescaled copy (at most {here} px, published {there})"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _groups(facts: DataFacts) -> str:
    if not facts.grouped:
        return "no group ids"
    of = "" if facts.grouped == facts.cases else f" for {facts.grouped} cases"
    return f"{facts.groups} {facts.unit or 'group'}s known{of}"


def facts_of(records: Iterable[CellRecord]) -> dict[str, DataFacts]:
    """Dataset -> its facts, of the record that finished last among those that state them."""
    ordered = sorted(
        records, key=lambda record: (str(record.provenance.get("finished")), record.id)
    )
    return {name: facts for record in ordered for name, facts in record.data.items()}


def data_line(records: Sequence[CellRecord], columns: Sequence[Column], titles: Mapping[str, str]) -> str:  # fmt: skip
    """The data behind the columns, training and test datasets once each."""
    known = facts_of(records)
    names = dict.fromkeys(name for c in columns for name in (c.train, c.test))
    trained = {record.key.train for record in records}
    shown = [name for name in names if name in known or name in trained]
    if not shown:
        return "Data: no cell here is trained."
    said = [
        f"{titles.get(name, name)}: {data_words(known[name]) if name in known else UNKNOWN}"
        for name in shown
    ]
    return f"Data: {'; '.join(said)}."


def split_of(record: CellRecord) -> dict[str, Any]:
    """The split that a cell was trained on: scheme, seed, digest, train, val, test and origin."""
    facts = record.data.get(record.key.train)
    return facts.split.model_dump() if facts else dict(record.provenance.get("split") or {})


def split_words(split: Mapping[str, Any]) -> str:
    """A split in one line: "published list, seed 0, digest 1a2b3c4d, 64 train, ..."."""
    words = {
        "published": "published list",
        "imported": f"imported list {split.get('origin', '')}".rstrip(),
        "random80": "random 80/20",
        "grouped": "random 80/20 by group",
        "dedup": "default lists without near-duplicates of test cases",
        "all-test": "all cases test",
    }.get(split["scheme"], split["scheme"])
    digest = f", digest {split['digest'][:8]}" if split.get("digest") else ""
    sides = f"{split['train']} train, {split['val']} validation, {split['test']} test"
    return f"{words}, seed {split['seed']}{digest}, {sides}"


def selected_on(record: CellRecord) -> str:
    """The cases that the scored epoch was chosen on: "validation cases of busi"."""
    side = {"best-val": "validation", "best-test": "test"}.get(record.key.selection)
    return f"{side} cases of {record.key.train}" if side else "none: last epoch"


def data_columns(records: Sequence[CellRecord], column: Column) -> dict[str, str]:
    """Column of the CSV -> its value for one number; records: the cells behind it."""
    splits = [split_of(record) for record in records]
    known = facts_of(records)
    parts = {
        f"split_{name}": _joined(split.get(name) for split in splits)
        for name in ("scheme", "seed", "digest", "train", "val", "test")
    }
    told = {
        side: data_words(known[name]) if name in known else UNKNOWN
        for side, name in (("train_data", column.train), ("test_data", column.test))
    }
    where = {"selected_on": _joined(map(selected_on, records))}
    return parts | where | told | {"commit": _joined(map(commit_of, records))}


def _joined(values: Iterable[object]) -> str:
    """Distinct values; a missing one reads "not recorded"."""
    texts = (UNKNOWN if value is None else str(value) for value in values)
    return " / ".join(sorted(set(texts)))
