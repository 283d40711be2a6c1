"""The shipped Collector layers as data: what is in them, which variables they read, how they are combined."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.peers.collector import CONFIG

VENDORS = sorted(path.stem for path in (CONFIG / "vendors").glob("*.yaml"))
"""The destinations for a fleet."""

COMBINATIONS: dict[str, tuple[str, ...]] = {
    "local": ("base", "local"),
    "local-mtls": ("base", "mtls", "local"),
    "local-content": ("base", "content", "local"),
    "production-mtls": ("base", "mtls", "production", "vendors/otlp"),
    "totals": ("base", "production", "vendors/otlp", "totals"),
    "two-destinations": ("base", "production", "vendors/otlp", "vendors/honeycomb"),
    **{vendor: ("base", "production", f"vendors/{vendor}") for vendor in VENDORS},
}
"""Every documented combination, by a name for the test report."""

VARIABLE = re.compile(r"\$\{env:([A-Z0-9_]+)(:-[^}]*)?\}")

PLACEHOLDERS = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_REGION": "eu-west-1",
}
"""Values that mean something to whoever reads them; every other variable gets an address that resolves nowhere."""


def text(name: str) -> str:
    """A layer's text."""
    return (CONFIG / f"{name}.yaml").read_text()


def content(name: str) -> dict[str, Any]:
    """A layer, parsed. Variables stay as they are written."""
    parsed: dict[str, Any] = yaml.safe_load(text(name))
    return parsed


def variables(name: str) -> dict[str, bool]:
    """The environment variables a layer reads, and whether each has a default."""
    return {match[1]: match[2] is not None for match in VARIABLE.finditer(text(name))}


def addresses(vendor: str) -> set[str]:
    """The variables that say where a destination is, and have no default."""
    given = variables(f"vendors/{vendor}")
    return {key for key, has_default in given.items() if key.endswith("_URL") and not has_default}


def environment(*names: str, folder: Path) -> dict[str, str]:
    """A value for every variable without a default that these layers read. Files and folders are below `folder`."""
    needed = [key for name in names for key, has_default in variables(name).items() if not has_default]
    given = {key: PLACEHOLDERS.get(key, f"https://{key.lower().replace('_', '-')}.invalid") for key in needed}
    return given | PLACEHOLDERS | {"COLLECTOR_QUEUE_DIR": str(folder / "queue")}
