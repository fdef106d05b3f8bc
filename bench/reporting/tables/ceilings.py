"""The line below a table that says what the rows' tokenizers give back of the test masks."""

from collections.abc import Mapping, Sequence

from bench.experiments.ceilings import ceiling_key, load_ceiling
from bench.experiments.cells import CellRecord
from bench.reporting.tables.table import Column

WORDS = (
    "Tokenizer ceiling (mean DSC of the test masks after encoding and decoding them, without any "
    "mapping; a row on this tokenizer cannot be expected to exceed it)"
)
MEASURE = "bench tokenizer ceiling"


def ceiling_lines(
    records: Sequence[CellRecord], columns: Sequence[Column], titles: Mapping[str, str]
) -> list[str]:
    """One line with the ceiling of every tokenizer on every test set of the table; none for a table
    without a tokenizer. What is not measured is said, with the command that measures it."""
    measured: dict[str, dict[str, str]] = {}
    absent: dict[str, None] = {}
    for record in records:
        for column in columns:
            label = f"{column.test}-{column.subset}"
            tokenizer = record.key.tokenizer
            if column.train != record.key.train or tokenizer is None:
                continue
            if ceiling_key(record, label) is None:
                continue
            title, found = titles.get(column.test, column.test), load_ceiling(record, label)
            if found is None:
                absent[f"{tokenizer.name} on {title}"] = None
            else:
                own = measured.setdefault(tokenizer.name, {})
                own[title] = f"{title} {100 * found.mean:.2f}"
    if not (measured or absent):
        return []
    parts = [f"{name}: {', '.join(own.values())}" for name, own in measured.items()]
    parts += [f"not measured: {', '.join(absent)}; run {MEASURE}"] if absent else []
    return [f"{WORDS}: {'; '.join(parts)}."]
