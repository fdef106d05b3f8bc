"""Scores of one metric of one test set as arrays, aligned by case id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.reporting.statistics.resampling import Floats, Ints


@dataclass(frozen=True)
class Scores:
    """Scores of one row. values: (S, C) in the printed unit; empty: bool (S, C), a mask is empty."""

    seeds: tuple[int, ...]
    values: Floats
    empty: NDArray[np.bool_]

    def at(self, seeds: Sequence[int]) -> Floats:
        """The values of some of the seeds, in the given order."""
        return self.values[[self.seeds.index(seed) for seed in seeds]]

    def empty_at(self, seeds: Sequence[int]) -> NDArray[np.bool_]:
        """Where a mask is empty, of some of the seeds."""
        return self.empty[[self.seeds.index(seed) for seed in seeds]]


@dataclass(frozen=True)
class Sample:
    """Scores of several rows on the cases that all of them have.

    cases: ids, sorted. group: (C,), the place of the case's group among the sorted groups.
    groups_known: the dataset names groups; else every case is its own. dropped: cases that only
    some rows have. rows: label -> scores.
    """

    metric: str
    cases: tuple[str, ...]
    group: Ints
    groups_known: bool
    dropped: int
    rows: Mapping[str, Scores]

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.group.max()) + 1

    @property
    def sign(self) -> float:
        """1 where larger is better, -1 for distances."""
        return -1.0 if self.is_distance else 1.0

    @property
    def is_distance(self) -> bool:
        """Whether the metric is a distance: smaller is better, heavy tails."""
        return self.metric.startswith("hd95")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some row has."""
        return tuple(sorted({seed for scores in self.rows.values() for seed in scores.seeds}))

    @property
    def complete(self) -> list[str]:
        """Rows that lack none of the seeds; only these are ranked and marked."""
        return [label for label, scores in self.rows.items() if scores.seeds == self.seeds]


def make_sample(
    metric: str, rows: Mapping[str, Mapping[int, pd.DataFrame]], scale: float
) -> Sample:
    """A sample from rows of the frame of scores, of one metric, test set and grid.

    rows: label -> seed -> frame with the columns case, group, value and empty, in any order.
    scale: factor to the printed unit. Raises ValueError without a common case.
    """
    frames = {
        (label, seed): own[seed].set_index(own[seed]["case"].astype(str))
        for label, own in rows.items()
        for seed in sorted(own)
    }
    ids = [set(frame.index) for frame in frames.values()]
    shared = sorted(set.intersection(*ids))
    if not shared:
        raise ValueError(f"no case of {metric} that all rows have")
    aligned = {key: frame.loc[shared] for key, frame in frames.items()}
    names = next(iter(aligned.values()))["group"].astype(str).to_numpy()
    return Sample(
        metric=metric,
        cases=tuple(shared),
        group=np.unique(names, return_inverse=True)[1].ravel(),
        groups_known=bool((names != np.array(shared)).any()),
        dropped=len(set.union(*ids)) - len(shared),
        rows={
            label: _scores([(seed, aligned[label, seed]) for seed in sorted(own)], scale)
            for label, own in rows.items()
        },
    )


def _scores(frames: Sequence[tuple[int, pd.DataFrame]], scale: float) -> Scores:
    values = np.stack([frame["value"].to_numpy(np.float64) for _, frame in frames])
    empty = np.stack([(frame["empty"].astype(str) != "none").to_numpy() for _, frame in frames])
    return Scores(tuple(seed for seed, _ in frames), scale * values, empty)
