"""Stored predictions against the test set: each case's own mask, on both grids."""

import numpy as np
import pandas as pd
import pytest
from training_doubles import squares

from bench.core.files import file_digest
from bench.experiments.cells import StoredTest, TestSet
from bench.experiments.predictions import Predictions
from bench.experiments.scoring import mean_dsc, score_predictions, write_scores

TWENTY = squares(20)  # more than two batches of 8, and no two cases alike


def predictions(cases, network=None, native=None) -> Predictions:
    """The very masks of some cases, unless others are given."""
    return Predictions(
        tuple(TWENTY.case_ids[case] for case in cases),
        tuple(network if network is not None else TWENTY.masks[cases]),
        tuple(native if native is not None else [TWENTY.native_masks[case] for case in cases]),
    )


def test_every_case_is_scored_against_its_own_mask_on_both_grids():
    """Squares of 6 px, 2 px apart: against another case's mask, DSC is 2/3 or less."""
    cases = np.random.default_rng(0).permutation(20)[:18]
    rows = score_predictions(predictions(cases), TWENTY)
    assert rows["dsc"].tolist() == [1.0] * 36
    for grid in ("network", "native"):
        own = rows[rows["grid"] == grid]
        assert own["case_id"].tolist() == [f"c{case}" for case in cases]
        assert own["group"].tolist() == [f"g{case}" for case in cases]
    native = rows[rows["grid"] == "native"]
    assert native["height"].tolist() == [16 * (case % 4 + 1) for case in cases]
    assert native["width"].tolist() == [16 * (case % 3 + 1) for case in cases]
    network = rows[rows["grid"] == "network"]
    assert set(zip(network["height"], network["width"], strict=True)) == {(16, 16)}


def test_each_grid_is_scored_by_its_own_masks():
    cases = np.arange(10)
    nothing = np.zeros((10, 16, 16), dtype=bool)
    rows = score_predictions(predictions(cases, network=nothing), TWENTY)
    assert set(rows.loc[rows["grid"] == "network", "dsc"]) == {0.0}
    assert set(rows.loc[rows["grid"] == "native", "dsc"]) == {1.0}


def test_the_mean_dsc_is_over_the_network_grid():
    cases = np.arange(10)
    half = TWENTY.masks[cases].copy()
    half[:5] = False
    nothing = [np.zeros_like(TWENTY.native_masks[case]) for case in cases]
    rows = score_predictions(predictions(cases, half, nothing), TWENTY)
    assert mean_dsc(rows) == 0.5


def test_a_case_without_a_mask_on_either_grid_is_refused():
    with pytest.raises(ValueError, match="zip"):
        score_predictions(predictions(np.arange(3), network=TWENTY.masks[:2]), TWENTY)


def test_scores_lie_under_the_test_sets_label_with_their_checksum(tmp_path):
    rows = score_predictions(predictions(np.arange(3)), TWENTY)
    rests_on = {"cases": "c", "predictions": "p", "scoring": "s"}
    stored = write_scores(tmp_path, TestSet(dataset="busi"), rows, rests_on)
    file = tmp_path / "scores" / "busi-test.parquet"
    assert stored == StoredTest(scores=file_digest(file), **rests_on)
    pd.testing.assert_frame_equal(pd.read_parquet(file), rows)
