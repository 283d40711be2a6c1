"""Files of tenants: read whole, every problem found, nothing half taken."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from service.e164 import Address, NumberProblem, to_address
from service.tenants.errors import ImportProblem, ImportRefusedError
from service.tenants.spec import TenantSpec, problems_of

_Claim = tuple[str, str]
"""Field and value that only one entry may state. An id and a number cannot be mistaken for each other, having no +."""


def duplicates(specs: Sequence[TenantSpec]) -> list[ImportProblem]:
    """Return the problems of tenants stated twice and of numbers stated for two tenants."""
    return _repeated([("tenant_id", spec.tenant_id), *_numbers(spec.numbers)] for spec in specs)


def duplicates_as_written(entries: Sequence[object]) -> list[ImportProblem]:
    """Return the same for unchecked entries, so that a wrong entry does not hide that it is also a repeated one."""
    return _repeated(list(_written_claims(entry)) for entry in entries)


def taken(specs: Sequence[TenantSpec], owners: Mapping[Address, str]) -> list[ImportProblem]:
    """Return the problems of numbers that belong to tenants which keep them."""
    return [
        ImportProblem(row, "numbers", f"{number} belongs to {owners[number]!r}")
        for row, spec in enumerate(specs, start=1)
        for number in spec.numbers
        if number in owners
    ]


def _repeated(claims_by_row: Iterable[list[_Claim]]) -> list[ImportProblem]:
    first_rows: dict[str, int] = {}
    problems: list[ImportProblem] = []
    for row, claims in enumerate(claims_by_row, start=1):
        for field, value in claims:
            first = first_rows.setdefault(value, row)
            if first != row:
                problems.append(ImportProblem(row, field, f"{value} is in row {first} already"))
    return problems


def _numbers(numbers: Iterable[str]) -> Iterator[_Claim]:
    return (("numbers", number) for number in numbers)


def _written_claims(entry: object) -> Iterator[_Claim]:
    if not isinstance(entry, Mapping):
        return
    if isinstance(tenant_id := entry.get("tenant_id"), str):
        yield "tenant_id", tenant_id
    if isinstance(numbers := entry.get("numbers"), list):
        read = {to_address(number) for number in numbers if isinstance(number, str)}
        yield from _numbers(sorted(number for number in read if not isinstance(number, NumberProblem)))


MAX_BYTES = 64 * 1024 * 1024
"""Size of a file that is read; ten thousand tenants with long instructions stay below it."""
_READERS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {".json": json.loads, ".yaml": yaml.safe_load, ".yml": yaml.safe_load}
)


def read_file(path: Path) -> tuple[TenantSpec, ...]:
    """Return the tenants a JSON or YAML file states; :class:`ImportRefusedError` lists every problem of every entry."""
    entries = _parse(path.suffix.lower(), _text(path))
    if not isinstance(entries, list):
        raise _refused("must be a list of tenants")
    return read_entries(entries)


def read_entries(entries: list[object]) -> tuple[TenantSpec, ...]:
    """Return the tenants these entries state, each a mapping of fields; raises :class:`ImportRefusedError`."""
    specs: list[TenantSpec] = []
    problems = duplicates_as_written(entries)
    for row, entry in enumerate(entries, start=1):
        try:
            specs.append(TenantSpec.model_validate(entry))
        except ValidationError as error:
            problems.extend(ImportProblem(row, field, reason) for field, reason in problems_of(error))
    if problems:
        raise ImportRefusedError(sorted(problems, key=lambda problem: problem.row))
    return tuple(specs)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _refused(f"is larger than {MAX_BYTES // 1024 // 1024} MiB")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _refused(error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        raise _refused(f"is not UTF-8 text (byte {error.start})") from None


def _parse(suffix: str, text: str) -> object:
    reader = _READERS.get(suffix)
    if reader is None:
        raise _refused(f"must be named {', '.join(_READERS)}")
    try:
        return reader(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise _refused(f"is not readable as {suffix[1:].upper()}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    """Return line and problem, without the parser's excerpt, which would show the file's content."""
    mark = getattr(error, "problem_mark", None)
    place = "" if mark is None else f" in line {mark.line + 1}"
    first_line, _, _ = str(error).partition("\n")
    return f"{getattr(error, 'problem', None) or first_line}{place}"


def _refused(reason: str) -> ImportRefusedError:
    return ImportRefusedError([ImportProblem(0, "file", reason)])
