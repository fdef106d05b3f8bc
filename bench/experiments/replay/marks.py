"""`verification.json` in a cell's folder: the last outcome of each check, for tables to show.

It holds for one state of the record: after a new training or scoring it says nothing any more.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from bench.core.files import file_digest, write_json
from bench.core.frozen import Frozen
from bench.experiments.cells import RECORD, CellRecord
from bench.experiments.replay.checks import Check

MARKS = "verification.json"
LONGEST = 160  # characters of a check in a footnote


class Mark(Frozen):
    """The last outcome of one check. date: UTC, ISO 8601."""

    date: str
    check: Check


class Marks(Frozen):
    """What `verification.json` holds. record: sha256 of the `cell.json` that was checked."""

    record: str
    marks: tuple[Mark, ...] = ()


def store_marks(folder: Path, checks: Iterable[Check], date: str, always: bool) -> None:
    """Keep the outcomes of a cell's checks; a skipped check leaves what an earlier one found.

    always: False to write only where a check failed or an earlier outcome changes, so that reading
    a clean folder leaves it as it was.
    """
    new = {check.name: Mark(date=date, check=check) for check in checks if _says(check)}
    state = file_digest(folder / RECORD)
    earlier = _read(folder)
    known = earlier.marks if earlier and earlier.record == state else ()
    merged = {mark.check.name: mark for mark in known} | new
    failed = any(mark.check.outcome == "failed" for mark in merged.values())
    if always or failed or (folder / MARKS).is_file():
        content = Marks(record=state, marks=tuple(merged[name] for name in sorted(merged)))
        write_json(folder / MARKS, content.model_dump(mode="json"))


def _says(check: Check) -> bool:
    return check.outcome != "skipped"


def failure_notes(record: CellRecord) -> tuple[str, ...]:
    """A footnote for the cell's row if this state of it failed a check when it was last made."""
    if record.folder is None or not (record.folder / MARKS).is_file():
        return ()
    found = _read(record.folder)
    if found is None:
        return (f"{MARKS} of cell {record.id} is damaged; run bench verify {record.id}",)
    failed = [mark for mark in found.marks if mark.check.outcome == "failed"]
    if not failed or found.record != file_digest(record.folder / RECORD):
        return ()
    first, date = failed[0].check, max(mark.date for mark in failed)
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    text = f"{first.name}: {first.detail}"
    text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    return (f"verification failed on {date[:10]} (seed {record.key.seed}): {text}{more}",)


def _read(folder: Path) -> Marks | None:
    """What is stored; None where there is nothing or it is damaged."""
    try:
        return Marks.model_validate_json((folder / MARKS).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
