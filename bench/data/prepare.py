"""Checking a downloaded dataset and bringing it into the one form the harness reads."""

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.disk import disk_errors, scratch
from bench.core.errors import BenchError, unknown_name
from bench.core.files import write_text
from bench.data.audit.exact import exact_duplicates, exact_lines
from bench.data.audit.manifest import AUDIT, LIMITS
from bench.data.audit.masks import mask_lines, odd_masks
from bench.data.cards import Card
from bench.data.case_files import Progress, Writer, WrittenCase
from bench.data.layouts import CaseFiles, Match, find, some
from bench.data.prepared import (
    IMPORTED,
    INDEX,
    CaseIndex,
    Index,
    content_hash,
    dump,
    read_index,
    read_records,
    status,
)
from bench.data.publisher import PublisherMetadata, read_publisher_metadata
from bench.data.remarks import ADVICE

__all__ = ["CaseIndex", "PrepareReport", "prepare", "read_index", "status"]

LeftOut = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PrepareReport:
    """The outcome of `prepare`.

    joined: cases with several masks. empty: cases whose mask has no foreground.
    dropped: (case, which of its masks was left out, because its size is not the image's).
    left_out: (case, reason). grouped: cases with a known patient or lesion (`unit`), of `groups`.
    group_sizes: name of each -> how many cases it has.
    remarks: equal images and odd masks, as the cheap parts of an audit find them.
    warnings: what a user should look at; `lines` prints them first.
    """

    dataset: str
    folder: Path
    layout: str
    mask_rule: str
    cases: int
    classes: dict[str, int]
    published_splits: dict[str, int]
    joined: tuple[str, ...]
    empty: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]
    left_out: LeftOut
    unit: str
    groups: int
    grouped: int
    group_sizes: dict[str, int]
    content_hash: str
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as text, warnings first."""
        lines = [f"WARNING: {warning}." for warning in self.warnings]
        lines.append(f"{self.dataset}: {self.cases} cases in {self.folder} (layout {self.layout})")
        for title, counts in (
            ("classes", self.classes),
            ("published split", self.published_splits),
        ):
            if counts:
                lines.append(f"{title}: " + ", ".join(f"{k} {n}" for k, n in counts.items()))
        lines.append(f"foreground: mask level {self.mask_rule}")
        if self.joined:
            lines.append(
                f"joined several masks by OR in {len(self.joined)} case(s): {some([*self.joined])}"
            )
        reasons = Counter(reason for _, reason in self.left_out)
        lines += [f"left out {count} case(s): {reason}" for reason, count in reasons.items()]
        if self.grouped:
            largest = sorted(self.group_sizes.items(), key=lambda group: (-group[1], group[0]))
            sizes = some([f"{name} {count}" for name, count in largest], 5)
            lines.append(
                f"groups: {self.groups} {self.unit}s, known for {self.grouped} of {self.cases}, "
                f"the largest first: {sizes}"
            )
        lines += [f"remark: {remark}" for remark in self.remarks]
        return lines


def prepare(
    card: Card,
    source: Path,
    data_root: Path,
    *,
    include_all: bool = False,
    leave_out: Collection[str] | None = None,
    mask_rule: str | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> PrepareReport:
    """Check the dataset in `source` and write it to `<data_root>/<card.name>`.

    source: folder or archive as published, or one folder above or below it.
    include_all: keep the classes that the card leaves out. leave_out: ids of cases the user does
    without. mask_rule: "> 0" or "> 127" instead of the card's. progress: called with (cases done,
    cases).
    Of a case with several masks, those whose size is not the image's are dropped with a warning that
    names the case; a case without any mask that fits is refused.
    Everything is built beside its place and renamed at the end; on any error nothing stays, and a
    dataset prepared earlier stays as it was.
    Raises BenchError for a wrong folder, missing masks, files that cannot be decoded, masks of
    another size (up to ten named), a full disk.
    """
    if mask_rule not in (None, "> 0", "> 127"):
        raise BenchError(f"No mask rule {mask_rule!r}. Known: '> 0' and '> 127'.")
    task = f"prepare {card.name}"
    with disk_errors(task, data_root), scratch(data_root, card.name) as workspace:
        match = find(card, source, workspace / "unpacked")
        metadata = read_publisher_metadata(card, match)
        kept, left_out = _choose(card, match, metadata, include_all, leave_out or ())
        rule = mask_rule or match.layout.mask_rule or card.mask_rule
        writer = Writer(match, metadata, rule, card.masks_rescaled, workspace / "new")
        written = writer.write_all(kept, workers, progress)
        report = _report(card, writer, written, tuple(left_out))
        warnings = _warnings(card, match, report, include_all)
        warnings += [*metadata.warnings, *_remarked(written), *_shrunk(card, written)]
        report = replace(report, warnings=tuple(warnings))
        _write_index(card, report, written)
        return _publish(report, workspace, data_root / card.name)


def _choose(
    card: Card,
    match: Match,
    metadata: PublisherMetadata,
    include_all: bool,
    leave_out: Collection[str],
) -> tuple[list[CaseFiles], list[tuple[str, str]]]:
    """(cases to write, (case id, reason) of the others)."""
    known = {case.case_id for case in match.cases}
    for case_id in leave_out:
        if case_id not in known:
            raise unknown_name(f"case of {card.name}", case_id, known)
    excluded = card.exclude.classes if card.exclude and not include_all else ()
    kept, left_out = [], []
    for case in match.cases:
        class_ = metadata.classes.get(case.case_id)
        if case.case_id in leave_out:
            left_out.append((case.case_id, "left out by name"))
        elif card.exclude and class_ in excluded:
            left_out.append((case.case_id, f"{class_}: {card.exclude.reason}"))
        else:
            kept.append(case)
    if not kept:
        raise BenchError(
            f"All {len(left_out)} cases found of {card.name} are left out ({left_out[0][1]}). Name "
            "the whole dataset's folder, or keep them with --include-all."
        )
    _refuse_bare(card, match, kept)
    return kept, left_out


def _refuse_bare(card: Card, match: Match, kept: list[CaseFiles]) -> None:
    bare = [case.image for case in kept if not case.masks]
    if bare:
        raise BenchError(
            f"{len(bare)} image(s) of {card.name} have no mask: {some(bare)}. Wanted: "
            f"{match.layout.example}. Add the masks, or leave the cases out by name "
            "(--leave-out CASE)."
        )


def _report(
    card: Card, writer: Writer, written: list[WrittenCase], left_out: LeftOut
) -> PrepareReport:
    cases = [one.case for one in written]
    masks = odd_masks({one.case.id: one.facts for one in written}, LIMITS)
    exact = exact_duplicates(cases, {*masks.empty, *masks.full})
    groups = _count(case.group for case in cases)
    return PrepareReport(
        dataset=card.name,
        folder=writer.folder,
        layout=writer.match.layout.name,
        mask_rule=writer.rule,
        cases=len(cases),
        classes=_count(case.class_ for case in cases),
        published_splits=_count(case.published_split for case in cases),
        joined=tuple(one.case.id for one in written if one.joined > 1),
        empty=masks.empty,
        dropped=tuple((one.case.id, why) for one in written for why in one.dropped),
        left_out=left_out,
        unit=card.groups.unit if card.groups else "group",
        groups=len(groups),
        grouped=sum(case.group is not None for case in cases),
        group_sizes=groups,
        content_hash=content_hash(cases),
        remarks=(*exact_lines(exact), *mask_lines(masks, LIMITS)),
        warnings=(),
    )


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))


def _warnings(card: Card, match: Match, report: PrepareReport, include_all: bool) -> list[str]:
    warnings = [f"case {case_id} keeps its other masks; {why}" for case_id, why in report.dropped]
    if card.expected and not include_all:
        warnings += _miscounts(card, report)
    if match.spare_masks:
        some_masks = some([*match.spare_masks], 3)
        warnings.append(f"{len(match.spare_masks)} mask(s) without an image ignored: {some_masks}")
    if 0 < report.grouped < report.cases:
        warnings.append(
            f"{report.cases - report.grouped} case(s) have no {report.unit} id and count as "
            "groups of their own"
        )
    return warnings


def _miscounts(card: Card, report: PrepareReport) -> list[str]:
    assert card.expected is not None
    expected = card.expected
    wanted = {"cases": expected.cases, **expected.published_splits, **expected.classes}
    named = {**report.published_splits, **report.classes}
    found = {"cases": report.cases, **named}
    wrong = [
        f"{found.get(name, 0)} {name} of {count}"
        for name, count in wanted.items()
        # A copy without published splits and classes cannot be counted by them.
        if found.get(name, 0) != count and (name == "cases" or named)
    ]
    warning = (
        f"not the complete dataset: {', '.join(wrong)}; scores on it do not compare with "
        "published ones"
    )
    return [warning] if wrong else []


def _shrunk(card: Card, written: list[WrittenCase]) -> list[str]:
    if card.expected is None or card.expected.largest is None:
        return []
    width = max(one.case.width for one in written)
    height = max(one.case.height for one in written)
    wanted = card.expected.largest
    warning = (
        f"images are at most {width} x {height} pixels and {wanted[0]} x {wanted[1]} as published: "
        "a rescaled copy or a part, so scores at native size are not those of the published images"
    )
    return [warning] if (width, height) != wanted else []


def _remarked(written: list[WrittenCase]) -> list[str]:
    """A warning per kind of remark that a user should act on, and on ids that look alike."""
    warnings = []
    for remark, advice in ADVICE.items():
        cases = [one.case.id for one in written if remark in one.case.remarks]
        if cases:
            warnings.append(f"{len(cases)} case(s): {remark}; {advice}: {some(cases, 3)}")
    folded = Counter(one.case.id.casefold() for one in written)
    alike = [one.case.id for one in written if folded[one.case.id.casefold()] > 1]
    if alike:
        warnings.append(
            f"{len(alike)} case ids differ in upper and lower case only: {some(alike, 4)}; are they "
            "copies? On a disk that ignores case one would overwrite the other"
        )
    return warnings


def _write_index(card: Card, report: PrepareReport, written: list[WrittenCase]) -> None:
    index = Index(
        dataset=card.name,
        card_hash=card.hash,
        layout=report.layout,
        mask_rule=report.mask_rule,
        warnings=report.warnings,
        content_hash=report.content_hash,
        cases=tuple(one.case for one in written),
    )
    write_text(report.folder / INDEX, dump(index))


def _publish(report: PrepareReport, workspace: Path, place: Path) -> PrepareReport:
    """Move the finished folder to its place, keeping an imported split and an audit that still fit."""
    warnings = report.warnings
    kept = {"imported split": (place / IMPORTED).parent, "audit": place / AUDIT}
    for name, folder in kept.items():
        if not folder.exists():
            continue
        if _content_hash_at(place) == report.content_hash:
            shutil.copytree(folder, report.folder / folder.name)
        else:
            again = "import it again" if folder.name != AUDIT else f"run bench audit {place.name}"
            dropped = f"the cases changed, so the {name} was dropped; {again}"
            warnings = (*warnings, dropped)
    old = workspace / "old"
    if place.exists():
        os.rename(place, old)
    try:
        os.rename(report.folder, place)
    except OSError:
        if old.exists():
            os.rename(old, place)
        raise
    return replace(report, folder=place, warnings=warnings)


def _content_hash_at(place: Path) -> str:
    try:
        return read_records(place).content_hash
    except BenchError:  # a damaged index is what preparing again repairs
        return ""
