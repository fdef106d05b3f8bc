"""Effects per case: probability of the better score, median difference, share of ties.

All are of scores that are averaged over seeds first, and bootstrapped over groups only: drawing two
of three seeds would make a case's average noisier, which moves the probability towards 1/2.
Sources: P(A > B) + P(A = B) / 2 is the probability of superiority (Vargha and Delaney 2000,
J. Educ. Behav. Stat. 25(2); paired here).
"""

import numpy as np

from bench.reporting.statistics.resampling import CHUNK, Draws, Floats, Ints

TIE = (
    1e-9  # scores closer than this are equal: the order of a sum over seeds changes the last digit
)


def wins(differences: Floats) -> Floats:
    """1 where a difference is positive, 1/2 where it is zero, else 0; of any shape."""
    return (differences > TIE) + 0.5 * (np.abs(differences) <= TIE)


def share_of_ties(differences: Floats) -> Floats:
    """Share of zeros along the last axis."""
    return np.asarray((np.abs(differences) <= TIE).mean(axis=-1))


def bootstrap_medians(differences: Floats, group: Ints, draws: Draws) -> Floats:
    """Median over the cases of the drawn groups. differences: (R, C); returns (B, R)."""
    medians = np.empty((len(draws.groups), len(differences)))
    for row, values in enumerate(differences):
        order = np.argsort(values, kind="stable")
        for start in range(0, len(draws.groups), CHUNK):
            place = slice(start, start + CHUNK)
            counts = draws.groups[place][:, group[order]]
            medians[place, row] = _weighted_medians(values[order], counts)
    return medians


def _weighted_medians(values: Floats, counts: np.ndarray) -> Floats:
    """Median of the sorted `values` (C,), each as often as counts (B, C) says; (B,)."""
    reached = np.cumsum(counts, axis=1, dtype=np.int32)
    total = reached[:, -1:]
    lower = (reached > (total - 1) // 2).argmax(axis=1)
    upper = (reached > total // 2).argmax(axis=1)
    return (values[lower] + values[upper]) / 2
