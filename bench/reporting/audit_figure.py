"""Which pairs of an audit its contact sheet shows, and writing it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.arrays import read_case
from bench.data.audit.audit import Audited
from bench.data.audit.fingerprints import TURNS, turned
from bench.data.audit.leaks import Leaks
from bench.data.audit.manifest import Pair
from bench.data.audit.report import AuditReport
from bench.reporting.plots.contact import Duplicate, contact_sheet
from bench.reporting.plots.style import save, styled

SHOWN = 24
NAME = "hits"
SIDE_PIXELS = 256

Hit = tuple[Pair, Audited]
"""A pair whose first image is of the audited dataset, and the dataset of the second."""


def write_contact_sheet(report: AuditReport, others: Sequence[Audited], folder: Path) -> list[Path]:
    """Write the figure of the near-duplicates to `folder`; no file without one.

    others: the datasets of `report.crossed`, in their order. Pairs of a test case with a case of
    train or validation stand first, under the first protocol of the report that has a split.
    """
    own = report.audited
    hits: list[Hit] = [(pair, own) for pair in own.near.pairs]
    for other, crossed in zip(others, report.crossed, strict=True):
        hits += [(pair, other) for pair in crossed.near.pairs]
    if not hits:
        return []
    protocol, side_of = _sides(report)

    hits.sort(key=lambda hit: (not _leaks(hit, own, side_of), -hit[0].correlation))
    pairs = [_duplicate(hit, own, side_of) for hit in hits[:SHOWN]]
    title = f"{own.index.dataset}: {len(pairs)} of {len(hits)} near-duplicate pairs"
    remark = "Correlation of 64 x 64 grey copies; the second image is turned as said." + (
        f" Sides under protocol {protocol}; coloured: a test case and a learned one."
        if protocol
        else ""
    )
    with styled():
        return save(contact_sheet(pairs, title, remark), folder, NAME)


def _sides(report: AuditReport) -> tuple[str, dict[str, str]]:
    """(name of the first protocol with a split, case id -> its side there)."""
    for name, leaks in report.leaks.items():
        if isinstance(leaks, Leaks):
            split = leaks.split
            sides = ("train", split.train), ("val", split.val), ("test", split.test)
            return name, {case: side for side, cases in sides for case in cases}
    return "", {}


def _side(case: str, dataset: Audited, own: Audited, side_of: dict[str, str]) -> str:
    """The side of a case of the audited dataset; the name of another dataset."""
    return side_of.get(case, "unused") if dataset is own else dataset.index.dataset


def _leaks(hit: Hit, own: Audited, side_of: dict[str, str]) -> bool:
    """Whether a test case is paired with a case of train or validation."""
    pair, other = hit
    sides = {_side(pair.first, own, own, side_of), _side(pair.second, other, own, side_of)}
    return "test" in sides and bool(sides & {"train", "val"})


def _duplicate(hit: Hit, own: Audited, side_of: dict[str, str]) -> Duplicate:
    pair, other = hit
    names = (
        f"{pair.first} ({_side(pair.first, own, own, side_of)})",
        f"{pair.second} ({_side(pair.second, other, own, side_of)})",
    )
    words = f"{pair.correlation:.3f}, {pair.turn}"
    turn = TURNS.index(pair.turn)
    return Duplicate(
        words,
        _picture(own, pair.first),
        _picture(other, pair.second, turn),
        names,
        _leaks(hit, own, side_of),
    )


def _picture(dataset: Audited, case_id: str, turn: int = 0) -> NDArray[np.uint8]:
    """An image at thumbnail size, uint8 (h, w, 3), turned."""
    case = next(case for case in dataset.index.cases if case.id == case_id)
    image = Image.fromarray(read_case(dataset.folder, case)[0])
    image.thumbnail((SIDE_PIXELS, SIDE_PIXELS))
    return turned(np.asarray(image)[None], turn)[0]
