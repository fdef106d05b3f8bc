"""Methods over several datasets: Friedman's test and Nemenyi's critical difference.

Sources: Friedman 1937, JASA 32(200); Nemenyi 1963 (PhD thesis, Princeton); Demsar 2006,
Statistical comparisons of classifiers over multiple data sets, JMLR 7.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.reporting.statistics.ranking import places
from bench.reporting.statistics.resampling import Floats

ALPHA = 0.05


@dataclass(frozen=True)
class AcrossDatasets:
    """Mean ranks of k methods over N datasets.

    ranks: (k,), mean over datasets, 1 = best in all. p: of Friedman's test. difference: the
    critical one, in ranks: methods whose mean ranks differ less cannot be told apart.
    wilcoxon_floor: the least two-sided p of an exact signed-rank test on N datasets.
    """

    datasets: int
    ranks: Floats
    p: float
    difference: float
    wilcoxon_floor: float

    @property
    def bars(self) -> list[tuple[int, int]]:
        """Longest runs, as first and last place in order of rank, within the critical difference."""
        ordered = np.sort(self.ranks)
        ends = [int(np.searchsorted(ordered, r + self.difference, "right")) - 1 for r in ordered]
        return [
            (start, end)
            for start, end in enumerate(ends)
            if end > start and (start == 0 or ends[start - 1] < end)
        ]


def across_datasets(means: Floats) -> AcrossDatasets:
    """Friedman and Nemenyi. means: (N datasets, k methods), larger is better; N >= 2 and k >= 3."""
    datasets, methods = means.shape
    return AcrossDatasets(
        datasets=datasets,
        ranks=places(means).mean(axis=0),
        p=float(stats.friedmanchisquare(*means.T).pvalue) if np.ptp(means, axis=1).any() else 1.0,
        difference=critical_difference(methods, datasets),
        wilcoxon_floor=2.0 ** (1 - datasets),
    )


def critical_difference(methods: int, datasets: int, alpha: float = ALPHA) -> float:
    """Nemenyi's difference of mean ranks: q sqrt(k (k + 1) / (6 N)).

    q: the studentized range of k means at infinite degrees of freedom, divided by sqrt 2.
    """
    q = stats.studentized_range.ppf(1 - alpha, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * datasets)))
