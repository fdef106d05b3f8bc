"""How long the paper's matrix takes on the device of an efficiency page: training alone, one cell
after another."""

from dataclasses import dataclass

import pandas as pd

from bench.data.cards import Card, list_cards
from bench.experiments.cells import CellRequest
from bench.experiments.lengths import images_per_epoch
from bench.experiments.matrices import Overrides, expand, get_matrix
from bench.experiments.resolve import full_recipe
from bench.protocols import get_profile, get_protocol
from bench.registry import get_method

TRAINED_ON = 0.8
"""Share of a dataset's published cases that a run trains on where the publisher names no training
part: the paper's split. Exact numbers of cases are known only where the data is."""


@dataclass(frozen=True)
class MatrixTime:
    """cells: trainings of one seed whose method was measured, and how many there are in all; hours:
    what they take; per_hour: cells per hour, None where none was measured."""

    cells: int
    of: int
    hours: float
    per_hour: float | None
    missing: tuple[str, ...]

    @property
    def words(self) -> str:
        """One line."""
        if self.per_hour is None:
            return "The paper's matrix: no method of it was measured."
        lacking = f" Not measured: {', '.join(self.missing)}." if self.missing else ""
        return (
            f"The paper's matrix, one seed, at the methods' own lengths: {self.cells} of {self.of} "
            f"trainings take {self.hours:,.0f} hours one after another, {self.per_hour:.3g} cells per "
            f"hour. Training alone, on the publisher's training part, else {TRAINED_ON:.0%} of the "
            f"published cases.{lacking}"
        )


def paper_matrix(frame: pd.DataFrame) -> MatrixTime:
    """The time of the paper's matrix by the training rates of an efficiency page."""
    used = frame[(frame["form"] != "released") & frame["train_images_per_second"].notna()]
    rates = dict(zip(used["method"], used["train_images_per_second"], strict=True))
    requests = expand(get_matrix("paper"), Overrides(), get_protocol("clean"), get_profile("paper"))
    known = [request for request in requests if request.method in rates]
    cards = {card.name: card for card in list_cards()}
    seconds = sum(_images(one, cards[one.train]) / rates[one.method] for one in known)
    missing = {request.method for request in requests} - rates.keys()
    return MatrixTime(
        cells=len(known),
        of=len(requests),
        hours=seconds / 3600,
        per_hour=3600 * len(known) / seconds if known else None,
        missing=tuple(sorted(missing)),
    )


def _images(request: CellRequest, card: Card) -> int:
    """Training images that a cell shows, augmented copies counted."""
    assert card.expected is not None  # the cards of the paper's datasets say it
    published = card.expected.published_splits.get("train")
    cases = published or round(TRAINED_ON * card.expected.cases)
    recipe = full_recipe(get_method(request.method), request)
    return images_per_epoch(recipe, cases) * recipe.epochs
