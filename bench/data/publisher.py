"""What a publisher's own tables and lists say of the cases: patient or lesion, class, part."""

from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.data.cards import Card, Groups
from bench.data.layouts import Match, some
from bench.data.metadata import case_name, column, read_lines, read_table


@dataclass(frozen=True)
class PublisherMetadata:
    """Case id -> patient or lesion, class, part; only what is known. warnings: what is not."""

    groups: dict[str, str]
    classes: dict[str, str]
    parts: dict[str, str]
    warnings: tuple[str, ...]


def read_publisher_metadata(card: Card, match: Match) -> PublisherMetadata:
    """What the publisher says of the cases of `match`, its file names first, then the card's tables and lists.

    Missing tables and lists are warnings; ones that contradict themselves raise BenchError.
    """
    groups, classes, no_groups = _groups(card, match)
    parts, no_parts = _parts(card, match)
    parts |= {found.case_id: found.part for found in match.cases if found.part}
    classes |= {found.case_id: found.class_ for found in match.cases if found.class_}
    return PublisherMetadata(groups, classes, parts, (*no_groups, *no_parts))


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


def _parts(card: Card, match: Match) -> tuple[dict[str, str], list[str]]:
    if card.external:
        return {case.case_id: "test" for case in match.cases}, []
    if card.published is None:
        return {}, []
    sides = {"train": card.published.train, "test": card.published.test}
    missing = [pattern for pattern in sides.values() if not match.paths(pattern)]
    if missing:
        return {}, [f"no published list {' or '.join(missing)} found: the split stays unknown"]
    parts: dict[str, str] = {}
    for part, pattern in sides.items():
        for name in map(case_name, read_lines(match.files[match.paths(pattern)[0]])):
            if parts.setdefault(name, part) != part:
                raise BenchError(
                    f"{name!r} is in both published lists of {card.name}. Get the lists from the "
                    "publisher again."
                )
    foreign = sorted(set(parts) - {case.case_id for case in match.cases})
    warning = f"{len(foreign)} names of the published lists match no image: {some(foreign)}"
    return parts, [warning] if foreign else []
