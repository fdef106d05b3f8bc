"""Matrices: declarative files that expand into cell requests and name the tables they fill."""

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator

from bench.core.errors import BenchError, faults, unknown_name
from bench.core.frozen import FileName, Frozen
from bench.core.paths import PACKAGE
from bench.core.reading import parse_toml, read_text, toml_line
from bench.experiments.cells import CellRequest, TestSet, merge_requests
from bench.protocols import Profile, Protocol

FOLDER = PACKAGE / "matrices"

MAX_CELLS = 20_000  # the paper's matrix has 76 per seed


class CellBlock(Frozen):
    """A product of cells. test: dataset names, or "same" for the training dataset's test subset.

    settings: each option's values to try; tokenizers: roles or names, None for the method's own.
    """

    methods: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...] = ("same",)
    settings: dict[str, tuple[Any, ...]] = {}
    tokenizers: tuple[str | None, ...] = (None,)


class AblationRow(Frozen):
    """A row of an ablation table that is printed whether or not a cell is stored for it.

    settings, tokenizer (its name or role): the values of what the table varies. words: the leading
    words, one per header; by default the values. published: the values by which an edition of
    published numbers lists the row; empty when it prints none.
    """

    settings: dict[str, Any] = {}
    tokenizer: str | None = None
    words: tuple[str, ...] = ()
    published: dict[str, str] = {}


class TableBlock(Frozen):
    """One table of stored cells.

    kind: methods (a row per method, scores on `datasets`), cross-domain (the same on `pairs` of
    training and test dataset), parameters (counts per method), or ablation (a row per variant of
    one method). name: of its files.

    Of an ablation: `method`, and what `varies`: names of settings, or "tokenizer". headers: those of
    the leading words; footnotes_at: the one that a row's footnotes follow, by default the first.
    rows: printed in this order, stored or not; other stored values follow, discrete tokenizers
    first. published: how an edition lists a value that has no row here.

    reference: the method that stands last and whose trainable parameters daggers compare with.
    edition: published numbers that name methods without a record. order: methods, in the order of
    rows. These three are the matrix file's where the table states none.
    """

    name: FileName
    caption: str
    kind: Literal["methods", "parameters", "cross-domain", "ablation"]
    datasets: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    method: str | None = None
    varies: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    footnotes_at: str | None = None
    rows: tuple[AblationRow, ...] = ()
    published: dict[str, dict[str, str]] = {}
    reference: str | None = None
    edition: str | None = None
    order: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        for field in _NEEDED[self.kind]:
            if not getattr(self, field):
                raise ValueError(f"table {self.name!r} is of kind {self.kind!r}; add {field}")
        for field in _ABLATION_FIELDS:
            if self.kind != "ablation" and getattr(self, field):
                raise ValueError(f"table {self.name!r}: {field} is for kind 'ablation' only")
        if self.kind == "ablation":
            self._check_ablation()
        return self

    def _check_ablation(self) -> None:
        if len(self.headers) < len(self.varies):
            raise ValueError(f"table {self.name!r} varies more than it has headers")
        if self.footnotes_at is not None and self.footnotes_at not in self.headers:
            raise ValueError(f"table {self.name!r}: footnotes_at must be one of its headers")
        for number, row in enumerate(self.rows, 1):
            values = {*row.settings, *(("tokenizer",) if row.tokenizer else ())}
            if values != set(self.varies):
                raise ValueError(
                    f"table {self.name!r}, row {number}: give a value of each of "
                    f"{', '.join(self.varies)} and of nothing else"
                )
            if row.words and len(row.words) != len(self.headers):
                raise ValueError(f"table {self.name!r}, row {number}: give a word per header")


_NEEDED = {
    "methods": ("datasets",),
    "cross-domain": ("pairs",),
    "parameters": (),
    "ablation": ("datasets", "method", "varies", "headers"),
}
_ABLATION_FIELDS = ("method", "varies", "headers", "footnotes_at", "rows", "published")


class Matrix(Frozen):
    """A matrix file, its includes resolved; reference, edition and order as in `TableBlock`."""

    name: str
    title: str
    cells: tuple[CellBlock, ...] = ()
    tables: tuple[TableBlock, ...] = ()
    reference: str | None = None
    edition: str | None = None
    order: tuple[str, ...] = ()


class Overrides(Frozen):
    """What the command line narrows or replaces; empty means: as the matrix says.

    precision: overrules that of protocol and profile.
    """

    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    settings: dict[str, Any] = {}
    tokenizer: str | None = None
    recipe: dict[str, Any] = {}
    precision: Literal["fp32", "bf16"] | None = None


def matrix_names() -> list[str]:
    """The shipped matrices."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def get_matrix(name: str) -> Matrix:
    """A shipped matrix by name, or one's own by its file's path (ending in .toml)."""
    return _read(_file(name))


def _file(name: str) -> Path:
    """The file of a matrix; BenchError where there is none."""
    if name.endswith(".toml"):
        file = Path(name)
        if not file.is_file():
            raise BenchError(f"No matrix file {name!r}. Give a path that exists, or a name.")
        return file
    if name not in matrix_names():
        raise unknown_name("matrix", name, matrix_names(), "Or give the path of a .toml file.")
    return FOLDER / f"{name}.toml"


def _read(file: Path, including: tuple[Path, ...] = ()) -> Matrix:
    """The matrix in a file. including: the files that led here, each by an `include`."""
    if file.resolve() in including:
        raise BenchError(f"Matrix file {file.name} includes itself. Take it out of `include`.")
    text = read_text(file, "matrix file")
    content = parse_toml(file, text)
    includes = content.pop("include", [])
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise BenchError(f"Matrix file {file.name}: include is a list of names. Write it so.")
    included = [_read(_file(name), (*including, file.resolve())) for name in includes]
    try:
        own = Matrix.model_validate({**content, "name": file.stem})
    except ValidationError as error:
        why = faults(error, lambda place: toml_line(text, place))
        raise BenchError(
            f"Matrix file {file.name} cannot be used: {why}. docs/datasets.md shows a matrix."
        ) from error
    return _joined(own, included)


def _joined(own: Matrix, included: Sequence[Matrix]) -> Matrix:
    """The matrix with the cells and tables of what it includes, those first.

    Its tables get its reference, edition and order; included ones keep those of their own file.
    """
    every = (*included, own)
    listed = [own.order, *(m.order for m in included), *(block.methods for block in own.cells)]
    shared: dict[str, Any] = {
        "reference": next((m.reference for m in (own, *included) if m.reference), None),
        "edition": next((m.edition for m in (own, *included) if m.edition), None),
        "order": merged_order(listed),
    }
    tables = [
        table.model_copy(update={k: getattr(table, k) or v for k, v in shared.items()})
        for table in own.tables
    ]
    return own.model_copy(
        update=shared
        | {
            "cells": tuple(itertools.chain(*(m.cells for m in every))),
            "tables": (*itertools.chain(*(m.tables for m in included)), *tables),
        }
    )


def own_matrix(
    methods: Sequence[str], train: Sequence[str], test: Sequence[str] = ("same",)
) -> Matrix:
    """A matrix without a file: every method trained on every dataset and scored on all of `test`.

    It and its tables are named by the training datasets: runs on others overwrite no table or page.
    """
    name = "-".join(train)
    pairs = [(one, one if other == "same" else other) for one in train for other in test]
    same = tuple(dict.fromkeys(one for one, other in pairs if one == other))
    across = tuple(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))
    tables: list[TableBlock] = []
    if same:
        words = f"Trained and scored on {', '.join(same)}"
        tables.append(
            TableBlock(name=f"{name}-in-domain", caption=words, kind="methods", datasets=same)
        )
    if across:
        words = "; ".join(f"{one} to {other}" for one, other in across)
        tables.append(
            TableBlock(
                name=f"{name}-cross-domain", caption=words, kind="cross-domain", pairs=across
            )
        )
    title = f"Trained on {', '.join(train)}, scored on {', '.join(test)}"
    block = CellBlock(methods=tuple(methods), train=tuple(train), test=tuple(test))
    order = tuple(methods)
    return Matrix(name=name, title=title, cells=(block,), tables=tuple(tables), order=order)


def require_trained_on(matrix: Matrix, datasets: Iterable[str]) -> None:
    """BenchError for a dataset that the matrix does not train on."""
    known = {name for block in matrix.cells for name in block.train}
    for name in datasets:
        if name not in known:
            raise unknown_name(f"training dataset of matrix {matrix.name}", name, known)


def merged_order(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All names in one order; an earlier list's order wins.

    A name that only a later list holds stands right after the name that it follows there, or right
    before the next name that both hold, or else last.
    """
    order: list[str] = []
    for names in lists:
        for place, name in enumerate(names):
            if name in order:
                continue
            if place:
                order.insert(order.index(names[place - 1]) + 1, name)
            else:
                known = [other for other in names if other in order]
                order.insert(order.index(known[0]) if known else len(order), name)
    return tuple(order)


def expand(
    matrix: Matrix, overrides: Overrides, protocol: Protocol, profile: Profile
) -> list[CellRequest]:
    """The matrix's cells under the overrides, each training once with all its test sets.

    Their profile holds the precision that applies: the overrides', else the protocol's, else its own.
    Raises BenchError when the overrides leave nothing, and above MAX_CELLS.
    """
    _refuse_too_many(matrix, overrides)
    precision = overrides.precision or protocol.precision or profile.precision
    profile = profile.model_copy(update={"precision": precision})
    requests = [
        CellRequest(
            method=method,
            train=train,
            tests=tests,
            seed=seed,
            protocol=protocol,
            profile=profile,
            settings=dict(zip(block.settings, values, strict=True)) | overrides.settings,
            tokenizer=overrides.tokenizer or tokenizer,
            recipe=overrides.recipe,
        )
        for block in matrix.cells
        for method in overrides.methods or block.methods
        for train in block.train
        for tokenizer in block.tokenizers
        for values in itertools.product(*block.settings.values())
        for seed in overrides.seeds
        if (tests := _test_sets(block, train, overrides.datasets, protocol))
    ]
    if not requests:
        raise BenchError(
            f"Matrix {matrix.name!r} has no cell for these overrides"
            + (f" (--datasets {','.join(overrides.datasets)})" if overrides.datasets else "")
            + f". It trains on {', '.join(sorted({t for b in matrix.cells for t in b.train}))}."
        )
    return merge_requests(requests)


def _refuse_too_many(matrix: Matrix, overrides: Overrides) -> None:
    """BenchError before a product is expanded that nobody could run."""
    count = sum(
        len(overrides.methods or block.methods)
        * len(block.train)
        * len(block.tokenizers)
        * math.prod(map(len, block.settings.values()))
        * len(overrides.seeds)
        for block in matrix.cells
    )
    if count > MAX_CELLS:
        raise BenchError(
            f"Matrix {matrix.name!r} expands to {count} cells; at most {MAX_CELLS} are planned at a "
            "time. Name fewer values, or split the file."
        )


def _test_sets(
    block: CellBlock, train: str, datasets: tuple[str, ...], protocol: Protocol
) -> tuple[TestSet, ...]:
    """The test sets of one training; none when the user's datasets leave its training out."""
    if datasets and train not in datasets:
        return ()
    names = [train if name == "same" else name for name in block.test]
    return tuple(
        TestSet(dataset=name, subset="test" if name == train else protocol.external_subset)
        for name in dict.fromkeys(names)
    )
