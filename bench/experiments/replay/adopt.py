"""A cell whose training code changed without changing its numbers moves under the new digest."""

import os
import shutil
from typing import Any

from bench.core.disk import scratch
from bench.core.errors import BenchError
from bench.core.provenance import commit, now
from bench.experiments.cells import RECORD, CellRecord, CellRequest
from bench.experiments.identity import WORDS, cell_id, training_inputs
from bench.experiments.jobs import locked
from bench.experiments.replay.marks import MARKS
from bench.experiments.sources import Sources
from bench.experiments.store import recorded_resolution, request_digest

KEPT_BACK = (".lock", "resume", MARKS)  # of the old folder alone


def adopted(
    record: CellRecord,
    request: CellRequest,
    sources: Sources,
    compared: dict[str, Any],
    resolved_alike: bool,
) -> CellRecord | None:
    """The record under the digests of today's code; None where they are those that it has.

    compared: what was found equal, kept in the record. resolved_alike: whether the request means
    the recorded settings and recipe today, too; only then does a run find the cell by its request.
    Raises BenchError when data or split changed.
    """
    inputs = training_inputs(request, recorded_resolution(record), sources)
    changed = [name for name in WORDS if inputs.get(name) != record.inputs.get(name)]
    if not changed:
        return None
    if {"data", "split"} & set(changed):
        raise BenchError("The data or the split at hand is not the cell's; run its matrix.")
    note = {
        "from": record.id,
        "when": now(),
        "commit": commit()[0],
        "changed": [WORDS[name] for name in changed],
        "inputs": record.inputs,
        "compared": compared,
    }
    earlier = record.provenance.get("adopted", [])
    return record.model_copy(
        update={
            "id": cell_id(record.key, inputs),
            "inputs": inputs,
            "request": request_digest(request) if resolved_alike else record.request,
            "provenance": record.provenance | {"adopted": [*earlier, note]},
        }
    )


def move(record: CellRecord, new: CellRecord) -> None:
    """Store a cell under its new id; its old folder goes once the new one is complete.

    The new folder appears whole, by one renaming. Raises BenchError when there is one already.
    """
    old = record.folder
    assert old is not None
    target = old.parent / new.id
    if target.exists():
        raise BenchError(
            f"{target} exists already. Delete the folder of the two that you do not want to keep."
        )
    with locked(old), scratch(old.parent.parent, new.id) as workspace:
        copy = workspace / new.id
        shutil.copytree(old, copy, ignore=shutil.ignore_patterns(*KEPT_BACK))
        new.write(copy)
        os.rename(copy, target)
        (old / RECORD).unlink()  # first, so that a half-deleted folder is no cell
        shutil.rmtree(old)
