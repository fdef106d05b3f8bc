"""An audit in words and as JSON: the dataset, its splits, and other datasets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.data.audit.audit import Audited, Crossed
from bench.data.audit.exact import exact_lines
from bench.data.audit.leaks import Leaks, find_leaks
from bench.data.audit.manifest import Manifest
from bench.data.audit.masks import mask_lines
from bench.data.prepared import CaseIndex
from bench.data.splits import make_split
from bench.protocols import Protocol

REPORT = "report.json"


@dataclass(frozen=True)
class AuditReport:
    """One run of `bench audit`.

    index: the audited cases with groups, lists and components. leaks: protocol -> leaks of its
    split, or why there is no such split.
    """

    audited: Audited
    index: CaseIndex
    leaks: Mapping[str, Leaks | str]
    crossed: Sequence[Crossed]

    @property
    def worst_share(self) -> float:
        """The largest share of test cases that leak under a protocol, or of another dataset's cases
        that are in this one, in [0, 1]."""
        shares = [one.share for one in self.leaks.values() if isinstance(one, Leaks)]
        return max([*shares, *(one.share for one in self.crossed)], default=0.0)

    def lines(self) -> list[str]:
        """The report as text."""
        manifest = self.audited.manifest
        lines = [f"{manifest.dataset}: {manifest.cases} cases, manifest {manifest.hash[:12]}"]
        lines += exact_lines(manifest.exact) or ["no equal images, no equal masks"]
        lines += near_lines(self.audited)
        lines += mask_lines(manifest.masks, manifest.limits) or ["no odd masks"]
        lines += not_recorded_lines(manifest)
        lines += [f"protocol {name}: {_leak_words(one)}" for name, one in self.leaks.items()]
        lines += [line for one in self.crossed for line in cross_lines(one)]
        return lines

    def write(self, folder: Path) -> list[Path]:
        """Write the manifest and the report to `folder`, each atomically; returns the files."""
        file = folder / REPORT
        write_json(file, self._content())
        return [self.audited.manifest.write(folder), file]

    def _content(self) -> dict[str, Any]:
        return {
            "manifest": self.audited.manifest.hash,
            "candidates": self.audited.near.candidates,
            "highest": self.audited.near.highest,
            "protocols": {name: _leak_content(one) for name, one in self.leaks.items()},
            "with": {one.other: _cross_content(one) for one in self.crossed},
        }


def leaks_by_protocol(
    index: CaseIndex, protocols: Iterable[Protocol], unit: str
) -> dict[str, Leaks | str]:
    """Protocol -> the leaks of its split, or the reason why the dataset has no such split."""
    found: dict[str, Leaks | str] = {}
    for protocol in protocols:
        rule = (protocol.split, protocol.split_seed, protocol.val_share)
        try:
            found[protocol.name] = find_leaks(index, make_split(index, *rule), unit)
        except BenchError as error:
            found[protocol.name] = str(error)
    return found


def near_lines(audited: Audited) -> list[str]:
    """Near-duplicates within a dataset."""
    manifest, near = audited.manifest, audited.near
    limits = manifest.limits
    head = (
        f"{len(near.pairs)} near-duplicate pair(s), correlation > {limits.hit} and hashes within "
        f"{limits.distance} bits, in {len(manifest.components)} component(s); {near.candidates} "
        f"pair(s) > {limits.candidate}; highest correlation as stored {near.highest:.4f}"
    )
    pairs = sorted(near.pairs, key=lambda pair: -pair.correlation)
    lines = [head]
    lines += [
        f"  {pair.first}, {pair.second}: {pair.correlation:.4f}, {pair.distance} bits, {pair.turn}"
        for pair in pairs[:10]
    ]
    return lines + ([f"  and {len(pairs) - 10} more"] if pairs[10:] else [])


def cross_lines(crossed: Crossed) -> list[str]:
    """What two datasets share."""
    name = f"{crossed.one} and {crossed.other}"
    highest = f"highest correlation as stored {crossed.near.highest:.4f}"
    if not crossed.pairs:
        return [f"{name}: no equal or near-duplicate images; {highest}"]
    shown = "; ".join(f"{one}, {other}" for one, other in crossed.pairs[:5])
    return [f"{name}: {len(crossed.pairs)} equal or near-duplicate pair(s): {shown}; {highest}"]


def not_recorded_lines(manifest: Manifest) -> list[str]:
    """What could not be audited because an older version prepared the dataset."""
    count = manifest.masks.not_recorded
    if not count:
        return []
    line = (
        f"sizes and grey levels of {count} mask(s) were not recorded when they were prepared; "
        f"prepare {manifest.dataset} again to audit them"
    )
    return [line]


def _leak_words(leaks: Leaks | str) -> str:
    if isinstance(leaks, str):
        return leaks
    return f"{leaks.counts.words()}; {leaks.share:.1%} of the test images leak"


def _leak_content(leaks: Leaks | str) -> dict[str, Any]:
    if isinstance(leaks, str):
        return {"reason": leaks}
    return leaks.counts.model_dump(mode="json") | {
        "scheme": leaks.split.scheme,
        "split": leaks.split.hash,
        "share": leaks.share,
        "cases_of_groups": leaks.groups,
        "cases_near": leaks.near,
    }


def _cross_content(crossed: Crossed) -> dict[str, Any]:
    return {
        "equal": crossed.equal,
        "near": [pair.model_dump(mode="json") for pair in crossed.near.pairs],
        "highest": crossed.near.highest,
        "share": crossed.share,
    }
