"""Which cases train, validate and test, under a scheme with a name.

A split depends on case ids, groups, the publisher's or user's lists and, under `dedup`, on the
components of the dataset's audit; never on the method or on the order of the cases.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import ceil

from bench.core.errors import BenchError, unknown_name
from bench.core.files import digest
from bench.data.audit.components import components
from bench.data.prepared import CaseIndex

SCHEMES = ("default", "listed", "imported", "published", "random80", "grouped", "dedup", "all-test")

TEST_SHARE = 0.2


@dataclass(frozen=True)
class Split:
    """Sorted, disjoint case ids. scheme: the one that was applied, never "default" or
    "listed".

    hash: sha256 over dataset and lists, so two schemes that give the same lists share it.
    """

    dataset: str
    scheme: str
    seed: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        sides = (self.train, self.val, self.test)
        if len(set().union(*sides)) != sum(map(len, sides)):
            raise ValueError(f"a case of {self.dataset} is on two sides of a split, or named twice")
        content = [self.dataset, *(sorted(side) for side in sides)]
        object.__setattr__(self, "hash", digest(content))


def make_split(index: CaseIndex, scheme: str, seed: int = 0, val_share: float = 0.2) -> Split:
    """The split of a dataset under a scheme.

    published: the publisher's split: "train" trains, "val" validates, names that start with "test"
    test.
    imported: the user's lists (`bench data import-split`).
    listed: imported, else published.
    default: imported, else published, else random80.
    random80: ceil(20 %) of the cases test, drawn by `seed`; groups may be torn.
    grouped: groups drawn by `seed` up to 20 % of the cases test; no group on two sides.
    dedup: as default, but no near-duplicates on two sides: those of test cases leave train and
    validation, those of validation cases leave train. The test cases are those of default. Needs
    the dataset's audit (`bench audit`).
    all-test: every case tests, none trains, as for an external dataset.
    val_share: share of the training cases that validates, in [0, 1), drawn by `seed`, whole groups
    only; 0 for none. An imported list of validation cases is taken as it is instead, and trains
    where val_share is 0.
    Raises BenchError where the dataset lacks what the scheme needs.
    """
    if not 0 <= val_share < 1:
        raise ValueError(f"val_share {val_share} is not in [0, 1)")
    if scheme not in SCHEMES:
        raise unknown_name("split scheme", scheme, SCHEMES)
    if scheme in ("default", "listed"):
        scheme = _first_available(index, scheme)
    train, val, test = _SIDES[scheme](index, seed)
    if val and not val_share:
        train, val = train | val, set()
    if not val and val_share and train:
        joined = _with_components(index) if scheme == "dedup" else index
        val = _carve(joined, train, val_share, seed)
        train -= val
    lists = (tuple(sorted(side)) for side in (train, val, test))
    return Split(index.dataset, scheme, seed, *lists)


def shared_groups(index: CaseIndex, split: Split) -> tuple[str, ...]:
    """Groups with cases in both train or val and test: the leaks a split has, sorted."""
    group_of = dict(zip(index.case_ids, index.groups, strict=True))
    learned = {group_of[case] for case in (*split.train, *split.val)}
    return tuple(sorted(learned & {group_of[case] for case in split.test}))


Sides = tuple[set[str], set[str], set[str]]


def _first_available(index: CaseIndex, scheme: str) -> str:
    """The scheme that "default" or "listed" means for these cases."""
    if index.imported:
        return "imported"
    if any(index.published_splits):
        return "published"
    if scheme == "default":
        return "random80"
    raise BenchError(
        f"{index.dataset} has neither imported lists nor a published split here, and this protocol "
        f"takes nothing else. Import the lists: bench data import-split {index.dataset} FILE. Or "
        "choose another protocol: --protocol paper80 draws a random 80/20 split."
    )


def is_side(word: str) -> bool:
    """Whether a published split of that name is one that `published` uses: train, val, test, testA..."""
    return word in ("train", "val") or word.startswith("test")


def _published(index: CaseIndex, seed: int) -> Sides:
    sides = dict(zip(index.case_ids, index.published_splits, strict=True))
    train = {case for case, side in sides.items() if side == "train"}
    val = {case for case, side in sides.items() if side == "val"}
    test = {case for case, side in sides.items() if side and side.startswith("test")}
    if not test:
        raise BenchError(
            f"{index.dataset} has no published split here. Put the publisher's lists beside the "
            "images and prepare again, import lists of your own (`bench data import-split`), or "
            "choose random80."
        )
    return train, val, test


def _imported(index: CaseIndex, seed: int) -> Sides:
    lists = index.imported
    if lists is None:
        raise BenchError(
            f"{index.dataset} has no imported split. Run `bench data import-split "
            f"{index.dataset} FILE`, or choose another scheme: {', '.join(SCHEMES)}."
        )
    return set(lists.train), set(lists.val), set(lists.test)


def _random80(index: CaseIndex, seed: int) -> Sides:
    cases = _shuffled(index.case_ids, f"{index.dataset}/random80/{seed}")
    if len(cases) < 2:
        raise BenchError(f"{index.dataset} has {len(cases)} case(s); random80 needs 2 or more.")
    # ceil, as scikit-learn's train_test_split rounds: 33 of 163 for BUS, 130 of 647 for BUSI.
    count = ceil(TEST_SHARE * len(cases) - 1e-9)
    return set(cases[count:]), set(), set(cases[:count])


def _grouped(index: CaseIndex, seed: int) -> Sides:
    if not index.grouped:
        raise BenchError(
            f"{index.dataset} has no patient or lesion ids here, so `grouped` would be a random "
            "split under a better name. Add the publisher's table and prepare again, or choose "
            "random80."
        )
    cases = set(index.case_ids)
    test = _draw(index, cases, TEST_SHARE, f"{index.dataset}/grouped/{seed}", "a test set")
    return cases - test, set(), test


def _dedup(index: CaseIndex, seed: int) -> Sides:
    if index.components is None:
        raise BenchError(
            f"{index.dataset} has not been audited as it is prepared here, so its near-duplicates "
            f"are not known. Run `bench audit {index.dataset}`, or choose another protocol."
        )
    train, val, test = _SIDES[_first_available(index, "default")](index, seed)
    component = dict(zip(index.case_ids, index.components, strict=True))

    def clear_of(side: set[str], others: set[str]) -> set[str]:
        taken = {component[case] for case in others}
        return {case for case in side if component[case] not in taken}

    val = clear_of(val, test)
    return clear_of(train, test | val), val, test


def _with_components(index: CaseIndex) -> CaseIndex:
    """The cases with groups and components joined, so that whole ones of both are drawn."""
    assert index.components is not None
    parts = zip(index.case_ids, index.groups, index.components, strict=True)
    pairs = [
        pair
        for case, group, component in parts
        for pair in ((f"case {case}", f"group {group}"), (f"case {case}", f"near {component}"))
    ]
    joined = {name: names[0] for names in components(pairs) for name in names}
    return replace(index, groups=tuple(joined[f"case {case}"] for case in index.case_ids))


def _all_test(index: CaseIndex, seed: int) -> Sides:
    return set(), set(), set(index.case_ids)


_SIDES = {
    "published": _published,
    "imported": _imported,
    "random80": _random80,
    "grouped": _grouped,
    "dedup": _dedup,
    "all-test": _all_test,
}


def _carve(index: CaseIndex, train: set[str], share: float, seed: int) -> set[str]:
    return _draw(index, train, share, f"{index.dataset}/val/{seed}", "a validation set")


def _draw(index: CaseIndex, cases: set[str], share: float, salt: str, purpose: str) -> set[str]:
    """Whole groups of `cases`, in an order drawn by `salt`, up to ceil(share) of the cases.

    Groups that would overshoot are passed over; if all would, the smallest is taken.
    """
    members: dict[str, set[str]] = defaultdict(set)
    for case, group in zip(index.case_ids, index.groups, strict=True):
        if case in cases:
            members[group].add(case)
    if len(members) < 2:
        raise BenchError(
            f"{index.dataset} has {len(members)} group(s) in {len(cases)} case(s); {purpose} "
            "needs 2 or more, because a group is never torn. Use more data, or another scheme."
        )
    wanted = ceil(share * len(cases) - 1e-9)
    drawn: set[str] = set()
    for group in _shuffled(members, salt):
        if len(drawn) + len(members[group]) <= wanted:
            drawn.update(members[group])
    return drawn or min(members.values(), key=lambda group: (len(group), sorted(group)))


def _shuffled(names: Iterable[str], salt: str) -> list[str]:
    """The names in an order drawn by `salt`, whatever order they come in."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{salt}/{name}".encode()).digest())
