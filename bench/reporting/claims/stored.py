"""Claims on our own cells: means over seeds, with intervals over groups of cases and seeds."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.experiments.ceilings import Ceiling
from bench.experiments.cells import CellRecord
from bench.reporting.claims.evidence import Entry, Lead, Place, Reconstructed
from bench.reporting.claims.model import Metric
from bench.reporting.forensics.rows import SCALES
from bench.reporting.frame import ScoreIndex, scores_of
from bench.reporting.repetitions import facets, repetition_digest, telling, words_of
from bench.reporting.statistics.resampling import Floats, Ints, bootstrap_means, draw, interval
from bench.reporting.statistics.samples import make_sample
from bench.reporting.tables.comparable import require_same_training
from bench.reporting.variants import variant_of

ABOUT = "bench claims"  # stands where messages of the checks name a table


class StoredEvidence:
    """The cells of one comparison key.

    cells: finished or not, of real images. subset: which cases of a foreign test set. ceilings: what
    tokenizers give back.
    """

    printed = False

    def __init__(
        self, cells: Sequence[CellRecord], subset: str, ceilings: Sequence[Ceiling] = ()
    ) -> None:
        self.cells = [cell for cell in cells if cell.status == "done"]
        self.subset, self.ceilings = subset, ceilings
        self._found: dict[tuple[str, Place], list[CellRecord]] = {}

    @cached_property
    def _scores(self) -> ScoreIndex:
        return ScoreIndex(scores_of(self.cells))

    def _records(self, entry: Entry, place: Place) -> list[CellRecord]:
        """The repetitions of an entry that are scored there, by seed."""
        name = (repr(entry), place)
        if name not in self._found:
            self._found[name] = self._repetitions(entry, place)
        return self._found[name]

    def _repetitions(self, entry: Entry, place: Place) -> list[CellRecord]:
        label = self._subset(place)
        found = [
            cell
            for cell in self.cells
            if cell.key.train == place.train
            and is_entry(cell, entry)
            and cell.has_scores(place.test, label)
        ]
        require_repetitions(entry, found)
        return sorted(found, key=lambda cell: cell.key.seed)

    def _subset(self, place: Place) -> str:
        return "test" if place.train == place.test else self.subset

    def _frames(self, entry: Entry, place: Place, metric: Metric) -> dict[int, pd.DataFrame]:
        subset = self._subset(place)
        rows = {
            cell.key.seed: self._scores.rows(cell.id, place.test, subset, "network", metric)
            for cell in self._records(entry, place)
        }
        return {seed: own for seed, own in rows.items() if len(own)}

    def score(self, entry: Entry, place: Place, metric: Metric) -> float | None:
        """The per-image mean, averaged over seeds."""
        frames = self._frames(entry, place, metric)
        if not frames:
            return None
        return SCALES[metric] * float(np.mean([own["value"].mean() for own in frames.values()]))

    def lead(self, first: Entry, second: Entry, place: Place, metric: Metric) -> Lead | None:
        """The paired difference on the common cases and seeds; None without a common seed."""
        self._require_comparable(first, second, place)
        both = (self._frames(first, place, metric), self._frames(second, place, metric))
        seeds = sorted(both[0].keys() & both[1].keys())
        if not seeds:
            return None
        rows = dict(zip(("first", "second"), both, strict=True))
        sample = make_sample(metric, rows, SCALES[metric])
        one, other = (sample.rows[name].at(seeds) for name in rows)
        difference = sample.sign * (one - other)
        low, high = mean_interval(difference, sample.group)
        scores = (float(one.mean()), float(other.mean()))
        return Lead(float(difference.mean()), low, high, scores)

    def _require_comparable(self, first: Entry, second: Entry, place: Place) -> None:
        """BenchError where the two were trained on other data, or scored on other cases."""
        records = [*self._records(first, place), *self._records(second, place)]
        require_same_training(ABOUT, records)
        label = f"{place.test}-{self._subset(place)}"
        if len({record.tests[label].cases for record in records}) > 1:
            raise BenchError(
                f"{first.words} and {second.words} are scored on different versions of {label}: "
                "their digests of the test cases differ. Run their matrix again: the stored cells "
                "are scored again."
            )

    def per_image(self, entry: Entry, place: Place) -> bool:
        """Ours are."""
        return True

    def test_cases(self) -> dict[str, int]:
        """Dataset -> number of cases in its test part, of those that a cell is trained on."""
        rows = self._scores.scores
        own = rows[
            (rows["train"].astype(str) == rows["test"].astype(str)) & (rows["subset"] == "test")
        ]
        counts = own.groupby("test", observed=True)["case"].nunique()
        return {str(test): int(count) for test, count in counts.items()}

    def parameters(self, method: str) -> tuple[float, float] | None:
        """The exact count of the method at its defaults, whatever it was trained on."""
        entry = Entry(method)
        counts = [c.trainable_params for c in self.cells if is_entry(c, entry)]
        known = [count / 1e6 for count in counts if count is not None]
        return (min(known), max(known)) if known else None

    def reconstructions(self, tokenizer: str) -> list[Reconstructed]:
        """By test set of these cells, the mean Dice of masks with its interval over groups."""
        cases = {stored.cases for cell in self.cells for stored in cell.tests.values()}
        return [
            _reconstructed(one)
            for one in self.ceilings
            if one.tokenizer == tokenizer and one.digest in cases
        ]


def is_entry(record: CellRecord, entry: Entry) -> bool:
    """Whether a cell is the method with the entry's settings and tokenizer, and no other change."""
    own, wanted = variant_of(record), entry.variant
    has = all(record.key.settings.get(k) == v for k, v in wanted.settings.items())
    tokenizer = (
        own.own_role if wanted.tokenizer is None else wanted.tokenizer in (own.tokenizer, own.role)
    )
    return (
        record.key.method == entry.method
        and has
        and tokenizer
        and own.settings.keys() <= wanted.settings.keys()
    )


def require_repetitions(entry: Entry, records: Sequence[CellRecord]) -> None:
    """BenchError unless the records differ in the seed alone, and no seed comes twice."""
    if len({repetition_digest(record) for record in records}) > 1:
        kinds = [[(f, facets(one).get(f)) for f in telling(records)] for one in records]
        words = sorted({words_of(kind) for kind in kinds})
        raise BenchError(
            f"The cells of {entry.words} on {records[0].key.train} are no repetitions of each "
            f"other: {'; '.join(words)}. Choose with --recipe, or keep one kind in the folder of "
            "results."
        )
    if len({record.key.seed for record in records}) < len(records):
        raise BenchError(
            f"A seed of {entry.words} on {records[0].key.train} is stored twice: "
            f"{', '.join(sorted(record.id for record in records))}. Move the copy away."
        )


def mean_interval(values: Floats, group: Ints) -> tuple[float, float]:
    """The 95 % interval of the mean of values (seeds, cases), over groups of cases and seeds."""
    draws = draw(int(group.max()) + 1, len(values))
    low, high = interval(bootstrap_means(values[None], group, draws)[:, 0])
    return float(low), float(high)


def _reconstructed(one: Ceiling) -> Reconstructed:
    values = 100 * np.array([case.dsc for case in one.cases])[None]
    group = np.unique([case.group for case in one.cases], return_inverse=True)[1].ravel()
    return Reconstructed(one.test, float(values.mean()), *mean_interval(values, group))
