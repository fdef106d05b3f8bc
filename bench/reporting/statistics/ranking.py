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
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.reporting.statistics.effects import wins
from bench.reporting.statistics.resampling import (
    CONFIDENCE,
    Draws,
    Floats,
    Ints,
    bootstrap_means,
    interval,
)

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """Ranks of R methods by their mean, 1 = best, and their bootstrap.

    ranks: (R,), ties share the mean of their places. low, high: 95 % percentile interval, (R,).
    first: share of replicates in which the method is first, (R,). shares: (R places, R methods),
    share of replicates that give a method this place. tau: mean over replicates of Kendall's tau-b
    with `ranks`, nan where all are equal; tau_low: its 2.5 % quantile. case_ranks: mean over cases of the rank within the
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
    best: Flags

    @property
    def tau_of_orders(self) -> float:
        """Kendall's tau-b between mean-then-rank and rank-then-mean."""
        return float(kendall_tau(rankdata(self.case_ranks), self.ranks))


def ranking(values: Floats, replicates: Floats, best: Flags) -> Ranking:
    """The ranking of R methods. values: (R, C), averaged over seeds; replicates: means, (B, R).

    best: of `best_set`. Larger is better: give distances with a minus.
    """
    means = values.mean(axis=1)
    ranks = places(means)
    drawn = places(replicates)
    low, high = interval(drawn)
    firsts = drawn == drawn.min(axis=1, keepdims=True)
    taus = kendall_tau(drawn, ranks)
    taus = taus[~np.isnan(taus)]  # a replicate in which all are equal orders nothing
    rounded = np.floor(drawn)  # a tie takes the better place
    return Ranking(
        ranks=ranks,
        low=low,
        high=high,
        first=(firsts / firsts.sum(axis=1, keepdims=True)).mean(axis=0),
        shares=np.stack([(rounded == place).mean(axis=0) for place in range(1, len(means) + 1)]),
        tau=float(taus.mean()) if len(taus) else np.nan,
        tau_low=float(np.quantile(taus, (1 - CONFIDENCE) / 2)) if len(taus) else np.nan,
        case_ranks=places(values.T).mean(axis=0),
        best=best,
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


def leads_of_means(means: Floats, replicates: Floats) -> tuple[Floats, Floats]:
    """(lead, drawn) for `best_set`: differences of means. means: (R,); replicates: (B, R)."""
    lead = means[None, :] - means[:, None]
    return lead, replicates[:, None, :] - replicates[:, :, None]


def leads_of_wins(values: Floats, group: Ints, draws: Draws) -> tuple[Floats, Floats]:
    """(lead, drawn) for `best_set`: probability of the better score minus 1/2. values: (R, C).

    For scores with heavy tails, where a few cases decide on the mean.
    """
    rows = len(values)
    first, second = np.triu_indices(rows, 1)
    won = wins(values[second] - values[first]) - 0.5
    shares = bootstrap_means(won[:, None], group, draws)
    lead, drawn = np.zeros((rows, rows)), np.zeros((len(shares), rows, rows))
    lead[first, second], drawn[:, first, second] = won.mean(axis=1), shares
    return lead - lead.T, drawn - drawn.transpose(0, 2, 1)


def best_set(lead: Floats, drawn: Floats) -> Flags:
    """Which methods may be the best: bool (R,).

    lead: (R, R), by how much method j is better than method i, at [i, j]; drawn: the same of each
    replicate, (B, R, R). A method leaves the set when another is better beyond what the bootstrap
    allows for the largest of all leads over it at once (studentized, one-sided 2.5 %). Of two
    methods both stay exactly when the 95 % percentile interval of the lead holds zero.
    """
    rows = range(len(lead))
    others = [[other for other in rows if other != row] for row in rows]
    return np.array(
        [_may_be_best(lead[i, j], drawn[:, i, j]) for i, j in zip(rows, others, strict=True)]
    )


def _may_be_best(lead: Floats, drawn: Floats) -> bool:
    """lead: (R - 1,), drawn: (B, R - 1), of the others over one method."""
    spread = drawn.std(axis=0)
    sure = spread <= 1e-12 * (1 + np.abs(lead))  # the same lead in every replicate
    if (lead[sure] > 1e-12).any():
        return False
    if sure.all():
        return True
    lead, drawn, spread = lead[~sure], drawn[:, ~sure], spread[~sure]
    allowed = np.quantile(((lead - drawn) / spread).max(axis=1), (1 + CONFIDENCE) / 2)
    return bool((lead / spread).max() <= allowed)
