"""What a search found: a summary per study, and its winners as requests. Imports neither optuna nor
torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench.core.errors import BenchError, faults
from bench.core.files import write_text
from bench.core.frozen import Frozen
from bench.core.reading import read_text
from bench.experiments.cells import CellRequest, Tuned
from bench.experiments.identity import data_inputs
from bench.experiments.sources import Sources
from bench.experiments.tuning.plan import PLAN, Plan, read_plan, study_name

SUMMARY = "study.json"


class Winner(Frozen):
    """The complete trial with the best score. settings, recipe: what it changed of the method's own."""

    trial: int
    value: float
    settings: dict[str, Any]
    recipe: dict[str, Any]


class Summary(Frozen):
    """The whole of a study's `study.json`.

    trials: outcome -> how many ended so. images: training images that they saw, of `planned`. score:
    what they are chosen by, such as "validation DSC". own: score of the method's own recipe, the
    first trial. ended: the images are spent. given_up: as many trials failed as were planned, so the
    study ended before. error: of the first failed trial. inputs: digests of code, data, split and
    rules; see `bench.experiments.identity`.
    """

    format: Literal[1] = 1
    search: str
    method: str
    train: str
    trials: dict[str, int]
    images: int
    planned: int
    score: str
    ended: bool
    given_up: bool
    winner: Winner | None = None
    own: float | None = None
    seconds: float = 0.0
    error: str = ""
    inputs: dict[str, str] = {}

    @property
    def name(self) -> str:
        """`SEARCH/METHOD-DATASET`."""
        return f"{self.search}/{study_name(self.method, self.train)}"

    @property
    def count(self) -> int:
        """All trials that ended."""
        return sum(self.trials.values())

    def write(self, folder: Path) -> None:
        """Write it below the search's folder."""
        file = folder / study_name(self.method, self.train) / SUMMARY
        write_text(file, self.model_dump_json(indent=2) + "\n")


def read_summaries(folder: Path) -> list[Summary]:
    """The studies of a search's folder, by name."""
    return [_read(file) for file in sorted(folder.glob(f"*/{SUMMARY}"))]


def _read(file: Path) -> Summary:
    try:
        return Summary.model_validate_json(read_text(file, "summary of a study"))
    except ValidationError as error:
        raise BenchError(
            f"{file} is no summary of this version: {faults(error)}. Run the same `bench tune` "
            "again: it is written anew."
        ) from error


def searches(out: Path) -> list[Path]:
    """The folders of all searches of a results folder, by name."""
    return sorted(file.parent for file in (out / "tuning").glob(f"*/{PLAN}"))


def with_winners(
    requests: Iterable[CellRequest], folder: Path, sources: Sources
) -> list[CellRequest]:
    """The requests with what the search in `folder` found for their methods and datasets.

    Raises BenchError where it found nothing or is not at its end, where its validation cases are
    others, and where a request states what was searched.
    """
    plan = read_plan(folder)
    known = {(one.method, one.train): one for one in read_summaries(folder)}
    return [_with_winner(request, plan, known, sources) for request in requests]


def _with_winner(
    request: CellRequest,
    plan: Plan,
    known: dict[tuple[str, str], Summary],
    sources: Sources,
) -> CellRequest:
    summary = known.get((request.method, request.train))
    if summary is None:
        raise BenchError(
            f"Search {plan.name!r} has no study of {request.method} on {request.train}; it has "
            f"{_listed(known.values())}. Run bench tune with the same options and --methods "
            f"{request.method} --datasets {request.train}, or leave the cell out."
        )
    winner = _winner(summary)
    found = data_inputs(request, sources)["split"]
    if found != summary.inputs["split"]:
        raise BenchError(
            f"Study {summary.name} was searched on another split of {request.train}: test cases of "
            "this run may have been used in the search. Search again under this run's protocol."
        )
    _refuse_two_values(request, winner, summary)
    tuned = Tuned(
        study=summary.name,
        trial=winner.trial,
        trials=summary.count,
        images=summary.images,
        planned=summary.planned,
        budget=plan.budget,
        score=summary.score,
        value=winner.value,
        image_size=plan.profile.image_size,
    )
    return request.model_copy(
        update={
            "settings": winner.settings | request.settings,
            "recipe": winner.recipe | request.recipe,
            "tuned": tuned,
        }
    )


def _winner(summary: Summary) -> Winner:
    if not summary.ended:
        raise BenchError(
            f"Study {summary.name} is not at its end: {summary.images:,} of {summary.planned:,} "
            "images are spent, and equal budgets are what a tuned recipe means. "
            + (f"It was given up: {summary.error}" if summary.given_up else "Run the same `bench tune` again.")
        )  # fmt: skip
    if summary.winner is None:
        raise BenchError(
            f"Study {summary.name} has no complete trial, so no recipe. Leave {summary.method} out, "
            "or search again with more images for each trial."
        )
    return summary.winner


def _refuse_two_values(request: CellRequest, winner: Winner, summary: Summary) -> None:
    pairs = ((request.settings, winner.settings, ""), (request.recipe, winner.recipe, "recipe."))
    for stated, found, prefix in pairs:
        for name in stated.keys() & found.keys():
            if stated[name] != found[name]:
                raise BenchError(
                    f"{prefix}{name}={stated[name]} contradicts study {summary.name}, which "
                    f"found {found[name]}. Leave it out of --set, or run without --tuned."
                )


def _listed(summaries: Iterable[Summary]) -> str:
    named: Sequence[str] = sorted(f"{one.method} on {one.train}" for one in summaries)
    return (
        ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "") or "none"
    )
