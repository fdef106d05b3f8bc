"""Ranks of methods and how stable they are.

Sources: Wiesenfarth et al. 2021, Methods and open-source toolkit for analyzing and visualizing
challenge results, Sci. Rep. 11:2369 (bootstrap ranks, aggregate-then-rank against
rank-then-aggregate); Kendall 1945, The treatment of ties in ranking problems, Biometrika 33(3)
(tau-b); Hsu 1984, Constrained simultaneous confidence intervals for multiple comparisons with the
best, Ann. Stat. 12(3), and Mogstad et al. 2024, Inference for ranks, Rev. Econ. Stud. 91(1) (the
set of those that may be the best).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from bench.reporting.statistics.resampling import CONFIDENCE, Floats, interval


@dataclass(frozen=True)
class Ranking:
    """Ranks of R methods by their mean, 1 = best, and their bootstrap.

    ranks: (R,), ties share the mean of their places. low, high: 95 % percentile interval, (R,).
    first: share of replicates in which the method is first, (R,). shares: (R places, R methods),
    share of replicates that give a method this place. tau: mean over replicates of Kendall's tau-b
    with `ranks`; tau_low: its 2.5 % quantile. case_ranks: mean over cases of the rank within the
    case, (R,). best: whether the method is in the set that cannot be told from the best, (R,).
    """

    ranks: Floats
    low: Floats
    high: Floats
    first: Floats
    shares: Floats
    tau: float
    tau_low: float
    case_ranks: Floats
    best: np.ndarray

    @property
    def tau_of_orders(self) -> float:
        """Kendall's tau-b between mean-then-rank and rank-then-mean."""
        return float(kendall_tau(rankdata(self.case_ranks), self.ranks))


def ranking(values: Floats, replicates: Floats) -> Ranking:
    """The ranking of R methods. values: (R, C), averaged over seeds; replicates: means, (B, R).

    Larger is better: give distances with a minus.
    """
    means = values.mean(axis=1)
    ranks = places(means)
    drawn = places(replicates)
    low, high = interval(drawn)
    firsts = drawn == drawn.min(axis=1, keepdims=True)
    taus = kendall_tau(drawn, ranks)
    rounded = np.floor(drawn)  # a tie takes the better place
    return Ranking(
        ranks=ranks,
        low=low,
        high=high,
        first=(firsts / firsts.sum(axis=1, keepdims=True)).mean(axis=0),
        shares=np.stack([(rounded == place).mean(axis=0) for place in range(1, len(means) + 1)]),
        tau=float(taus.mean()),
        tau_low=float(np.quantile(taus, (1 - CONFIDENCE) / 2)),
        case_ranks=places(values.T).mean(axis=0),
        best=best_set(means, replicates),
    )


def places(values: Floats) -> Floats:
    """Rank within the last axis, 1 for the largest; ties share the mean of their places."""
    return np.asarray(rankdata(-np.round(values, 12), axis=-1))


def kendall_tau(ranks: Floats, other: Floats) -> Floats:
    """Kendall's tau-b of ranks (..., R) with `other` (R,); nan where one ranking ties all."""
    first, second = np.triu_indices(ranks.shape[-1], 1)
    a = np.sign(ranks[..., first] - ranks[..., second])
    b = np.sign(other[first] - other[second])
    both = (a * b).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(both / np.sqrt(np.abs(a).sum(axis=-1) * np.abs(b).sum()))


def best_set(means: Floats, replicates: Floats) -> np.ndarray:
    """Which methods may be the best: bool (R,). means: (R,), larger is better; replicates: (B, R).

    A method leaves the set when another is better beyond what the bootstrap allows for the largest
    of all its differences at once (studentized, one-sided 2.5 %). Of two methods both stay exactly
    when the 95 % percentile interval of their difference does not lie on one side of zero.
    """
    return np.array([_may_be_best(place, means, replicates) for place in range(len(means))])


def _may_be_best(place: int, means: Floats, replicates: Floats) -> bool:
    lead = np.delete(means - means[place], place)
    drawn = np.delete(replicates - replicates[:, [place]], place, axis=1)
    spread = drawn.std(axis=0)
    sure = spread <= 1e-12 * (1 + np.abs(lead))  # the same difference in every replicate
    if (lead[sure] > 1e-12).any():
        return False
    if sure.all():
        return True
    lead, drawn, spread = lead[~sure], drawn[:, ~sure], spread[~sure]
    allowed = np.quantile(((lead - drawn) / spread).max(axis=1), (1 + CONFIDENCE) / 2)
    return bool((lead / spread).max() <= allowed)
