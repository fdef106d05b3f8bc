"""A trial: one training of a search, scored on validation cases. Importing this imports torch.

Test cases are neither read nor decoded: the trial's sources have none.
"""

import json
import math
import shutil
import time
import traceback
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.data.arrays import CaseArrays
from bench.data.splits import Split
from bench.experiments.cells import TestSet
from bench.experiments.context import CellContext
from bench.experiments.lengths import images_per_epoch
from bench.experiments.messages import Job, Progress, TrialJob, Tried
from bench.experiments.sources import Sources
from bench.experiments.tuning.studies import handle, make_pruner, open_storage, open_study
from bench.protocols import Profile, Protocol, Resize
from bench.recipes import Recipe
from bench.training.trainer import Trained

ENDED = "trial.json"
"""In a trial's folder, once it ended: its `Tried`, its request and the digests of what it rests on."""


class SearchSources(Sources):
    """The sources of a search: the training and validation cases of a protocol, and no test cases."""

    def __init__(
        self, profile: Profile, data: Path | None, cards: list[Path], protocol: Protocol
    ) -> None:
        super().__init__(profile, data, cards)
        self.protocol = protocol

    def split(self, dataset: str, protocol: Protocol) -> Split:
        """The dataset's split without its test cases."""
        whole = super().split(dataset, protocol)
        return Split(dataset, whole.scheme, whole.seed, whole.train, whole.val, ())

    def test_cases(self, test: TestSet, protocol: Protocol) -> tuple[str, ...]:
        """BenchError: a search has no test set."""
        raise BenchError(f"A search has no test set, and {test.label} was asked for.")

    def _loaded(
        self, dataset: str, size: int, resize: Resize, only: Container[str] | None = None
    ) -> CaseArrays:
        """The training and validation cases; no other is decoded."""
        split = self.split(dataset, self.protocol)
        return super()._loaded(dataset, size, resize, frozenset((*split.train, *split.val)))


class GivenUp(Exception):
    """The trial ends before its last epoch."""

    def __init__(self, outcome: Literal["pruned", "cut"]) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Verdict:
    """Keeps validation scores in the study, and says whether the pruner ends the trial.

    scores: epoch, 1-based -> score in [0, 1], those of earlier attempts included.
    """

    def __init__(self, trial: TrialJob) -> None:
        study = open_study(open_storage(trial.storage), trial.study)
        study.pruner = make_pruner(trial.pruner, trial.trials, trial.epochs)
        self.handle = handle(study, trial.number)
        self.scores = dict(study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def __call__(self, epoch: int, score: float) -> bool:
        """Keep an epoch's score, unless an earlier attempt did; whether the trial is to end."""
        if epoch not in self.scores:
            self.handle.report(score, epoch)
            self.scores[epoch] = score
        return bool(self.handle.should_prune())

    def best(self) -> tuple[int, float] | None:
        """(epoch, score) of the best score, of the earlier epoch at equal ones; None without any."""
        return min(self.scores.items(), key=lambda one: (-one[1], one[0]), default=None)


class TrialContext(CellContext):
    """The training of a trial: counts its images, reports its epochs, and stops where it is to.

    images: training images seen so far, those of earlier attempts included.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        assert job.trial is not None
        request = job.request
        self.sources = SearchSources(request.profile, job.data, list(job.cards), request.protocol)
        self.allowed, self.images = job.trial.images, 0
        self.verdict = Verdict(job.trial)
        self._score = f"val_{request.protocol.selection_metric.replace('-', '_')}"

    def _fit(
        self, data: Any, state: Path | None, follow: Callable[[dict[str, Any]], None]
    ) -> Trained:
        recipe, cases = self.resolution.recipe, len(data.split.train)

        def watched(event: dict[str, Any]) -> None:
            follow(event)
            if "step" in event:
                done = event["step"] + 1
                self.images = images_after(recipe, cases, event["epoch"], done)
                if self.images >= self.allowed and done < event["steps"]:
                    raise GivenUp("cut")
            else:
                self._end_epoch(event["epoch"], event[self._score], event["epochs"])

        return super()._fit(data, state, watched)

    def see_whole(self, trained: Trained) -> None:
        """Count the images of a training that ended by itself, also where its last epoch was stored."""
        recipe, cases = self.resolution.recipe, len(self.data.split.train)
        self.images = images_after(recipe, cases, len(trained.history), 0)

    def _end_epoch(self, epoch: int, score: float, epochs: int) -> None:
        """epoch: 1-based, of `epochs`. score: NaN where the epoch was not validated."""
        prune = not math.isnan(score) and self.verdict(epoch, score)
        if epoch == epochs:  # whole: the training ends by itself
            return
        if prune:
            raise GivenUp("pruned")
        if self.images >= self.allowed:
            raise GivenUp("cut")


def images_after(recipe: Recipe, cases: int, epochs: int, steps: int) -> int:
    """Training images in the batches of `epochs` whole epochs and `steps` steps of the next one."""
    whole = epochs * images_per_epoch(recipe, cases)
    size = recipe.batch_size
    if recipe.drop_last:
        return whole + steps * size
    passes, rest = divmod(steps, -(-cases // size))
    return whole + passes * cases + rest * size


def trial_job(job: Job, report: Callable[[Progress], None]) -> Tried:
    """Train a trial, or give what it ended with; the caller holds the lock of its folder.

    Its own mistakes, NaN and lack of memory are an outcome; a full disk is not.
    """
    assert job.folder is not None
    file = job.folder / ENDED
    if file.exists():
        return Tried.model_validate(json.loads(file.read_text())["tried"])
    clock = time.monotonic()
    tried = _tried(job, report)
    tried = tried.model_copy(update={"seconds": round(time.monotonic() - clock, 3)})
    request = job.request.model_dump(mode="json")
    write_json(
        file, {"tried": tried.model_dump(mode="json"), "request": request, "inputs": job.inputs}
    )
    shutil.rmtree(job.folder / "resume", ignore_errors=True)
    return tried


def _tried(job: Job, report: Callable[[Progress], None]) -> Tried:
    """Train, and say how that ended."""
    context: TrialContext | None = None
    outcome: Literal["complete", "pruned", "cut", "failed"] = "complete"
    error = ""
    try:
        context = TrialContext(job)
        context.see_whole(context.train(report))
    except GivenUp as end:
        outcome = end.outcome
    except OSError:
        raise
    except BenchError as failure:
        outcome, error = "failed", str(failure)
    except Exception as failure:  # noqa: BLE001 - any mistake of a method ends its trial alone
        outcome, error = "failed", f"{type(failure).__name__}: {failure}"
        traceback.print_exc()  # into the worker's log
    epoch, value = (context.verdict.best() if context else None) or (None, None)
    images = context.images if context else 0
    return Tried(outcome=outcome, value=value, epoch=epoch, images=images, error=error)
