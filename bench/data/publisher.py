"""The publisher's own tables and lists of the cases: patient or lesion, class, split."""

from collections import Counter
from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.data.cards import Card, Groups
from bench.data.layouts import Match, some
from bench.data.metadata import case_name, column, read_lines, read_table
from bench.data.splits import is_side


@dataclass(frozen=True)
class PublisherMetadata:
    """Case id -> patient or lesion, class, published split, where known. warnings: what is missing."""

    groups: dict[str, str]
    classes: dict[str, str]
    splits: dict[str, str]
    warnings: tuple[str, ...]


def read_publisher_metadata(card: Card, match: Match) -> PublisherMetadata:
    """Groups, classes and published splits of the cases of `match`: from their file names first,
    then from the card's tables and lists.

    Missing tables and lists are warnings; ones that contradict themselves raise BenchError.
    """
    groups, classes, no_groups = _groups(card, match)
    splits, no_splits = _splits(card, match)
    own, words, no_side = _from_paths(match)
    groups |= {case.case_id: case.group for case in match.cases if case.group}
    classes |= words | {case.case_id: case.class_ for case in match.cases if case.class_}
    return PublisherMetadata(groups, classes, splits | own, (*no_groups, *no_splits, *no_side))


def _from_paths(match: Match) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """(split by case, class by case, warnings) of the words that paths have where a card captures a
    published split.

    Only train, val and what starts with "test" are sides of a split: folders are as often named by
    class, and a case on no side would be used nowhere.
    """
    named = {case.case_id: case.published_split for case in match.cases if case.published_split}
    splits = {case_id: word for case_id, word in named.items() if is_side(word)}
    words = {case_id: word for case_id, word in named.items() if not is_side(word)}
    if not words:
        return splits, {}, []
    seen = ", ".join(f"{word} {n}" for word, n in sorted(Counter(words.values()).items()))
    warning = (
        f"the words where the card expects a split are no sides of one and count as classes: {seen}. "
        "Sides are train, val and test"
    )
    return splits, words, [warning]


def _groups(card: Card, match: Match) -> tuple[dict[str, str], dict[str, str], list[str]]:
    if card.groups is None:
        return {}, {}, []
    paths = match.paths(card.groups.file)
    if not paths:
        return {}, {}, [_no_table(card.groups)]
    path = match.files[paths[0]]
    table = read_table(path)
    groups = column(path, table, card.groups.case, card.groups.group)
    if card.groups.class_ is None:
        return groups, {}, []
    return groups, column(path, table, card.groups.case, card.groups.class_), []


def _no_table(groups: Groups) -> str:
    return (
        f"no table {groups.example} with {groups.unit} ids found: the split `grouped` needs it. Put "
        "it beside the images and prepare again"
    )


def _splits(card: Card, match: Match) -> tuple[dict[str, str], list[str]]:
    if card.external:
        return {case.case_id: "test" for case in match.cases}, []
    if card.published is None:
        return {}, []
    sides = {"train": card.published.train, "test": card.published.test}
    missing = [pattern for pattern in sides.values() if not match.paths(pattern)]
    if missing:
        return {}, [f"no published list {' or '.join(missing)} found: the split stays unknown"]
    splits: dict[str, str] = {}
    for side, pattern in sides.items():
        for name in map(case_name, read_lines(match.files[match.paths(pattern)[0]])):
            if splits.setdefault(name, side) != side:
                raise BenchError(
                    f"{name!r} is in both published lists of {card.name}. Get the lists from the "
                    "publisher again."
                )
    foreign = sorted(set(splits) - {case.case_id for case in match.cases})
    warning = f"{len(foreign)} names of the published lists match no image: {some(foreign)}"
    return splits, [warning] if foreign else []
