"""The form of the search: its fields, and what is wrong with those that were sent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.http.parameters import TWICE, in_utc
from service.http.problems import ProblemError, invalid_request
from service.page.whole import PAUSED
from service.page.words import FLAGS, OUTCOMES, STATES, WHY, choices, plain_choices
from service.records.store import Wanted
from telemetry.semconv.attributes import CallDirection, Fault


class SearchedIn(StrEnum):
    """The places that are searched."""

    MEMORY = "memory"
    RECORDS = "records"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form."""

    name: str
    label: str
    needs: str | None = None
    """The words for a value that is taken; None: the validation's own words do."""
    choices: Mapping[str, str] | None = None
    """The words for each value that can be chosen; None: it is written."""
    hint: str = ""
    mode: str = ""
    """The keyboard of a telephone for it, an HTML ``inputmode``."""
    timed: bool = False
    """True for a date with a time of day."""
    lesser: bool = False
    """True for one that is folded away until it is wanted."""

    @property
    def kept(self) -> bool:
        """True if records can be searched by it."""
        return self.name in RECORDED


_YES_NO: Final = {"true": "yes", "false": "no"}
_CHOICE: Final = "must be one of the choices"
_SECONDS: Final = "must be a number of seconds from 0, such as 2.5"
_TIME: Final = "must be a date and a time, such as 2026-11-22T14:00:00"
_REASONS: Final = dict(sorted(WHY.items(), key=lambda reason: reason[1]))

FIELDS: Final = (
    Field("tenant_id", "Tenant"),
    Field("outcome", "Outcome", _CHOICE, choices(OUTCOMES)),
    Field("state", "State", _CHOICE, choices(STATES)),
    Field("reason", "Reason", _CHOICE, _REASONS),
    Field("flag", "Needs attention for", _CHOICE, choices(FLAGS)),
    Field("slower_than", "Waited longer than (s)", _SECONDS, hint="2.5", mode="decimal"),
    Field("caller_ends_with", "Caller's last digits", "must be one to four digits", hint="5678", mode="numeric"),
    Field("since", "Received since (UTC)", _TIME, timed=True),
    Field("until", "Received before (UTC)", _TIME, timed=True),
    Field("trace_id", "Trace id", "must be 32 characters from 0 to 9 and a to f"),
    Field("caller_hash", "Caller's hash", "must be 16 characters from 0 to 9 and a to f", lesser=True),
    Field("fault", "Whose fault", _CHOICE, plain_choices(Fault), lesser=True),
    Field("direction", "Direction", _CHOICE, plain_choices(CallDirection), lesser=True),
    Field("source", "Reported by", hint="direct", lesser=True),
    Field("error_type", "Error type", lesser=True),
    Field("failed_tool", "Failed tool", lesser=True),
    Field("silent_longer_than", "Silence longer than (s)", _SECONDS, hint="10", mode="decimal", lesser=True),
    Field("interrupted", "Caller interrupted", "must be yes or no", _YES_NO, lesser=True),
    Field("talked_over", "Agent talked over", "must be yes or no", _YES_NO, lesser=True),
)
"""The fields, in the order of the form."""

RECORDED: Final = frozenset(field.name.removesuffix("_ms") for field in fields(Wanted))
"""The conditions that can be asked of records."""

_UNLISTED: Final = {"where": "Where", "cursor": "Place in the list", PAUSED: "Paused"}
"""Further parameters that a search's address may have, with their labels."""
_LABELS: Final = {field.name: field.label for field in FIELDS} | _UNLISTED
_NEEDS: Final = {field.name: field.needs for field in FIELDS} | {"where": _CHOICE}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A reason why nothing was searched."""

    name: str | None
    """The field it is about; None: none in particular."""
    label: str | None
    """The field's name in the form."""
    detail: str


def demand_answerable(given: Sequence[str], where: SearchedIn) -> None:
    """Raise a 422 problem that names every parameter there is none of or too many, and those that records do not keep.

    Args:
        given: The name of each parameter that was sent, as often as it was.
        where: The place to be searched.
    """
    problems = [{"loc": ("query", name), "msg": fault} for name, fault in _misplaced(given).items()]
    if where is SearchedIn.RECORDS:
        surplus = (
            field.name for field in FIELDS if field.name in given and not field.kept and field.name != "trace_id"
        )
        problems += [
            {"loc": ("query", name), "msg": "is not kept on record; search in memory for it"} for name in surplus
        ]
    if problems:
        raise invalid_request(problems)


def troubles(error: HTTPException | RequestValidationError, given: Sequence[str]) -> Sequence[Trouble]:
    """Return what an error is about in the words of the form; ``given`` names all that was sent, as often as it was."""
    if isinstance(error, RequestValidationError):
        told = {str(one["loc"][1]): str(one["msg"]) for one in error.errors()}
        told = {name: _NEEDS.get(name) or detail for name, detail in told.items()}
        told |= _misplaced(given)
    elif isinstance(error, ProblemError) and error.errors:
        told = {one.field.removeprefix("query."): one.detail for one in error.errors}
    else:
        return (Trouble(None, None, error.detail),)
    return [Trouble(name, _LABELS.get(name, name), detail) for name, detail in told.items()]


def local_time(sent: str) -> str | None:
    """Return a time as a browser's field takes it, in UTC to the second; None for what such a field cannot hold."""
    if not sent:
        return ""
    try:
        at = in_utc(datetime.fromisoformat(sent)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return None if at.microsecond else at.replace(tzinfo=None).isoformat(timespec="seconds")


def _misplaced(given: Sequence[str]) -> dict[str, str]:
    """Return what is wrong with the names of parameters, whatever their values."""
    faults = {name: TWICE for name, times in Counter(given).items() if times > 1}
    return {name: "is no field of the search" for name in given if name not in _LABELS} | {
        name: fault for name, fault in faults.items() if name in _LABELS
    }
