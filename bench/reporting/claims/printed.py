"""Claims on an edition's own numbers."""

from dataclasses import dataclass

from bench.reporting.claims.evidence import Entry, Lead, Place, Reconstructed
from bench.reporting.claims.model import Metric
from bench.reporting.forensics.overlaps import breaks_jensen, pooled_ways
from bench.reporting.forensics.reading import WAYS, Reading, printed
from bench.reporting.forensics.rows import ScoredRow
from bench.reporting.published import Edition


@dataclass(frozen=True)
class PrintedEvidence:
    """The numbers of one edition, each with what its digits leave."""

    edition: Edition
    printed: bool = True

    def _reading(self, entry: Entry, place: Place, metric: str) -> Reading | None:
        number = self.edition.find(
            entry.method, metric, train=place.train, test=place.test, **entry.variant.printed
        )
        return None if number is None else printed(number.printed)

    def score(self, entry: Entry, place: Place, metric: Metric) -> float | None:
        """The printed number."""
        reading = self._reading(entry, place, metric)
        return None if reading is None else reading.value

    def lead(self, first: Entry, second: Entry, place: Place, metric: Metric) -> Lead | None:
        """The difference, and the least and greatest one that print as these two numbers."""
        one, other = self._reading(first, place, metric), self._reading(second, place, metric)
        if one is None or other is None:
            return None
        better, worse = (other, one) if metric == "hd95" else (one, other)
        return Lead(
            value=better.value - worse.value,
            low=min(better.ranges[way][0] - worse.ranges[way][1] for way in WAYS),
            high=max(better.ranges[way][1] - worse.ranges[way][0] for way in WAYS),
            scores=(one.value, other.value),
        )

    def per_image(self, entry: Entry, place: Place) -> bool:
        """Whether DSC and IoU can be, and do not look pooled."""
        readings = {metric: self._reading(entry, place, metric) for metric in ("dsc", "iou")}
        scores = {metric: reading for metric, reading in readings.items() if reading is not None}
        row = ScoredRow("", place.train, place.test, entry.method, entry.method, scores)
        return not (breaks_jensen(row) or pooled_ways(row))

    def parameters(self, method: str) -> tuple[float, float] | None:
        """What the printed count in millions may stand for."""
        number = self.edition.find(method, "params_m")
        if number is None:
            return None
        reading = printed(number.printed)
        return reading.low, reading.high

    def reconstructions(self, tokenizer: str) -> list[Reconstructed]:
        """No edition prints any."""
        return []
