"""Parameters of a request that several endpoints take."""

from datetime import datetime
from typing import Annotated

from fastapi import Query

Since = Annotated[
    datetime | None,
    Query(description="Received then or later; UTC unless it says otherwise.", examples=["2026-11-22T14:00:00Z"]),
]
Until = Annotated[
    datetime | None,
    Query(description="Received before; UTC unless it says otherwise.", examples=["2026-11-22T14:05:00Z"]),
]
