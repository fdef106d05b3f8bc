"""Bootstrap over groups of cases, crossed with seeds.

A group (patient, lesion) is drawn with all its cases; seeds are drawn independently of groups and
averaged inside each replicate, so that a replicate is the mean over a new sample of groups scored
by a new set of trainings. The same draws serve every method, so that differences stay paired.

Sources: Owen 2007, The pigeonhole bootstrap, Ann. Appl. Stat. 1(2) (two crossed factors); Rao and
Wu 1988, Resampling inference with complex survey data, JASA 83(401): n - 1 units are drawn out of
n, which makes the variance of a mean unbiased. With 3 seeds and 16 groups this matters: n of n
draws lose a third of the variance between seeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

RESAMPLES = 10_000
SEED = 20_260_101
LEAST_SEEDS = 3  # with fewer, a spread between seeds cannot be estimated
CONFIDENCE = 0.95
CHUNK = 500  # replicates at a time: 500 x 2,000 groups are 8 MB


@dataclass(frozen=True)
class Draws:
    """B bootstrap samples as counts. groups: uint16 (B, G); seeds: int64 (B, S).

    Every row of `groups` sums to max(G - 1, 1), and every row of `seeds` to S - 1; with fewer than
    LEAST_SEEDS seeds it is ones: each seed once, no seed component.
    """

    groups: NDArray[np.uint16]
    seeds: NDArray[np.int64]

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """(place, counts of groups as float64) of some replicates at a time."""
        for start in range(0, len(self.groups), CHUNK):
            place = slice(start, start + CHUNK)
            yield place, self.groups[place].astype(np.float64)


@lru_cache(maxsize=4)
def draw(groups: int, seeds: int, resamples: int = RESAMPLES) -> Draws:
    """The draws for so many groups and seeds; equal arguments give equal draws."""
    rng = np.random.default_rng([SEED, groups, seeds])
    counts = np.empty((resamples, groups), np.uint16)
    for start in range(0, resamples, CHUNK):
        part = counts[start : start + CHUNK]
        part[:] = _counts(rng, len(part), groups, max(groups - 1, 1))
    if seeds < LEAST_SEEDS:
        return Draws(counts, np.ones((resamples, seeds), np.int64))
    return Draws(counts, _counts(rng, resamples, seeds, seeds - 1))


def _counts(rng: np.random.Generator, rows: int, units: int, drawn: int) -> NDArray[np.int64]:
    """How often each unit comes when `drawn` are drawn with replacement; int64 (rows, units)."""
    places = rng.integers(0, units, (rows, drawn)) + units * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * units).reshape(rows, units)


def group_sums(values: Floats, group: Ints) -> Floats:
    """Sums over the cases of each group. values: (..., C); group: (C,) in 0..G-1; -> (..., G)."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    return np.add.reduceat(values[..., order], starts, axis=-1)


def group_sizes(group: Ints) -> Floats:
    """Cases of each group, (G,)."""
    return np.bincount(group).astype(np.float64)


def bootstrap_means(values: Floats, group: Ints, draws: Draws) -> Floats:
    """Mean over drawn groups and seeds. values: (R, S, C); group: (C,); returns (B, R).

    A mean over cases: a group counts by its size, as in the printed mean. Values of one seed, such
    as averages over seeds, take the drawn groups only.
    """
    rows, seeds, _ = values.shape
    sums = group_sums(values, group).reshape(rows * seeds, -1).T
    sizes = group_sizes(group)
    means = np.empty((len(draws.groups), rows))
    drawn = draws.seeds if seeds > 1 else np.ones((len(means), 1))
    weights = drawn / drawn.sum(axis=1, keepdims=True)
    for place, counts in draws.chunks():
        totals = (counts @ sums).reshape(-1, rows, seeds)
        means[place] = np.einsum("brs,bs->br", totals, weights[place])
        means[place] /= (counts @ sizes)[:, None]
    return means


def interval(replicates: Floats, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Percentile interval along the first axis; (low, high)."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high
