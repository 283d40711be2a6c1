"""What an endpoint answers while the database it needs is away."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from service.database import DATABASE_ERRORS
from service.problems import ProblemError


@contextmanager
def database_needed() -> Iterator[None]:
    """Turn the database's errors into a 503 problem that says when to come again."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The database does not answer now; calls go on, and their records are kept.",
            headers={"Retry-After": "5"},
        ) from error
