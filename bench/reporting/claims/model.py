"""Claims as data: one file per edition, `claims/<edition>.toml` beside the edition's own."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from bench.core.errors import BenchError, faults
from bench.core.frozen import Frozen
from bench.core.paths import shipped

Metric = Literal["dsc", "iou", "hd95"]
OTHERS = ("*",)
"""Every other method of the column in the edition's table."""


class Variant(Frozen):
    """A method at other than its defaults.

    printed: how the edition's tables list it, such as {"loss": "lm"}. settings, tokenizer (name or
    role): what a stored cell of it has.
    """

    printed: dict[str, str] = {}
    settings: dict[str, Any] = {}
    tokenizer: str | None = None


class Beats(Frozen):
    """Every method of `first` scores better than every one of `second`, in every column and metric.

    on: "busi", or "busi to bus" for training and test set. first_as, second_as: the variants that
    are compared. but_not: (column, metric) pairs that the sentence leaves out.
    """

    relation: Literal["beats"]
    first: tuple[str, ...]
    second: tuple[str, ...] = OTHERS
    first_as: Variant = Variant()
    second_as: Variant = Variant()
    on: tuple[str, ...]
    metrics: tuple[Metric, ...]
    but_not: tuple[tuple[str, Metric], ...] = ()


class Leads(Frozen):
    """The lead of `first` over the best of `second` is `value`: in each column, or in that of the
    largest lead. about: the sentence gives the number rounded to a whole one.

    value: as printed, in points or px.
    """

    relation: Literal["leads"]
    first: str
    second: tuple[str, ...] = OTHERS
    first_as: Variant = Variant()
    second_as: Variant = Variant()
    on: tuple[str, ...]
    metric: Metric
    value: str
    over: Literal["each", "largest"] = "each"
    about: bool = False


class Places(Frozen):
    """`first` stands at one place of the column's methods, by every metric."""

    relation: Literal["places"]
    first: str
    place: int
    on: tuple[str, ...]
    metrics: tuple[Metric, ...]


class FewerParameters(Frozen):
    """Of all methods of the edition, exactly `fewer` have fewer trainable parameters than `first`."""

    relation: Literal["fewer-parameters"]
    first: str
    fewer: tuple[str, ...]


class ParameterRatio(Frozen):
    """More than half of the other methods have `low` to `high` times the parameters of `first`."""

    relation: Literal["parameter-ratio"]
    first: str
    low: float
    high: float


class Uncorrelated(Frozen):
    """Trainable parameters and scores of the column's methods are not correlated."""

    relation: Literal["uncorrelated"]
    on: tuple[str, ...]
    metric: Metric


class Reconstruction(Frozen):
    """A tokenizer gives masks back with a mean Dice above `value` per cent, on every test set."""

    relation: Literal["reconstruction"]
    tokenizer: str
    value: float


Test = Annotated[
    Beats | Leads | Places | FewerParameters | ParameterRatio | Uncorrelated | Reconstruction,
    Field(discriminator="relation"),
]


class Claim(Frozen):
    """One sentence. quote: its words, shortened. place: where they stand. read_as: how a vague word
    is read. test: what decides."""

    id: str
    quote: str
    place: str
    read_as: str = ""
    test: Test


def load_claims(edition: str) -> tuple[Claim, ...]:
    """The claims of an edition, named as in `load_edition`; none where it has no file of claims.

    Raises BenchError where the file is not what this module describes.
    """
    home = Path(edition) if edition.endswith(".toml") else shipped("published") / f"{edition}.toml"
    file = home.parent / "claims" / home.name
    if not file.is_file():
        return ()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        claims = tuple(Claim.model_validate(claim) for claim in content.get("claims", ()))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        why = faults(error) if isinstance(error, ValidationError) else error
        raise BenchError(
            f"{file} is no file of claims: {why}. docs/claims.md shows one."
        ) from error
    if len({claim.id for claim in claims}) < len(claims):
        raise BenchError(f"{file} uses an id twice. Give every claim its own.")
    return claims
