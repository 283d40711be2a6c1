"""Checks of a tenant's fields: each returns the value in its stored form or raises an error that says what is wrong."""

import math
import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import unquote

from pydantic_core import PydanticCustomError

from service.e164 import Address, NumberProblem, is_planned, to_address, to_e164
from telemetry.semconv.attributes import TenantId

MAX_LIMIT = 1_000_000
"""Calls at once that a tenant's limit may name."""

MAX_NUMBERS = 10_000
"""Numbers a tenant may have."""

CAPTURE_CONTENT = "capture_content"
"""The feature that lets transcripts and the like onto spans."""

SWITCHES = frozenset({CAPTURE_CONTENT})
"""Features that are on or off: a word or a number there would look on and be off."""

MAX_ENTRIES = 100
"""Transfer targets, and features, a tenant may have."""

MAX_TEXT = 1_000
"""Characters of a feature's text."""

MAX_URI = 512
"""Characters of a transfer target's URI."""

MAX_SHOWN = 40
"""Characters of a wrong value that its error repeats."""

MAX_INSTRUCTIONS = 200_000
"""Characters of instructions; far above what a model takes, far below what hurts a database."""

_TENANT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ENTRY_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_EXACT_INTEGER = 2**53
"""Beyond this size integers change on their way through other programs' JSON."""

_NUMBER_HELP: Mapping[NumberProblem, str] = {
    NumberProblem.NOT_A_NUMBER: "is not a telephone number, a short code of 2 to 6 digits, or sip: and a user's name",
    NumberProblem.NO_COUNTRY: "needs its country: write it as + and the country code, such as +18005550100",
    NumberProblem.IMPOSSIBLE: "is in no country's numbering plan",
}


def wrong(problem: str) -> PydanticCustomError:
    """Return the error that reaches the user as just this sentence."""
    return PydanticCustomError("tenant_field", "{problem}", {"problem": problem})


def tenant_id(text: str) -> TenantId:
    """Check a slug; ids with a leading underscore are reserved for totals that belong to no tenant."""
    if text.startswith("_"):
        raise wrong("ids that begin with _ are reserved")
    if not _TENANT_ID.fullmatch(text):
        raise wrong("must be 1 to 63 of a-z, 0-9, _ and -, and begin with a letter or digit")
    return TenantId(text)


def name(text: str) -> str:
    """Check a name for people, on one line."""
    if not text.strip() or any(unicodedata.category(character) == "Cc" for character in text):
        raise wrong("must be one line of text that is not blank")
    return text


def number(value: object) -> Address:
    """Return the stored form of a number in international form, of a short code, or of ``sip:`` and a user's name."""
    if not isinstance(value, str):
        raise wrong("must be text: put the number in quotes")
    found = to_address(value)
    if isinstance(found, NumberProblem):
        raise wrong(f"{_shown(value)} {_NUMBER_HELP[found]}")
    if found.startswith("+") and not is_planned(found):
        raise wrong(f"{_shown(value)} {_NUMBER_HELP[NumberProblem.IMPOSSIBLE]}")
    return found


def not_too_many(numbers: object) -> object:
    """Check the length of a list before any time is spent on its entries."""
    if isinstance(numbers, list | tuple) and len(numbers) > MAX_NUMBERS:
        raise wrong(f"has {len(numbers)} entries; at most {MAX_NUMBERS} are allowed")
    return numbers


def instructions(text: str | None) -> str | None:
    """Check text for the agent; blank text is refused, as it would be an agent without a task."""
    if text is None:
        return None
    if not text.strip():
        raise wrong("must not be blank; null withdraws the instructions")
    if not _is_storable(text):
        raise wrong("must not contain the NUL character")
    return text


def transfer_targets(targets: Mapping[str, str]) -> Mapping[str, str]:
    """Check named URIs a carrier can transfer to."""
    _check_entries(targets)
    for label, uri in targets.items():
        if (problem := _uri_problem(uri)) is not None:
            raise wrong(f"{label}: {problem}")
    return dict(sorted(targets.items()))


def features(values: Mapping[str, object]) -> Mapping[str, object]:
    """Check named switches: a truth value, a number, a short text or null each."""
    _check_entries(values)
    for label, value in values.items():
        if label in SWITCHES and not isinstance(value, bool):
            raise wrong(f"{label}: must be true or false")
        if not _is_scalar(value):
            raise wrong(f"{label}: must be true, false, null, a number or a text of at most {MAX_TEXT} characters")
    return dict(sorted(values.items()))


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")


def _check_entries(entries: Mapping[str, object]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise wrong(f"has {len(entries)} entries; at most {MAX_ENTRIES} are allowed")
    for label in entries:
        if not _ENTRY_NAME.fullmatch(label):
            raise wrong(f"{_shown(label)} is not a name: use 1 to 63 of a-z, 0-9, _, . and -")


def _uri_problem(uri: str) -> str | None:
    scheme, _, rest = uri.partition(":")
    if scheme not in {"tel", "sip", "sips"} or not rest:
        return "must be a tel:, sip: or sips: URI"
    if len(uri) > MAX_URI or not uri.isascii() or not uri.isprintable() or " " in uri:
        return f"must be at most {MAX_URI} printable ASCII characters without spaces"
    if scheme == "tel":
        return _tel_problem(rest)
    return None if "@" in rest else "must name a user and a host, as in sip:agent@example.com"


def _tel_problem(rest: str) -> str | None:
    found = to_e164(unquote(rest.partition(";")[0]))
    return f"{_NUMBER_HELP[found]}" if isinstance(found, NumberProblem) else None


def _is_storable(text: str) -> bool:
    """Return True if every database can hold the text: no NUL, and no half of a surrogate pair."""
    return _UNSTORABLE.search(text) is None


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and _is_storable(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < _EXACT_INTEGER)
