"""What a cell's folder shows by itself: no data, no torch, no method's code.

The masks are not in a results folder, since they are the datasets' and many may not be handed on.
Without them a score can be held against its counts, its counts against the predicted pixels, the
first cases against the examples, and the targets' sizes against other cells (`target_checks`).
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

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
from bench.experiments.predictions import Predictions, predictions_file, read_predictions
from bench.experiments.replay.checks import Check, judged, passed, skipped
from bench.metrics.case import score_case
from bench.metrics.empty import distance_when_empty, which_empty
from bench.metrics.overlap import dice, iou
from bench.recipes import Recipe

Unreadable = (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile, BenchError)
"""What reading a damaged Parquet or NumPy file raises, or one with other columns."""


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


# ---- scores against counts, counts against predictions


def read_test(record: CellRecord, label: str) -> tuple[Predictions, pd.DataFrame]:
    """(predictions, score rows) of a test set as they lie there, whatever their checksums."""
    assert record.folder is not None
    file = predictions_file(record.folder, label)
    return read_predictions(record.folder, label, file_digest(file)), _rows(record, label)


def _rows(record: CellRecord, label: str) -> pd.DataFrame:
    assert record.folder is not None
    return pd.read_parquet(record.folder / "scores" / f"{label}.parquet")


def check_test(record: CellRecord, label: str) -> list[Check]:
    """The rows of a test set against the predicted masks, and against the kept examples."""
    name = f"counts of {label}"
    try:
        predictions, rows = read_test(record, label)
        wrong = row_faults(predictions, rows)
    except Unreadable as error:
        return [judged(name, [f"predictions or scores cannot be read: {error}"], "")]
    compared = f"{len(rows)} rows: ratios of their counts, counts of the predicted pixels"
    return [judged(name, wrong, compared), *_examples(record, label, predictions, rows)]


def row_faults(predictions: Predictions, rows: pd.DataFrame) -> list[str]:
    """What in the score rows cannot be: counts that are not the masks' pixels, ratios that are not
    the counts', distances outside the image."""
    wrong = []
    if sorted(rows["grid"].unique()) != ["native", "network"]:
        wrong.append(f"grids {', '.join(map(str, rows['grid'].unique()))}; native, network wanted")
    if len(set(predictions.case_ids)) < len(predictions.case_ids):
        wrong.append("a case is predicted twice")
    for grid, masks in (("network", predictions.network), ("native", predictions.native)):
        own = rows[rows["grid"] == grid]
        if tuple(own["case_id"]) != predictions.case_ids:
            wrong.append(f"the cases on the {grid} grid are not the predicted ones")
            continue
        for row, mask in zip(own.to_dict("records"), masks, strict=True):
            said = f"{row['case_id']} ({grid})"
            wrong += [f"{said}: {fault}" for fault in _row_faults(cast(dict, row), mask)]
    return wrong


def _row_faults(row: dict[str, Any], mask: np.ndarray) -> list[str]:
    height, width = mask.shape
    tp, fp, fn, tn = (int(row[name]) for name in ("tp", "fp", "fn", "tn"))
    if (row["height"], row["width"]) != (height, width):
        return [f"{row['height']} x {row['width']} px, the mask {height} x {width}"]
    if min(tp, fp, fn, tn) < 0 or tp + fp + fn + tn != height * width:
        return [f"tp, fp, fn, tn = {tp}, {fp}, {fn}, {tn} are not the {height * width} pixels"]
    pixels = int(np.count_nonzero(mask))
    if tp + fp != pixels:
        return [f"tp + fp = {tp + fp}, but {pixels} pixels are predicted"]
    kind, diagonal = which_empty(tp + fp, tp + fn), math.sqrt(height**2 + width**2)
    expected = {
        "dsc": dice(tp, tp + fp, tp + fn),
        "iou": iou(tp, tp + fp, tp + fn),
        "diagonal": diagonal,
        "empty": kind,
    }
    wrong = [
        f"{name} {row[name]} is stored, its counts give {value}"
        for name, value in expected.items()
        if row[name] != value
    ]
    low = high = 0.0
    if kind != "none":
        low = high = distance_when_empty(kind, diagonal)
    elif fp or fn:
        low, high = (0.0 if tp else 1.0), diagonal
    wrong += [
        f"{name} {row[name]} px lies outside [{low:g}, {high:g}]"
        for name in ("hd95", "hd95_directed")
        if not low <= row[name] <= high
    ]
    return wrong


def _examples(
    record: CellRecord, label: str, predictions: Predictions, rows: pd.DataFrame
) -> list[Check]:
    """The first cases scored again with the masks that the cell keeps for figures, if it does."""
    assert record.folder is not None
    file, name = record.folder / "scores" / f"{label}-examples.npz", f"examples of {label}"
    if not file.is_file():
        return []
    try:
        with np.load(file, allow_pickle=False) as stored:
            ids, masks, preds = stored["case_ids"], stored["masks"], stored["preds"]
        wrong = _example_faults(tuple(map(str, ids)), masks, preds, predictions, rows)
    except Unreadable as error:
        wrong = [f"{file.name} cannot be read: {error}"]
    return [judged(name, wrong, "the kept cases, scored again on the network grid")]


def _example_faults(
    ids: tuple[str, ...],
    masks: np.ndarray,
    preds: np.ndarray,
    predictions: Predictions,
    rows: pd.DataFrame,
) -> list[str]:
    if ids != predictions.case_ids[: len(ids)]:
        return ["its cases are not the first predicted ones"]
    network = rows[rows["grid"] == "network"].set_index("case_id")
    wrong = []
    for case, mask, pred, stored in zip(ids, masks, preds, predictions.network, strict=False):
        if not np.array_equal(pred, stored):
            wrong.append(f"{case}: the mask shown is not the stored prediction")
            continue
        wrong += [
            f"{case}: {column} {network.loc[case, column]} is stored, {value} scored again"
            for column, value in score_case(pred, mask).items()
            if network.loc[case, column] != value
        ]
    return wrong


# ---- several cells of one test set


def target_sizes(record: CellRecord) -> dict[tuple[str, str], tuple[tuple[str, int], ...]]:
    """(test set, digest of its cases) -> (case and grid, foreground pixels of its target)."""
    sizes = {}
    for label, test in record.tests.items():
        try:
            rows = _rows(record, label)
            named = rows["case_id"] + " " + rows["grid"]
            sizes[label, test.cases] = tuple(zip(named, rows["tp"] + rows["fn"], strict=True))
        except Unreadable:
            continue  # its own check has failed
    return sizes


def target_checks(records: Iterable[CellRecord]) -> dict[str, list[Check]]:
    """Cell -> checks that its targets have the size that most cells of the test set give them.

    A single cell of a test set has none to be held against, and no check.
    """
    found: dict[tuple[str, str], dict[str, tuple[tuple[str, int], ...]]] = {}
    for record in records:
        for test, sizes in target_sizes(record).items():
            found.setdefault(test, {})[record.id] = sizes
    checks: dict[str, list[Check]] = {}
    for (label, _), by_cell in found.items():
        if len(by_cell) < 2:
            continue
        (usual, times), *_ = Counter(by_cell.values()).most_common()
        for cell, sizes in by_cell.items():
            odd = [case for case, size in sizes if (case, size) not in set(usual)]
            wrong = [
                f"{case}: its target has another size than in {times} of {len(by_cell)} cells"
                for case in odd
            ]
            said = f"the size of every target, with {len(by_cell) - 1} other cells"
            checks.setdefault(cell, []).append(judged(f"targets of {label}", wrong, said))
    return checks


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
