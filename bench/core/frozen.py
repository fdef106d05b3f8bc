"""The base of every record that is read from a file or sent between processes."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.errors import BenchError, faults

FileName = Annotated[str, Field(pattern=r"^\w[\w.-]{0,99}$")]
"""A name that becomes part of a path: no separators, no leading dot."""


class Frozen(BaseModel):
    """A record that is checked when built, never changes and refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validated(model: Any, values: dict[str, Any], what: str) -> Any:
    """`model(**values)`; BenchError naming each faulty field, and the known ones."""
    try:
        return model(**values)
    except ValidationError as error:
        known = ", ".join(
            f"{k}={f.default!r}" for k, f in model.model_fields.items() if not f.is_required()
        )
        raise BenchError(
            f"Settings of {what}: {faults(error)}. Known settings and defaults: {known or 'none'}."
        ) from error
