"""Whatever the repository refuses, also what only happens when others change the tenant meanwhile, is a problem."""

import pytest

from service.api.tenants.problems import tenant_problems
from service.e164 import E164
from service.http.problems import MAX_FIELD_PROBLEMS, ProblemError
from service.tenants.errors import (
    InvalidFieldError,
    NumberNotFoundError,
    NumberTakenError,
    StaleVersionError,
    TenantError,
    TenantExistsError,
    TenantNotFoundError,
)


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (TenantNotFoundError("acme"), 404, {}),
        (NumberNotFoundError("acme", "+18005550100"), 404, {}),
        (NumberTakenError({E164("+18005550100"): "beta"}), 409, {}),
        (StaleVersionError("acme", expected=1, actual=2), 412, {"ETag": '"2"'}),
        (StaleVersionError("acme", expected=1, actual=0), 412, {}),
        (TenantExistsError("acme"), 412, {}),
        (InvalidFieldError("features", "a: must be true or false"), 422, {}),
        (TimeoutError(), 503, {"Retry-After": "5"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_refusal_has_its_status(error: Exception, status: int, headers: dict[str, str]) -> None:
    """The status says what to do next, and a version that is known is told."""
    with pytest.raises(ProblemError) as raised, tenant_problems():
        raise error
    assert (raised.value.status_code, raised.value.headers) == (status, headers)


def test_of_many_taken_numbers_the_first_are_listed() -> None:
    """An answer does not grow with the numbers that a request wants."""
    owners = {E164(f"+1800555{number:04}"): "beta" for number in range(1000)}
    with pytest.raises(ProblemError) as raised, tenant_problems("path.number"):
        raise NumberTakenError(owners)
    assert len(raised.value.errors) == MAX_FIELD_PROBLEMS
    assert raised.value.errors[0].detail == "+18005550000 belongs to 'beta'"
    assert {problem.field for problem in raised.value.errors} == {"path.number"}


def test_what_is_no_refusal_is_not_hidden() -> None:
    """An error that nobody foresaw goes on as it is."""
    with pytest.raises(TenantError), tenant_problems():
        raise TenantError("any", "new")
