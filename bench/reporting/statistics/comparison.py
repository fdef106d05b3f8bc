"""Every row of a sample against a reference row: differences, intervals, p-values."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.reporting.statistics.across import ALPHA
from bench.reporting.statistics.effects import (
    bootstrap_medians,
    share_of_ties,
    wins,
)
from bench.reporting.statistics.permutation import holm, sign_flip, wilcoxon
from bench.reporting.statistics.resampling import (
    RESAMPLES,
    Floats,
    bootstrap_means,
    draw,
    interval,
)
from bench.reporting.statistics.samples import Sample


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and the p of its test against no difference."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """A row against the reference: row minus reference, on common cases and seeds.

    mean: difference of the means, in the printed unit. better: probability that the row's score of
    a case is the better one, ties counted half. median: of the differences per case; its p is that
    of `better`, its interval is nan but for distances. primary: the p that Holm corrects, of `mean`, for distances of `better`. p_holm:
    primary corrected over the family. p_wilcoxon: on group means. ties: share of cases. empty,
    reference_empty: cases with an empty mask, summed over seeds. without_empty: the same on cases
    without an empty mask on either side; None where there is none, or nothing is left.
    """

    label: str
    seeds: tuple[int, ...]
    cases: int
    groups: int
    mean: Estimate
    better: Estimate
    median: Estimate
    p_wilcoxon: float
    ties: float
    empty: int
    reference_empty: int
    is_distance: bool
    p_holm: float = float("nan")
    without_empty: "Comparison | None" = None

    @property
    def primary(self) -> float:
        """The p that the family's correction takes."""
        return self.better.p if self.is_distance else self.mean.p

    @property
    def told_apart(self) -> bool:
        """Whether both the corrected p is under 5 % and the interval of what it tests leaves the null.

        Both, since p has no seed component and the interval no correction for the family.
        """
        null, one = (0.5, self.better) if self.is_distance else (0.0, self.mean)
        return self.p_holm < ALPHA and not one.low <= null <= one.high


def compare_rows(
    sample: Sample, reference: str, resamples: int = RESAMPLES
) -> dict[str, Comparison | None]:
    """Every other row against the reference; None for a row without a common seed.

    The family of Holm's correction is all of them. Distances have a version without empty masks.
    """
    found: dict[str, Comparison | None] = dict.fromkeys(
        label for label in sample.rows if label != reference
    )
    for seeds, labels in _by_common_seeds(sample, reference).items():
        found |= {one.label: one for one in _compared(sample, reference, labels, seeds, resamples)}
    known = [one for one in found.values() if one is not None]
    for one, p in zip(known, holm(np.array([one.primary for one in known])), strict=True):
        found[one.label] = replace(
            one,
            p_holm=float(p),
            without_empty=_without_empty(sample, reference, one, resamples)
            if sample.is_distance
            else None,
        )
    return found


def _by_common_seeds(sample: Sample, reference: str) -> dict[tuple[int, ...], list[str]]:
    """Rows by the seeds that they share with the reference."""
    found = defaultdict(list)
    for label, scores in sample.rows.items():
        common = tuple(s for s in sample.rows[reference].seeds if s in scores.seeds)
        if label != reference and common:
            found[common].append(label)
    return found


def _compared(
    sample: Sample, reference: str, labels: Sequence[str], seeds: tuple[int, ...], resamples: int
) -> list[Comparison]:
    base = sample.rows[reference]
    differences = np.stack([sample.rows[x].at(seeds) - base.at(seeds) for x in labels])
    estimates = _estimates(differences, sample, resamples)
    averaged = differences.mean(axis=1)
    tests = zip(wilcoxon(averaged, sample.group), share_of_ties(averaged), strict=True)
    return [
        Comparison(
            label=label,
            seeds=seeds,
            cases=len(sample.cases),
            groups=sample.groups,
            mean=mean,
            better=better,
            median=median,
            p_wilcoxon=float(p),
            ties=float(ties),
            empty=int(sample.rows[label].empty_at(seeds).sum()),
            reference_empty=int(base.empty_at(seeds).sum()),
            is_distance=sample.is_distance,
        )
        for label, (mean, better, median), (p, ties) in zip(labels, estimates, tests, strict=True)
    ]


def _estimates(
    differences: Floats, sample: Sample, resamples: int
) -> list[tuple[Estimate, Estimate, Estimate]]:
    """(mean, probability of the better score, median) of each row; differences: (R, S, C).

    The median of scores has no interval: it takes most of the time and is primary for distances only.
    """
    draws = draw(sample.groups, differences.shape[1], resamples)
    group, averaged = sample.group, differences.mean(axis=1)
    won = wins(sample.sign * averaged)
    p_mean, p_better = np.split(sign_flip(np.concatenate([averaged, won - 0.5]), group), 2)
    medians = np.full((1, len(differences)), np.nan)
    if sample.is_distance:
        medians = bootstrap_medians(averaged, group, draws)
    columns = (
        _listed(averaged.mean(axis=1), bootstrap_means(differences, group, draws), p_mean),
        _listed(won.mean(axis=1), bootstrap_means(won[:, None], group, draws), p_better),
        _listed(np.median(averaged, axis=1), medians, p_better),
    )
    return list(zip(*columns, strict=True))


def _listed(values: Floats, replicates: Floats, p: Floats) -> list[Estimate]:
    """An estimate per row. replicates: (B, R)."""
    return [
        Estimate(*map(float, one)) for one in zip(values, *interval(replicates), p, strict=True)
    ]


def _without_empty(
    sample: Sample, reference: str, one: Comparison, resamples: int
) -> Comparison | None:
    """The comparison on the cases without an empty mask on either side, in any seed."""
    pair = (sample.rows[one.label], sample.rows[reference])
    kept = ~np.any([scores.empty_at(one.seeds).any(axis=0) for scores in pair], axis=0)
    if kept.all() or not kept.any():
        return None
    part = replace(
        sample,
        cases=tuple(case for case, keep in zip(sample.cases, kept, strict=True) if keep),
        group=np.unique(sample.group[kept], return_inverse=True)[1].ravel(),
        rows={
            label: replace(scores, values=scores.values[:, kept], empty=scores.empty[:, kept])
            for label, scores in sample.rows.items()
            if label in (one.label, reference)
        },
    )
    return _compared(part, reference, [one.label], one.seeds, resamples)[0]
