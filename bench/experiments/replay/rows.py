"""Score rows held against what else a results folder has, without the masks they were made with.

The masks are not in a results folder, since they are the datasets' and many may not be handed on.
Without them a score can be held against its counts, its counts against the predicted pixels, the
first cases against the examples, and the targets' sizes against other cells.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.core.files import file_digest
from bench.experiments.cells import CellRecord
from bench.experiments.predictions import Predictions, predictions_file, read_predictions
from bench.experiments.replay.checks import Check, judged
from bench.metrics.case import score_case
from bench.metrics.empty import distance_when_empty, which_empty
from bench.metrics.overlap import dice, iou

Unreadable = (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile, BenchError)
"""What reading a damaged Parquet or NumPy file raises, or one with other columns."""


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
