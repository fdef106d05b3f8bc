"""Matrices: declarative files that expand into cell requests and name the tables they fill."""

import itertools
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench.core.errors import BenchError, faults, unknown_name
from bench.core.frozen import Frozen
from bench.core.paths import PACKAGE
from bench.experiments.cells import CellRequest, TestSet, merge_requests
from bench.protocols import Profile, Protocol

FOLDER = PACKAGE / "matrices"


class CellBlock(Frozen):
    """A product of cells. test: dataset names, or "same" for the training dataset's own test part.

    settings: each option's values to try; tokenizers: roles or names, None for the method's own.
    """

    methods: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...] = ("same",)
    settings: dict[str, tuple[Any, ...]] = {}
    tokenizers: tuple[str | None, ...] = (None,)


class TableBlock(Frozen):
    """One table: what it shows of the stored cells; see bench/tables."""

    name: str
    caption: str
    kind: Literal["methods", "parameters", "cross-domain", "losses", "tokenizers"]
    datasets: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()


class Matrix(Frozen):
    """A matrix file, its includes resolved."""

    name: str
    title: str
    cells: tuple[CellBlock, ...] = ()
    tables: tuple[TableBlock, ...] = ()


class Overrides(Frozen):
    """What the command line narrows or replaces; empty means: as the matrix says."""

    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    settings: dict[str, Any] = {}
    tokenizer: str | None = None
    recipe: dict[str, Any] = {}


def matrix_names() -> list[str]:
    """The shipped matrices."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def get_matrix(name: str) -> Matrix:
    """A shipped matrix by name, or one's own by its file's path (ending in .toml)."""
    if name.endswith(".toml"):
        file = Path(name)
        if not file.is_file():
            raise BenchError(f"No matrix file {name!r}. Give a path that exists, or a name.")
    else:
        if name not in matrix_names():
            raise unknown_name("matrix", name, matrix_names(), "Or give the path of a .toml file.")
        file = FOLDER / f"{name}.toml"
    return _read(file, file.stem)


def _read(file: Path, name: str) -> Matrix:
    try:
        content = tomllib.loads(file.read_text())
        parts = [get_matrix(other) for other in content.pop("include", [])]
        own = Matrix(name=name, **content)
    except (tomllib.TOMLDecodeError, ValidationError, TypeError) as error:
        why = faults(error) if isinstance(error, ValidationError) else error
        raise BenchError(f"Matrix file {file.name} cannot be used: {why}") from error
    return own.model_copy(
        update={
            "cells": tuple(itertools.chain(*(p.cells for p in parts), own.cells)),
            "tables": tuple(itertools.chain(*(p.tables for p in parts), own.tables)),
        }
    )


def expand(
    matrix: Matrix, overrides: Overrides, protocol: Protocol, profile: Profile
) -> list[CellRequest]:
    """The matrix's cells under the overrides, each training once with all its test sets.

    Raises BenchError when the overrides leave nothing.
    """
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
            f"Matrix {matrix.name!r} has no cell for these overrides. It trains on "
            f"{', '.join(sorted({t for b in matrix.cells for t in b.train}))}."
        )
    return merge_requests(requests)


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
