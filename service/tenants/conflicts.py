"""What the entries of one import say against each other, and against what is stored."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from service.e164 import E164, NumberProblem, to_e164
from service.tenants.errors import ImportProblem
from service.tenants.spec import TenantSpec

_Claim = tuple[str, str]
"""Field and value that only one entry may state. An id and a number cannot be mistaken for each other, having no +."""


def duplicates(specs: Sequence[TenantSpec]) -> list[ImportProblem]:
    """Tenants stated twice, and numbers stated for two tenants."""
    return _repeated([("tenant_id", spec.tenant_id), *_numbers(spec.numbers)] for spec in specs)


def duplicates_as_written(entries: Sequence[object]) -> list[ImportProblem]:
    """The same for entries not yet checked, so that a wrong entry does not hide that it is also a repeated one."""
    return _repeated(list(_written_claims(entry)) for entry in entries)


def taken(specs: Sequence[TenantSpec], owners: Mapping[E164, str]) -> list[ImportProblem]:
    """Numbers that belong to tenants which keep them."""
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
        read = {to_e164(number) for number in numbers if isinstance(number, str)}
        yield from _numbers(sorted(number for number in read if not isinstance(number, NumberProblem)))
