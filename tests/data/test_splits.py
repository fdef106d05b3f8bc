"""Splits: disjoint, seeded by name, and never tearing a group where they claim so."""

import random
from dataclasses import replace

import pytest

from bench.core.errors import BenchError
from bench.data.prepared import CaseIndex, Imported
from bench.data.splits import SCHEMES, make_split, shared_groups


def index_of(count: int, per_group: int = 1, parts: str = "", grouped: bool = True) -> CaseIndex:
    """Cases c000.. in groups of `per_group`; parts: first letter of each case's part."""
    ids = tuple(f"c{number:03}" for number in range(count))
    names = {"t": "train", "v": "val", "A": "testA", "B": "testB", "-": None}
    return CaseIndex(
        dataset="mine",
        case_ids=ids,
        groups=tuple(f"g{number // per_group}" for number in range(count)) if grouped else ids,
        published_splits=tuple(names[letter] for letter in parts) or (None,) * count,
        classes=(None,) * count,
        content_hash="0",
        grouped=count if grouped else 0,
    )


def with_lists(index: CaseIndex, train: str, val: str, test: str) -> CaseIndex:
    imported = Imported(
        dataset="mine",
        origin="lists.pkl",
        sha256="0",
        train=tuple(train.split()),
        val=tuple(val.split()),
        test=tuple(test.split()),
        foreign=(),
        unlisted=0,
    )
    return replace(index, imported=imported)


def shuffled(index: CaseIndex) -> CaseIndex:
    rows = list(zip(index.case_ids, index.groups, index.published_splits, strict=True))
    random.Random(3).shuffle(rows)
    ids, groups, parts = zip(*rows, strict=True)
    return replace(index, case_ids=ids, groups=groups, published_splits=parts)


@pytest.mark.parametrize("cases, test", [(163, 33), (647, 130), (10015, 2003), (590, 118), (5, 1)])
def test_random80_rounds_the_test_part_up(cases, test):
    split = make_split(index_of(cases), "random80", val_share=0)
    assert (len(split.train), len(split.val), len(split.test)) == (cases - test, 0, test)


@pytest.mark.parametrize("scheme", ["random80", "grouped", "published"])
def test_a_split_depends_on_seed_and_ids_not_on_the_order_of_cases(scheme):
    index = index_of(60, per_group=3, parts="t" * 40 + "A" * 20)
    split = make_split(index, scheme, seed=1)
    assert split == make_split(shuffled(index), scheme, seed=1)
    assert split.hash != make_split(index, scheme, seed=2).hash


def test_a_splits_hash_is_pinned():
    # Cells are stored under it: a change here orphans every stored result.
    split = make_split(index_of(10), "random80", seed=0)
    assert split.test == ("c005", "c009")
    assert split.hash.startswith("e5546ec2310e")


@pytest.mark.parametrize("scheme", ["random80", "grouped", "published"])
@pytest.mark.parametrize("seed", range(5))
def test_sides_are_disjoint_and_validation_keeps_groups_whole(scheme, seed):
    index = index_of(60, per_group=3, parts="t" * 45 + "A" * 15)
    split = make_split(index, scheme, seed)
    assert not {*split.train} & {*split.val} and not {*split.train, *split.val} & {*split.test}
    assert len(split.train) + len(split.val) + len(split.test) == 60
    if scheme != "random80":  # there, a group may be torn between train and test
        group = dict(zip(index.case_ids, index.groups, strict=True))
        assert not {group[c] for c in split.val} & {group[c] for c in split.train}


@pytest.mark.parametrize("seed", range(10))
def test_grouped_shares_no_group_and_tests_about_a_fifth(seed):
    index = index_of(100, per_group=7)
    split = make_split(index, "grouped", seed)
    assert shared_groups(index, split) == ()
    assert 13 < len(split.test) <= 20


def test_random80_may_tear_groups_and_the_leak_can_be_named():
    index = index_of(40, per_group=20)
    assert shared_groups(index, make_split(index, "random80")) == ("g0", "g1")


def test_published_takes_testA_and_testB():
    split = make_split(index_of(8, parts="tttttAB-"), "published", val_share=0)
    assert split.train == ("c000", "c001", "c002", "c003", "c004")
    assert split.test == ("c005", "c006")


def test_a_published_validation_part_is_used_or_trains():
    index = index_of(6, parts="tttvAA")
    assert make_split(index, "published", val_share=0.2).val == ("c003",)
    assert make_split(index, "published", val_share=0).train[-1] == "c003"


def test_validation_is_carved_from_train_alone():
    index = index_of(20, parts="t" * 10 + "A" * 10)
    paper = make_split(index, "published", val_share=0)
    clean = make_split(index, "published", val_share=0.2)
    assert clean.test == paper.test and len(clean.val) == 2
    assert {*clean.train, *clean.val} == {*paper.train}


def test_imported_lists_win_by_default():
    index = with_lists(index_of(6, parts="ttttAA"), "c005 c004", "", "c000")
    split = make_split(index, "default", val_share=0)
    assert (split.scheme, split.train, split.test) == ("imported", ("c004", "c005"), ("c000",))


def test_default_falls_back_to_published_then_random80():
    assert make_split(index_of(5, parts="tttAA"), "default").scheme == "published"
    assert make_split(index_of(5), "default").scheme == "random80"


def test_all_test_is_for_external_sets():
    split = make_split(index_of(4), "all-test")
    assert (split.train, split.val, len(split.test)) == ((), (), 4)


def test_equal_lists_have_equal_hashes_whatever_the_scheme():
    index = index_of(5, parts="tttAA")
    listed = with_lists(index, "c000 c001 c002", "", "c003 c004")
    published = make_split(index, "published", val_share=0)
    assert published.hash == make_split(listed, "imported", val_share=0).hash


@pytest.mark.parametrize(
    "index, scheme, message",
    [
        (index_of(10, grouped=False), "grouped", "no patient or lesion ids.*random80"),
        (index_of(10, per_group=10), "grouped", r"1 group\(s\) in 10 case\(s\); a test set"),
        (index_of(10, per_group=5), "grouped", r"1 group\(s\) in 5 case\(s\); a validation set"),
        (index_of(10), "published", "no published split.*import-split.*random80"),
        (index_of(10), "imported", "no imported split.*import-split mine FILE"),
        (index_of(1), "random80", "needs 2 or more"),
        (index_of(10), "radom80", "Did you mean 'random80'"),
    ],
)
def test_what_a_scheme_lacks_is_said(index, scheme, message):
    with pytest.raises(BenchError, match=message):
        make_split(index, scheme)


def test_a_split_with_a_case_on_two_sides_cannot_be_built():
    index = with_lists(index_of(5), "c000 c001", "", "c001")
    with pytest.raises(ValueError, match="on two sides"):
        make_split(index, "imported", val_share=0)


def test_every_scheme_is_known_by_name():
    index = with_lists(index_of(40, parts="t" * 30 + "A" * 10), "c000 c001 c002", "", "c003")
    assert {make_split(index, scheme).scheme for scheme in SCHEMES} == {*SCHEMES} - {"default"}
