"""The prepared dataset on disk, read back: its cases, without a pixel.

`<data>/<name>/` holds images/<case_id>.<ext>, masks/<case_id>.png (joined, 0 and 255), index.json
and, after an import, splits/imported.json.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, ValidationError

from bench.core.errors import BenchError
from bench.core.files import digest
from bench.core.frozen import Frozen
from bench.core.reading import require_file
from bench.data.audit.manifest import Manifest, read_manifest
from bench.data.cards import Card
from bench.data.pixels import VERSION

INDEX = "index.json"
IMPORTED = "splits/imported.json"
FORMAT = 1


def _stored_as(key: str, name: str, **options: Any) -> Any:
    """A field called `name` here and `key` in the file."""
    return Field(validation_alias=AliasChoices(key, name), serialization_alias=key, **options)


class Case(Frozen):
    """One case as `index.json` keeps it; group, published split and class are null where unknown.

    image: file name below images/. width, height: pixels as stored. published_split: "train",
    "test" or another name that the publisher gives ("testA"); stored as "part". remarks: what
    preparing did to the case; stored as "notes".
    image_sha256, mask_sha256: `bench.data.pixels.pixel_hash` of the RGB image and the joined mask.
    misfits: mask files whose size is not the image's. soft_pixels: pixels of the mask files with
    levels between background and foreground. Both are null in datasets prepared before they were
    counted.
    """

    id: str
    image: str
    group: str | None
    published_split: str | None = _stored_as("part", "published_split")
    class_: str | None = _stored_as("class", "class_")
    width: int
    height: int
    image_sha256: str
    mask_sha256: str
    remarks: tuple[str, ...] = _stored_as("notes", "remarks", default=())
    misfits: int | None = None
    soft_pixels: int | None = None


class Index(Frozen):
    """The whole of `index.json`. content_hash: `content_hash` of the cases."""

    format: int = FORMAT
    dataset: str
    card_hash: str
    layout: str
    mask_rule: str
    warnings: tuple[str, ...]
    content_hash: str
    cases: tuple[Case, ...]


class Imported(Frozen):
    """The whole of `splits/imported.json`: case ids, and where they come from.

    origin, sha256: name and hash of the user's file. foreign: names in it that match no case.
    unlisted: how many cases it does not name.
    """

    format: int = FORMAT
    dataset: str
    origin: str
    sha256: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    foreign: tuple[str, ...]
    unlisted: int


@dataclass(frozen=True)
class CaseIndex:
    """The cases of a dataset without pixels: all that a split depends on.

    groups: patient, lesion or, where none is known, the case's own id; so a group is never empty.
    grouped: how many cases have a real group. published_splits, classes: None where unknown.
    largest: greatest width and greatest height of the stored images in px, None for phantoms.
    content_hash: over ids and pixels of all cases. imported: the user's own lists, if any.
    components: of each case, the first id of the component of near-duplicates that it is in (its
    own where it is alone); None where the dataset was not audited. audit: hash of the manifest.
    """

    dataset: str
    case_ids: tuple[str, ...]
    groups: tuple[str, ...]
    published_splits: tuple[str | None, ...]
    classes: tuple[str | None, ...]
    content_hash: str
    grouped: int = 0
    imported: Imported | None = None
    components: tuple[str, ...] | None = None
    audit: str | None = None
    largest: tuple[int, int] | None = None


def content_hash(cases: Iterable[Case]) -> str:
    """sha256 over ids and pixels of the cases, whatever their order or file format."""
    content = sorted((case.id, case.image_sha256, case.mask_sha256) for case in cases)
    return digest([VERSION, content])


def read_records(folder: Path) -> Index:
    """`index.json` of the prepared dataset in `<data>/<name>`.

    Raises BenchError when there is none, when it is damaged, and when its content hash is not that
    of its cases: results are stored under that hash.
    """
    path = folder / INDEX
    if path.exists():
        require_file(path, "index of a prepared dataset")
    try:
        index = Index.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BenchError(
            f"Dataset {folder.name!r} is not prepared in {folder.parent}. Run `bench data prepare "
            f"{folder.name} --from FOLDER_OR_ZIP`, or name another data folder."
        ) from error
    except ValidationError as error:
        raise BenchError(
            f"{path} is damaged or of another version: {_first_line(error)}. Prepare the dataset "
            "again."
        ) from error
    if content_hash(index.cases) != index.content_hash:
        raise BenchError(
            f"{path} was edited: its content hash {index.content_hash[:12]}... is not that of its "
            "cases. Prepare the dataset again; do not edit the file."
        )
    if index.format != FORMAT or len({case.id for case in index.cases}) < len(index.cases):
        raise BenchError(
            f"{path} is of another version or names a case twice. Prepare the dataset again."
        )
    return index


def _first_line(error: ValidationError) -> str:
    """Field and fault of the first of the errors: a damaged file has thousands."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join([*(["/".join(map(str, first["loc"]))] if first["loc"] else []), first["msg"]])


def read_imported(folder: Path) -> Imported | None:
    """The imported split of the prepared dataset in `folder`, None without one."""
    path = folder / IMPORTED
    if not path.exists():
        return None
    require_file(path, "imported split")
    try:
        return Imported.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BenchError(
            f"{path} is damaged. Import the split again: `bench data import-split {folder.name} FILE`."
        ) from error


def read_index(folder: Path) -> CaseIndex:
    """The cases of the prepared dataset in `<data>/<name>`, with its imported split and its audit;
    errors as of `read_records`."""
    index = read_records(folder)
    return case_index(index, read_imported(folder), read_manifest(folder, index.content_hash))


def case_index(
    index: Index, imported: Imported | None = None, manifest: Manifest | None = None
) -> CaseIndex:
    """The cases of `index.json` as splits take them; BenchError for an imported split that names
    another case, or one case twice."""
    if imported is not None:
        names = [*imported.train, *imported.val, *imported.test]
        if len(set(names)) < len(names) or not set(names) <= {case.id for case in index.cases}:
            raise BenchError(
                f"The imported split of {index.dataset} was edited: it names a case twice, or one "
                "that is not prepared. Import the split again: `bench data import-split "
                f"{index.dataset} FILE`."
            )
    component_of = manifest.component_of if manifest else {}
    return CaseIndex(
        dataset=index.dataset,
        case_ids=tuple(case.id for case in index.cases),
        groups=tuple(case.group or case.id for case in index.cases),
        published_splits=tuple(case.published_split for case in index.cases),
        classes=tuple(case.class_ for case in index.cases),
        content_hash=index.content_hash,
        grouped=sum(case.group is not None for case in index.cases),
        imported=imported,
        components=tuple(component_of.get(case.id, case.id) for case in index.cases)
        if manifest
        else None,
        audit=manifest.hash if manifest else None,
        largest=_largest(index.cases),
    )


def _largest(cases: Iterable[Case]) -> tuple[int, int] | None:
    sizes = [(case.width, case.height) for case in cases]
    return (max(w for w, _ in sizes), max(h for _, h in sizes)) if sizes else None


@dataclass(frozen=True)
class Status:
    """One row of `bench data status`.

    state: "prepared", "missing", "damaged" or "card changed" (since it was prepared).
    groups: number of patients or lesions, 0 where none is known. imported: origin of the split.
    """

    name: str
    title: str
    state: str
    cases: int = 0
    expected: int | None = None
    groups: int = 0
    published_splits: tuple[tuple[str, int], ...] = ()
    imported: str = ""
    warnings: tuple[str, ...] = ()
    next_step: str = ""


def status(data_root: Path | None, cards: list[Card]) -> list[Status]:
    """The state of each card's dataset in the data folder, and the next step of the user.

    data_root: None where no folder is named; then every dataset is missing.
    """
    return [_status(data_root, card) for card in cards]


def _status(data_root: Path | None, card: Card) -> Status:
    expected = card.expected.cases if card.expected else None
    if data_root is None or not (data_root / card.name / INDEX).exists():
        verb = "fetch" if card.access.files else "prepare"
        step = f"bench data {verb} {card.name}" + (
            "" if card.access.files else " --from FOLDER_OR_ZIP"
        )
        step += f" ({card.access.page})" if card.access.page and not card.access.files else ""
        return Status(card.name, card.title, "missing", expected=expected, next_step=step)
    again = f"bench data prepare {card.name} --from FOLDER_OR_ZIP"
    try:
        index = read_records(data_root / card.name)
        imported = read_imported(data_root / card.name)
    except BenchError as error:
        return Status(
            card.name,
            card.title,
            "damaged",
            expected=expected,
            warnings=(str(error),),
            next_step=again,
        )
    changed = index.card_hash != card.hash
    splits = [case.published_split for case in index.cases if case.published_split]
    return Status(
        name=card.name,
        title=card.title,
        state="card changed" if changed else "prepared",
        cases=len(index.cases),
        expected=expected,
        groups=len({case.group for case in index.cases if case.group}),
        published_splits=tuple((name, splits.count(name)) for name in sorted(set(splits))),
        imported=imported.origin if imported else "",
        warnings=index.warnings,
        next_step=again if changed else "",
    )


def dump(index: Index) -> str:
    """`index.json` as text: one case a line, so that a diff shows which case changed."""
    content = index.model_dump(mode="json", by_alias=True)
    cases = ",\n".join(json.dumps(case, sort_keys=True) for case in content.pop("cases"))
    head = json.dumps(content, indent=2, sort_keys=True)
    return f'{head[:-2]},\n  "cases": [\n{cases}\n]\n}}\n'
