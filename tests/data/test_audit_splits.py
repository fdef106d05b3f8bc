"""Split scheme `dedup`, and the cases that leak under a split: literal lists."""

from dataclasses import replace

import pytest

from bench.core.errors import BenchError
from bench.data.audit.leaks import find_leaks
from bench.data.prepared import CaseIndex, Imported
from bench.data.splits import Split, make_split


def index(ids: str, *, groups: str = "", near: str | None = None, lists=None) -> CaseIndex:
    """Cases a, b, c, ...; groups, near: a letter for each case."""
    names = tuple(ids)
    imported = None
    if lists:
        train, val, test = (tuple(side) for side in lists)
        imported = Imported(
            dataset="mine", origin="l", sha256="0", train=train, val=val, test=test, foreign=(),
            unlisted=0,
        )  # fmt: skip
    return CaseIndex(
        dataset="mine",
        case_ids=names,
        groups=tuple(groups) or names,
        published_splits=(None,) * len(names),
        classes=(None,) * len(names),
        content_hash="0",
        grouped=len(groups),
        imported=imported,
        components=None if near is None else tuple(near),
        audit=None if near is None else "m",
    )


def sides(split: Split) -> tuple[str, str, str]:
    return "".join(split.train), "".join(split.val), "".join(split.test)


def test_near_duplicates_of_test_cases_leave_train_and_the_test_cases_stay():
    # b and h are one image, c and d are another: only b is on the test's account.
    cases = index("abcdefgh", near="abccefgb", lists=("abcdef", "", "gh"))
    assert sides(make_split(cases, "dedup", val_share=0)) == ("acdef", "", "gh")
    assert sides(make_split(cases, "default", val_share=0)) == ("abcdef", "", "gh")


def test_listed_validation_cases_lose_those_of_test_and_train_those_of_both():
    cases = index("abcdef", near="abcbca", lists=("abc", "de", "f"))
    # a = f (test): a leaves train. b = d and c = e (validation): b and c leave train.
    assert sides(make_split(cases, "dedup")) == ("", "de", "f")
    cases = index("abcdef", near="abcaef", lists=("abc", "de", "f"))
    assert sides(make_split(cases, "dedup")) == ("bc", "de", "f")
    cases = index("abcdef", near="abcfef", lists=("abc", "de", "f"))
    assert sides(make_split(cases, "dedup")) == ("abc", "e", "f")


@pytest.mark.parametrize("seed", range(20))
def test_carved_validation_tears_neither_a_component_nor_a_group(seed):
    # Components aab, groups 1..: a-b near, b-c one patient, so a, b, c stay together.
    cases = index("abcdefgh", groups="uvvwxyzk", near="aacdefgh", lists=("abcdefg", "", "h"))
    split = make_split(cases, "dedup", seed=seed, val_share=0.4)
    for together in ("abc",):
        assert set(together) <= set(split.train) or set(together) <= set(split.val)
    assert split.val and split.train and split.test == ("h",)


def test_dedup_has_the_test_cases_of_default_also_where_they_are_drawn():
    ids = "abcdefghijklmnopqrst"
    cases = index(ids, near="aacdefghijklmnopqrst")
    for seed in range(10):
        assert make_split(cases, "dedup", seed).test == make_split(cases, "default", seed).test


def test_dedup_without_an_audit_is_refused_with_the_next_step():
    with pytest.raises(BenchError, match="not been audited as it is prepared.*bench audit mine"):
        make_split(index("abcdef", lists=("abcd", "", "ef")), "dedup")


def test_leaks_count_test_cases_by_group_and_by_component():
    cases = index("abcdef", groups="uuvwuv", near="abcdce", lists=("ab", "c", "def"))
    leaks = find_leaks(cases, make_split(cases, "imported"), "patient")
    # e shares patient u with a and b, and f patient v with validation case c; e equals c.
    assert (leaks.groups, leaks.near, leaks.cases) == (("e", "f"), ("e",), ("e", "f"))
    assert leaks.share == pytest.approx(2 / 3)
    assert leaks.counts.words() == (
        "2 of 3 test images share a patient with train; 1 of 3 has a near-duplicate in train"
    )


def test_what_was_not_audited_is_said_not_counted_as_clean():
    cases = index("abcd", lists=("ab", "", "cd"))
    leaks = find_leaks(cases, make_split(cases, "imported", val_share=0), "group")
    assert (leaks.groups, leaks.near, leaks.share) == (None, None, 0)
    assert leaks.counts.words() == "no group ids: not auditable; near-duplicates not audited"


def test_groups_known_for_a_part_are_said_so():
    cases = replace(index("abcd", groups="uvud", lists=("ab", "", "cd")), grouped=3)
    words = find_leaks(cases, make_split(cases, "imported", val_share=0), "lesion").counts.words()
    assert words.startswith("1 of 2 test images shares a lesion with train (ids of 3 of 4);")
