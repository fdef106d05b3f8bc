"""Test cases that a split leaves related to cases it trains on."""

from collections.abc import Collection
from dataclasses import dataclass

from bench.core.frozen import Frozen
from bench.data.prepared import CaseIndex
from bench.data.splits import Split


class LeakCounts(Frozen):
    """How many test cases leak under one split, as cells record it.

    audit: hash of the dataset's manifest, None without an audit. unit: what a group is, "patient" or
    "lesion". grouped: cases of the dataset with a known group, of `cases`. test: test cases.
    groups: test cases whose group also trains or validates; None where no group is known. near: test
    cases with an equal or near-duplicate image there; None without an audit.
    """

    audit: str | None
    unit: str
    grouped: int
    cases: int
    test: int
    groups: int | None
    near: int | None

    def words(self) -> str:
        """The counts as words; "train" includes validation.

        "79 of 80 test images share a patient with train; 0 of 80 have a near-duplicate in train"
        """
        whole = "" if self.grouped == self.cases else f" (ids of {self.grouped} of {self.cases})"
        share = "shares" if self.groups == 1 else "share"
        known = f"{self.groups} of {self.test} test images {share} a {self.unit} with train{whole}"
        groups = "no group ids: not auditable" if self.groups is None else known
        if self.near is None:
            return f"{groups}; near-duplicates not audited"
        have = "has" if self.near == 1 else "have"
        return f"{groups}; {self.near} of {self.test} {have} a near-duplicate in train"


@dataclass(frozen=True)
class Leaks:
    """The test cases behind the counts, sorted; None as in `LeakCounts`. split: the one audited."""

    split: Split
    counts: LeakCounts
    groups: tuple[str, ...] | None
    near: tuple[str, ...] | None

    @property
    def cases(self) -> tuple[str, ...]:
        """Test cases that leak either way, sorted."""
        return tuple(sorted({*(self.groups or ()), *(self.near or ())}))

    @property
    def share(self) -> float:
        """Share of the test cases that leak either way, in [0, 1]."""
        return len(self.cases) / len(self.split.test) if self.split.test else 0.0


def find_leaks(index: CaseIndex, split: Split, unit: str) -> Leaks:
    """The test cases of `split` that share a group or a component with its other cases.

    unit: what a group is, for messages. Cases without a known group are in no group.
    """
    groups = _related(split, index.case_ids, index.groups) if index.grouped else None
    near = _related(split, index.case_ids, index.components) if index.components else None
    counts = LeakCounts(
        audit=index.audit,
        unit=unit,
        grouped=index.grouped,
        cases=len(index.case_ids),
        test=len(split.test),
        groups=None if groups is None else len(groups),
        near=None if near is None else len(near),
    )
    return Leaks(split, counts, groups, near)


def _related(split: Split, case_ids: Collection[str], labels: Collection[str]) -> tuple[str, ...]:
    """Test cases whose label a case of train or validation has, too."""
    label_of = dict(zip(case_ids, labels, strict=True))
    learned = {label_of[case] for case in (*split.train, *split.val)}
    return tuple(case for case in split.test if label_of[case] in learned)
