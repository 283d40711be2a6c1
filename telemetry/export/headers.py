"""Headers to send with every export: ``OTEL_EXPORTER_OTLP_HEADERS``."""

import re
from urllib.parse import unquote

from telemetry.export.environment import Variable

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


def read_headers(variable: Variable | None) -> dict[str, str]:
    """``key=value`` pairs, comma-separated, URL-encoded; keys in lower case, as both protocols accept them."""
    if variable is None:
        return {}
    pairs = (part for part in variable.text.split(",") if part.strip())
    return dict(_header(variable, number, pair) for number, pair in enumerate(pairs, start=1))


def _header(variable: Variable, number: int, pair: str) -> tuple[str, str]:
    name, separator, value = pair.partition("=")
    name, value = unquote(name.strip()), unquote(value.strip())
    if not separator:
        raise variable.wrong(f"entry {number} is not of the form key=value")
    if not _HEADER_NAME.fullmatch(name):
        raise variable.wrong(f"entry {number} has a key that is not a header's name")
    if not _HEADER_VALUE.fullmatch(value):
        raise variable.wrong(f"the value of {name!r} holds a character that a header cannot carry")
    return name.lower(), value
