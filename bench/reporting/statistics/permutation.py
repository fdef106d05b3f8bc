"""Tests of a paired difference on groups of cases, and the correction for many of them.

Sources: Fisher 1935, The Design of Experiments, section 21 (signs of paired differences); Phipson
and Smyth 2010, Permutation p-values should never be zero, SAGMB 9(1), article 39; Wilcoxon 1945,
Biometrics Bulletin 1(6); Holm 1979, Scand. J. Stat. 6(2).
"""

import numpy as np
from scipy import stats

from bench.reporting.statistics.resampling import Floats, Ints, group_sizes, group_sums

EXACT_GROUPS = 16  # 65,536 sign patterns
FLIPS = 10_000
SEED = 20_260_102
_CHUNK = 500
_ROUNDING = 1e-9  # relative; sums of one set of numbers in another order are equal


def sign_flip(differences: Floats, group: Ints, flips: int = FLIPS) -> Floats:
    """Two-sided p of each row's mean difference. differences: (R, C); group: (C,); returns (R,).

    The sign of a whole group's difference is flipped: under the null hypothesis the two methods
    are exchangeable within a group. The statistic is the mean over cases, which is the printed one.
    Exact up to EXACT_GROUPS groups (every pattern once); else `flips` random patterns, and the
    observed one counted in.
    """
    sums = group_sums(differences, group)
    groups = sums.shape[1]
    observed = np.abs(sums.sum(axis=1))
    least = observed - _ROUNDING * np.abs(sums).sum(axis=1)
    if groups <= EXACT_GROUPS:
        flipped = np.abs(_all_signs(groups) @ sums.T)
        return np.asarray((flipped >= least).mean(axis=0))
    rng = np.random.default_rng([SEED, groups])
    extreme = np.ones(len(sums), np.float64)
    for start in range(0, flips, _CHUNK):
        size = (min(_CHUNK, flips - start), groups)
        signs = 2.0 * rng.integers(0, 2, size, dtype=np.int8) - 1
        extreme += (np.abs(signs @ sums.T) >= least).sum(axis=0)
    return extreme / (flips + 1)


def _all_signs(groups: int) -> Floats:
    """Every pattern of signs, (2 ** groups, groups)."""
    bits = np.arange(2**groups)[:, None] >> np.arange(groups) & 1
    return (2 * bits - 1).astype(np.float64)


def wilcoxon(differences: Floats, group: Ints) -> Floats:
    """Two-sided p of Wilcoxon's signed-rank test on group means, (R,); 1 where all are zero.

    Its null hypothesis is symmetry about zero of ranks, not of the mean: it can contradict the mean.
    """
    means = group_sums(differences, group) / group_sizes(group)
    return np.array([stats.wilcoxon(row).pvalue if row.any() else 1.0 for row in means])


def holm(p: Floats) -> Floats:
    """Adjusted p of a family, in the given order: Holm's step-down, at most 1."""
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
