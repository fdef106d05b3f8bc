"""Trainings that were begun and did not end: what lies in a cell's folder, read without torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bench.core.files import digest, write_text
from bench.core.frozen import Frozen
from bench.experiments.cells import RECORD, CellRequest

STATE, ATTEMPT = "resume/state.safetensors", "resume/attempt.json"

REQUESTED = ("code", "data", "split", "numerics", "selection", "seed")
"""Components of the training digest that are known before the method's code is imported."""


class Attempt(Frozen):
    """The whole of `attempt.json`. asked: see `asked_for`. epochs: of the whole run."""

    asked: str
    request: CellRequest
    epochs: int


@dataclass(frozen=True)
class Unfinished:
    """A cell without a record and with a stored state. epoch: epochs that are done."""

    folder: Path
    attempt: Attempt
    epoch: int


def asked_for(request: CellRequest, request_digest: str, inputs: dict[str, str]) -> str:
    """Digest of all that decides a training and is known without the method's code."""
    known = {name: inputs[name] for name in REQUESTED}
    return digest([request_digest, request.settings, known])


def begin(folder: Path, attempt: Attempt) -> None:
    """Say in a cell's folder which training its state will be of."""
    write_text(folder / ATTEMPT, attempt.model_dump_json() + "\n")


def epochs_done(folder: Path) -> int:
    """Epochs in the stored state of a cell; 0 without one that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / STATE, "np") as file:
            state = json.loads(file.metadata()["state"])
        return int(dict(state["pairs"])["epoch"])
    except (OSError, SafetensorError, ValueError, TypeError, KeyError):
        return 0


def unfinished(cells: Path) -> list[Unfinished]:
    """The trainings under `cells` (results/cells) that can be resumed and have no record."""
    found = []
    for file in sorted(cells.glob(f"*/{ATTEMPT}")):
        folder = file.parents[1]
        epoch = 0 if (folder / RECORD).exists() else epochs_done(folder)
        try:
            attempt = Attempt.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            continue  # of another version or damaged: the run that resumes writes it again
        if epoch:
            found.append(Unfinished(folder, attempt, epoch))
    return found
