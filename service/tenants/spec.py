"""An operator's statement about a tenant: checked, normalised, and silent on the fields it does not mention."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)

from service.e164 import Address
from service.tenants import fields
from service.tenants.errors import InvalidFieldError
from service.tenants.tenant import AuditEntry, Tenant
from telemetry.semconv.attributes import TenantId

Location = tuple[int | str, ...]
"""The names and indices that lead to a field."""


def _sorted_unique(numbers: tuple[Address, ...]) -> tuple[Address, ...]:
    return tuple(sorted(set(numbers)))


class TenantSpec(BaseModel):
    """One entry of an import, or the body of a change.

    A field that is left out keeps what the tenant has, and takes the default shown here when the tenant is new.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tenant_id: Annotated[TenantId, Field(strict=True), AfterValidator(fields.tenant_id)]
    name: Annotated[StrictStr, Field(max_length=200), AfterValidator(fields.name)] = ""
    """For people; a new tenant without one is shown by its id."""
    numbers: Annotated[
        tuple[Annotated[Address, BeforeValidator(fields.number)], ...],
        BeforeValidator(fields.not_too_many),
        AfterValidator(_sorted_unique),
    ] = ()
    max_concurrent_calls: Annotated[StrictInt, Field(ge=0, le=fields.MAX_LIMIT)] | None = None
    instructions: Annotated[
        StrictStr | None, Field(max_length=fields.MAX_INSTRUCTIONS), AfterValidator(fields.instructions)
    ] = None
    enabled: StrictBool = True
    transfer_targets: Annotated[dict[StrictStr, StrictStr], AfterValidator(fields.transfer_targets)] = Field(
        default_factory=dict
    )
    features: Annotated[dict[StrictStr, Any], AfterValidator(fields.features)] = Field(default_factory=dict)

    def stated(self) -> dict[str, Any]:
        """Return the mentioned fields, but for the id, with their values."""
        return {name: getattr(self, name) for name in self.model_fields_set if name != "tenant_id"}

    def whole(self) -> "TenantSpec":
        """Return a statement that also mentions the defaults of what this one leaves out."""
        return self.model_copy(update=self.defaults())

    def defaults(self) -> dict[str, Any]:
        """Return every field but the id, for a new tenant."""
        content = {name: getattr(self, name) for name in type(self).model_fields if name != "tenant_id"}
        return content | {"name": self.name or self.tenant_id}


def checked_spec(tenant_id: str, stated: Mapping[str, Any]) -> TenantSpec:
    """Return the statement, or raise :class:`InvalidFieldError` for the first thing wrong with it."""
    try:
        return TenantSpec.model_validate({"tenant_id": tenant_id, **stated})
    except ValidationError as error:
        field, reason = problems_of(error)[0]
        raise InvalidFieldError(field, reason) from None


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return field and reason of everything wrong, such as ``("numbers[0]", "must be text: …")``."""
    return [(_path(location), reason) for location, reason in located_problems(error)]


def located_problems(error: ValidationError) -> list[tuple[Location, str]]:
    """Return the same with the path to the field, such as ``("numbers", 0)``."""
    return [
        (problem["loc"], _REASONS.get(problem["type"]) or problem["msg"])
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]


_REASONS: Mapping[str, str] = {
    "extra_forbidden": "is not a field of a tenant",
    "missing": "is required",
    "model_type": "must be a mapping of fields",
    "string_type": "must be text",
    "tuple_type": "must be a list",
}
"""Plain words for the library's errors that a file's author meets most."""


def _path(location: Location) -> str:
    """Return a field as people write it; ``entry`` for the entry itself."""
    written = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return written.removeprefix(".") or "entry"


def as_entry(tenant: Tenant) -> dict[str, object]:
    """Return the tenant in the shape an import takes."""
    return {
        "tenant_id": tenant.tenant_id,
        "name": tenant.name,
        "numbers": list(tenant.numbers),
        "max_concurrent_calls": tenant.max_concurrent_calls,
        "instructions": tenant.instructions,
        "enabled": tenant.enabled,
        "transfer_targets": dict(tenant.transfer_targets),
        "features": dict(tenant.features),
    }


def as_change(entry: AuditEntry) -> dict[str, object]:
    """Return one change of a tenant, as JSON shows it."""
    return {
        "entry_id": entry.entry_id,
        "at": entry.at.isoformat().replace("+00:00", "Z"),
        "actor": entry.actor,
        "action": entry.action,
        "tenant_id": entry.tenant_id,
        "before": dict(entry.before),
        "after": dict(entry.after),
    }
