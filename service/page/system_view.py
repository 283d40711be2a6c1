"""The page about the service itself: process, stores, exports, comparison of registry and numbers, settings."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from platform import python_version
from typing import Any, Final

from pydantic import SecretStr

from service.page.facts import PageFacts
from service.page.rendering import render
from service.page.viewing import View
from service.settings import Settings

_VERSIONS: Final = ("callscope", "opentelemetry-sdk", "fastapi", "sqlalchemy")


class SystemFacts:
    """The facts that are the same from start to end."""

    def __init__(self, settings: Settings, instance_id: str, dialect: str) -> None:
        self.settings = shown_settings(settings)
        self.instance_id = instance_id
        self.dialect = dialect
        self.versions = {"Python": python_version()} | {name: version(name) for name in _VERSIONS}


def shown_settings(settings: Settings) -> Mapping[str, str]:
    """Return every setting as text, of secrets only whether they are set."""
    return {name.upper(): _shown(getattr(settings, name)) for name in sorted(type(settings).model_fields)}


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "set, not shown"
    if isinstance(value, tuple):
        if value and isinstance(value[0], SecretStr):
            return f"{len(value)} set, not shown"
        return ", ".join(map(str, value)) or "not set"
    return "not set" if value is None else str(value)


async def system_fragments(facts: PageFacts, system: SystemFacts, _view: View) -> dict[str, str]:
    """Return the fragments of the page."""
    found, parts = await facts.overview(), facts.parts
    report = await parts.readiness.report()
    findings = await facts.findings()
    sizes: dict[str, Any] = {
        "Calls remembered": asdict(parts.telemetry.recent.size),
        "Live numbers": asdict(parts.telemetry.live.store.size()),
    }
    return {
        "verdicts": render("verdicts.html", verdicts=[one for one in found.verdicts if one.link.startswith("/system")]),
        "process": render("system_process.html", overview=found, system=system),
        "checks": render("system_checks.html", report=report),
        "exports": render("system_exports.html", signals=parts.telemetry.pipelines.health().signals),
        "records": render("system_records.html", health=asdict(parts.records()), sizes=sizes),
        "registry": render("system_registry.html", findings=findings),
    }
