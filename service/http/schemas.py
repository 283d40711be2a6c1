"""The base of every schema that requests and responses have."""

from pydantic import BaseModel, ConfigDict


class FrozenSchema(BaseModel):
    """A schema that takes no other fields, and does not change once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")
