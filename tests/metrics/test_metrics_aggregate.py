"""What a test set scores, from its stored rows."""

import math

import pandas as pd
import pytest

from bench.metrics.aggregate import pooled, summarize

COUNTS = pd.DataFrame({"tp": [10, 0, 0], "fp": [0, 5, 0], "fn": [10, 5, 0], "tn": [80, 90, 100]})


def rows(*values, empty="none", metric="dsc"):
    """Rows of the frame of scores for cases a, b, c ..."""
    frame = pd.DataFrame({"case": list("abcdefghij"[: len(values)]), "value": list(values)})
    return frame.assign(grid="network", metric=metric, empty=empty)


def test_mean_and_median_of_cases_that_differ():
    summary = summarize(rows(0.0, 0.5, 1.0, 0.9))
    assert summary.mean == pytest.approx(0.6)
    assert summary.median == pytest.approx(0.7)
    assert summary.cases == 4


def test_sd_is_over_cases_with_ddof_1_and_absent_for_one_case():
    assert summarize(rows(3.0, 9.0, 0.0)).sd == pytest.approx(math.sqrt((1 + 25 + 16) / 2))
    assert summarize(rows(3.0, 5.0)).sd == pytest.approx(math.sqrt(2))
    assert summarize(rows(3.0)).sd is None


def test_the_pooled_value_is_that_of_the_summed_counts():
    assert pooled(COUNTS, "dsc") == 20 / (20 + 5 + 15)
    assert pooled(COUNTS, "iou") == 10 / (10 + 5 + 15)


def test_a_test_set_without_any_foreground_pools_to_one_by_the_empty_rule():
    assert pooled(COUNTS.iloc[2:], "dsc") == pooled(COUNTS.iloc[2:], "iou") == 1.0


def test_empty_masks_count_in_the_mean_and_are_reported_by_kind():
    kinds = ["target", "pred", "pred", "both", "both", "both", "none"]
    summary = summarize(rows(0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.5, empty=kinds))
    assert (summary.empty_target, summary.empty_pred, summary.empty_both) == (1, 2, 3)
    assert (summary.empty, summary.cases) == (6, 7)
    assert summary.mean == 0.5


@pytest.mark.parametrize(
    "wrong, words",
    [
        (rows(), "no rows"),
        (rows(1.0, 0.5).assign(grid=["network", "native"]), "one grid only; got native, network"),
        (rows(1.0, 0.5).assign(metric=["dsc", "iou"]), "one metric only; got dsc, iou"),
        (rows(1.0, 0.5).assign(case="a"), "comes twice"),
        (rows(0.5, float("nan")), "not finite"),
        (rows(0.5, float("inf")), "not finite"),
        (rows(0.5, -float("inf")), "not finite"),
    ],
)
def test_summarize_refuses_rows_that_are_not_one_metric_of_one_test_set(wrong, words):
    with pytest.raises(ValueError, match=words):
        summarize(wrong)
