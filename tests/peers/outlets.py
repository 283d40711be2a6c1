"""Everything a service process lets out, as text to search: answers, pictures, drawings, records, files, OTLP."""

import asyncio
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint

from telemetry.semconv.attributes import Exposure
from tests.peers.service import TOKEN, Service
from tests.telemetry.otlp_receiver import Receiver

Outlets = dict[str, str]
"""What came out, by where."""

CONFIGURATION = ("tenant", "alembic", "sqlite")
"""Tables that hold what operators put in, or nothing."""


async def endpoints(client: httpx2.AsyncClient, call_ids: Iterable[str], tenant_ids: Iterable[str]) -> Outlets:
    """What every admin endpoint and probe answers."""
    today = datetime.now(UTC).date()
    paths = [
        "/readyz",
        "/livez",
        "/api/v1/health",
        "/api/v1/metrics/live",
        "/api/v1/metrics/capacity/debug",
        "/api/v1/calls",
        "/api/v1/calls?state=all&limit=500",
        f"/api/v1/usage?from={today}&to={today + timedelta(days=1)}",
        *(f"/api/v1/metrics/live/{tenant}{more}" for tenant in tenant_ids for more in ("", "/exemplars")),
        *(f"/api/v1/calls/{call_id}{more}" for call_id in call_ids for more in ("", "/timeline.svg")),
    ]
    answers = {path: (await client.get(path)).raise_for_status() for path in paths}
    traces = [answers[f"/api/v1/calls/{call_id}"].json()["trace"]["trace_id"] for call_id in call_ids]
    by_trace = {path: await client.get(path) for path in (f"/api/v1/traces/{trace_id}" for trace_id in traces)}
    return {path: f"{answer.headers} {answer.text}" for path, answer in (answers | by_trace).items()}


async def drawings(service: Service, call_ids: Iterable[str]) -> Outlets:
    """What the command draws in a terminal."""
    environment = {**service.whole_environment, "CALLSCOPE_URL": service.address, "ADMIN_TOKEN": TOKEN}

    def drawn(call_id: str) -> str:
        command = service.command("call", call_id)
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout  # noqa: S603

    return {f"callscope call {call_id}": await asyncio.to_thread(drawn, call_id) for call_id in call_ids}


def kept(folder: Path) -> Outlets:
    """What is in the database, apart from the configuration, and in spill files."""
    tables = dict(_tables(folder / "callscope.db"))
    files = {str(path): path.read_text() for path in (folder / "spill").rglob("*") if path.is_file()}
    return tables | files


def exported(receiver: Receiver) -> Outlets:
    """What was sent over OTLP, by signal."""
    found: Outlets = {}
    for request in receiver.received:
        # The mark is plain ASCII: in the bytes as in the text.
        found[request.path] = found.get(request.path, "") + request.message.SerializeToString().decode("latin-1")
    return found


def filtered_attributes(receiver: Receiver) -> list[set[str]]:
    """Of each exemplar that was sent the attributes a view took off the measurement: they leave with the exemplar."""
    exemplars = [exemplar for point in _points(receiver) for exemplar in point.exemplars]
    return [{item.key for item in exemplar.filtered_attributes} for exemplar in exemplars]


def attribute_keys(receiver: Receiver) -> dict[Exposure, set[str]]:
    """The keys of all that was sent: on measurements, and on spans, their events and log lines."""
    of_spans = {item.key for span in receiver.spans for item in span.attributes}
    of_events = {item.key for span in receiver.spans for event in span.events for item in event.attributes}
    of_logs = {item.key for record in receiver.log_records for item in record.attributes}
    of_points = {item.key for point in _points(receiver) for item in point.attributes}
    return {Exposure.METRIC: of_points, Exposure.TRACE: of_spans | of_events | of_logs}


def _points(receiver: Receiver) -> list[NumberDataPoint | HistogramDataPoint]:
    return [
        point
        for metric in receiver.metrics
        for data in (metric.histogram, metric.sum, metric.gauge)
        for point in data.data_points
    ]


def found(outlets: Mapping[str, str], hidden: Iterable[str]) -> dict[str, set[str]]:
    """What of the hidden came out where, with the text around it."""
    return {
        where: places
        for where, text in outlets.items()
        if (places := {_around(text, secret) for secret in hidden if secret in text})
    }


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 80) : at + 60]


def _tables(path: Path) -> Iterator[tuple[str, str]]:
    with sqlite3.connect(path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            if not name.startswith(CONFIGURATION):
                yield f"table {name}", repr(database.execute(f'SELECT * FROM "{name}"').fetchall())  # noqa: S608
    database.close()
