"""``callscope``, also as ``python -m service``."""

import sys

from service.commands.loading import ServiceMissingError, load, package_version


def main() -> None:
    """Run the command line, or say which extra it needs.

    Imports nothing of the commands itself: the ``callscope`` script is there with the library alone, too.
    """
    try:
        load("service.cli:main")()
    except ServiceMissingError as error:
        if sys.argv[1:] != ["--version"]:
            sys.exit(f"callscope: {error}")
        print(package_version())  # noqa: T201 -- nothing that prints is installed


if __name__ == "__main__":
    main()
