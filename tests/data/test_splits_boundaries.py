"""Splits at the edges of their rules."""

from dataclasses import FrozenInstanceError, replace

import pytest

from bench.data.prepared import CaseIndex
from bench.data.splits import make_split, shared_groups


def index_of(count: int) -> CaseIndex:
    """Cases c0.. in groups of their own; the publisher trains on the first half."""
    half = count // 2
    return CaseIndex(
        dataset="mine",
        case_ids=tuple(f"c{number}" for number in range(count)),
        groups=tuple(f"g{number}" for number in range(count)),
        published_splits=("train",) * half + ("test",) * (count - half),
        classes=(None,) * count,
        content_hash="0",
        grouped=count,
    )


def test_seed_0_and_a_fifth_for_validation_are_the_defaults():
    assert make_split(index_of(30), "random80") == make_split(index_of(30), "random80", 0, 0.2)
    assert make_split(index_of(30), "random80") != make_split(index_of(30), "random80", 1, 0.2)


@pytest.mark.parametrize("scheme", ["grouped", "published"])
def test_lists_of_unequal_length_are_refused(scheme):
    index = index_of(10)
    torn = {name: getattr(index, name)[:-1] for name in ("groups", "published_splits")}
    read = "groups" if scheme == "grouped" else "published_splits"
    with pytest.raises(ValueError, match="shorter"):
        make_split(replace(index, **{read: torn[read]}), scheme, val_share=0)
    with pytest.raises(ValueError, match="shorter"):
        shared_groups(replace(index, **torn), make_split(index, "random80"))


def test_a_split_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        make_split(index_of(10), "random80").train = ()
