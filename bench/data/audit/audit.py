"""The audit of one prepared dataset, and of two against each other."""

from dataclasses import dataclass
from pathlib import Path

from bench.data.audit.components import components
from bench.data.audit.exact import equal_across, exact_duplicates
from bench.data.audit.fingerprints import Fingerprints, Progress, fingerprint
from bench.data.audit.manifest import LIMITS, Limits, Manifest
from bench.data.audit.masks import odd_masks
from bench.data.audit.near import Near, near_duplicates
from bench.data.prepared import Index, read_records


@dataclass(frozen=True)
class Audited:
    """One audited dataset. near: the whole search, whose hits are in the manifest."""

    folder: Path
    index: Index
    fingerprints: Fingerprints
    near: Near
    manifest: Manifest


@dataclass(frozen=True)
class Crossed:
    """What two datasets share. equal: pairs of equal images. near: hits, first of the first
    dataset. cases: number of cases of the other."""

    one: str
    other: str
    cases: int
    equal: tuple[tuple[str, str], ...]
    near: Near

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All shared pairs, sorted, each once."""
        hits = ((pair.first, pair.second) for pair in self.near.pairs)
        return tuple(sorted({*self.equal, *hits}))

    @property
    def share(self) -> float:
        """Share of the other's cases that are in the first dataset, too, in [0, 1]."""
        return len({other for _, other in self.pairs}) / self.cases


def audit(
    folder: Path,
    limits: Limits = LIMITS,
    workers: int = 2,
    progress: Progress | None = None,
) -> Audited:
    """Audit the prepared dataset in `<data>/<name>`; writes nothing.

    Raises BenchError when it is not prepared, or a prepared file was changed or removed.
    """
    index = read_records(folder)
    fingerprints, facts = fingerprint(folder, index, workers, progress)
    near = near_duplicates(fingerprints, limits=limits)
    hits = [(pair.first, pair.second) for pair in near.pairs]
    masks = odd_masks(facts, limits)
    exact = exact_duplicates(index.cases, {*masks.empty, *masks.full}, hits)
    manifest = Manifest(
        dataset=index.dataset,
        content_hash=index.content_hash,
        cases=len(index.cases),
        limits=limits,
        exact=exact,
        near=near.pairs,
        components=components([*hits, *((g[0], case) for g in exact.images for case in g[1:])]),
        masks=masks,
    )
    return Audited(folder, index, fingerprints, near, manifest)


def cross(one: Audited, other: Audited, limits: Limits = LIMITS) -> Crossed:
    """What two audited datasets share: equal and near-duplicate images."""
    return Crossed(
        one.index.dataset,
        other.index.dataset,
        len(other.index.cases),
        tuple(equal_across(one.index.cases, other.index.cases)),
        near_duplicates(one.fingerprints, other.fingerprints, limits),
    )
