"""What may stand in one table: the same profile, protocol, selection rule, size and test cases."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.core.errors import BenchError
from bench.experiments.cells import CellRecord

WORDS = {
    "profile": "profiles",
    "protocol": "protocols",
    "selection": "selection rules",
    "image_size": "image sizes",
}


class ComparisonKey(NamedTuple):
    """What all cells of one table share."""

    profile: str
    protocol: str
    selection: str
    image_size: int


def comparison_key(record: CellRecord) -> ComparisonKey:
    """The comparison key of a cell."""
    key = record.key
    return ComparisonKey(key.profile, key.protocol, key.selection, key.image_size)


def comparable_groups(cells: Iterable[CellRecord]) -> dict[ComparisonKey, list[CellRecord]]:
    """The cells by comparison key, sorted. Each group can be tabulated, two together cannot."""
    groups: dict[ComparisonKey, list[CellRecord]] = {}
    for record in cells:
        groups.setdefault(comparison_key(record), []).append(record)
    return dict(sorted(groups.items()))


def select(
    cells: Iterable[CellRecord],
    *,
    profile: str | None = None,
    protocol: str | None = None,
    selection: str | None = None,
    image_size: int | None = None,
) -> list[CellRecord]:
    """The cells that agree with every given value."""
    wanted = (profile, protocol, selection, image_size)
    return [
        record
        for record in cells
        if all(w is None or w == has for w, has in zip(wanted, comparison_key(record), strict=True))
    ]


def require_one_key(table: str, records: Sequence[CellRecord]) -> ComparisonKey:
    """The comparison key of all records; BenchError names what differs and how to choose."""
    for field, words in WORDS.items():
        counts = Counter(getattr(comparison_key(record), field) for record in records)
        if len(counts) > 1:
            found = ", ".join(f"{value} ({n} cells)" for value, n in sorted(counts.items()))
            option = f"--{field.replace('_', '-')}"
            raise BenchError(
                f"Table {table!r} would mix {words}: {found}. Their numbers are not comparable. "
                f"Choose one: bench report {option} VALUE."
            )
    return comparison_key(records[0])


def require_same_training(table: str, records: Sequence[CellRecord]) -> None:
    """BenchError when cells meant to be compared were trained on other data or at other lengths.

    Per training dataset: the digests of pixels and split agree across all rows, and cells of one
    recipe ran equally long.
    """
    for train in sorted({record.key.train for record in records}):
        own = [record for record in records if record.key.train == train]
        for name in ("data", "split"):
            if len({record.inputs.get(name) for record in own}) > 1:
                raise BenchError(
                    f"Table {table!r} would mix cells trained on different versions of {train!r}: "
                    f"the digest of its {name} differs between {_names(own)}. Run the matrix again "
                    "so that all rest on one version, or move the old cells out of the results."
                )
        for recipe in sorted({record.key.recipe for record in own}):
            lengths = sorted({r.key.epochs for r in own if r.key.recipe == recipe})
            if len(lengths) > 1:
                raise BenchError(
                    f"Table {table!r} would mix lengths of training on {train!r} under recipe "
                    f"{recipe!r}: {', '.join(map(str, lengths))} epochs. Choose one: "
                    "bench report --epochs VALUE."
                )


def require_same_cell(table: str, label: str, records: Sequence[CellRecord]) -> None:
    """BenchError when the seeds of one entry are not repetitions of one and the same training."""
    checks = {
        "recipes": {record.key.recipe for record in records},
        "weights of its tokenizer": {
            record.key.tokenizer.weights_hash[:8] for record in records if record.key.tokenizer
        },
        "numbers of trainable parameters": {
            str(record.trainable_params) for record in records if record.status == "done"
        },
    }
    for words, values in checks.items():
        if len(values) > 1:
            raise BenchError(
                f"Table {table!r}, row {label!r}, would average over different {words}: "
                f"{', '.join(sorted(values))}. Keep one kind of cell in the results folder."
            )


def latest(table: str, records: Sequence[CellRecord]) -> tuple[list[CellRecord], int]:
    """(the record of each training that finished last; number of older ones left out).

    Coordinates come twice when code or data changed between two runs.
    Raises BenchError where two records of the same coordinates do not say when they finished.
    """
    kept: dict[str, CellRecord] = {}
    for record in records:
        key = record.key.model_dump_json()
        other = kept.get(key)
        if other is None:
            kept[key] = record
            continue
        if not (record.provenance.get("finished") and other.provenance.get("finished")):
            raise BenchError(
                f"Table {table!r}: cells {other.id} and {record.id} are the same training and do "
                "not both say when they finished. Delete the one that is out of date."
            )
        kept[key] = max(other, record, key=lambda r: str(r.provenance["finished"]))
    return list(kept.values()), len(records) - len(kept)


def _names(records: Sequence[CellRecord]) -> str:
    names = sorted(record.id for record in records)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
