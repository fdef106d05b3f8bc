"""Matching the files of a folder against a card's layouts."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import regex

from bench.core.errors import BenchError
from bench.data.archives import list_files, list_folder
from bench.data.cards import CASE_ID, Card, Layout

SECONDS = 20.0
"""For one pattern over all files. Those of HAM10000 take less than a second on its 20,030 files."""


@dataclass(frozen=True)
class CaseFiles:
    """One case's files. masks: logical paths, to be joined by OR."""

    case_id: str
    image: str
    masks: tuple[str, ...]
    published_split: str | None
    class_: str | None
    group: str | None = None


@dataclass(frozen=True)
class Match:
    """The layout that fits, and the cases it gives.

    files: logical path -> real path, of all files. spare_masks: masks that have no image.
    """

    layout: Layout
    files: dict[str, Path]
    cases: tuple[CaseFiles, ...]
    spare_masks: tuple[str, ...]

    def paths(self, pattern: str) -> list[str]:
        """Logical paths that a card's pattern matches, the least nested first."""
        hits = [path for path, _ in _hits(pattern, self.files)]
        return sorted(hits, key=lambda path: (path.count("/"), path))


def find(card: Card, source: Path, workspace: Path) -> Match:
    """The layout of `card` with the most complete cases in `source`.

    source may also be the folder one level above the dataset's, or one of its own subfolders.
    Cases may lack masks: the caller decides. Raises BenchError when no layout gives any case, or
    when two files claim the same case.
    """
    match = _best(card, list_folder(source)) if source.is_dir() else None
    if match is None or not all(case.masks for case in match.cases):
        # Only now are archives opened: people often keep the zip beside what came out of it.
        match = _best(card, list_files(source, workspace)) or match
    if match is None and source.is_dir():
        match = _from_above(card, source)
    if match is None:
        raise BenchError(_no_layout(card, source))
    return match


def some(names: list[str], limit: int = 10) -> str:
    """The first names for a message, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _from_above(card: Card, source: Path) -> Match | None:
    """The match from the folder above, if `source` is one of the dataset's own subfolders."""
    source = source.resolve()
    match = _best(card, list_folder(source.parent))
    if match and any(case.image.startswith(f"{source.name}/") for case in match.cases):
        return match
    return None


def _best(card: Card, files: dict[str, Path]) -> Match | None:
    matches = [_match(layout, files) for layout in card.layouts]
    complete = [sum(bool(case.masks) for case in match.cases) for match in matches]
    best = complete.index(max(complete))
    if complete[best] == 0:
        # A message about images without masks is more use than "no layout fits".
        best = max(range(len(matches)), key=lambda k: len(matches[k].cases))
    if not matches[best].cases:
        return None
    _refuse_duplicates(card, matches[best])
    return matches[best]


def _refuse_duplicates(card: Card, match: Match) -> None:
    owner: dict[str, str] = {}
    for case in match.cases:
        if case.case_id in owner:
            raise BenchError(
                f"Two files claim case {case.case_id!r} of {card.name}: {owner[case.case_id]} and "
                f"{case.image}. Name a folder that holds one copy of the dataset."
            )
        owner[case.case_id] = case.image


Captured = dict[str, str | None]


def _hits(pattern: str, paths: Iterable[str]) -> Iterator[tuple[str, Captured]]:
    """(path, what its named groups captured) of the paths that a card's pattern matches, sorted.

    BenchError when the pattern takes more than SECONDS: some patterns take time that doubles with
    every letter of a path. The package `regex` reads them as `re` does and can be stopped.
    """
    end = time.monotonic() + SECONDS
    try:
        compiled = regex.compile(rf"(?:.*/)?(?:{pattern})")
        for path in sorted(paths):
            if hit := compiled.fullmatch(path, timeout=max(end - time.monotonic(), 0.001)):
                yield path, hit.groupdict()
    except TimeoutError as error:
        raise BenchError(
            f"The pattern {pattern!r} of the card takes more than {SECONDS:.0f} s on these files. "
            "Write it without a repetition inside a repetition, such as (a+)+."
        ) from error
    except regex.error as error:
        raise BenchError(f"The pattern {pattern!r} of the card is refused: {error}.") from error


def _match(layout: Layout, files: dict[str, Path]) -> Match:
    masks: dict[str, list[str]] = {}
    for path, captured in _hits(layout.mask, files):
        masks.setdefault(_case_id(layout, path, captured), []).append(path)
    images = [
        (_case_id(layout, path, captured), path, captured)
        for path, captured in _hits(layout.image, files)
    ]
    cases = tuple(
        CaseFiles(
            case_id,
            path,
            tuple(masks.get(case_id, ())),
            groups.get("published_split"),
            groups.get("class"),
            groups.get("group"),
        )
        for case_id, path, groups in sorted(images, key=lambda image: image[:2])
    )
    ids = {case.case_id for case in cases}
    spare = tuple(path for case_id, paths in masks.items() if case_id not in ids for path in paths)
    return Match(layout, files, cases, spare)


def _case_id(layout: Layout, path: str, captured: Captured) -> str:
    case_id = layout.id.format(**{name: word or "" for name, word in captured.items()})
    if not CASE_ID.fullmatch(case_id):
        raise BenchError(
            f"{path} would become case {case_id!r}. Case ids are letters, digits and "
            "_ . - + ( ) or blanks, starting with a letter or digit: rename the file."
        )
    return case_id


def _no_layout(card: Card, source: Path) -> str:
    wanted = "; or ".join(layout.example for layout in card.layouts)
    place = f" as published ({card.access.page})" if card.access.page else ""
    return (
        f"No {card.name} images in {source}. Wanted: {wanted}. Name the folder or archive{place}."
    )
