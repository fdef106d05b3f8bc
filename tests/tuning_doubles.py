"""Searches without training: an executor whose trials have scores by formula, and plans for it."""

import math
from pathlib import Path
from typing import Any

from bench.experiments.executors.local import LocalExecutor
from bench.experiments.lengths import images_per_epoch
from bench.experiments.messages import Epoch, Failed, Job, Resolved, Tried
from bench.experiments.resolve import resolve
from bench.experiments.runner import RunOptions
from bench.experiments.tuning.plan import Plan, searching
from bench.experiments.tuning.search import OneStudy, search
from bench.experiments.tuning.space import Parameter
from bench.experiments.tuning.trial import Verdict, images_after
from bench.protocols import get_profile, get_protocol

SPACE = {
    "recipe.lr": Parameter(low=0.1, high=10, log=True, times_own=True),
    "recipe.batch_size": Parameter(choices=(3, 4, 5)),
}


def plan(**changes: Any) -> Plan:
    """Six trials of 40 images on eleven training cases of smoke's phantoms, batches of 3 to 5."""
    profile = get_profile("smoke").model_copy(update={"train_cases": 14})
    values = {"trials": 6, "budget": 40, "seed": 0, "pruner": "median", "space": SPACE} | changes
    protocol = searching(get_protocol("tuned"), values["budget"])
    return Plan(name="mine", protocol=protocol, profile=profile, **values)


def options(out: Path) -> RunOptions:
    """Everything below `out`, on one worker."""
    return RunOptions(out, None, (), ("cpu",), 1)


class Scripted(LocalExecutor):
    """Trials in no time: their score rises with the epochs towards a peak at a rate of 5e-3.

    failing: methods whose trials fail in their second epoch. crashing: those whose worker dies
    there. stop: the number of trials after which Ctrl-C is pressed, before the next one starts.
    """

    def __init__(self, failing=(), crashing=(), stop: int | None = None) -> None:
        self.failing, self.crashing, self.stop = failing, crashing, stop
        self.done: list[Job] = []

    def __enter__(self):
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def map(self, jobs, report) -> None:
        for tag, job in jobs:
            if job.op == "resolve":
                spec, _, resolution = resolve(job.request, job.train_cases)
                report(tag, Resolved(resolution=resolution, search=spec.search))
                continue
            if self.stop is not None and len(self.done) == self.stop:
                raise KeyboardInterrupt
            self.done.append(job)
            self._train(tag, job, report)

    def _train(self, tag, job: Job, report) -> None:
        assert job.trial is not None
        recipe = resolve(job.request, job.train_cases)[2].recipe
        verdict = Verdict(job.trial)
        peak = 1 - abs(math.log10(recipe.lr / 5e-3)) / 3
        one = images_per_epoch(recipe, job.train_cases)
        outcome, seen = "complete", 0
        for epoch in range(1, recipe.epochs + 1):
            if epoch == 2 and job.request.method in self.failing:
                report(tag, Tried(outcome="failed", images=seen, error="NaN on request"))
                return
            if epoch == 2 and job.request.method in self.crashing:
                report(tag, Failed(message="The worker process was ended by SIGKILL."))
                return
            steps = math.ceil(max(0, job.trial.images - seen) / recipe.batch_size)
            if steps * recipe.batch_size < one:
                seen = images_after(recipe, job.train_cases, epoch - 1, steps)
                outcome = "cut"
                break
            seen = images_after(recipe, job.train_cases, epoch, 0)
            score = peak * epoch / recipe.epochs
            report(tag, Epoch(epoch=epoch, epochs=recipe.epochs, row={"val_dsc": score}))
            if verdict(epoch, score) and epoch < recipe.epochs:
                outcome = "pruned"
                break
        best = verdict.best() or (None, None)
        report(tag, Tried(outcome=outcome, value=best[1], epoch=best[0], images=seen))


def searched(monkeypatch, out: Path, executor: Scripted, methods=("tiny",), **changes: Any):
    """The studies of a search whose trials `executor` does."""
    monkeypatch.setattr(
        "bench.experiments.tuning.search.make_executor", lambda *arguments: executor
    )
    return search(
        plan(**changes), methods, ("busi",), options(out), None, lambda one, number, event: None
    )


def content(one: OneStudy) -> list[tuple]:
    """All that a study holds of its trials, but their times."""
    return [
        (
            trial.number,
            trial.params,
            trial.state.name,
            trial.values,
            trial.intermediate_values,
            {name: fact for name, fact in trial.user_attrs.items() if name != "seconds"},
        )
        for trial in one.study.get_trials()
    ]
