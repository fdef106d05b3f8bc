"""Scores of stored cells with and without the test cases that leak."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.data.audit.leaks import find_leaks
from bench.data.audit.report import AuditReport
from bench.data.splits import Split
from bench.experiments.cells import CellRecord, CellRequest
from bench.experiments.identity import data_inputs
from bench.experiments.sources import Sources
from bench.reporting.frame import scores_of

COLUMNS = (
    *("cell", "method", "variant", "seed", "protocol", "test", "subset", "grid", "metric"),
    *("cases", "leaked_cases", "mean", "without", "leaked", "difference"),
)


@dataclass(frozen=True)
class LeakScores:
    """rows: columns COLUMNS, a row per cell, test set, grid and metric; means over all cases, over
    those that do not leak, over those that do (NaN where there is none), and all less without.
    skipped: cell -> why its split cannot be audited."""

    rows: pd.DataFrame
    skipped: dict[str, str]


def leak_scores(
    records: Iterable[CellRecord], data: Path, cards: list[Path], report: AuditReport
) -> LeakScores:
    """Means with and without leaked cases of finished cells, from their stored rows.

    records: cells trained on the audited dataset. Leaked cases of another test set are those that
    equal or near-duplicate a case of train or validation; test sets of datasets that were not
    audited beside are left out. A cell is skipped when its data or split are no longer those it was
    trained with.
    """
    parts, skipped = [], {}
    for record in records:
        try:
            request = _request(record)
            sources = Sources(request.profile, data, cards)
            _require_same_cases(record, request, sources)
        except BenchError as error:
            skipped[record.id] = str(error)
            continue
        scores = scores_of([record])
        for (test, _), rows in scores.groupby(["test", "subset"], observed=True):
            cases = _leaked(test, sources.split(request.train, request.protocol), report)
            if cases is not None:
                parts.append(_means(rows, cases).assign(protocol=request.protocol.name))
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return LeakScores(frame[list(COLUMNS)], skipped)


def _leaked(test: str, split: Split, report: AuditReport) -> set[str] | None:
    """The cases of a test set that leak; None where its dataset was not audited."""
    if test == split.dataset:
        return set(find_leaks(report.index, split, "").cases)
    learned = {*split.train, *split.val}
    for crossed in report.crossed:
        if crossed.other == test:
            return {other for one, other in crossed.pairs if one in learned}
    return None


def _request(record: CellRecord) -> CellRequest:
    """The request that a finished cell was trained for."""
    if record.status != "done":
        raise BenchError(f"failed: {record.error}")
    try:
        return CellRequest.model_validate(record.provenance.get("request"))
    except ValidationError as error:
        raise BenchError("its request is not stored in today's form") from error


def _require_same_cases(record: CellRecord, request: CellRequest, sources: Sources) -> None:
    if request.profile.phantoms:
        raise BenchError("trained on phantoms")
    for name, value in data_inputs(request, sources).items():
        if record.inputs.get(name) != value:
            raise BenchError(f"trained with another {name} than is prepared here")


def _means(rows: pd.DataFrame, leaked: set[str]) -> pd.DataFrame:
    """One row per grid and metric of one test set of one cell."""
    keys = ["cell", "method", "variant", "seed", "test", "subset", "grid", "metric"]
    rows = rows.assign(leaks=rows["case"].astype(str).isin(leaked))
    return pd.DataFrame(
        [dict(zip(keys, key, strict=True)) | _summary(own) for key, own in _groups(rows, keys)]
    )


def _groups(rows: pd.DataFrame, keys: list[str]) -> Iterable[tuple[tuple[str, ...], pd.DataFrame]]:
    return rows.groupby(keys, observed=True, sort=True)  # type: ignore[return-value]


def _summary(rows: pd.DataFrame) -> dict[str, float]:
    whole, without = rows["value"].mean(), rows.loc[~rows["leaks"], "value"].mean()
    return {
        "cases": len(rows),
        "leaked_cases": int(rows["leaks"].sum()),
        "mean": whole,
        "without": without,
        "leaked": rows.loc[rows["leaks"], "value"].mean(),
        "difference": whole - without,
    }
