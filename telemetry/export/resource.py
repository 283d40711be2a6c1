"""Who is speaking: the resource that every exported item belongs to."""

from collections.abc import Mapping
from urllib.parse import unquote
from uuid import UUID

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource

from telemetry.export.environment import Environment, Variable

DEFAULT_SERVICE_NAME = "callscope"


def read_resource(variables: Mapping[str, str], attributes: Mapping[str, str], instance: UUID) -> Resource:
    """The SDK's detectors, then the application's attributes, then ``OTEL_RESOURCE_ATTRIBUTES`` and the service's name.

    What the operator says in the variables goes before what the application says of itself. ``instance`` tells this
    process from all others; setting ``service.instance.id`` for several workers at once would mix their numbers up.
    """
    environment = Environment(variables)
    told = dict(attributes) | _pairs(environment.find("OTEL_RESOURCE_ATTRIBUTES"))
    if named := environment.find("OTEL_SERVICE_NAME"):
        told[SERVICE_NAME] = named.text
    own = Resource({SERVICE_NAME: DEFAULT_SERVICE_NAME, SERVICE_INSTANCE_ID: str(instance)})
    return Resource.create().merge(own).merge(Resource(dict(told)))


def _pairs(variable: Variable | None) -> dict[str, str]:
    """``key=value`` pairs, comma-separated, values URL-encoded."""
    if variable is None:
        return {}
    return dict(_pair(variable, part) for part in variable.text.split(",") if part.strip())


def _pair(variable: Variable, part: str) -> tuple[str, str]:
    key, separator, value = part.partition("=")
    if not separator or not key.strip():
        raise variable.wrong(f"{part.strip()!r} is not of the form key=value")
    return unquote(key.strip()), unquote(value.strip())
