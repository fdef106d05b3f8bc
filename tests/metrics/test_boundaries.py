"""Where a score changes its rule: one case or two, no empty mask, no pixel at all."""

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest

from bench.metrics.aggregate import pooled, summarize
from bench.metrics.case import score_case
from bench.metrics.surface import hd95_pair


def rows(*values):
    """Rows of the frame of scores: one metric of one test set, no mask of which is empty."""
    cases = [f"c{number}" for number in range(len(values))]
    facts = {"grid": "network", "metric": "dsc", "empty": "none"}
    return pd.DataFrame({"case": cases, "value": values}).assign(**facts)


def counts(tp, fp, fn):
    """The pixel counts of a score file with one case."""
    return pd.DataFrame({"tp": [tp], "fp": [fp], "fn": [fn]})


def test_two_cases_have_a_standard_deviation():
    """0.2 and 0.6 lie 0.2 from their mean: sqrt(2 x 0.04 / 1)."""
    assert summarize(rows(0.2, 0.6)).sd == pytest.approx(0.08**0.5)
    assert summarize(rows(0.2)).sd is None


def test_the_mean_is_not_the_median():
    summary = summarize(rows(0.1, 0.2, 0.9))
    assert (summary.mean, summary.median) == (pytest.approx(0.4), 0.2)


def test_without_empty_masks_the_counts_of_empty_masks_are_zero():
    summary = summarize(rows(0.5))
    found = (summary.empty_target, summary.empty_pred, summary.empty_both, summary.empty)
    assert found == (0, 0, 0, 0)


def test_the_pooled_value_of_as_many_right_as_wrong_pixels():
    """The empty rule is for no pixel at all: 2 right, 1 + 1 wrong give DSC 4 / 6 and IoU 2 / 4."""
    assert pooled(counts(2, 1, 1), "dsc") == 4 / 6
    assert pooled(counts(2, 1, 1), "iou") == 2 / 4


def test_a_summary_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        summarize(rows(0.5)).mean = 1.0


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_a_mask_without_pixels_has_no_score(shape):
    none = np.zeros(shape, dtype=bool)
    with pytest.raises(ValueError, match="one shape"):
        score_case(none, none)


@pytest.mark.parametrize("one, other", [((2, 2), (2, 3)), ((1, 2, 2), (1, 2, 2))])
def test_distances_need_two_masks_of_one_shape(one, other):
    with pytest.raises(ValueError, match="one shape"):
        hd95_pair(np.ones(one, dtype=bool), np.ones(other, dtype=bool))


@pytest.mark.parametrize("empty", ["pred", "target", "both"])
def test_distances_of_an_empty_mask_are_refused(empty):
    masks = {name: np.ones((3, 3), dtype=bool) for name in ("pred", "target")}
    for name, mask in masks.items():
        mask[:] = empty not in (name, "both")
    with pytest.raises(ValueError, match="empty"):
        hd95_pair(**masks)
