"""What a claim is tested on: the numbers of an edition, or stored cells, behind one face."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bench.reporting.claims.model import Metric, Variant

UNITS: dict[Metric, str] = {"dsc": "points", "iou": "points", "hd95": "px"}


class Entry(NamedTuple):
    """A method, or a variant of it."""

    method: str
    variant: Variant = Variant()

    @property
    def words(self) -> str:
        """ "gms", "gms [loss lm]"."""
        named = self.variant.printed or self.variant.settings
        words = ", ".join(f"{name} {value}" for name, value in named.items())
        return f"{self.method} [{words}]" if words else self.method


class Place(NamedTuple):
    """Training and test dataset of a column."""

    train: str
    test: str

    @classmethod
    def of(cls, text: str) -> "Place":
        """The column of "busi" or "busi to bus"."""
        train, _, test = text.partition(" to ")
        return cls(train, test or train)

    @property
    def words(self) -> str:
        """ "busi", "busi to bus"."""
        return self.test if self.train == self.test else f"{self.train} to {self.test}"


class Need(NamedTuple):
    """Scores that a claim needs: of an entry, trained and tested there."""

    entry: Entry
    place: Place


@dataclass(frozen=True)
class Lead:
    """How far `first` is better than `second`; positive also for distances, where less is better.

    value in points or px; low, high: what the printed digits leave, or the 95 % interval of a mean
    over cases. scores: of the two.
    """

    value: float
    low: float
    high: float
    scores: tuple[float, float]


@dataclass(frozen=True)
class Reconstructed:
    """Mean Dice of masks through a tokenizer in per cent, on one test set, with its interval."""

    test: str
    value: float
    low: float
    high: float


class Evidence(Protocol):
    """Numbers to test claims on; None and empty answers where a number is not at hand."""

    @property
    def printed(self) -> bool:
        """Whether these are a paper's own numbers, which a quoted number must match."""

    def score(self, entry: Entry, place: Place, metric: Metric) -> float | None:
        """The mean score, in the printed unit."""

    def lead(self, first: Entry, second: Entry, place: Place, metric: Metric) -> Lead | None:
        """The lead of one entry over another."""

    def per_image(self, entry: Entry, place: Place) -> bool:
        """Whether the scores are means over images, as far as can be told."""

    def parameters(self, method: str) -> tuple[float, float] | None:
        """(least, greatest) count of trainable parameters in millions."""

    def reconstructions(self, tokenizer: str) -> list[Reconstructed]:
        """What a tokenizer gives back, by test set."""
