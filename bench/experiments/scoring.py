"""Scores of stored predictions against the test set's masks; imports no torch."""

from pathlib import Path

import numpy as np
import pandas as pd

from bench.data.arrays import CaseArrays
from bench.experiments.cells import StoredTest, TestSet, write_frame
from bench.experiments.predictions import Predictions
from bench.metrics.rows import case_rows


def score_predictions(predictions: Predictions, target: CaseArrays) -> pd.DataFrame:
    """One row per case and grid; see bench/metrics/case.py for the scores.

    target: the test dataset's arrays at the profile's size, with the masks at native size.
    """
    cases = target.rows(predictions.case_ids)
    rows = []
    for case, network, native in zip(cases, predictions.network, predictions.native, strict=True):
        pairs = (
            ("network", network, np.asarray(target.masks[case])),
            ("native", native, target.native_masks[case]),
        )
        rows += case_rows(target.case_ids[case], target.groups[case], pairs)
    return pd.DataFrame(rows)


def write_scores(
    folder: Path, test: TestSet, rows: pd.DataFrame, rests_on: dict[str, str]
) -> StoredTest:
    """Store a test set's rows in a cell's folder; what its record keeps of them.

    rests_on: the digests `cases`, `predictions` and `scoring` of a `StoredTest`.
    """
    file = folder / "scores" / f"{test.label}.parquet"
    return StoredTest(scores=write_frame(file, rows), **rests_on)


def mean_dsc(rows: pd.DataFrame) -> float:
    """Mean DSC per image on the network grid, in [0, 1]."""
    return float(rows.loc[rows["grid"] == "network", "dsc"].mean())
