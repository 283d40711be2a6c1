"""Incidents of what a service stands on, with the real programs: who is told, of what, and what the runbook shows."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import pytest

from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallerSpeaks, CallScript, Pause
from tests.peers.alertmanager import Inbox
from tests.peers.emitter import OtlpEmitter
from tests.peers.gateway import Gateway, eventually, gateway
from tests.peers.peers import Peers
from tests.peers.service import Service
from tests.peers.stage import Shows, Stage, expect, placed, stage
from tests.peers.waiting import until
from tests.support.disks import fill

HELLO = AgentGreets(AgentSpeaks("Hello."))
WELL = CallScript("well", (HELLO, CallerSpeaks("Hi."), AgentSpeaks("Yes?")), CallerHangsUp())
HELD = CallScript("held", (HELLO, Pause(1_000_000.0)), CallerHangsUp())
OTHER_SECRET = "whsec_Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="
NO_SECRET = {"APP_ENV": "dev", "OPENAI_WEBHOOK_SECRET": "", "OPENAI_API_KEY": ""}
WEEK = 7 * 86_400
QUICK = {"CALL_HEARTBEAT_SECONDS": "0.5", "DRAIN_SECONDS": "0"}


REFUSED: dict[str, Shows] = {
    "WebhooksRefused": (r'$OUTCOME"} => ([3-9]|\d\d)', "$READY", "$LOGGED"),
}
SILENT: dict[str, Shows] = {"NoCallsArrive": ("=> 15 ", "^$", '"status":"ready"')}
AWAY: dict[str, Shows] = {
    "DatabaseAway": ('"state":"spilling"', (1, "cannot be reached"), r"$INSTANCE.* => \d+"),
    "TenantReadsFail": ('"status":"degraded"', "^$|=> ", (1, "cannot be reached")),
}
FULL: dict[str, Shows] = {
    "RecordsRefusing": ('"state":"refusing"', "$INSTANCE.* => 0 ", "Use%"),
    "SpillRoomShort": (r"$INSTANCE.* => [1-9]\d", "Use%", '"state":"refusing"'),
    "RecordsUnkept": (r"$INSTANCE.* => [5-9]", r"$INSTANCE.* => [1-9]", '"state":"refusing"'),
}
VANISHED: dict[str, Shows] = {
    "ProcessVanishedWithCalls": ("$INSTANCE.* => 3 ", (7, "connect"), "callscope"),
}
STILL: dict[str, Shows] = {"ProcessSilent": ("$INSTANCE", 'service_name="callscope"|$INSTANCE', "callscope")}
_LOST: Shows = ((7, "connect"), (None, ""), "Everything is ready")
LOST: dict[str, Shows] = {
    "CollectorLost": _LOST,
    "CollectorDown": _LOST,
    "TelemetryMissing": ((1, "connect"), (1, "nothing listens"), '"failing":true'),
}
DROPPED: dict[str, Shows] = {
    "CollectorDropsData": (r"otelcol_exporter_send_failed_spans\S+ [1-9]", "(?i)permanent", "^$|queue|data_type"),
    "CollectorQueueFills": ("data_type|^$", "exporter=", "Everything is ready"),
    "CollectorRefusesData": ("otelcol_process_memory_rss", "data_type|^$", "Everything is ready"),
}
"""The last two are of a Collector under pressure, which this one is not: their commands find it well."""
KEPT_IN: dict[str, Shows] = {
    "TelemetryExportFails": ('"traces":{.*"failing":true', (1, "(?i)traces did not arrive"), 'signal="traces"} => '),
    "TelemetryDropped": ('"dropped":', "=> |^$", "callscope|Everything is ready"),
}
ALONE: dict[str, Shows] = {
    "CapacityStoreAway": ("$INSTANCE.* => 0 ", (1, "store does not answer"), "Ready to accept"),
}
_DEBUG = '"consistent":true'
EMITTED: dict[str, Shows] = {
    "CalledPartiesUnreachable": ('"calls":', '$TENANT.*unreachable"} => 6 ', "time_to_first_audio"),
    "CallWithoutSignOfLife": (_DEBUG, "emitter.* => 400 ", '"status":"ready"'),
    "ActiveCallsDoNotProgress": ('"ok":true', _DEBUG, 'instance="emitter"} => 3 '),
    "PendingCallsStuck": ('"calls":', _DEBUG, "^$"),
    "CallsEndStale": ('instance="emitter".* => 5', '"calls":', r'accepted"} => [1-9]'),
    "TelemetrySinkFails": (_DEBUG, 'instance="emitter"} => [3-9]', "serving"),
    "MetricCardinalityOverflow": ("voice_call_received_total", "instance=.* => 1 ", "$TENANT"),
    "TenantBudgetExceeded": ("=> [2-9] ", 'instance="emitter"} => 2', "$TENANT"),
    "LifecycleViolations": ('unknown_call"} => 20', _DEBUG, (1, "^$")),
    "RecordsLost": ((None, ""), "serving", 'instance="emitter"} => [3-9]'),
}
"""Faults that nobody can bring about from outside: another process, which is none, tells of them."""

PLAYED = REFUSED | SILENT | AWAY | FULL | VANISHED | STILL | LOST | DROPPED | KEPT_IN | ALONE | EMITTED


async def _followed(watching: Stage, service: Service, alerts: Mapping[str, Shows], **named: str) -> None:
    desk = await asyncio.to_thread(watching.desk, service)
    for alert, shows in alerts.items():
        await asyncio.to_thread(expect, desk, alert, shows, **named)


WRONG_SECRET = {"OPENAI_WEBHOOK_SECRET": OTHER_SECRET}
READY, DEGRADED = '"status":"ready"', "no call is taken"


@pytest.mark.parametrize(
    ("settings", "outcome", "shown"),
    [
        (WRONG_SECRET, "signature_no_match", {"READY": READY, "LOGGED": "a webhook delivery was refused"}),
        (NO_SECRET, "unavailable", {"READY": DEGRADED, "LOGGED": "no call is taken"}),
    ],
    ids=["refused", "answered 503"],
)
async def test_no_webhook_gets_in(
    peers: Peers, inbox: Inbox, tmp_path: Path, settings: Mapping[str, str], outcome: str, shown: Mapping[str, str]
) -> None:
    """Three calls an hour are announced, and none is taken: the page says that all webhooks are refused, and why."""
    watching = await asyncio.to_thread(stage, peers, inbox, tmp_path)
    async with gateway(tmp_path / "service", {**watching.exporting, **settings}) as line:
        calls = await placed(line, next(iter(line.carrier.numbers)), WELL, 3)
        told = await asyncio.to_thread(watching.awaited, "WebhooksRefused", voice_webhook_outcome=outcome)
        assert outcome in told.summary
        await _followed(watching, line.service, REFUSED, OUTCOME=outcome, **shown)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_silent_carrier(peers: Peers, inbox: Inbox, tmp_path: Path) -> None:
    """No call comes where there were fifteen each half hour a week ago and two: the page says so."""
    now = int(time.time())
    moments = [now - weeks * WEEK + second for weeks in (2, 1) for second in range(-300, 1500, 5)]
    counted = "".join(f"fleet:calls_received:count30m 15 {moment}\n" for moment in moments)
    history = f"# TYPE fleet:calls_received:count30m gauge\n{counted}# EOF\n"
    watching = await asyncio.to_thread(stage, peers, inbox, tmp_path, history=history)
    async with gateway(tmp_path / "service", watching.exporting) as line:
        await asyncio.to_thread(watching.awaited, "NoCallsArrive")
        await _followed(watching, line.service, SILENT)


async def test_the_database_goes_away_and_then_the_disk(
    peers: Peers, inbox: Inbox, tmp_path: Path, small_disk: Path
) -> None:
    """The page names the process that has no database; once its disk is full the next one says that nothing is kept."""
    watching, postgres = await asyncio.to_thread(stage, peers, inbox, tmp_path), await asyncio.to_thread(peers.postgres)
    spill = str(small_disk / "spill")
    environment = {**watching.exporting, **QUICK, "DATABASE_URL": postgres.url, "SPILL_FOLDER": spill}
    async with gateway(tmp_path / "service", environment) as line:
        known, other = list(line.carrier.numbers)
        await asyncio.gather(*await placed(line, known, WELL, 2))
        instance = _instance(line.service)
        await asyncio.to_thread(postgres.kill)
        await asyncio.gather(*await placed(line, known, WELL, 2), *await placed(line, other, WELL, 4))
        await asyncio.to_thread(watching.awaited, "DatabaseAway", instance=instance)
        await asyncio.to_thread(watching.fires, "TenantReadsFail")
        assert "TenantReadsFail" in await asyncio.to_thread(watching.alertmanager.inhibited)
        await _followed(watching, line.service, AWAY, INSTANCE=instance)
        await asyncio.to_thread(fill, small_disk / "ballast")
        await asyncio.gather(*await placed(line, known, WELL, 8))
        for alert in ("RecordsRefusing", "SpillRoomShort", "RecordsUnkept"):
            await asyncio.to_thread(watching.fires, alert, instance=instance)
        await asyncio.to_thread(watching.awaited, "RecordsRefusing", instance=instance)
        await _followed(watching, line.service, FULL, INSTANCE=instance)
        (small_disk / "ballast").unlink()
        await asyncio.to_thread(postgres.start)
        await eventually(lambda: _state_of_records(line, "writing"), "the records to be written")


async def test_processes_that_are_heard_no_more(peers: Peers, inbox: Inbox, tmp_path: Path) -> None:
    """One is killed with calls, one stands still without any, a third goes on: a ticket names each of the two."""
    watching, postgres = await asyncio.to_thread(stage, peers, inbox, tmp_path), await asyncio.to_thread(peers.postgres)
    environment = {**watching.exporting, **QUICK, "DATABASE_URL": postgres.url}
    async with gateway(tmp_path / "service", environment) as line:
        others = [Service(tmp_path / name, line.carrier.base_url, environment) for name in ("still", "well")]
        for other in others:
            await asyncio.to_thread(_started, other)
        still, well = others
        calls = await placed(line, next(iter(line.carrier.numbers)), HELD, 3)
        await eventually(lambda: _active(watching, 3), "the calls to be seen")
        await asyncio.sleep(20)  # so long the three have to be heard together, to be what there mostly was
        killed, silent = _instance(line.service), _instance(still)
        with still.frozen():
            await asyncio.to_thread(line.service.kill)
            told = await asyncio.to_thread(watching.awaited, "ProcessVanishedWithCalls", instance=killed)
            assert " while 3 calls were running" in told.summary
            await asyncio.to_thread(watching.awaited, "ProcessSilent", instance=silent)
            await _followed(watching, line.service, VANISHED, INSTANCE=killed)
            await _followed(watching, line.service, STILL, INSTANCE=silent)
        told_of = [alert.labels.get("instance") for name in watching.names() for alert in watching.told(name)]
        assert _instance(well) not in told_of
        await asyncio.gather(*calls)
        await asyncio.to_thread(line.service.start)
        for other in others:
            assert await asyncio.to_thread(other.stop) == 0


async def test_the_collector_is_lost(peers: Peers, inbox: Inbox, tmp_path: Path) -> None:
    """One page for whoever is on call, and nothing of all that follows from it."""
    watching = await asyncio.to_thread(stage, peers, inbox, tmp_path)
    async with gateway(tmp_path / "service", watching.exporting) as line:
        await asyncio.gather(*await placed(line, next(iter(line.carrier.numbers)), WELL, 2))
        await eventually(lambda: _active(watching, 0), "the process to be seen")
        inbox.notifications.clear()  # before there was a process, none reported
        await asyncio.to_thread(watching.collector.kill)
        await asyncio.to_thread(watching.awaited, "CollectorLost")
        for alert in ("TelemetryMissing", "CollectorDown"):
            await asyncio.to_thread(watching.fires, alert)
        await _followed(watching, line.service, LOST)
        await asyncio.to_thread(watching.collector.start)
    assert watching.names() <= {"CollectorLost"}


async def test_a_backend_that_refuses_a_batch(peers: Peers, inbox: Inbox, tmp_path: Path) -> None:
    """The first batch of spans that is refused for good is told, with the exporter; metrics arrive as ever."""
    sink = peers.sink()
    destinations = {f"OTLP_{signal}_URL": f"{sink.url}/v1/{signal.lower()}" for signal in ("TRACES", "LOGS")}
    watching = await asyncio.to_thread(
        stage, peers, inbox, tmp_path, "base", "production", "vendors/otlp", environment=_kept(destinations)
    )
    async with gateway(tmp_path / "service", watching.exporting) as line:
        watched = 'count(up{job="otelcol"} == 1) and on () count(up{job="otelcol"} offset 30s)'
        await asyncio.to_thread(until, lambda: watching.prometheus.query(watched), "the Collector to be watched")
        sink.status = HTTPStatus.BAD_REQUEST
        await asyncio.gather(*await placed(line, next(iter(line.carrier.numbers)), WELL, 3))
        await asyncio.to_thread(watching.fires, "CollectorDropsData", data_type="traces", exporter="otlp_http/otlp")
        told = await asyncio.to_thread(watching.awaited, "CollectorDropsData")  # of logs, perhaps: they are one group
        assert "otlp_http/otlp" in told.summary
        await _followed(watching, line.service, DROPPED)


async def test_a_signal_that_does_not_leave_the_process(peers: Peers, inbox: Inbox, tmp_path: Path) -> None:
    """Traces go nowhere and their queue is full, while metrics say so: two tickets name the signal."""
    watching = await asyncio.to_thread(stage, peers, inbox, tmp_path)
    nowhere = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces", "OTEL_BSP_MAX_QUEUE_SIZE": "20"}
    smaller = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1"}
    async with gateway(tmp_path / "service", {**watching.exporting, **nowhere, **smaller}) as line:
        await asyncio.gather(*await placed(line, next(iter(line.carrier.numbers)), WELL, 12))
        await asyncio.to_thread(watching.awaited, "TelemetryExportFails", signal="traces")
        await asyncio.to_thread(watching.awaited, "TelemetryDropped", signal="traces")
        await _followed(watching, line.service, KEPT_IN)


async def test_the_fleets_store_is_away(peers: Peers, inbox: Inbox, tmp_path: Path) -> None:
    """The page names the process that decides alone."""
    watching, store = await asyncio.to_thread(stage, peers, inbox, tmp_path), await asyncio.to_thread(peers.redis)
    async with gateway(tmp_path / "service", {**watching.exporting, **QUICK, "REDIS_URL": store.url}) as line:
        watching.logs["valkey"] = store.log_file
        await eventually(lambda: _active(watching, 0), "the process to be seen")
        await asyncio.to_thread(store.kill)
        await asyncio.to_thread(watching.awaited, "CapacityStoreAway", instance=_instance(line.service))
        await _followed(watching, line.service, ALONE, INSTANCE=_instance(line.service))
        await asyncio.to_thread(store.start)


async def test_what_a_process_says_of_itself(peers: Peers, inbox: Inbox, tmp_path: Path) -> None:
    """Each fault that a process can only tell of itself reaches who is told, with the process or the tenant in it."""
    watching = await asyncio.to_thread(stage, peers, inbox, tmp_path)
    async with gateway(tmp_path / "service", watching.exporting) as line:
        await asyncio.gather(*await placed(line, next(iter(line.carrier.numbers)), WELL, 1))
        with OtlpEmitter(watching.collector.otlp_http, signals=["metrics"], instance="emitter") as emitter:
            for _ in range(2):
                await asyncio.to_thread(_emit, emitter)
            saying = asyncio.create_task(_again_and_again(emitter))
            for alert in EMITTED:
                labels = {"tenant_id": "tenant-001"} if alert == "CalledPartiesUnreachable" else {}
                await asyncio.to_thread(watching.awaited, alert, **labels)
            await _followed(watching, line.service, EMITTED, TENANT="tenant-001")
            saying.cancel()


FAULTS: Sequence[tuple[str, float, Mapping[str, str | bool]]] = (
    ("voice.call.unanswered", 3, {"tenant.id": "tenant-001", "voice.call.unanswered.reason": "unreachable"}),
    ("voice.call.received", 5, {"tenant.id": "tenant-001"}),
    ("voice.call.received", 1, {"tenant.id": "_other"}),
    ("voice.call.received", 1, {"otel.metric.overflow": True}),
    ("voice.call.ended", 2.5, {"tenant.id": "tenant-001", "voice.call.end.reason": "stale"}),
    ("voice.call.active", 1.5, {"tenant.id": "tenant-001"}),
    ("voice.call.pending", 1, {"tenant.id": "tenant-001"}),
    ("voice.call.time", 5, {"tenant.id": "tenant-001"}),
    ("voice.call.started", 1, {"tenant.id": "tenant-001"}),
    ("voice.call.oldest_silence", 400, {}),
    ("callscope.sink.failures", 3, {}),
    ("callscope.records.refused", 3, {}),
    ("voice.lifecycle.violations", 10, {"voice.lifecycle.violation": "unknown_call"}),
)
"""What is counted twice, so that it rises."""


def _emit(emitter: OtlpEmitter) -> None:
    for name, amount, attributes in FAULTS:
        emitter.record(name, amount, attributes)
    emitter.flush()


async def _again_and_again(emitter: OtlpEmitter) -> None:
    """Say the same each second, as a process does."""
    while True:
        await asyncio.sleep(1)
        await asyncio.to_thread(emitter.flush)


def _instance(service: Service) -> str:
    """The id of the process, as its first log line has it."""
    lines = [line for line in service.log.splitlines() if line.startswith("{")]
    return str(json.loads(lines[-1])["instance"])


def _started(service: Service) -> None:
    service.folder.mkdir()
    service.start()


def _kept(destinations: dict[str, str]) -> dict[str, str]:
    return {"COLLECTOR_SAMPLE_PERCENT": "100", "COLLECTOR_ROOT_GRACE": "1s", **destinations}


async def _active(watching: Stage, calls: int) -> bool:
    seen = await asyncio.to_thread(watching.prometheus.query, "sum(voice_call_active)")
    reported = await asyncio.to_thread(watching.prometheus.query, "voice_call_oldest_silence_seconds")
    return bool(reported) and (not calls or (bool(seen) and seen[0].value == calls))


async def _state_of_records(line: Gateway, state: str) -> bool:
    answer = (await line.client.get("/readyz")).json()
    return bool(answer["information"]["records"]["state"] == state)
