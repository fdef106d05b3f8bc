"""What a test set scores, from its stored rows."""

import math

import pandas as pd
import pytest

from bench.metrics.aggregate import summarize

ROWS = pd.DataFrame(
    {
        "case_id": ["a", "b", "c"],
        "grid": "network",
        "tp": [10, 0, 0],
        "fp": [0, 5, 0],
        "fn": [10, 5, 0],
        "tn": [80, 90, 100],
        "dsc": [2 / 3, 0.0, 1.0],
        "iou": [0.5, 0.0, 1.0],
        "hd95": [3.0, 9.0, 0.0],
        "hd95_directed": [4.0, 9.0, 0.0],
        "empty": ["none", "none", "both"],
    }
)


def test_the_per_image_mean_and_the_pooled_value_are_different_numbers():
    summary = summarize(ROWS, "dsc")
    assert summary.mean == pytest.approx(5 / 9)
    assert summary.pooled == 20 / (20 + 20)
    assert summary.median == pytest.approx(2 / 3)
    assert summarize(ROWS, "iou").pooled == 10 / 30


def test_sd_is_over_cases_with_ddof_1_and_absent_for_one_case():
    assert summarize(ROWS, "hd95").sd == pytest.approx(math.sqrt((1 + 25 + 16) / 2))
    assert summarize(ROWS.iloc[:1], "hd95").sd is None


def test_distances_have_no_pooled_value():
    assert summarize(ROWS, "hd95").pooled is None
    assert summarize(ROWS, "hd95_directed").mean == pytest.approx(13 / 3)


def test_empty_masks_count_in_the_mean_and_are_reported_by_kind():
    rows = ROWS.assign(empty=["target", "pred", "both"])
    summary = summarize(rows, "dsc")
    assert (summary.empty_target, summary.empty_pred, summary.empty_both) == (1, 1, 1)
    assert (summary.empty, summary.cases) == (3, 3)


def test_a_test_set_without_any_foreground_pools_to_one_by_the_empty_rule():
    assert summarize(ROWS.iloc[2:], "dsc").pooled == 1.0


@pytest.mark.parametrize(
    "rows, words",
    [
        (ROWS.iloc[:0], "no rows"),
        (ROWS.assign(grid=["network", "native", "network"]), "one grid only"),
        (ROWS.assign(case_id="a"), "comes twice"),
        (ROWS.assign(dsc=[0.5, float("nan"), 1.0]), "not finite"),
    ],
)
def test_summarize_refuses_rows_that_are_not_one_test_set(rows, words):
    with pytest.raises(ValueError, match=words):
        summarize(rows, "dsc")
