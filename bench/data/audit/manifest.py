"""What an audit found in one prepared dataset, as stored beside it in audit/manifest.json.

A manifest depends on the dataset's pixels, masks and classes only, never on a split: auditing the
same dataset again gives the same hash. Cells record that hash, and split scheme `dedup` reads the
components.
"""

import json
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import digest, write_json
from bench.core.frozen import Frozen

AUDIT = "audit"
"""Folder of a prepared dataset that its audit is written to."""

MANIFEST = "manifest.json"
VERSION = 1
"""Raised whenever the same pixels could give another manifest."""


class Limits(Frozen):
    """The limits of an audit; what they mean is said where they are used.

    distance: bits in which two perceptual hashes of 64 bits may differ. candidate, hit: correlations
    of 64 x 64 grey copies that a pair must exceed. many_parts: connected parts of a mask above
    which it is named.
    """

    distance: int = 10
    candidate: float = 0.9
    hit: float = 0.97
    many_parts: int = 5


LIMITS = Limits()
"""Those of every audit; a manifest says them."""


class Pair(Frozen):
    """Two near-duplicate images.

    correlation: of their grey copies, rounded to 4 digits, the second one turned. distance: bits in
    which their perceptual hashes differ. turn: what brings the second image onto the first.
    """

    first: str
    second: str
    correlation: float
    distance: int
    turn: str


class Exact(Frozen):
    """Sorted case ids that share content exactly.

    images: groups of cases with equal decoded pixels. masks: groups of cases with equal masks on
    different images; empty and full masks do not count. two_classes: pairs of equal or
    near-duplicate images that are labelled with different classes.
    """

    images: tuple[tuple[str, ...], ...] = ()
    masks: tuple[tuple[str, ...], ...] = ()
    two_classes: tuple[tuple[str, str], ...] = ()


class Masks(Frozen):
    """Sorted case ids with odd masks.

    border: foreground touches the image's edge. many_parts: more connected parts (8 neighbours)
    than the limit. size_differs: a mask file had another size than its image. antialiased: grey
    levels between background and foreground. inverted: background and foreground look exchanged in
    most masks. not_recorded: cases prepared by a version that did not count sizes and levels.
    """

    empty: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    border: tuple[str, ...] = ()
    many_parts: tuple[str, ...] = ()
    size_differs: tuple[str, ...] = ()
    antialiased: tuple[str, ...] = ()
    inverted: bool = False
    not_recorded: int = 0


class Manifest(Frozen):
    """The whole of `audit/manifest.json`.

    content_hash: of the prepared dataset that was audited. near: hits, by first and second id.
    components: groups of cases that equal or near-duplicate images connect, of two and more.
    """

    format: int = 1
    version: int = VERSION
    dataset: str
    content_hash: str
    cases: int
    limits: Limits
    exact: Exact
    near: tuple[Pair, ...]
    components: tuple[tuple[str, ...], ...]
    masks: Masks

    @property
    def hash(self) -> str:
        """sha256, hex, over all fields."""
        return digest(self.model_dump(mode="json"))

    @property
    def component_of(self) -> dict[str, str]:
        """Case id -> first id of its component, for the cases that are in one."""
        return {case: cases[0] for cases in self.components for case in cases}

    def write(self, folder: Path) -> Path:
        """Write the manifest and its hash to `folder` atomically; returns the file."""
        file = folder / MANIFEST
        write_json(file, self.model_dump(mode="json") | {"hash": self.hash})
        return file


def read_manifest(folder: Path, content_hash: str) -> Manifest | None:
    """The audit of the prepared dataset in `folder`, as it is prepared now.

    None where the dataset was not audited, or prepared from other files or audited by another
    version since. Raises BenchError for a damaged or edited file.
    """
    file = folder / AUDIT / MANIFEST
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    again = f"Audit the dataset again: bench audit {folder.name}."
    try:
        content = json.loads(text)
        stored = content.pop("hash")
        manifest = Manifest.model_validate(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"{file} is damaged or of another version. {again}") from error
    if manifest.hash != stored:
        raise BenchError(f"{file} was edited: its hash is not that of its content. {again}")
    if (manifest.content_hash, manifest.version) != (content_hash, VERSION):
        return None
    return manifest
