"""Which traces are kept: ``OTEL_TRACES_SAMPLER`` and its argument."""

import math
from collections.abc import Mapping
from importlib.metadata import entry_points

from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)

from telemetry.export.environment import Environment, Variable

_PLAIN: Mapping[str, Sampler] = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "parentbased_always_on": DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
}
_BY_SHARE: Mapping[str, type[TraceIdRatioBased | ParentBasedTraceIdRatio]] = {
    "traceidratio": TraceIdRatioBased,
    "parentbased_traceidratio": ParentBasedTraceIdRatio,
}


def read_sampler(environment: Environment) -> Sampler:
    """The sampler named: one of the specification's, or one that a package offers under the standard entry point."""
    name = environment.get("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    argument = environment.find("OTEL_TRACES_SAMPLER_ARG")
    known = name.text.lower()
    if known in _PLAIN:
        return _PLAIN[known]
    if known in _BY_SHARE:
        return _BY_SHARE[known](_share(argument))
    return _installed(name, argument)


def _share(argument: Variable | None) -> float:
    """The share of traces to keep, all of them unless said otherwise."""
    if argument is None:
        return 1.0
    value = argument.number(above=-math.ulp(0.0))
    if value > 1:
        raise argument.wrong(f"{argument.text} is not a share between 0 and 1")
    return value


def _installed(name: Variable, argument: Variable | None) -> Sampler:
    for entry in entry_points(group="opentelemetry_traces_sampler", name=name.text):
        sampler = entry.load()(argument.text if argument else None)
        if isinstance(sampler, Sampler):
            return sampler
    raise name.wrong(f"no sampler is called {name.text!r}")
