"""The line below a table about leaks between train and test, from what the cells recorded."""

from collections.abc import Mapping, Sequence

from bench.data.audit.leaks import LeakCounts
from bench.experiments.cells import CellRecord


def leak_line(records: Sequence[CellRecord], titles: Mapping[str, str]) -> str | None:
    """Per training dataset: how many test images share a patient, lesion or near-duplicate with
    train; None where all cells were trained on phantoms.

    Cells of one table share their split; where they were stored before and after an audit, each
    state is named.
    """
    words: dict[str, dict[str, None]] = {}
    for record in records:
        if "leaks" in record.provenance and record.provenance["leaks"] is None:
            continue
        own = words.setdefault(titles.get(record.key.train, record.key.train), {})
        own[_words(record)] = None
    if not words:
        return None
    named = [f"{name}: {' / '.join(own)}" for name, own in words.items()]
    return f"Leaks: {'; '.join(named)}."


def _words(record: CellRecord) -> str:
    found = record.provenance.get("leaks")
    return LeakCounts.model_validate(found).words() if found else "not recorded"
