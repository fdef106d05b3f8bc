"""Cases with equal pixels, from the hashes that preparing stored: nothing is decoded here."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from bench.data.audit.manifest import Exact
from bench.data.prepared import Case


def exact_duplicates(
    cases: Sequence[Case], plain: Collection[str], near: Iterable[tuple[str, str]] = ()
) -> Exact:
    """Equal images, equal masks on different images, and one image in two classes.

    plain: ids of cases whose mask is empty or full; such masks equal each other without meaning.
    near: pairs of near-duplicates, which may carry two classes, too.
    """
    images = _equal({case.id: case.image_sha256 for case in cases})
    first_of = {case: group[0] for group in images for case in group}
    marked = {case.id: case.mask_sha256 for case in cases if case.id not in plain}
    masks = [
        group for group in _equal(marked) if len({first_of.get(case, case) for case in group}) > 1
    ]
    equal = [(a, b) for group in images for i, a in enumerate(group) for b in group[i + 1 :]]
    class_of = {case.id: case.class_ for case in cases}
    pairs = {(min(pair), max(pair)) for pair in (*equal, *near)}
    mixed = [
        (a, b)
        for a, b in sorted(pairs)
        if None not in (class_of[a], class_of[b]) and class_of[a] != class_of[b]
    ]
    return Exact(images=tuple(images), masks=tuple(masks), two_classes=tuple(mixed))


def equal_across(one: Iterable[Case], other: Iterable[Case]) -> list[tuple[str, str]]:
    """Pairs (case of one, case of other) of two datasets with equal decoded pixels, sorted."""
    by_hash = defaultdict(list)
    for case in other:
        by_hash[case.image_sha256].append(case.id)
    return sorted((case.id, twin) for case in one for twin in by_hash[case.image_sha256])


def exact_lines(exact: Exact) -> list[str]:
    """What is equal, a line each; no line for what does not occur."""
    kinds = {
        "group(s) of equal images": exact.images,
        "group(s) of equal masks on different images": exact.masks,
        "pair(s) of equal or near-duplicate images in two classes": exact.two_classes,
    }
    return [
        f"{len(groups)} {words}: "
        + "; ".join(" = ".join(group) for group in groups[:5])
        + (" ..." if groups[5:] else "")
        for words, groups in kinds.items()
        if groups
    ]


def _equal(hashes: dict[str, str]) -> list[tuple[str, ...]]:
    """Sorted groups of two and more ids with one hash."""
    groups = defaultdict(list)
    for case, value in hashes.items():
        groups[value].append(case)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)
