"""The search space: parameters, their ranges as data, and what a method says of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError, model_validator

from bench.core.errors import BenchError, faults, unknown_name
from bench.core.frozen import Frozen
from bench.core.paths import PACKAGE
from bench.core.reading import parse_toml, read_text, toml_line
from bench.recipes import Recipe

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

COMMON = PACKAGE / "defaults" / "space.toml"

NEVER = ("name", "epochs", "steps_per_epoch", "on_dataset", "tuned")
"""Fields of a recipe that no search changes: the budget sets the length of every trial."""

Value = bool | int | float | str


class Parameter(Frozen):
    """One thing that a search tries: a range of numbers, or choices.

    low, high: the range, ends included. log: drawn evenly in the logarithm. integer: whole numbers.
    times_own: low and high are multiplied by the recipe's own value. choices: what is tried in
    place of a range; the recipe's own value joins them. or_none: None is a choice, too. along:
    changes that come with every value but None, by name.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    times_own: bool = False
    choices: tuple[Value, ...] = ()
    or_none: bool = False
    along: dict[str, Value] = {}

    @model_validator(mode="after")
    def _is_range_or_choices(self) -> Self:
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.integer:
                raise ValueError("give choices, or low and high with log and integer, not both")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, and low is {self.low}")
        if self.or_none:
            raise ValueError("or_none is for choices only")
        return self


Space = dict[str, Parameter]
"""`recipe.FIELD` or a method's SETTING, as `--set` takes them -> parameter."""


def read_space(file: Path = COMMON) -> Space:
    """The space in a file; BenchError with the line of what is wrong."""
    text = read_text(file, "search space")
    content = parse_toml(file, text)
    found: Space = {}
    for group, fields in content.items():
        if group not in ("recipe", "settings"):
            raise unknown_name(
                "table of a search space", group, ("recipe", "settings"), f"It is in {file.name}."
            )
        for field, values in fields.items() if isinstance(fields, dict) else ():
            name = f"recipe.{field}" if group == "recipe" else field
            try:
                found[name] = Parameter.model_validate(values)
            except ValidationError as error:
                why = faults(error, lambda place: toml_line(text, (group, field, *place)))  # noqa: B023
                raise BenchError(f"{file.name}, [{group}.{field}]: {why}.") from error
    if not found:
        raise BenchError(f"{file.name} names nothing to search. docs/tuning.md shows a space.")
    _require_recipe_fields(found, file.name)
    return found


def narrowed(
    common: Mapping[str, Parameter],
    declared: Mapping[str, dict[str, Any] | None],
    stated: set[str],
    method: str,
) -> Space:
    """The space of a method.

    declared: its `MethodSpec.search`. stated: names that the user sets, which are not searched.
    Raises BenchError for a declaration that is no parameter, and where nothing is left.
    """
    space = dict(common)
    for name, fields in declared.items():
        if fields is None:
            space.pop(name, None)
            continue
        try:
            space[name] = Parameter.model_validate(fields)
        except ValidationError as error:
            raise BenchError(
                f"Method {method!r} declares search {name!r}: {faults(error)}. Correct `search` of "
                "its MethodSpec."
            ) from error
    _require_recipe_fields(space, f"search of method {method!r}")
    space = {name: parameter for name, parameter in space.items() if name not in stated}
    if not space:
        raise BenchError(
            f"Nothing is left to search for method {method!r}: --set states every parameter. Leave "
            "one of them out."
        )
    return space


def _require_recipe_fields(space: Mapping[str, Parameter], where: str) -> None:
    known = [field for field in Recipe.model_fields if field not in NEVER]
    for name, parameter in space.items():
        for one in (name, *parameter.along):
            if one.startswith("recipe.") and one.removeprefix("recipe.") not in known:
                raise unknown_name(
                    "recipe field to search", one.removeprefix("recipe."), known, f"See {where}."
                )


def own_value(name: str, recipe: Recipe, settings: Mapping[str, Any]) -> Any:
    """What a method has for a parameter without a search; BenchError for an unknown setting."""
    if name.startswith("recipe."):
        return getattr(recipe, name.removeprefix("recipe."))
    if name not in settings:
        raise unknown_name("setting to search", name, settings)
    return settings[name]


def distributions(
    space: Space, recipe: Recipe, settings: Mapping[str, Any], cases: int
) -> "dict[str, BaseDistribution]":
    """Parameter -> optuna's distribution around the method's own recipe and settings.

    cases: training cases of the split; larger batches are no choice where incomplete ones are dropped.
    """
    found = {}
    for name, parameter in space.items():
        own = own_value(name, recipe, settings)
        too_large = cases if name == "recipe.batch_size" and recipe.drop_last else None
        found[name] = _distribution(name, parameter, own, too_large)
    return found


def _distribution(
    name: str, parameter: Parameter, own: Any, largest: int | None
) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if parameter.choices:
        values = dict.fromkeys((own, *parameter.choices, *((None,) if parameter.or_none else ())))
        if largest is not None:
            values = {value: None for value in values if value <= largest}
        return CategoricalDistribution(tuple(values))
    low, high = _range(name, parameter, own)
    if parameter.integer:
        return IntDistribution(round(low), round(high), log=parameter.log)
    return FloatDistribution(low, high, log=parameter.log)


def _range(name: str, parameter: Parameter, own: Any) -> tuple[float, float]:
    assert parameter.low is not None and parameter.high is not None
    if not parameter.times_own:
        return parameter.low, parameter.high
    if isinstance(own, bool) or not isinstance(own, int | float) or own <= 0:
        raise BenchError(
            f"Parameter {name!r} is searched as a multiple of the recipe's own value, which is "
            f"{own!r}. Give a range without times_own."
        )
    return parameter.low * own, parameter.high * own


def own_params(
    space: Space,
    found: "Mapping[str, BaseDistribution]",
    recipe: Recipe,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The method's own recipe as a point of its space: numbers outside a range move to its end."""
    params = {}
    for name, parameter in space.items():
        own, over = own_value(name, recipe, settings), found[name]
        if not parameter.choices:
            low, high = over.low, over.high  # type: ignore[attr-defined]
            own = min(max(own, low), high)
        params[name] = own
    return params


def changes(space: Space, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(method settings, recipe changes) of a point of the space."""
    every = dict(params)
    for name, value in params.items():
        if value is not None:
            every |= space[name].along
    recipe = {n.removeprefix("recipe."): v for n, v in every.items() if n.startswith("recipe.")}
    return {n: v for n, v in every.items() if not n.startswith("recipe.")}, recipe
