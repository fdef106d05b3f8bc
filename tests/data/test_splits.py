"""Splits: disjoint, seeded by name, and never tearing a group where they claim so."""

import random
from dataclasses import replace

import pytest

from bench.core.errors import BenchError
from bench.data.prepared import CaseIndex, Imported
from bench.data.splits import SCHEMES, Split, make_split, shared_groups


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
    split = make_split(index_of(10), "random80", seed=0, val_share=0.2)
    assert split.test == ("c005", "c009")
    assert split.hash.startswith("e5546ec2310e")
    assert make_split(index_of(10), "random80") == split


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


def test_listed_takes_imported_then_published_lists_and_nothing_else():
    index = index_of(6, parts="ttttAA")
    assert make_split(index, "listed").scheme == "published"
    assert make_split(with_lists(index, "c005", "", "c000"), "listed", 0, 0).scheme == "imported"
    with pytest.raises(BenchError, match="bench data import-split mine FILE"):
        make_split(index_of(6), "listed")


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
    index = replace(index, components=index.case_ids)
    assert {make_split(index, scheme).scheme for scheme in SCHEMES} == {*SCHEMES} - {
        "default",
        "listed",
    }


# Literal sizes and sides


@pytest.mark.parametrize(
    "cases, share, val",
    [
        (10, 0.2, 2),
        (11, 0.2, 3),  # ceil(2.2)
        (10, 0.25, 3),  # ceil(2.5)
        (10, 0.3, 3),
        (15, 0.2, 3),
        (100, 0.07, 7),  # 0.07 * 100 is 7.000000000000001
        (2, 0.5, 1),
        (5, 0.01, 1),
        (5, 0.99, 5),
        (10, 0, 0),
    ],
)
def test_validation_takes_the_ceiling_of_its_share(cases, share, val):
    split = make_split(index_of(cases + 1, parts="t" * cases + "A"), "published", 0, share)
    assert (len(split.train), len(split.val), len(split.test)) == (cases - val, val, 1)


@pytest.mark.parametrize("cases, test", [(10, 2), (11, 3), (15, 3), (16, 4), (2, 1), (3, 1)])
def test_random80_tests_the_ceiling_of_a_fifth(cases, test):
    assert len(make_split(index_of(cases), "random80", val_share=0).test) == test


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, -1e-9])
def test_a_share_outside_0_to_1_is_an_error(share):
    with pytest.raises(ValueError, match=r"is not in \[0, 1\)"):
        make_split(index_of(10), "random80", val_share=share)


def test_sides_of_every_scheme_are_sorted_whatever_the_order_of_the_cases():
    index = shuffled(index_of(30, per_group=2, parts="t" * 20 + "A" * 10))
    for scheme in ("random80", "grouped", "published", "all-test"):
        split = make_split(index, scheme)
        for side in (split.train, split.val, split.test):
            assert list(side) == sorted(side)


def test_the_pinned_sides_of_grouped_and_of_validation():
    """Stored results rest on these very draws."""
    index = index_of(20, per_group=2)
    split = make_split(index, "grouped", seed=0)
    assert split.test == ("c014", "c015", "c016", "c017")
    assert split.val == ("c002", "c003", "c004", "c005")
    published = make_split(index_of(12, parts="t" * 10 + "AA"), "published", seed=3)
    assert published.val == ("c003", "c005")


def test_the_draw_depends_on_the_dataset_and_on_the_purpose():
    index = index_of(200)
    other = replace(index, dataset="yours")
    assert make_split(index, "random80").test != make_split(other, "random80").test
    assert make_split(index, "random80", 0, 0).test != make_split(index, "grouped", 0, 0).test
    whole = index_of(201, parts="t" * 200 + "A")
    assert make_split(whole, "published").val != make_split(index, "random80", 0, 0).test


def groups_of(sizes: list[int]) -> CaseIndex:
    """One group per size; every case is of the published training set, plus one test case."""
    names = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)] + ["other"]
    ids = tuple(f"c{number:03}" for number in range(len(names)))
    return replace(
        index_of(len(ids), parts="t" * (len(ids) - 1) + "A"), case_ids=ids, groups=tuple(names)
    )


@pytest.mark.parametrize("seed", range(8))
def test_groups_that_would_overshoot_are_passed_over(seed):
    """10 cases, 2 wanted: never the group of 5, always both cases of the small ones."""
    index = groups_of([5, 2, 3])
    assert make_split(index, "published", seed).val == ("c005", "c006")


@pytest.mark.parametrize("seed", range(8))
def test_groups_fill_the_share_exactly_where_they_can(seed):
    index = groups_of([1] * 10)
    assert len(make_split(index, "published", seed).val) == 2


@pytest.mark.parametrize("seed", range(8))
def test_where_all_groups_overshoot_the_smallest_validates(seed):
    index = groups_of([4, 3, 5])  # 12 cases, 3 wanted
    assert make_split(index, "published", seed).val == ("c004", "c005", "c006")
    index = groups_of([6, 4, 5])  # 15 cases, 3 wanted, none fits: the smallest, whole
    assert make_split(index, "published", seed).val == ("c006", "c007", "c008", "c009")
    index = groups_of([6, 6])  # a tie: the group of the first case id
    assert make_split(index, "published", seed).val == tuple(f"c{n:03}" for n in range(6))


def test_two_groups_are_enough_and_one_is_not():
    assert len(make_split(groups_of([2, 2]), "published").val) == 2
    with pytest.raises(BenchError, match=r"1 group\(s\) in 4 case\(s\); a validation set needs 2"):
        make_split(groups_of([4]), "published")


def test_two_cases_are_enough_for_random80():
    split = make_split(index_of(2), "random80", val_share=0)
    assert (len(split.train), len(split.test)) == (1, 1)
    with pytest.raises(BenchError, match=r"has 0 case\(s\); random80 needs 2"):
        make_split(index_of(0), "random80", val_share=0)


def test_published_names_that_are_neither_side_are_left_out():
    names = ("train", "val", "test", "testB", "protest", "train2", None, "extra")
    index = replace(index_of(8), published_splits=names)
    split = make_split(index, "published", val_share=0.5)
    assert (split.train, split.val, split.test) == (("c000",), ("c001",), ("c002", "c003"))


def test_an_imported_validation_list_is_taken_as_it_is():
    index = with_lists(index_of(9), "c000 c001 c002", "c003 c004", "c005")
    split = make_split(index, "imported", val_share=0.2)
    assert (split.train, split.val) == (("c000", "c001", "c002"), ("c003", "c004"))
    trained = make_split(index, "imported", val_share=0)
    assert trained.val == () and trained.train == ("c000", "c001", "c002", "c003", "c004")
    assert trained.test == split.test == ("c005",)


def test_an_imported_list_without_validation_cases_is_carved():
    index = with_lists(index_of(12), " ".join(f"c{n:03}" for n in range(10)), "", "c010 c011")
    split = make_split(index, "imported", val_share=0.2)
    assert (len(split.train), len(split.val), split.test) == (8, 2, ("c010", "c011"))


def test_a_hash_tells_dataset_and_sides_apart():
    def split(**changes):
        sides = {"train": ("a",), "val": ("b",), "test": ("c",)}
        return Split(**{"dataset": "mine", "scheme": "random80", "seed": 0} | sides | changes)

    same = split().hash
    assert split(scheme="grouped", seed=5).hash == same
    assert split(dataset="yours").hash != same
    assert split(train=("b",), val=("a",)).hash != same
    assert split(val=(), train=("a", "b")).hash != same
    assert split(val=("c",), test=("b",)).hash != same
    ordered, turned = (split(train=ids).hash for ids in (("a", "d"), ("d", "a")))
    assert ordered == turned


@pytest.mark.parametrize(
    "sides",
    [(("a", "a"), (), ()), (("a",), ("a",), ()), ((), ("a",), ("a",)), (("a",), (), ("a",))],
)
def test_a_case_named_twice_is_no_split(sides):
    with pytest.raises(
        ValueError, match="a case of mine is on two sides of a split, or named twice"
    ):
        Split("mine", "imported", 0, *sides)


def test_leaks_count_validation_as_learned():
    index = index_of(6, per_group=2)
    split = Split("mine", "imported", 0, ("c000",), ("c002",), ("c001", "c003", "c004"))
    assert shared_groups(index, split) == ("g0", "g1")
    assert shared_groups(index, Split("mine", "imported", 0, ("c000", "c001"), (), ("c004",))) == ()
