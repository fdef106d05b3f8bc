"""What a cell's folder shows by itself: no data, no torch, no method's code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from bench.core.errors import BenchError, faults
from bench.core.files import file_digest
from bench.experiments.cells import (
    HISTORY,
    RECORD,
    WEIGHTS,
    CellRecord,
    CellRequest,
    load_cell,
    record_checksum,
)
from bench.experiments.identity import WORDS, cell_id, resolved_inputs, stated_inputs
from bench.experiments.lengths import images_per_epoch
from bench.experiments.replay.checks import Check, judged, passed, skipped
from bench.experiments.replay.rows import Unreadable, check_test
from bench.recipes import Recipe

# ---- the record


def check_record(folder: Path) -> tuple[CellRecord | None, list[Check]]:
    """(the record in `folder`, checks of its form, its own checksum and its id)."""
    file = folder / RECORD
    try:
        record = load_cell(file)
    except (BenchError, OSError) as error:
        return None, [judged("record", [str(error)], "")]
    wrong = []
    if record.id != folder.name:
        wrong.append(f"the folder is named {folder.name!r} and its record {record.id!r}")
    content = json.loads(file.read_text())
    return record, [
        judged("record", wrong, f"format {record.format}"),
        _own_checksum(content),
        _identity(record),
    ]


def _own_checksum(content: Mapping[str, Any]) -> Check:
    name, stored = "checksum of the record", content.get("checksum")
    if stored is None:
        return skipped(name, "the record was stored before records carried one")
    found = record_checksum(dict(content))
    wrong = [f"{RECORD} was edited: its content has sha256 {found[:12]}..., not {stored[:12]}..."]
    return judged(name, [] if found == stored else wrong, "sha256 of its content")


def asked(record: CellRecord) -> CellRequest | None:
    """The request that the record keeps; None where there is none that this version reads."""
    try:
        return CellRequest.model_validate(record.provenance["request"])
    except (KeyError, ValidationError):
        return None


def _identity(record: CellRecord) -> Check:
    """The id from key and inputs, and those inputs that the record's own values decide."""
    key, request = record.key, asked(record)
    wrong = []
    if cell_id(key, record.inputs) != record.id:
        wrong.append(f"key and inputs give the id {cell_id(key, record.inputs)}")
    values = resolved_inputs(key.settings, record.recipe, record.network_size, key.image_size)
    if request is not None:
        values |= stated_inputs(request)
        wrong += _against_request(record, request)
    wrong += [
        f"the recorded {WORDS[name]} is not the one in the id"
        for name, value in values.items()
        if record.inputs.get(name) != value
    ]
    if record.recipe.get("epochs") != key.epochs:
        wrong.append(f"epochs {key.epochs}, but {record.recipe.get('epochs')} in the recipe")
    if request is None:
        why = _no_request(record)
        return judged("identity", wrong, "") if wrong else skipped("identity", why)
    return judged("identity", wrong, f"id, and {len(values)} of its {len(record.inputs)} inputs")


def _no_request(record: CellRecord) -> str:
    try:
        CellRequest.model_validate(record.provenance.get("request"))
    except ValidationError as error:
        return f"the record's request cannot be read by this version: {faults(error)}"
    return "the record keeps no request"


def _against_request(record: CellRecord, request: CellRequest) -> list[str]:
    """Coordinates of the key that are not those of the request."""
    pairs = {
        "method": request.method,
        "train": request.train,
        "seed": request.seed,
        "protocol": request.protocol.name,
        "selection": request.protocol.selection,
        "profile": request.profile.name,
        "image_size": request.profile.image_size,
    }
    return [
        f"{name} {getattr(record.key, name)!r}, but {value!r} was asked for"
        for name, value in pairs.items()
        if getattr(record.key, name) != value
    ]


# ---- its files


def check_files(record: CellRecord) -> list[Check]:
    """The sha256 of every file that the record names; weights may be left out of a folder."""
    assert record.folder is not None
    named = dict(record.files)
    for label, test in record.tests.items():
        named[f"predictions/{label}.npz"] = test.predictions
        named[f"scores/{label}.parquet"] = test.scores
    unnamed = [name for name in (WEIGHTS, HISTORY) if name not in named]
    wrong = [f"the record names no {name}" for name in unnamed]
    left_out = WEIGHTS in named and not (record.folder / WEIGHTS).is_file()
    named = {name: sha256 for name, sha256 in named.items() if not (left_out and name == WEIGHTS)}
    wrong += [fault for name, sha in named.items() if (fault := _changed(record.folder, name, sha))]
    checks = [judged("files", wrong, f"sha256 of {len(named)} files")]
    if left_out:
        checks.append(skipped("weights", f"{WEIGHTS} is not in the folder"))
    return checks


def _changed(folder: Path, name: str, sha256: str) -> str:
    file = folder / name
    if not file.is_file():
        return f"{name} is missing"
    return "" if file_digest(file) == sha256 else f"{name} was changed since it was stored"


def check_history(record: CellRecord) -> Check:
    """That the history has the recorded length and the selected epoch is the rule's choice."""
    assert record.folder is not None
    try:
        wrong = _history_faults(pd.read_parquet(record.folder / HISTORY), record)
    except Unreadable as error:
        wrong = [f"{HISTORY} cannot be read: {error}"]
    return judged("history", wrong, "its epochs, finite losses, and the selected epoch")


def _history_faults(history: pd.DataFrame, record: CellRecord) -> list[str]:
    key, facts, count = record.key, record.provenance, len(history)
    wrong = []
    if history["epoch"].tolist() != list(range(1, count + 1)):
        wrong.append("its epochs are not 1, 2, 3, ...")
    if count > key.epochs or (count < key.epochs and record.recipe.get("patience") is None):
        wrong.append(f"{count} epochs, but {key.epochs} in the record")
    if not np.isfinite(history["loss"]).all():
        wrong.append("a loss is not finite")
    if wrong or "selected_epoch" not in facts:
        return wrong
    if key.selection == "last":
        chosen = key.epochs
    else:
        scores = history["val_dsc" if key.selection == "best-val" else "test_dsc"]
        chosen = int(history.loc[scores.idxmax(), "epoch"])  # the first of equals
    if chosen != facts["selected_epoch"]:
        wrong.append(f"{key.selection} picks epoch {chosen}, not {facts['selected_epoch']}")
    seen = images_per_epoch(Recipe(**record.recipe), facts["split"]["train"]) * count
    if seen != facts["images_seen"]:
        wrong.append(f"{count} epochs show {seen} images, not {facts['images_seen']}")
    return wrong


def check_stored(folder: Path) -> tuple[CellRecord | None, list[Check]]:
    """(the record, all checks of a cell's folder that need nothing else)."""
    record, checks = check_record(folder)
    if record is None:
        return None, checks
    if record.status == "failed":
        return record, [*checks, passed("status", "the cell failed and has no scores")]
    checks += [*check_files(record), check_history(record)]
    for label in sorted(record.tests):
        checks += check_test(record, label)
    return record, checks
