"""Where a run's cases come from: prepared datasets, or phantoms under a profile that says so."""

from functools import cached_property
from pathlib import Path

from bench.core.errors import BenchError, unknown_name
from bench.core.files import digest
from bench.data.arrays import CaseArrays, load_arrays, phantom_arrays, phantom_index
from bench.data.cards import Card, list_cards
from bench.data.prepared import CaseIndex, read_index
from bench.data.splits import Split, make_split
from bench.experiments.cells import TestSet
from bench.protocols import Profile, Protocol

PHANTOM_SEED = 0


class Sources:
    """The datasets of one run under one profile.

    data: the folder of prepared datasets, not needed for phantoms. cards: the user's own cards.
    """

    def __init__(self, profile: Profile, data: Path | None, cards: list[Path]) -> None:
        self.profile, self.data = profile, data
        self._card_files = cards
        self._arrays: dict[tuple[str, int], CaseArrays] = {}
        self._used: set[str] = set()

    @cached_property
    def cards(self) -> dict[str, Card]:
        """Every card at hand by name."""
        return {card.name: card for card in list_cards(self._card_files)}

    def card(self, dataset: str) -> Card:
        """A dataset's card; BenchError for an unknown name."""
        if dataset not in self.cards:
            raise unknown_name("dataset", dataset, self.cards, "A card of your own: --card FILE.")
        self._used.add(dataset)
        return self.cards[dataset]

    def index(self, dataset: str) -> CaseIndex:
        """A dataset's cases without pixels; BenchError when they are not at hand."""
        card = self.card(dataset)
        if self.profile.phantoms:
            profile = self.profile
            return phantom_index(
                self._phantom_style(card), profile.train_cases, profile.test_cases, PHANTOM_SEED
            )
        return read_index(self._data(dataset) / dataset)

    def arrays(self, dataset: str, size: int) -> CaseArrays:
        """A dataset's pixels at one size, loaded once."""
        if (dataset, size) not in self._arrays:
            if self.profile.phantoms:
                count = self.profile.train_cases + self.profile.test_cases
                style = self._phantom_style(self.card(dataset))
                arrays = phantom_arrays(style, count, size, PHANTOM_SEED)
            else:
                arrays = load_arrays(self._data(dataset) / dataset, size)
            self._arrays[dataset, size] = arrays
        return self._arrays[dataset, size]

    def split(self, dataset: str, protocol: Protocol) -> Split:
        """The dataset's split under the protocol."""
        scheme = "published" if self.card(dataset).external else protocol.split
        return make_split(self.index(dataset), scheme, protocol.split_seed, protocol.val_share)

    def test_cases(self, test: TestSet, protocol: Protocol) -> tuple[str, ...]:
        """The case ids that a test set scores."""
        if test.subset == "all":
            return self.index(test.dataset).case_ids
        return self.split(test.dataset, protocol).test

    def digests(self, dataset: str, protocol: Protocol) -> dict[str, str]:
        """What a training's identity rests on, of its data: pixels and split."""
        index, split = self.index(dataset), self.split(dataset, protocol)
        if not split.train:
            raise BenchError(
                f"{dataset} has no training cases under split {split.scheme!r}: "
                + ("it is an external test set." if self.card(dataset).external else "all test.")
                + " Train on another dataset and test on this one."
            )
        return {"data": index.content_hash, "split": split.hash}

    def test_digest(self, test: TestSet, protocol: Protocol) -> str:
        """What a test set's scores rest on: its pixels and its cases."""
        cases = self.test_cases(test, protocol)
        return digest([self.index(test.dataset).content_hash, list(cases)])

    def card_hashes(self) -> dict[str, str]:
        """Hashes of the cards used so far."""
        return {name: self.cards[name].hash for name in sorted(self._used)}

    def _phantom_style(self, card: Card) -> str:
        if card.phantom is None:
            raise BenchError(
                f"No phantom stands in for {card.name!r}, and profile {self.profile.name!r} uses "
                "phantoms. Name a data folder: --data DIR."
            )
        return card.phantom

    def _data(self, dataset: str) -> Path:
        if self.data is None:
            raise BenchError(
                f"Profile {self.profile.name!r} needs real data and no folder is named. Give "
                "--data DIR or set GMS_BENCH_DATA, and prepare it: bench data prepare "
                f"{dataset} --from FOLDER."
            )
        if not (self.data / dataset).is_dir():
            raise BenchError(
                f"{dataset!r} is not prepared in {self.data}. Run: bench data prepare {dataset} "
                f"--from FOLDER_OR_ZIP --data {self.data}."
            )
        return self.data
