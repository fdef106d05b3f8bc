"""Facts about the cases at hand, kept in a cell's record: what a table says of its data is read
from there, never guessed from the name of a profile or a dataset."""

from bench.core.frozen import Frozen
from bench.data.cards import Card
from bench.data.prepared import CaseIndex
from bench.data.splits import Split


class SplitFacts(Frozen):
    """The split of a dataset under a cell's protocol.

    scheme: the one that was applied. digest: `Split.hash`, over all three lists. train, val, test:
    numbers of cases. origin: the file of imported lists, "" for another scheme.
    """

    scheme: str
    seed: int
    digest: str
    train: int
    val: int
    test: int
    origin: str = ""


class DataFacts(Frozen):
    """A dataset as the cell found it.

    cases: number of cases at hand. published_cases: of the complete dataset, as the card states it;
    None where it states none, and for phantoms. largest, published_largest: (greatest width, greatest
    height) of the images at hand and of the published ones, in px; None where unknown. unit: what a
    group is ("patient", "lesion"). groups: number of known groups; grouped: cases
    whose group is known.
    """

    phantoms: bool = False
    cases: int
    published_cases: int | None = None
    largest: tuple[int, int] | None = None
    published_largest: tuple[int, int] | None = None
    unit: str = ""
    groups: int = 0
    grouped: int = 0
    split: SplitFacts

    @property
    def complete(self) -> bool | None:
        """Whether all published cases are at hand; None where their number is unknown."""
        return None if self.published_cases is None else self.cases == self.published_cases

    @property
    def rescaled(self) -> bool | None:
        """Whether the images have another size than the published ones; None where one is unknown.

        Of a part of a dataset the largest image may be missing, so its size says nothing.
        """
        if self.largest is None or self.published_largest is None or not self.complete:
            return None
        return self.largest != self.published_largest


def data_facts(card: Card, index: CaseIndex, split: Split, phantoms: bool) -> DataFacts:
    """The facts of one dataset under one split."""
    expected = None if phantoms else card.expected
    imported = index.imported if split.scheme == "imported" else None
    return DataFacts(
        phantoms=phantoms,
        cases=len(index.case_ids),
        published_cases=expected.cases if expected else None,
        largest=index.largest,
        published_largest=expected.largest if expected else None,
        unit=card.groups.unit if card.groups and not phantoms else "",
        # A case of unknown group stands there as a group of its own.
        groups=len(set(index.groups)) - (len(index.case_ids) - index.grouped),
        grouped=index.grouped,
        split=SplitFacts(
            scheme=split.scheme,
            seed=split.seed,
            digest=split.hash,
            train=len(split.train),
            val=len(split.val),
            test=len(split.test),
            origin=imported.origin if imported else "",
        ),
    )
