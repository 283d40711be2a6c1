"""``callscope``, also as ``python -m service``."""

import logging
import os
import sys
from collections.abc import MutableMapping
from importlib.metadata import entry_points

from service.commands.loading import ServiceMissingError, load, package_version


def main() -> None:
    """Run the command line, or say which extra it needs.

    Imports nothing of the commands itself: the ``callscope`` script is there with the library alone, too.
    """
    drop_unknown_propagators(os.environ)
    try:
        load("service.cli:main")()
    except ServiceMissingError as error:
        if sys.argv[1:] != ["--version"]:
            sys.exit(f"callscope: {error}")
        print(package_version())  # noqa: T201 -- nothing that prints is installed


def drop_unknown_propagators(environment: MutableMapping[str, str]) -> None:
    """Leave out of ``OTEL_PROPAGATORS`` what is not installed, with one warning each.

    The OpenTelemetry API reads the variable as it is imported and raises at an unknown name, where the specification
    ("Environment Variable Specification", Enum) wants it ignored.
    """
    named = [part.strip() for part in environment.get("OTEL_PROPAGATORS", "").split(",") if part.strip()]
    if not named:
        return
    known = entry_points(group="opentelemetry_propagator").names
    for name in dict.fromkeys(named):
        if name not in known and name.lower() != "none":
            logging.getLogger(__name__).warning("OTEL_PROPAGATORS: no propagator is called %r; ignored", name)
    if kept := [name for name in named if name in known or name.lower() == "none"]:
        environment["OTEL_PROPAGATORS"] = ",".join(kept)
    else:
        del environment["OTEL_PROPAGATORS"]


if __name__ == "__main__":
    main()
