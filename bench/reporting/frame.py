"""All scores of a results folder as one tidy frame, and its cells as another.

Tables and figures take their numbers from the frame of scores. docs/scores.md describes every
column.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bench.experiments.cells import CellRecord
from bench.experiments.cells import load_cells as load_records
from bench.metrics.aggregate import METRICS
from bench.reporting.repetitions import repetition_digest
from bench.reporting.variants import variant_of

COORDINATES = ("cell", "method", "variant", "seed", "train", "test", "subset")
SCORE_COLUMNS = (*COORDINATES, "grid", "case", "group", "metric", "value", "empty")

CELL_COLUMNS = (
    *("cell", "method", "variant", "title", "family", "settings", "tokenizer", "tokenizer_role"),
    *("train", "seed", "profile", "protocol", "selection", "recipe", "epochs", "image_size"),
    *("status", "error", "trainable_params", "total_params"),
    *("images_seen", "normalise", "initial_weights"),
    *("selected_epoch", "train_seconds", "total_seconds", "peak_memory_bytes"),
    *("device", "precision", "commit", "dirty", "finished", "optimism"),
    *("repetition", "training_code", "split_scheme", "split_seed", "split_digest"),
    *("train_cases", "val_cases", "test_cases", "data_cases", "published_cases", "rescaled"),
)
COUNTS = (
    *("trainable_params", "total_params", "images_seen", "selected_epoch", "peak_memory_bytes"),
    *("split_seed", "train_cases", "val_cases", "test_cases", "data_cases", "published_cases"),
)
MEASURES = ("train_seconds", "total_seconds", "optimism")


def load_scores(results: str | Path) -> pd.DataFrame:
    """Every stored score below `results`: a row per cell, test set, grid, case and metric.

    Columns: SCORE_COLUMNS; `value` is float64, `seed` int64, the others are categoricals. DSC and
    IoU in [0, 1], distances in px. Cells of all profiles and protocols stand together: select with
    `load_cells` before averaging. Raises BenchError for a damaged record or score file.
    """
    return scores_of(load_records(Path(results) / "cells"))


def load_cells(results: str | Path) -> pd.DataFrame:
    """Every stored cell below `results`, a row each, failed ones included; columns CELL_COLUMNS.

    Raises BenchError for a damaged record.
    """
    return cells_of(load_records(Path(results) / "cells"))


def scores_of(records: Iterable[CellRecord]) -> pd.DataFrame:
    """The frame of `load_scores` from records."""
    files = [
        _score_rows(record, *label.rsplit("-", 1)) for record in records for label in record.tests
    ]
    files = [rows for rows in files if len(rows)]
    if not files:
        return pd.DataFrame(columns=list(SCORE_COLUMNS)).astype({"value": "float64"})
    rows = pd.concat(files, ignore_index=True)
    # Before melting, so that no string column is repeated once per metric.
    rows = rows.astype({name: "category" for name in rows if name not in ("seed", *METRICS)})
    scores = rows.melt(
        id_vars=[name for name in rows if name not in METRICS],
        value_vars=list(METRICS),
        var_name="metric",
        value_name="value",
    )
    return scores.astype({"metric": "category"})[list(SCORE_COLUMNS)]


def _score_rows(record: CellRecord, dataset: str, subset: str) -> pd.DataFrame:
    """The rows of one score file with the cell's coordinates, a column per metric."""
    if not record.has_scores(dataset, subset):
        return pd.DataFrame()
    names = {"case_id": "case", "group": "group", "grid": "grid", "empty": "empty"}
    rows = record.scores(dataset, subset)[[*names, *METRICS]].rename(columns=names)
    key = record.key
    coordinates = (record.id, key.method, variant_of(record).text, key.seed, key.train)
    values = (*coordinates, dataset, subset)
    return rows.assign(**dict(zip(COORDINATES, values, strict=True)))


def cells_of(records: Iterable[CellRecord]) -> pd.DataFrame:
    """The frame of `load_cells` from records."""
    cells = pd.DataFrame([_cell_row(record) for record in records], columns=list(CELL_COLUMNS))
    return cells.astype({name: "Int64" for name in COUNTS} | {name: "float64" for name in MEASURES})


def _cell_row(record: CellRecord) -> dict[str, object]:
    stored = record.model_dump() | record.key.model_dump() | record.provenance
    tokenizer = record.key.tokenizer
    own = {
        "cell": record.id,
        "variant": variant_of(record).text,
        "settings": json.dumps(record.key.settings, sort_keys=True),
        "tokenizer": tokenizer.name if tokenizer else None,
        "tokenizer_role": tokenizer.role if tokenizer else None,
        "recipe": record.key.recipe,
        "repetition": repetition_digest(record)[:12],
        "training_code": record.inputs.get("code", "")[:8] or None,
    } | _data_facts(record)
    return {name: (stored | own).get(name) for name in CELL_COLUMNS}


def _data_facts(record: CellRecord) -> dict[str, object]:
    """The training dataset and its split; empty for a record that does not state them."""
    facts = record.data.get(record.key.train)
    if facts is None:
        return {}
    split = facts.split
    return {
        "split_scheme": split.scheme,
        "split_seed": split.seed,
        "split_digest": split.digest[:12],
        "train_cases": split.train,
        "val_cases": split.val,
        "test_cases": split.test,
        "data_cases": facts.cases,
        "published_cases": facts.published_cases,
        "rescaled": facts.rescaled,
    }


class ScoreIndex:
    """Look-up in a frame of scores by cell, test set, grid and metric."""

    KEYS = ("cell", "test", "subset", "grid", "metric")

    def __init__(self, scores: pd.DataFrame) -> None:
        self.scores = scores
        self._rows = scores.groupby(list(self.KEYS), observed=True, sort=False).indices

    def rows(self, cell: str, test: str, subset: str, grid: str, metric: str) -> pd.DataFrame:
        """The cases of one test set, in stored order; no rows when there is no score."""
        return self.scores.iloc[self._rows.get((cell, test, subset, grid, metric), [])]
