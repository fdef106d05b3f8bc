"""Dice and IoU from counts, for one case and for many; the empty rule among them."""

import numpy as np
import pytest
import torch

from bench.metrics.case import score_case
from bench.metrics.empty import distance_when_empty, overlap_when_empty, which_empty
from bench.metrics.overlap import dice, iou
from bench.tokenizers.embedded_training.objective import hard_dice
from bench.training.predict import mean_dsc

CASES = [
    # tp, pred, target, dice, iou
    (2, 2, 2, 1.0, 1.0),  # identical
    (1, 2, 1, 2 / 3, 1 / 2),  # one pixel too many
    (1, 1, 3, 2 / 4, 1 / 3),  # two missed
    (3, 5, 7, 6 / 12, 3 / 9),
    (0, 2, 2, 0.0, 0.0),  # elsewhere
    (0, 0, 2, 0.0, 0.0),  # nothing said
    (0, 2, 0, 0.0, 0.0),  # nothing to find
    (0, 0, 0, 1.0, 1.0),  # neither
]


@pytest.mark.parametrize("tp, pred, target, dsc, jaccard", CASES)
def test_overlap_of_one_case(tp, pred, target, dsc, jaccard):
    assert (dice(tp, pred, target), iou(tp, pred, target)) == (dsc, jaccard)
    assert type(dice(tp, pred, target)) is type(iou(tp, pred, target)) is float


def test_arrays_of_counts_give_the_same_floats_case_by_case():
    tp, pred, target, dsc, jaccard = np.array(CASES).T
    counts = [column.astype(np.int64) for column in (tp, pred, target)]
    assert dice(*counts).tolist() == dsc.tolist()
    assert iou(*counts).tolist() == jaccard.tolist()
    assert dice(*counts).dtype == np.float64
    nothing = [column[:0] for column in counts]
    assert dice(*nothing).shape == (0,)


@pytest.mark.parametrize(
    "pred, target, kind", [(1, 1, "none"), (1, 0, "target"), (0, 1, "pred"), (0, 0, "both")]
)
def test_which_mask_is_empty(pred, target, kind):
    assert which_empty(pred, target) == kind


def test_the_empty_rule_has_no_answer_for_masks_that_are_not_empty():
    with pytest.raises(ValueError, match="got kind 'none'"):
        overlap_when_empty("none")
    with pytest.raises(ValueError, match="got kind 'none'"):
        distance_when_empty("none", 5.0)


def masks_of_cases():
    """20 pairs of masks of every kind: overlapping, apart, empty on either side or both."""
    rng = np.random.default_rng(0)
    shares = rng.choice([0.0, 0.05, 0.5], (2, 20))
    preds, target = (rng.random((20, 8, 8)) < share[:, None, None] for share in shares)
    assert {which_empty(p.sum(), t.sum()) for p, t in zip(preds, target, strict=True)} == {
        *("none", "target", "pred", "both")
    }
    return preds, target


def test_validation_and_tokenizer_training_give_the_stored_score_to_the_last_digit():
    preds, target = masks_of_cases()
    stored = [score_case(p, t)["dsc"] for p, t in zip(preds, target, strict=True)]
    assert len(set(stored)) > 4
    probs = torch.tensor(preds[:, None]).float()
    batches = iter(probs.split(8))  # batches of 8, 8 and 4
    assert mean_dsc(batches, target) == np.mean(stored)
    decoded = probs.expand(-1, 3, -1, -1)
    masks = torch.tensor(target[:, None]).float()
    assert hard_dice(decoded, masks).tolist() == np.float32(stored).tolist()


def test_validation_scores_each_case_against_its_own_mask():
    """Every mask differs, so a batch that starts at another case's mask would not score 1."""
    target = np.zeros((20, 8, 8), dtype=bool)
    for case in range(20):
        target[case].flat[: case + 1] = True
    probs = torch.tensor(target[:, None]).float()
    assert mean_dsc(iter(probs.split(8)), target) == 1.0
