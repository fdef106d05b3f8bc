"""Stored predictions scored again: all cases by our metrics, a sample by medpy itself."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.data.arrays import CaseArrays
from bench.experiments.cells import CellRecord, CellRequest, TestSet
from bench.experiments.identity import scoring_inputs
from bench.experiments.predictions import Predictions
from bench.experiments.replay.checks import Check, judged, skipped
from bench.experiments.replay.rows import Unreadable, read_test
from bench.experiments.scoring import score_predictions
from bench.experiments.sources import Sources
from bench.metrics.empty import distance_when_empty, overlap_when_empty, which_empty

OTHER_CASES = "the images and masks at hand are not those of the stored test set"


def test_sets(record: CellRecord) -> Iterator[tuple[str, TestSet]]:
    """The labels of a cell's stored test sets, with the test set of each."""
    for label in sorted(record.tests):
        dataset, subset = label.rsplit("-", 1)
        yield label, TestSet.model_validate({"dataset": dataset, "subset": subset})


def check_scores(
    record: CellRecord, request: CellRequest, sources: Sources, sample: int
) -> list[Check]:
    """Every stored test set scored again; skipped where its masks are not at hand.

    sample: how many cases of each test set medpy scores, on both grids.
    """
    checks = []
    for label, test in test_sets(record):
        names = f"scores of {label}", f"medpy on {label}"
        try:
            cases, scoring = scoring_inputs(test, request, sources)
            if cases != record.tests[label].cases:
                raise BenchError(OTHER_CASES)
            target = sources.arrays(test.dataset, request.profile.image_size)
        except BenchError as why:
            checks += [skipped(name, str(why)) for name in names]
            continue
        try:
            predictions, rows = read_test(record, label)
            own = _own_faults(predictions, rows, target)
            reference = medpy_faults(predictions, rows, target, sample)
        except Unreadable as error:
            checks.append(judged(names[0], [f"the stored files cannot be scored: {error}"], ""))
            continue
        if own and scoring != record.tests[label].scoring:
            own.append("they were made by other scoring code; run the cell's matrix again")
        checks.append(judged(names[0], own, f"{len(rows)} rows, every column, to the last digit"))
        count = len(_sampled(len(predictions.case_ids), sample))
        said = f"{count} cases on both grids: DSC, IoU, HD95 to the last digit"
        checks.append(judged(names[1], reference, said))
    return checks


def _own_faults(predictions: Predictions, rows: pd.DataFrame, target: CaseArrays) -> list[str]:
    again = score_predictions(predictions, target)
    if list(again.columns) != list(rows.columns) or len(again) != len(rows):
        return [f"{len(rows)} rows of {len(rows.columns)} columns, {again.shape} scored again"]
    differs = (again.to_numpy(dtype=object) != rows.to_numpy(dtype=object)).nonzero()
    return [
        f"{rows.iloc[row]['case_id']} ({rows.iloc[row]['grid']}): {rows.columns[column]} "
        f"{rows.iat[row, column]} is stored, {again.iat[row, column]} scored again"
        for row, column in zip(*differs, strict=True)
    ]


def medpy_faults(
    predictions: Predictions, rows: pd.DataFrame, target: CaseArrays, sample: int
) -> list[str]:
    """Stored DSC, IoU and HD95 of some cases that are not medpy's, or not the empty rule's where
    medpy has no answer."""
    wrong = []
    stored = rows.set_index(["case_id", "grid"])
    cases = target.rows(predictions.case_ids)
    for at in _sampled(len(cases), sample):
        case = predictions.case_ids[at]
        for grid, pred, mask in (
            ("network", predictions.network[at], np.asarray(target.masks[cases[at]])),
            ("native", predictions.native[at], target.native_masks[int(cases[at])]),
        ):
            row = stored.loc[(case, grid)]
            wrong += [
                f"{case} ({grid}): {name} {row[name]} is stored, medpy gives {value}"
                for name, value in medpy_scores(pred, mask).items()
                if row[name] != value
            ]
    return wrong


def medpy_scores(pred: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """DSC, IoU in [0, 1] and HD95 in px by medpy; bool (H, W) masks.

    medpy answers an empty mask with NaN, zero or an exception, depending on the measure; there the
    rule of bench/metrics/empty.py holds.
    """
    from medpy.metric import binary

    kind = which_empty(int(pred.sum()), int(target.sum()))
    if kind != "none":
        overlap, diagonal = overlap_when_empty(kind), float(np.sqrt(sum(n**2 for n in pred.shape)))
        return {"dsc": overlap, "iou": overlap, "hd95": distance_when_empty(kind, diagonal)}
    return {
        "dsc": float(binary.dc(pred, target)),
        "iou": float(binary.jc(pred, target)),
        "hd95": float(binary.hd95(pred, target)),
    }


def _sampled(count: int, sample: int) -> list[int]:
    """At most `sample` of `count` places, evenly spread, first and last included."""
    return sorted(set(np.linspace(0, count - 1, min(sample, count)).round().astype(int).tolist()))
