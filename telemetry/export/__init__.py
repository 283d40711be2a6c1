"""OTLP export that survives bad days: the standard variables honoured, health told, an end within a budget."""

from telemetry.export.environment import InvalidVariableError
from telemetry.export.health import ExportHealth, SignalHealth
from telemetry.export.pipelines import DEFAULT_BUDGET, Pipelines, build_pipelines
from telemetry.export.signals import Protocol, Signal

__all__ = [
    "DEFAULT_BUDGET",
    "ExportHealth",
    "InvalidVariableError",
    "Pipelines",
    "Protocol",
    "Signal",
    "SignalHealth",
    "build_pipelines",
]
