"""What a search is: its budget, its rules and its folder. Reading it imports neither optuna nor torch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.core.errors import BenchError, faults
from bench.core.files import digest, write_text
from bench.core.frozen import FileName, Frozen
from bench.core.reading import read_text
from bench.experiments.cells import CellRequest
from bench.experiments.tuning.space import Space
from bench.protocols import Profile, Protocol

PLAN, JOURNAL = "search.json", "journal.log"

Pruner = Literal["median", "hyperband", "none"]


class Plan(Frozen):
    """The whole of `search.json`: all that decides the trials of a search but its methods and datasets.

    trials: whole trainings that the budget of each study pays. budget: training images of each.
    together: trials of one study that are asked for at a time; see docs/tuning.md. settings, recipe,
    tokenizer: what `--set` and `--tokenizer` state for every trial. space: the common one. storage:
    where optuna keeps the studies, without a password; None for the journal in the search's folder.
    """

    format: Literal[1] = 1
    name: FileName
    trials: int = Field(ge=1, le=10_000)
    budget: int = Field(ge=1)
    seed: int
    pruner: Pruner
    together: int = Field(1, ge=1)
    protocol: Protocol
    profile: Profile
    settings: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    tokenizer: str | None = None
    space: Space
    storage: str | None = None

    @property
    def images(self) -> int:
        """Training images that every study sees."""
        return self.trials * self.budget

    def request(self, method: str, dataset: str) -> CellRequest:
        """The training of a trial before anything is changed. It has no test set."""
        return CellRequest(
            method=method,
            train=dataset,
            tests=(),
            seed=self.seed,
            protocol=self.protocol,
            profile=self.profile,
            settings=self.settings,
            tokenizer=self.tokenizer,
            recipe=self.recipe,
        )


def searching(protocol: Protocol, budget: int) -> Protocol:
    """The rules of a search's trials under a protocol: native recipes, `budget` images for each.

    Test cases are scored nowhere. BenchError for a protocol that does not choose the epoch on
    validation cases.
    """
    if protocol.selection != "best-val":
        raise BenchError(
            f"Protocol {protocol.name!r} selects the epoch by {protocol.selection!r}, and a search "
            "may look at validation cases only. Give --protocol tuned, or another one whose selection "
            "is best-val."
        )
    update = {"recipe": "native", "optimism": False, "budget": budget}
    return protocol.model_copy(update=update)


def plan_name(datasets: tuple[str, ...], values: dict[str, Any]) -> str:
    """`glas-1a2b3c4d`: a name that equal values of a plan share."""
    return f"{'-'.join(datasets)[:60]}-{digest(values)[:8]}"


def study_name(method: str, dataset: str) -> str:
    """`unet-glas`: the folder of a study inside its search."""
    return f"{method.replace(':', '-').replace('/', '-')}-{dataset}"


def read_plan(folder: Path) -> Plan:
    """The plan of a search's folder; BenchError where there is none that can be read."""
    file = folder / PLAN
    if not file.is_file():
        raise BenchError(
            f"No search in {folder}: it has no {PLAN}. `bench list studies` shows what there is; "
            "`bench tune` makes one."
        )
    try:
        return Plan.model_validate_json(read_text(file, "search plan"))
    except ValidationError as error:
        raise BenchError(
            f"{file} is no search plan of this version: {faults(error)}. Move the folder aside and "
            "search again."
        ) from error


def begin(folder: Path, plan: Plan) -> None:
    """Write the plan of a new search; BenchError where the folder holds another one."""
    if (folder / PLAN).exists():
        known = read_plan(folder)
        one, other = known.model_dump(mode="json"), plan.model_dump(mode="json")
        differ = [field for field in one if one[field] != other[field]]
        if differ:
            raise BenchError(
                f"Search {plan.name!r} was begun with another {', '.join(differ)}. Give another "
                "--name, or the options that it was begun with."
            )
        return
    write_text(folder / PLAN, plan.model_dump_json(indent=2) + "\n")
