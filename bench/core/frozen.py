"""The base of every record that is read from a file or sent between processes."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A record that is checked when built, never changes and refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
