"""What a worker can do: resolve a request, train a cell, score a trained cell.

Each operation takes a job and a callback for progress and returns the job's last message. torch is
imported by the operations that need it: scoring stored predictions does without.
"""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.files import file_digest, set_aside, write_with
from bench.core.provenance import now
from bench.data.arrays import CaseArrays
from bench.experiments import locks
from bench.experiments.attempts import Attempt, asked_for, begin
from bench.experiments.cells import (
    HISTORY,
    RECORD,
    WEIGHTS,
    CellRecord,
    CellRequest,
    StoredTest,
    TestSet,
    write_frame,
)
from bench.experiments.identity import scoring_inputs
from bench.experiments.messages import (
    Finished,
    Job,
    Progress,
    Replayed,
    Resolved,
    Scoring,
    Timed,
    Tried,
)
from bench.experiments.predictions import Predictions, predictions_file, read_predictions
from bench.experiments.scoring import mean_dsc, score_predictions, write_scores
from bench.experiments.sources import Sources
from bench.experiments.store import left_to_do, reload
from bench.registry import use_plugin_files

if TYPE_CHECKING:
    from bench.experiments.context import CellContext

Report = Callable[[Progress], None]

logger = logging.getLogger("bench")

EXAMPLES = 4  # test cases whose images a cell keeps for the qualitative figure


def run_job(job: Job, report: Report) -> Resolved | Timed | Finished | Tried | Replayed:
    """Do a job. Raises BenchError for what the user can mend, any other exception for the rest."""
    use_plugin_files(job.plugins)
    match job.op:
        case "resolve":
            return resolve_job(job)
        case "train":
            return train_job(job, report)
        case "test":
            return test_job(job, report)
        case "replay":
            from bench.experiments.replay.retrain import replay_job  # imports torch

            return replay_job(job, report)
        case "time":
            return time_job(job)
        case "trial":
            from bench.experiments.tuning.trial import trial_job  # imports torch

            with locked(_folder(job)) as folder:
                _set_aside_damaged_state(folder / "resume" / "state.safetensors")
                return trial_job(job, report)


def resolve_job(job: Job) -> Resolved:
    """Fill in a request's defaults and build its method once, so that every mistake shows early."""
    from bench.experiments.context import require_buildable
    from bench.experiments.resolve import resolve

    spec, settings, resolution = resolve(job.request, job.train_cases)
    size = require_buildable(job.request, spec, settings, resolution)
    return Resolved(resolution=resolution, weights_bytes=size, search=spec.search)


def time_job(job: Job) -> Timed:
    """Take a few training steps of a cell in a folder that is deleted again."""
    with tempfile.TemporaryDirectory() as folder:
        context = _context(job.model_copy(update={"folder": Path(folder)}))
        return Timed(epoch_seconds=context.epoch_seconds())


def train_job(job: Job, report: Report) -> Finished:
    """Train a cell, predict and score its test sets, and write its record."""
    with locked(_folder(job)) as folder:
        if reload(folder) is not None:  # by another process, since this run was planned
            return _tested(job, folder, report)
        started, clock = now(), time.monotonic()
        context = _context(job)
        begin(folder, _attempt(job, context))
        _set_aside_damaged_state(folder / "resume" / "state.safetensors")
        trained = context.train(report)
        history = write_frame(folder / HISTORY, pd.DataFrame(trained.history))
        files = {HISTORY: history, WEIGHTS: context.store_weights()}
        tests = {
            test.label: _predict_and_score(job, context, test, report) for test in job.request.tests
        }
        spent = {
            "started": started,
            "finished": now(),
            "train_seconds": round(trained.seconds, 3),
            "total_seconds": round(time.monotonic() - clock, 3),
        }
        record = context.record(trained, spent).model_copy(
            update={
                "files": files,
                "tests": {label: stored for label, (stored, _) in tests.items()},
                "data": context.sources.facts(job.request),
            }
        )
        record.write(folder)
        shutil.rmtree(folder / "resume", ignore_errors=True)
        return Finished(dsc={label: dsc for label, (_, dsc) in tests.items()}, **context.memory())


def _set_aside_damaged_state(state: Path) -> None:
    """Keep a state of an earlier attempt that cannot be read aside: the cell trains from its start."""
    from safetensors import SafetensorError, safe_open

    if not state.exists():
        return
    try:
        with safe_open(state, "np") as file:
            json.loads(file.metadata()["state"])["pairs"]
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        kept = set_aside(state).name
        logger.warning("%s cannot be resumed from (%s); kept as %s", state, error, kept)


def test_job(job: Job, report: Report) -> Finished:
    """Score an already trained cell on its request's test sets."""
    with locked(_folder(job)) as folder:
        return _tested(job, folder, report)


def _tested(job: Job, folder: Path, report: Report) -> Finished:
    """Do what each test set still needs, and keep the record up to date after each."""
    record = reload(folder)
    assert record is not None  # the caller saw it, and holds the lock
    sources = Sources(job.request.profile, job.data, list(job.cards))
    work = left_to_do(record, job.request, sources)
    record = record.model_copy(update={"data": record.data | sources.facts(job.request)})
    context: CellContext | None = None
    for test in job.request.tests:
        if work[test.label] == "done":
            continue
        stored = None
        if work[test.label] == "score":
            stored = _score_again(record, job.request, test, sources, report)
        if stored is None:
            context = context or _trained_context(job, record)
            stored = _predict_and_score(job, context, test, report)[0]
        record = record.model_copy(update={"tests": record.tests | {test.label: stored}})
        record.write(folder)
    return Finished(
        dsc={t.label: mean_dsc(record.scores(t.dataset, t.subset)) for t in job.request.tests}
    )


def _context(job: Job) -> "CellContext":
    from bench.experiments.context import CellContext  # imports torch

    return CellContext(job)


def _attempt(job: Job, context: "CellContext") -> Attempt:
    return Attempt(
        asked=asked_for(job.request, job.request_digest, job.inputs),
        request=job.request,
        epochs=context.resolution.recipe.epochs,
    )


def _trained_context(job: Job, record: CellRecord) -> "CellContext":
    """The cell with its stored weights.

    Damaged weights are set aside together with the record, so that the next run trains again.
    """
    assert record.folder is not None
    weights = record.folder / WEIGHTS
    if not weights.is_file() or file_digest(weights) != record.files[WEIGHTS]:
        kept = [set_aside(file) for file in (weights, record.folder / RECORD) if file.is_file()]
        raise BenchError(
            f"{weights} is missing or was changed since cell {record.id} was stored; set aside: "
            f"{', '.join(file.name for file in kept)}. Run again: the cell trains anew."
        )
    context = _context(job)
    context.load_weights()
    return context


def _score_again(
    record: CellRecord, request: CellRequest, test: TestSet, sources: Sources, report: Report
) -> StoredTest | None:
    """Scores of the stored predictions; None where those are damaged. Damaged files are set aside."""
    assert record.folder is not None
    report(Scoring(test=test.label))
    stored = record.tests[test.label]
    _set_aside_if_changed(record.scores_file(test.dataset, test.subset), stored.scores)
    if _set_aside_if_changed(predictions_file(record.folder, test.label), stored.predictions):
        return None
    predictions = read_predictions(record.folder, test.label, stored.predictions)
    target = sources.arrays(test.dataset, request.profile.image_size)
    rows = score_predictions(predictions, target)
    cases, scoring = scoring_inputs(test, request, sources)
    rests_on = {"cases": cases, "predictions": stored.predictions, "scoring": scoring}
    return write_scores(record.folder, test, rows, rests_on)


def _set_aside_if_changed(file: Path, checksum: str) -> bool:
    """Whether a stored file is not the one that the record was written with; then it is renamed."""
    if not file.is_file() or file_digest(file) == checksum:
        return False
    logger.warning("%s was changed since it was stored; kept as %s", file, set_aside(file).name)
    return True


def _predict_and_score(
    job: Job, context: "CellContext", test: TestSet, report: Report
) -> tuple[StoredTest, float]:
    """Predict a test set, store masks, scores and examples; the mean DSC on the network grid."""
    report(Scoring(test=test.label))
    predictions, target = context.predict(test)
    rows = score_predictions(predictions, target)
    cases, scoring = scoring_inputs(test, job.request, context.sources)
    rests_on = {
        "cases": cases,
        "predictions": predictions.write(context.folder, test.label),
        "scoring": scoring,
    }
    _write_examples(context.folder, test, predictions, target)
    return write_scores(context.folder, test, rows, rests_on), mean_dsc(rows)


def _write_examples(
    folder: Path, test: TestSet, predictions: Predictions, target: CaseArrays
) -> None:
    """Images and masks of the first test cases, for figures on machines without the data."""
    ids = predictions.case_ids[:EXAMPLES]
    shown = target.rows(ids)
    examples: dict[str, Any] = {
        "case_ids": np.array(ids),
        "images": target.images[shown],
        "masks": target.masks[shown],
        "preds": np.array(predictions.network[:EXAMPLES]),
    }
    write_with(
        folder / "scores" / f"{test.label}-examples.npz",
        lambda file: np.savez_compressed(file, **examples),
    )


def _folder(job: Job) -> Path:
    assert job.folder is not None
    return job.folder


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """A cell's folder, held by its lock. Raises CellInUse while another process holds it."""
    with disk_errors(f"store cell {folder.name}", folder), locks.held(folder):
        yield folder
