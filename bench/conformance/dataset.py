"""Checks of a dataset: its card and, where it is prepared, its cases, pixels and splits."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from bench.conformance.checks import Broken, Skipped, Step
from bench.core.errors import BenchError
from bench.data.cards import Card, load_card, read_card
from bench.data.pixels import load, pixel_hash, to_mask, to_rgb
from bench.data.prepared import CaseIndex, Index, read_index, read_records
from bench.data.splits import Split, make_split, shared_groups
from bench.protocols import get_protocol, protocol_names

SAMPLE = 50  # cases whose pixels are read again; all of HAM10000 would take minutes


class DatasetSubject:
    """A dataset under check; `data` is the folder of prepared datasets or None, `cards` are files of
    the user's own cards."""

    def __init__(self, name_or_file: str, data: Path | None, cards: Sequence[Path] = ()) -> None:
        self.name_or_file, self.data, self.cards = name_or_file, data, list(cards)

    @cached_property
    def card(self) -> Card:
        """The card; BenchError when it is unknown or not valid."""
        if self.name_or_file.endswith(".toml"):
            return read_card(Path(self.name_or_file))
        return load_card(self.name_or_file, self.cards)

    @property
    def folder(self) -> Path:
        """The prepared dataset; Skipped where there is none."""
        if self.data is None:
            raise Skipped("no data folder is named: give --data DIR or set GMS_BENCH_DATA")
        folder = self.data / self.card.name
        if not folder.is_dir():
            raise Skipped(
                f"{self.card.name} is not prepared in {self.data}: bench data prepare "
                f"{self.card.name} --from FOLDER_OR_ZIP"
            )
        return folder

    @cached_property
    def records(self) -> Index:
        """Its `index.json`."""
        return read_records(self.folder)

    @cached_property
    def index(self) -> CaseIndex:
        """Its cases as splits see them."""
        return read_index(self.folder)


def dataset_steps(name_or_file: str, data: Path | None, cards: Sequence[Path] = ()) -> list[Step]:
    """The checks of a dataset in order. Raises BenchError for an unknown name."""
    subject = DatasetSubject(name_or_file, data, cards)
    if not name_or_file.endswith(".toml"):
        load_card(name_or_file, list(cards))
    return [
        ("card", lambda: card_is_valid(subject)),
        ("prepared", lambda: prepared_under_this_card(subject)),
        ("counts", lambda: counts_as_expected(subject)),
        ("files", lambda: files_are_there(subject)),
        ("pixels", lambda: pixels_are_unchanged(subject)),
        ("groups", lambda: groups_are_known(subject)),
        ("splits", lambda: splits_are_disjoint(subject)),
    ]


def card_is_valid(subject: DatasetSubject) -> str:
    """The card is read, and says how the data may be used and cited."""
    card = subject.card
    facts = (card.title, card.modality, card.licence, f"layouts: {len(card.layouts)}")
    return "; ".join(filter(None, facts))  # local data has no licence


def prepared_under_this_card(subject: DatasetSubject) -> str:
    """The prepared copy was made under this very card; reading it checks its content hash."""
    records = subject.records
    if records.card_hash != subject.card.hash:
        raise Broken("The card changed since the dataset was prepared; prepare it again.")
    warnings = f"; {'; '.join(records.warnings)}" if records.warnings else ""
    return f"layout {records.layout}, content {records.content_hash[:12]}{warnings}"


def counts_as_expected(subject: DatasetSubject) -> str:
    """As many cases, per published split and class, as the card says of the complete dataset."""
    cases, expected = subject.records.cases, subject.card.expected
    found = f"{len(cases)} cases"
    if expected is None:
        raise Skipped(f"{found}; the card states no expected counts")
    if len(cases) != expected.cases:
        raise Broken(f"{found}, and the card expects {expected.cases}; get the complete dataset.")
    for field, wanted, values in (
        (
            "published splits",
            expected.published_splits,
            [case.published_split for case in cases],
        ),
        ("classes", expected.classes, [case.class_ for case in cases]),
    ):
        have = {key: count for key, count in Counter(values).items() if key}
        if have and wanted and have != wanted:
            raise Broken(f"{field} are {have}, and the card expects {wanted}.")
    return found


def files_are_there(subject: DatasetSubject) -> str:
    """An image and a mask per case, and none besides."""
    folder, cases = subject.folder, subject.records.cases
    for kind, wanted in (
        ("images", {case.image for case in cases}),
        ("masks", {f"{case.id}.png" for case in cases}),
    ):
        have = {path.name for path in (folder / kind).iterdir()}
        if have != wanted:
            odd = ", ".join(sorted(have ^ wanted)[:3])
            raise Broken(f"{kind} and index.json disagree on {odd}; prepare the dataset again.")
    return f"{len(cases)} images and masks"


def pixels_are_unchanged(subject: DatasetSubject) -> str:
    """Evenly drawn cases decode to the pixels that were prepared."""
    folder, cases = subject.folder, subject.records.cases
    drawn = cases[:: -(-len(cases) // SAMPLE)]
    for case in drawn:
        image = to_rgb(load(folder / "images" / case.image))
        mask = to_mask(load(folder / "masks" / f"{case.id}.png"), "> 127")
        if (pixel_hash(image), pixel_hash(mask)) != (case.image_sha256, case.mask_sha256):
            raise Broken(f"The pixels of {case.id} changed since it was prepared; prepare again.")
        if image.shape[:2] != mask.shape:
            raise Broken(f"Image and mask of {case.id} differ in size.")
    return f"{len(drawn)} of {len(cases)} cases read again"


def groups_are_known(subject: DatasetSubject) -> str:
    """Where the card names a table of patients or lesions, every case has one."""
    index, groups = subject.index, subject.card.groups
    if groups is None:
        raise Skipped("the card names no patients or lesions; a split may tear them apart unseen")
    if index.grouped != len(index.case_ids):
        raise Broken(
            f"{len(index.case_ids) - index.grouped} cases have no {groups.unit}; put the table "
            f"{groups.file} beside the images and prepare again."
        )
    return f"{len(set(index.groups))} {groups.unit} groups"


def splits_are_disjoint(subject: DatasetSubject) -> str:
    """Every protocol's split of this dataset is disjoint, `grouped` tears no group, and the default
    split can be made: without it nothing can be trained or scored."""
    seen = []
    for name in protocol_names():
        protocol = get_protocol(name)
        scheme = "all-test" if subject.card.external else protocol.split
        try:
            split = make_split(subject.index, scheme, protocol.split_seed, protocol.val_share)
        except BenchError as reason:
            if scheme == "default":
                raise Broken(f"The default split cannot be made: {reason}") from reason
            seen.append(f"{name}: {reason}")
            continue
        torn = shared_groups(subject.index, split)
        if scheme == "grouped" and torn:
            raise Broken(f"Scheme grouped tears {len(torn)} groups, e.g. {torn[0]}.")
        seen.append(f"{name}: {_sizes(split)}" + (f", {len(torn)} groups torn" if torn else ""))
    return "; ".join(seen)


def _sizes(split: Split) -> str:
    return f"{split.scheme} {len(split.train)}/{len(split.val)}/{len(split.test)}"
