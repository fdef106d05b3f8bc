"""A search: rounds of trials of all its studies, until each has seen its images.

A round asks every study for `together` trials, trains them through an executor, and tells optuna in
the order of their numbers how they ended. So what a study tries depends on its seed and on
`together`, and not on which worker was faster or on where the search was stopped.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.experiments import locks
from bench.experiments.cells import CellRequest
from bench.experiments.early import refuse_mistakes
from bench.experiments.executors.interface import Executor
from bench.experiments.executors.make import make_executor
from bench.experiments.identity import Resolution, differences, requested_inputs
from bench.experiments.lengths import epochs_of_budget, images_per_epoch
from bench.experiments.messages import Epoch, Event, Failed, Job, Resolved, TrialJob, Tried
from bench.experiments.runner import RunOptions
from bench.experiments.sources import Sources
from bench.experiments.store import request_digest
from bench.experiments.tuning import studies
from bench.experiments.tuning.plan import Plan, begin, study_name
from bench.experiments.tuning.space import (
    NEVER,
    Space,
    changes,
    distributions,
    narrowed,
    own_params,
)
from bench.experiments.tuning.winners import Summary, Winner
from bench.recipes import Recipe
from bench.registry import plugin_files, require_method

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

logger = logging.getLogger("bench")

Tell = Callable[["OneStudy", int, Event], None]
"""Called as tell(study, trial's number, event) while trials are at work, from several threads."""


@dataclass
class OneStudy:
    """The study of one method on one dataset.

    request: a trial's, before anything is changed. cases: training cases of the split. inputs: what
    its trials rest on. resolution, declared: of the method, once a worker read it. space, over: what
    is tried, as parameters and as optuna's distributions.
    """

    plan: Plan
    request: CellRequest
    cases: int
    inputs: dict[str, str]
    folder: Path
    url: str
    study: "Study"
    space: Space = field(default_factory=dict)
    over: "dict[str, BaseDistribution]" = field(default_factory=dict)
    resolution: Resolution | None = None

    @property
    def label(self) -> str:
        """ "unet on glas"."""
        return f"{self.request.method} on {self.request.train}"

    @property
    def recipe(self) -> Recipe:
        """The method's own recipe at the length of a trial."""
        assert self.resolution is not None
        return self.resolution.recipe

    def resolved(self, event: Resolved) -> None:
        """Take what a worker read of the method; BenchError for a wrong declaration."""
        self.resolution = event.resolution
        settings = event.resolution.key.settings
        stated = {*self.plan.settings, *(f"recipe.{name}" for name in self.plan.recipe)}
        self.space = narrowed(self.plan.space, event.search, stated, self.request.method)
        self.over = distributions(self.space, self.recipe, settings, self.cases)

    # -- the budget

    def trials(self) -> "list[FrozenTrial]":
        """All trials so far."""
        return self.study.get_trials(deepcopy=False)

    def spent(self) -> int:
        """Training images that the ended trials saw, and that the running ones may see."""
        return sum(
            trial.user_attrs[studies.IMAGES if trial.state.is_finished() else studies.ALLOWED]
            for trial in self.trials()
        )

    def given_up(self) -> bool:
        """Whether as many trials failed as were planned: more of them would not help."""
        failed = [t for t in self.trials() if t.user_attrs.get(studies.OUTCOME) == "failed"]
        return len(failed) >= self.plan.trials

    def whole(self, params: dict[str, Any]) -> int:
        """Images of a trial that runs to its last epoch."""
        _, changed = changes(self.space, params)
        recipe = Recipe.model_validate(self.recipe.model_dump() | changed)
        epochs = epochs_of_budget(self.plan.budget, recipe, self.cases)
        return epochs * images_per_epoch(recipe.shortened(1), self.cases)

    # -- rounds

    def round(self) -> "list[FrozenTrial]":
        """The trials to train now: those that an earlier process left, and new ones."""
        known = self.trials()
        running = [trial for trial in known if not trial.state.is_finished()]
        number = max((trial.user_attrs[studies.ROUND] for trial in known), default=-1)
        if not running:
            number += 1
        begun = [trial for trial in known if trial.user_attrs[studies.ROUND] == number]
        if len(begun) > len(running):  # a part of the round is told: nothing more is asked in it
            return running
        for _ in range(self.plan.together - len(running)):
            if self.spent() >= self.plan.images or self.given_up():
                break
            self._ask(number)
        return [trial for trial in self.trials() if not trial.state.is_finished()]

    def _ask(self, number: int) -> None:
        """Start a trial: the method's own recipe first, then what TPE proposes."""
        plan = self.plan
        if not self.trials():
            assert self.resolution is not None
            settings = self.resolution.key.settings
            params = own_params(self.space, self.over, self.recipe, settings)
        else:
            pruner = studies.make_pruner(plan.pruner, plan.trials, self.recipe.epochs)
            params = studies.proposed(self.study, self.over, pruner, plan.trials, plan.seed)
        allowed = min(self.whole(params), plan.images - self.spent())
        studies.start(
            self.study, self.over, params, {studies.ALLOWED: allowed, studies.ROUND: number}
        )

    def job(self, trial: "FrozenTrial", options: RunOptions) -> Job:
        """The work of a trial."""
        settings, recipe = changes(self.space, trial.params)
        request = self.request.model_copy(
            update={
                "settings": self.request.settings | settings,
                "recipe": self.request.recipe | recipe,
            }
        )
        asked = TrialJob(
            storage=self.url,
            study=self.study.study_name,
            number=trial.number,
            pruner=self.plan.pruner,
            trials=self.plan.trials,
            epochs=self.recipe.epochs,
            images=trial.user_attrs[studies.ALLOWED],
        )
        return _job("trial", request, self.cases, options).model_copy(
            update={
                "id": f"{self.folder.name}-{trial.number:04d}",
                "inputs": self.inputs,
                "folder": self.folder / "trials" / f"{trial.number:04d}",
                "trial": asked,
            }
        )

    def end(self, number: int, tried: Tried) -> None:
        """Tell optuna how a trial ended."""
        facts: dict[str, Any] = {studies.IMAGES: tried.images, studies.SECONDS: tried.seconds}
        if tried.error:
            facts[studies.ERROR] = tried.error
        studies.end(self.study, number, tried.outcome, tried.value, facts)
        shutil.rmtree(self.folder / "trials" / f"{number:04d}" / "resume", ignore_errors=True)

    def summary(self) -> Summary:
        """What the study found so far."""
        ended = [trial for trial in self.trials() if trial.state.is_finished()]
        outcomes = [trial.user_attrs[studies.OUTCOME] for trial in ended]
        whole = [t for t in ended if t.user_attrs[studies.OUTCOME] == "complete" and t.values]
        errors = [t.user_attrs[studies.ERROR] for t in ended if studies.ERROR in t.user_attrs]
        best = max(whole, key=lambda trial: (trial.value, -trial.number), default=None)
        images = sum(trial.user_attrs[studies.IMAGES] for trial in ended)
        metric = self.plan.protocol.selection_metric
        return Summary(
            search=self.plan.name,
            method=self.request.method,
            train=self.request.train,
            trials={name: outcomes.count(name) for name in dict.fromkeys(sorted(outcomes))},
            images=images,
            planned=self.plan.images,
            score="validation DSC" if metric == "dsc" else f"validation {metric}",
            ended=images >= self.plan.images,
            given_up=self.given_up() and images < self.plan.images,
            winner=None if best is None else self._winner(best),
            own=next((trial.value for trial in whole if trial.number == 0), None),
            seconds=round(sum(trial.user_attrs[studies.SECONDS] for trial in ended), 3),
            error=errors[0] if errors else "",
            inputs=self.inputs,
        )

    def _winner(self, best: "FrozenTrial") -> Winner:
        assert best.value is not None
        settings, recipe = changes(self.space, best.params)
        return Winner(
            trial=best.number,
            value=best.value,
            settings=self.plan.settings | settings,
            recipe=self.plan.recipe | recipe,
        )


def search(
    plan: Plan,
    methods: Sequence[str],
    datasets: Sequence[str],
    options: RunOptions,
    storage: str | None,
    tell: Tell,
) -> list[OneStudy]:
    """Search until every study has seen its images; goes on where an earlier process stopped.

    storage: a database's URL, None for the journal. Raises BenchError before any training for what
    cannot be searched, and while another process works on the search.
    """
    sources = Sources(plan.profile, options.data, list(options.cards))
    asked = [_checked(plan, method, dataset, sources) for dataset in datasets for method in methods]
    folder = options.places.results / "tuning" / plan.name  # a cluster's workers see it so
    database = None if storage is None else studies.open_storage(storage)
    begin(folder, plan)
    try:
        with locks.held(folder):
            url = studies.storage_url(folder, storage)
            database = database or studies.open_storage(url)
            every = [_opened(plan, *one, folder, url, database) for one in asked]
            with make_executor(
                options.choice, options.devices, options.threads, options.logs, options.places
            ) as executor:
                _resolve(executor, every, options)
                while _round(executor, every, options, tell):
                    for one in every:
                        one.summary().write(folder)
            for one in every:
                one.summary().write(folder)
    except locks.CellInUse as error:
        raise BenchError(
            f"Search {plan.name!r} is in use by {locks.holder(folder)}. Wait for it, or give another "
            "--name."
        ) from error
    return every


def _checked(
    plan: Plan, method: str, dataset: str, sources: Sources
) -> tuple[CellRequest, int, dict[str, str]]:
    """(request, training cases, digests of what its trials rest on) of a study; BenchError for what
    can be told without the method's code."""
    fixed = [name for name in NEVER if name in plan.recipe and name != "name"]
    if fixed:
        raise BenchError(
            f"--set recipe.{fixed[0]}: the budget sets the length of every trial, and a search its own "
            "marks. Leave it out."
        )
    require_method(method)
    sources.card(dataset)
    request = plan.request(method, dataset)
    refuse_mistakes([request])
    cases = len(sources.training_split(dataset, plan.protocol).train)
    if plan.budget < cases:
        raise BenchError(
            f"--budget {plan.budget} is less than one pass over the {cases} training cases of "
            f"{dataset}, and a trial is scored after whole passes. Give {cases} or more."
        )
    return request, cases, requested_inputs(request, sources)


def _opened(
    plan: Plan,
    request: CellRequest,
    cases: int,
    inputs: dict[str, str],
    folder: Path,
    url: str,
    database: Any,
) -> OneStudy:
    """The study in its storage; BenchError where its trials rest on something else than now."""
    own = folder / study_name(request.method, request.train)
    study = studies.open_study(database, f"{plan.name}/{own.name}")
    known = study.user_attrs.get("inputs")
    if known is None:
        study.set_user_attr("inputs", inputs)
    elif known != inputs:
        differ = ", ".join(differences(known, inputs)) or "unknown component"
        raise BenchError(
            f"Study {study.study_name} was begun with another {differ} than now, so its trials cannot "
            "be compared with new ones. Give another --name."
        )
    return OneStudy(plan, request, cases, inputs, own, url, study)


def _resolve(executor: Executor, every: Sequence[OneStudy], options: RunOptions) -> None:
    """Read every method's recipe and declaration, and build it once; BenchError for a mistake."""
    mistakes: list[str] = []

    def on_event(one: OneStudy, event: Event) -> None:
        if isinstance(event, Failed):
            mistakes.append(f"{one.label}: {event.message}\n{event.traceback or ''}".rstrip())
        elif isinstance(event, Resolved):
            try:
                one.resolved(event)
            except BenchError as error:
                mistakes.append(f"{one.label}: {error}")

    executor.map(
        [(one, _job("resolve", one.request, one.cases, options)) for one in every], on_event
    )
    if mistakes:
        raise BenchError(f"Nothing was trained. {mistakes[0]}")


def _round(executor: Executor, every: Sequence[OneStudy], options: RunOptions, tell: Tell) -> bool:
    """One round of trials; False where nothing is left to do."""
    work = [(one, trial) for one in every for trial in one.round()]
    epochs: dict[tuple[str, int], int] = {}
    ends: dict[tuple[str, int], Tried] = {}

    def on_event(tag: "tuple[OneStudy, FrozenTrial]", event: Event) -> None:
        one, trial = tag
        place = (one.study.study_name, trial.number)
        if isinstance(event, Epoch):
            epochs[place] = event.epoch
        elif isinstance(event, Tried):
            ends[place] = event
        elif isinstance(event, Failed):
            if event.in_use:
                raise BenchError(f"Trial {trial.number} of {one.label}: {event.message}")
            event = ends[place] = _crashed(one, trial, epochs.get(place, 0), event)
        tell(one, trial.number, event)

    executor.map([((one, trial), one.job(trial, options)) for one, trial in work], on_event)
    for one, trial in work:
        one.end(trial.number, ends[one.study.study_name, trial.number])
    return bool(work)


def _crashed(one: OneStudy, trial: "FrozenTrial", epochs: int, event: Failed) -> Tried:
    """The end of a trial whose worker said no more: its whole epochs are counted."""
    _, changed = changes(one.space, trial.params)
    recipe = Recipe.model_validate(one.recipe.model_dump() | changed)
    images = epochs * images_per_epoch(recipe.shortened(1), one.cases)
    return Tried(outcome="failed", images=images, error=event.message)


def _job(op: Any, request: CellRequest, cases: int, options: RunOptions) -> Job:
    return Job(
        op=op,
        request=request,
        request_digest=request_digest(request),
        train_cases=cases,
        data=options.places.data,
        cards=tuple(card.absolute() for card in options.cards),
        plugins=plugin_files(),
    )
