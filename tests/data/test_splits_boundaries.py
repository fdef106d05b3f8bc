"""Splits at the edges of their rules, and the very cases that some draws give."""

from dataclasses import FrozenInstanceError, replace

import pytest

from bench.data.prepared import CaseIndex
from bench.data.splits import Split, make_split, shared_groups


def index_of(count: int, per_group: int = 1) -> CaseIndex:
    """Cases c0.. in groups g0.. of `per_group`; the publisher trains on the first half."""
    half = count // 2
    return CaseIndex(
        "mine",
        tuple(f"c{number}" for number in range(count)),
        tuple(f"g{number // per_group}" for number in range(count)),
        ("train",) * half + ("test",) * (count - half),
        (None,) * count,
        "0",
        count,
    )


@pytest.mark.parametrize("share", [-0.5, -1e-9, 1.0, 1.5])
def test_a_validation_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=r"is not in \[0, 1\)"):
        make_split(index_of(10), "random80", val_share=share)


def test_a_large_validation_share_leaves_training_cases():
    """0.75 of 8 training cases validate; one group is one case."""
    split = make_split(index_of(10), "random80", val_share=0.75)
    assert (len(split.train), len(split.val), len(split.test)) == (2, 6, 2)


def test_two_cases_are_enough_for_random80():
    split = make_split(index_of(2), "random80", val_share=0)
    assert (len(split.train), len(split.test)) == (1, 1)


def test_seed_0_and_a_fifth_for_validation_are_the_defaults():
    assert make_split(index_of(30), "random80") == make_split(index_of(30), "random80", 0, 0.2)
    assert make_split(index_of(30), "random80") != make_split(index_of(30), "random80", 1, 0.2)


@pytest.mark.parametrize("scheme", ["grouped", "published"])
def test_lists_of_unequal_length_are_refused(scheme):
    index = index_of(10)
    torn = {name: getattr(index, name)[:-1] for name in ("groups", "parts")}
    with pytest.raises(ValueError, match="shorter"):
        make_split(replace(index, **torn), scheme)
    with pytest.raises(ValueError, match="shorter"):
        shared_groups(replace(index, **torn), make_split(index, "random80"))


def test_a_split_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        make_split(index_of(10), "random80").train = ()


def test_the_hash_is_of_the_dataset_and_of_who_is_on_which_side():
    def hash_of(dataset="a", train=("1", "2"), val=("3",), test=("4",), scheme="x", seed=0):
        return Split(dataset, scheme, seed, train, val, test).hash

    assert hash_of() == hash_of(train=("2", "1")) == hash_of(scheme="y", seed=3)
    others = {
        hash_of(dataset="b"),
        hash_of(train=("1",), val=("2", "3")),
        hash_of(val=("4",), test=("3",)),
        hash_of(train=("3",), val=("1", "2")),
        hash_of(train=("1",)),
    }
    assert len(others | {hash_of()}) == 6


def test_the_draw_of_ten_cases():
    """Stored results rest on these draws: another order means another random split."""
    split = make_split(index_of(10), "random80", seed=0, val_share=0.25)
    assert (split.test, split.val) == (("c1", "c9"), ("c2", "c7"))
    grouped = make_split(index_of(12, per_group=2), "grouped", seed=0, val_share=0.25)
    assert (grouped.test, grouped.val) == (("c4", "c5"), ("c2", "c3"))
