"""Where a run's cases come from: prepared datasets, or phantoms under a profile that says so."""

from collections.abc import Container
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, unknown_name
from bench.core.files import digest
from bench.data.arrays import CaseArrays, arrays_key, load_arrays, phantom_arrays, phantom_index
from bench.data.audit.leaks import find_leaks
from bench.data.cards import Card, list_cards
from bench.data.prepared import CaseIndex, read_index
from bench.data.splits import Split, make_split
from bench.experiments.cells import CellRequest, TestSet
from bench.experiments.facts import DataFacts, data_facts
from bench.protocols import Profile, Protocol, Resize

PHANTOM_SEED = 0


class Sources:
    """The datasets of one run under one profile. Indices, splits and digests are read once.

    data: the folder of prepared datasets, not needed for phantoms. cards: the user's own cards.
    """

    def __init__(self, profile: Profile, data: Path | None, cards: list[Path]) -> None:
        self.profile, self.data = profile, data
        self._card_files = cards
        self._indices: dict[str, CaseIndex] = {}
        self._splits: dict[tuple[str, str, int, float], Split] = {}
        self._pixels: dict[tuple[str, int, Resize], str] = {}
        self._tests: dict[tuple[TestSet, str, int, float], str] = {}
        self._arrays: dict[tuple[str, int, Resize], CaseArrays] = {}
        self._used: set[str] = set()

    @cached_property
    def cards(self) -> dict[str, Card]:
        """Every shipped, installed and given card by name."""
        return {card.name: card for card in list_cards(self._card_files)}

    def card(self, dataset: str) -> Card:
        """A dataset's card; BenchError for an unknown name."""
        if dataset not in self.cards:
            raise unknown_name("dataset", dataset, self.cards, "A card of your own: --card FILE.")
        self._used.add(dataset)
        return self.cards[dataset]

    def index(self, dataset: str) -> CaseIndex:
        """A dataset's cases without pixels; BenchError when it is not prepared."""
        card = self.card(dataset)
        if dataset not in self._indices:
            self._indices[dataset] = self._read_index(card)
        return self._indices[dataset]

    def _read_index(self, card: Card) -> CaseIndex:
        if self.profile.phantoms:
            counts = self.profile.train_cases, self.profile.test_cases
            return phantom_index(self._phantom_style(card), *counts, PHANTOM_SEED)
        return read_index(self._data(card.name) / card.name)

    def pixels(self, dataset: str, size: int, resize: Resize = "pillow") -> str:
        """Digest of a dataset's images and masks at one size; reads no pixel."""
        how = (dataset, size, self._resize(resize))
        if how not in self._pixels:
            self._pixels[how] = arrays_key(self.index(dataset), *how[1:])
        return self._pixels[how]

    def arrays(self, dataset: str, size: int, resize: Resize = "pillow") -> CaseArrays:
        """A dataset's images and masks at one size, loaded once.

        Scores are taken against the default's masks, whatever the network gets.
        """
        how = (dataset, size, self._resize(resize))
        if how not in self._arrays:
            self._arrays[how] = self._loaded(dataset, size, resize)
        return self._arrays[how]

    def _loaded(
        self, dataset: str, size: int, resize: Resize, only: Container[str] | None = None
    ) -> CaseArrays:
        """The arrays from the cache or built; of the case ids in `only` alone, where it is given."""
        if self.profile.phantoms:
            count = self.profile.train_cases + self.profile.test_cases
            style = self._phantom_style(self.card(dataset))
            return phantom_arrays(style, count, size, PHANTOM_SEED, only=only)
        return load_arrays(self._data(dataset) / dataset, size, resize=resize, only=only)

    def _resize(self, resize: Resize) -> Resize:
        """Phantoms are drawn at the size that is asked for: none is resized."""
        return "pillow" if self.profile.phantoms else resize

    def split(self, dataset: str, protocol: Protocol) -> Split:
        """The dataset's split under the protocol."""
        scheme = "published" if self.card(dataset).external else protocol.split
        rule = (scheme, protocol.split_seed, protocol.val_share)
        if (dataset, *rule) not in self._splits:
            self._splits[dataset, *rule] = make_split(self.index(dataset), *rule)
        return self._splits[dataset, *rule]

    def training_split(self, dataset: str, protocol: Protocol) -> Split:
        """The same, for training: BenchError when a side of it is empty that the protocol needs."""
        split = self.split(dataset, protocol)
        if not split.train:
            raise BenchError(
                f"{dataset} has no training cases under split {split.scheme!r}: "
                + ("it is an external test set." if self.card(dataset).external else "all test.")
                + " Train on another dataset and test on this one."
            )
        if not split.test:
            raise BenchError(
                f"{dataset} has no test cases under split {split.scheme!r}; a split needs both "
                f"sides. Import lists that name test cases: bench data import-split {dataset} FILE."
            )
        if protocol.selection == "best-val" and not split.val:
            raise BenchError(
                f"{dataset} has no validation cases under split {split.scheme!r}, and protocol "
                f"{protocol.name!r} selects the epoch on them (best-val). Take more cases, or a "
                "protocol with another selection rule."
            )
        return split

    def leaks(self, dataset: str, protocol: Protocol) -> dict[str, Any] | None:
        """How many test cases share a patient, lesion or near-duplicate with train, as
        `bench.data.audit.leaks.LeakCounts`; None for phantoms."""
        if self.profile.phantoms:
            return None
        groups = self.card(dataset).groups
        unit = groups.unit if groups else "group"
        found = find_leaks(self.index(dataset), self.split(dataset, protocol), unit)
        return found.counts.model_dump(mode="json")

    def test_cases(self, test: TestSet, protocol: Protocol) -> tuple[str, ...]:
        """The case ids that a test set scores; BenchError when there is none."""
        if test.subset == "all":
            cases = self.index(test.dataset).case_ids
        else:
            cases = self.split(test.dataset, protocol).test
        if not cases:
            raise BenchError(
                f"{test.dataset} has no cases in its subset {test.subset!r}, so nothing could be "
                "scored. Prepare the dataset again, or score another one."
            )
        return cases

    def test_digest(self, test: TestSet, protocol: Protocol) -> str:
        """Digest of a test set's cases and their images and masks."""
        name = (test, protocol.split, protocol.split_seed, protocol.val_share)
        if name not in self._tests:
            pixels = self.pixels(test.dataset, self.profile.image_size)
            self._tests[name] = digest([pixels, list(self.test_cases(test, protocol))])
        return self._tests[name]

    def facts(self, request: CellRequest) -> dict[str, DataFacts]:
        """What a record says of the datasets that its request trains and tests on."""
        names = dict.fromkeys((request.train, *(test.dataset for test in request.tests)))
        return {
            name: data_facts(
                self.card(name),
                self.index(name),
                self.split(name, request.protocol),
                self.profile.phantoms,
            )
            for name in names
        }

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
