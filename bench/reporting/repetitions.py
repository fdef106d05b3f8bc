"""Repetitions: cells that agree in everything but the seed, so that their mean means something.

A cell's numbers rest on components: the full recipe, the code, the settings, the tokenizer, the
numerics, the selection, the sizes and the initial weights. Each is compared by its digest where the
record has one, and described by its fields.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench.core.files import digest
from bench.experiments.cells import CellRecord

Facet = tuple[str, str]
"""(component, field); the field "" stands for the digest of the whole component."""

Values = dict[str, str | None]
"""Field of a component -> its value as text; None where the record does not state it."""


def _recipe(record: CellRecord) -> dict[str, Any]:
    """Every field but the name, which is no part of what ran. Without fields the name must do."""
    fields = {name: value for name, value in record.recipe.items() if name != "name"}
    if (
        fields.get("tuned") is None
    ):  # a later field: equal cells of before and after repeat each other
        fields.pop("tuned", None)
    return fields or {"name": record.key.recipe, "epochs": record.key.epochs}


def _tokenizer(record: CellRecord) -> dict[str, Any]:
    key = record.key.tokenizer
    if key is None:
        return {}
    rounded = record.provenance.get("tokenizer_weights") == "bf16"
    return {"weights": key.weights_hash[:8] + (" in bf16" if rounded else "")}


def _numerics(record: CellRecord) -> dict[str, Any]:
    asked = record.provenance.get("request", {}).get("profile", {})
    names = ("precision", "channels_last", "compile")
    common = {name: asked.get(name, record.provenance.get(name)) for name in names}
    later = {"tf32": "convolution", "deterministic": False}  # records without them ran like this
    return common | {name: asked.get(name, default) for name, default in later.items()}


def _built(record: CellRecord) -> dict[str, Any]:
    """What only a finished cell has."""
    if record.status != "done":
        return {}
    weights = record.provenance.get("initial_weights")
    return {"initial weights": weights, "trainable parameters": record.trainable_params}


COMPONENTS: dict[str, Callable[[CellRecord], dict[str, Any]]] = {
    "recipe": _recipe,
    "settings": lambda record: record.key.settings,
    "tokenizer": _tokenizer,
    "numerics": _numerics,
    "selection": lambda record: {},
    "size": lambda record: {"network input": record.network_size},
    "built": _built,
    "code": lambda record: {},
}
"""Component of a cell's identity -> its fields. The order is that of the words of a row."""


def facets(record: CellRecord) -> dict[Facet, str | None]:
    """All that may tell apart two cells of one variant, one dataset and one seed."""
    found: dict[Facet, str | None] = {}
    for component, fields in COMPONENTS.items():
        found[component, ""] = record.inputs.get(component)
        for name, value in fields(record).items():
            known = value is not None or component in ("recipe", "settings")
            found[component, name] = json.dumps(value, sort_keys=True) if known else None
    return found


def telling(records: Iterable[CellRecord]) -> list[Facet]:
    """The facets in which cells of one variant and one dataset differ; none for repetitions.

    A component is described by its fields; its digest is named where they do not explain it.
    """
    every = [facets(record) for record in records]
    names = dict.fromkeys(name for one in every for name in one)
    differing = [name for name in names if len({one.get(name) for one in every} - {None}) > 1]
    return [name for name in differing if name[1] or not _explained(name[0], differing, every)]


def _explained(
    component: str, differing: Sequence[Facet], every: Sequence[dict[Facet, str | None]]
) -> bool:
    """Whether equal fields mean an equal digest of the component."""
    fields = [name for name in differing if name[0] == component and name[1]]
    digests: dict[tuple[str | None, ...], set[str | None]] = {}
    for one in every:
        digests.setdefault(tuple(map(one.get, fields)), set()).add(one.get((component, "")))
    return bool(fields) and all(len(found - {None}) <= 1 for found in digests.values())


def words_of(values: Iterable[tuple[Facet, str | None]]) -> str:
    """What a row differs in: "recipe.lr=0.01, code 1a2b3c4d"."""
    return ", ".join(_word(component, field, value) for (component, field), value in values)


def _word(component: str, field: str, value: str | None) -> str:
    if not field:
        return f"{component} {value[:8] if value else 'not recorded'}"
    plain = "not recorded" if value is None else value.strip('"')
    if component == "recipe":
        return f"recipe.{field}={plain}"
    if component == "tokenizer":
        return f"tokenizer {field} {plain}"
    return f"{field}={plain}" if component in ("settings", "numerics") else f"{field} {plain}"


def repetition_digest(record: CellRecord) -> str:
    """Equal for cells that may be averaged, whatever their seed."""
    key = record.key
    place = [key.method, key.train, key.profile, key.protocol, key.selection, key.image_size]
    data = [record.inputs.get(name) for name in ("data", "split")]
    own = [[*name, value] for name, value in facets(record).items()]
    return digest([place, data, own])
