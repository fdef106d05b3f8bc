"""Where a score changes its rule: one case or two, no empty mask, no pixel at all."""

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest

from bench.metrics import score_case
from bench.metrics.aggregate import summarize
from bench.metrics.surface import hd95_pair


def rows(*cases):
    """Score rows of one test set, each (tp, fp, fn, dsc)."""
    return pd.DataFrame(
        [
            {
                "case_id": f"c{i}",
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "dsc": dsc,
                "iou": dsc,
                "empty": "none",
            }
            for i, (tp, fp, fn, dsc) in enumerate(cases)
        ]
    )


def test_two_cases_have_a_standard_deviation():
    """0.2 and 0.6 lie 0.2 from their mean: sqrt(2 x 0.04 / 1)."""
    assert summarize(rows((1, 1, 1, 0.2), (1, 1, 1, 0.6)), "dsc").sd == pytest.approx(0.08**0.5)


def test_without_empty_masks_the_counts_of_empty_masks_are_zero():
    summary = summarize(rows((1, 1, 1, 0.5)), "dsc")
    counts = (summary.empty_target, summary.empty_pred, summary.empty_both, summary.empty)
    assert counts == (0, 0, 0, 0)


def test_the_pooled_value_of_as_many_right_as_wrong_pixels():
    """The empty rule is for no pixel at all: 2 right, 1 + 1 wrong give DSC 4 / 6 and IoU 2 / 4."""
    one = rows((2, 1, 1, 0.5))
    assert summarize(one, "dsc").pooled == 4 / 6
    assert summarize(one, "iou").pooled == 2 / 4


def test_the_mean_is_not_the_median():
    three = rows((1, 1, 1, 0.1), (1, 1, 1, 0.2), (1, 1, 1, 0.9))
    summary = summarize(three, "dsc")
    assert (summary.mean, summary.median) == (pytest.approx(0.4), 0.2)


def test_a_summary_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        summarize(rows((1, 1, 1, 0.5)), "dsc").mean = 1.0


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
