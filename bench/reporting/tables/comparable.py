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


RULES = {
    "profile": (
        *("phantoms", "epochs", "train_cases", "test_cases", "native_sizes"),
        *("validate_every", "preset"),
    ),
    "protocol": (
        *("split", "split_seed", "val_share", "selection_metric", "resize", "budget", "preset"),
    ),
    "tuned": ("planned", "budget"),
}
"""Fields of profile, protocol and search that all rows of a table share: a name alone says little, since
options of a run and files of one's own change what stands behind it. Recipe and precision are no
rule: they are printed for each row."""


def require_same_rules(table: str, records: Sequence[CellRecord]) -> None:
    """BenchError when cells of one profile and protocol were run under different fields of it."""
    for part, fields in RULES.items():
        stated = [r.provenance.get("request", {}).get(part) or {} for r in records]
        for field in fields:
            counts = Counter(str(one[field]) for one in stated if field in one)
            if len(counts) < 2:
                continue
            found = ", ".join(f"{value} ({n} cells)" for value, n in sorted(counts.items()))
            raise BenchError(
                f"Table {table!r} would mix cells whose {part} differs in {field}: {found}. Their "
                f"numbers are not comparable. {_NEXT.get(field, _APART)}"
            )


_APART = "Keep each in a results folder of its own: bench run --out FOLDER."
_NEXT = {
    "epochs": "None is each recipe's own length. Choose one: bench report --epochs NUMBER, or "
    "--epochs own."
}


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


def require_comparable(table: str, records: Sequence[CellRecord]) -> ComparisonKey:
    """The comparison key of cells that may stand in one table or figure.

    Raises BenchError with the field that differs and the next step.
    """
    key = require_one_key(table, records)
    require_same_rules(table, records)
    require_same_training(table, records)
    return key


def require_one_per_seed(table: str, label: str, records: Sequence[CellRecord]) -> None:
    """BenchError when a seed comes twice among the repetitions of one entry."""
    seeds = Counter(record.key.seed for record in records)
    twice = [record for record in records if seeds[record.key.seed] > 1]
    if twice:
        raise BenchError(
            f"Table {table!r}, row {label!r}: seed {twice[0].key.seed} is stored twice with equal "
            f"inputs, in {_folders(twice)}. Delete or move the copy."
        )


def standing(records: Sequence[CellRecord]) -> tuple[list[CellRecord], list[CellRecord]]:
    """(cells to show, failed runs left out).

    A failed run hides no finished cell of its coordinates, and of several failed ones the last
    stands for them.
    """
    done = {_coordinates(record) for record in records if record.status == "done"}
    last: dict[str, CellRecord] = {}
    for record in sorted(records, key=lambda r: (str(r.provenance.get("finished")), r.id)):
        if record.status == "failed":
            last[_coordinates(record)] = record
    kept = [
        record
        for record in records
        if record.status == "done"
        or (_coordinates(record) not in done and last[_coordinates(record)] is record)
    ]
    return kept, [record for record in records if not any(record is one for one in kept)]


def _coordinates(record: CellRecord) -> str:
    return record.key.model_dump_json()


def _folders(records: Sequence[CellRecord]) -> str:
    return " and ".join(sorted(str(record.folder or record.id) for record in records)[:2])


def _names(records: Sequence[CellRecord]) -> str:
    names = sorted(record.id for record in records)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
