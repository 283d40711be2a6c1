"""Commands that are imported when they run.

The one place that imports late. What the commands stand on takes seconds to import (the carrier's SDK alone one), and
``callscope --help`` would take as long if they were imported to be listed; and the ``callscope`` script is installed
with the library alone, where most of it does not exist.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

DISTRIBUTION: Final = "callscope"


class ServiceMissingError(Exception):
    """A package of the ``service`` extra is not installed; the message says what to install."""


def load(target: str) -> Any:  # noqa: ANN401 -- commands, groups and functions
    """Return the object that ``module:name`` names, imported now.

    Raises:
        ServiceMissingError: if it needs a package that is not installed.
    """
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("service", "telemetry"):
            raise
        if error.name == "fcntl":
            raise ServiceMissingError("the service locks files as Unix does; run it on Linux or macOS") from None
        raise ServiceMissingError(
            f"the command needs the service ({error.name} is missing): pip install '{DISTRIBUTION}[service]'"
        ) from None


def package_version() -> str:
    """Return the installed version, as ``callscope 0.1.0``."""
    try:
        return f"{DISTRIBUTION} {version(DISTRIBUTION)}"
    except PackageNotFoundError:
        return f"{DISTRIBUTION} (not installed)"
