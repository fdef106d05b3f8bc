"""Which epoch a selection rule keeps, step by step."""

import math

import pytest
import torch

from bench.training.selection import Selected


def row(epoch: int, val: float = math.nan, test: float = math.nan) -> dict[str, float]:
    return {"epoch": epoch, "val_dsc": val, "test_dsc": test}


def test_before_any_epoch_is_selected_patience_counts_from_the_start():
    selected = Selected("best-val", epochs=10)
    assert selected.epoch == 0
    assert [selected.waited(done, patience=3) for done in (1, 2, 3)] == [False, False, True]


def test_a_score_of_zero_is_better_than_none():
    selected = Selected("best-val", epochs=10)
    assert selected.prefers(row(1, val=0.0)) and not selected.prefers(row(1))


def test_the_earlier_of_two_equal_epochs_is_kept():
    selected = Selected("best-test", epochs=10)
    selected.take(row(1, test=0.5), {})
    assert not selected.prefers(row(2, val=0.9, test=0.5))
    assert selected.prefers(row(2, val=0.1, test=0.51))


def test_kept_weights_are_a_copy():
    selected, weight = Selected("last", epochs=1), torch.zeros(1)
    selected.take(row(1), {"w": weight})
    weight.add_(1)
    assert selected.weights["w"].item() == 0.0


@pytest.mark.parametrize("patience, rule", [(None, "best-val"), (1, "last")])
def test_without_patience_and_under_last_nothing_stops_early(patience, rule):
    assert not Selected(rule, epochs=100).waited(99, patience)
