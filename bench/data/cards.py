"""Dataset cards: what is fixed about a dataset, as frozen facts read from TOML files.

A card holds no code. Patterns are regular expressions over a file's path relative to the source
folder, written with forward slashes; they match the end of the path at a folder boundary.
"""

import re
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)

from bench.core.errors import BenchError, faults, unknown_name
from bench.core.files import digest
from bench.core.frozen import FileName, Frozen
from bench.core.paths import shipped
from bench.core.reading import parse_toml, read_text, toml_line

GROUP = "bench.datasets"
"""Entry-point group of third-party cards: each entry point is the path of a TOML file."""

NAME = re.compile(r"^[a-z0-9][a-z0-9-]*$")
"""What a dataset's name may look like: folders and files of results are named by it."""

CASE_ID = re.compile(r"[^\W_][\w .()+-]*")
"""What a case id may look like: it becomes a file name, so no slashes and no leading dot."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return pattern


def _fields(template: str) -> set[str]:
    """The names in a template such as "{class}_{number}"; ValueError for anything but plain ones."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"id {template!r} is no template: {error}") from error
    for _, name, form, conversion in parts:
        if name is not None and (form or conversion or not name.isidentifier()):
            raise ValueError(
                f"id {template!r}: write {{name}} for a group of the patterns, without a format"
            )
    return {name for _, name, _, _ in parts if name}


Pattern = Annotated[str, AfterValidator(_compiles)]


class Layout(Frozen):
    """One way in which a dataset's files lie in folders.

    example: an image with its mask, as messages show it.
    image, mask: patterns whose named groups fill in `id`, a template such as "{class}_{number}".
    All masks that give the same id are joined by OR. The groups `class`, `group` (the patient or
    lesion) and `published_split`, where the image pattern has them, are kept with the case.
    mask_rule: overrides the card's, for copies whose masks were rewritten.
    """

    name: str
    example: str
    image: Pattern
    mask: Pattern
    id: str = "{id}"
    mask_rule: Literal["> 0", "> 127"] | None = None

    @model_validator(mode="after")
    def _id_is_captured(self) -> "Layout":
        wanted = _fields(self.id)
        if not wanted:
            raise ValueError(f"id {self.id!r} names no group, so all cases would have one id")
        for field, pattern in (("image", self.image), ("mask", self.mask)):
            missing = wanted - set(re.compile(pattern).groupindex)
            if missing:
                raise ValueError(f"{field} captures no group named {', '.join(sorted(missing))}")
        groups = set(re.compile(self.image).groupindex) - wanted
        if unknown := groups - {"class", "group", "published_split"}:
            raise ValueError(
                f"image captures a group named {', '.join(sorted(unknown))}, which nothing reads; "
                "known besides those of `id`: class, group, published_split"
            )
        return self


class Download(Frozen):
    """A file to fetch; checksum is "sha256:..." or "md5:...", None where nobody published one."""

    name: FileName
    url: str = Field(pattern=r"^https?://")
    checksum: str | None = Field(default=None, pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")


class Access(Frozen):
    """How a user gets the data: `open` files can be fetched, `request` needs a person, `local` data
    lie on the user's disk and have no page."""

    kind: Literal["open", "request", "local"]
    page: str = Field("", pattern=r"^$|^https?://")
    how: str = ""
    files: tuple[Download, ...] = ()

    @model_validator(mode="after")
    def _files_fit_kind(self) -> "Access":
        if self.kind == "request" and (self.files or not self.how):
            raise ValueError('kind "request" takes no files and needs `how`')
        if self.kind == "local" and self.files:
            raise ValueError('kind "local" takes no files: the data lie on this machine')
        if self.kind != "local" and not self.page:
            raise ValueError(f'kind "{self.kind}" needs `page`, the address where the data are')
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError("two files have one name; one download would overwrite the other")
        return self


def _access(value: object) -> object:
    """`access = "local"` in place of a table."""
    return {"kind": value} if isinstance(value, str) else value


class Expected(Frozen):
    """The complete dataset after the default exclusions, to notice missing cases and rescaled
    copies.

    largest: width and height in pixels of the largest published image. published_splits, classes:
    cases of each; the first is hashed as "parts", so that a card keeps its hash.
    """

    cases: int = Field(gt=0)
    largest: tuple[int, int] | None = None
    published_splits: dict[str, int] = Field(
        default={},
        validation_alias=AliasChoices("published_splits", "parts"),
        serialization_alias="parts",
    )
    classes: dict[str, int] = {}


class Groups(Frozen):
    """The table that names each case's patient or lesion.

    example: the table's usual name, for messages. file: pattern of its path. case, group, class: column names in its header.
    """

    unit: str
    example: str
    file: Pattern
    case: str
    group: str
    class_: str | None = Field(
        default=None,
        validation_alias=AliasChoices("class", "class_"),
        serialization_alias="class",
    )


class Published(Frozen):
    """Patterns of the publisher's own lists of case names, one name a line."""

    train: Pattern
    test: Pattern


class Exclude(Frozen):
    """Classes that are left out unless the user asks for them, and why."""

    classes: tuple[str, ...]
    reason: str


class Card(Frozen):
    """All facts about a dataset that are fixed before it is downloaded.

    modality: datasets that share it are domains of one another.
    mask_rule: which grey levels (0..255) are foreground; see `bench.data.pixels.to_mask`.
    masks_rescaled: the publisher stores masks at other sizes than their images; they are brought
        to the image's size by nearest neighbour where the aspect ratio is the same. Otherwise a
        mask of another size is an error.
    external: the whole set is a test set (a second hospital, for cross-domain tests).
    phantom: the style in `bench.data.phantoms` that stands in for it in the demo, if there is one.
    publisher, licence, citation: needed unless access is local.
    """

    name: str = Field(pattern=NAME.pattern, max_length=100)
    title: str
    modality: str
    publisher: str = ""
    licence: str = ""
    citation: str = ""
    mask_rule: Literal["> 0", "> 127"]
    access: Annotated[Access, BeforeValidator(_access)]
    expected: Expected | None = None
    layouts: tuple[Layout, ...] = Field(min_length=1)
    groups: Groups | None = None
    published: Published | None = None
    exclude: Exclude | None = None
    masks_rescaled: bool = False
    external: bool = False
    phantom: str | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _published_data_are_credited(self) -> "Card":
        if self.access.kind != "local":
            for field in ("publisher", "licence", "citation"):
                if not getattr(self, field):
                    raise ValueError(
                        f"{field} is missing; published data name theirs. For data of your own, "
                        'write access = "local"'
                    )
        if self.name == "same":
            raise ValueError('name "same" means the training dataset in a matrix; choose another')
        return self

    @property
    def hash(self) -> str:
        """sha256 over all facts; equal cards in differently formatted files have equal hashes."""
        return digest(self.model_dump(mode="json", by_alias=True))


def read_card(path: Path) -> Card:
    """The card in a TOML file; BenchError naming file, line and field where it is not one."""
    text = read_text(path, "card")
    try:
        return Card.model_validate(parse_toml(path, text))
    except ValidationError as error:
        wrong = faults(error, lambda place: toml_line(text, place))
        raise BenchError(
            f"{path} is not a dataset card. {wrong}. docs/datasets.md shows a card with every field."
        ) from error


def card_files() -> dict[str, Path]:
    """Name -> file of every card: the shipped ones, then those of installed packages."""
    files = {path.stem: path for path in sorted(shipped("datasets").glob("*.toml"))}
    for entry in entry_points(group=GROUP):
        if entry.name in files:
            raise BenchError(
                f"Package entry point {entry.value!r} brings a second dataset named "
                f"{entry.name!r}. Names are unique: rename it there, or uninstall the package."
            )
        files[entry.name] = Path(entry.load())
    return files


def list_cards(extra: Iterable[Path] = ()) -> list[Card]:
    """All cards, sorted by name; `extra` are the user's own files (`--card`).

    Raises BenchError when two files give one name.
    """
    cards: dict[str, Card] = {}
    files: dict[str, Path] = {}
    for path in (*card_files().values(), *extra):
        card = read_card(path)
        other = files.setdefault(card.name, path)
        if other.resolve() != path.resolve():
            raise BenchError(
                f"{path} is named {card.name!r}, a name that {other} has. Results are stored under "
                "names, so each has one meaning: choose another `name`."
            )
        cards[card.name] = card
    return [cards[name] for name in sorted(cards)]


def require_name(name: str) -> None:
    """BenchError unless `name` may name a dataset: a path is none."""
    if not NAME.fullmatch(name):
        raise BenchError(
            f"{name!r} names no dataset: names are lower-case letters, digits and '-'. `bench list "
            "datasets` shows the known ones."
        )


def load_card(name: str, extra: Iterable[Path] = ()) -> Card:
    """The card of that name among all cards and the user's own files `extra`."""
    cards = {card.name: card for card in list_cards(extra)}
    if name not in cards:
        raise unknown_name("dataset", name, cards, "Bring your own with --card FILE.")
    return cards[name]
