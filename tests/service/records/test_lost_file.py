"""A service whose SQLite file is moved away while it runs, and put back."""

from pathlib import Path

from service.records.calls import RecordsState
from service.simulator.script import AgentGreets, AgentSpeaks, CallerSpeaks, CallScript
from service.storage.sqlite_file import GONE
from telemetry.semconv.attributes import CallId
from tests.service.gateway.harness import running_harness

TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello.")), CallerSpeaks("Well?"), AgentSpeaks("Fine.")))


async def test_no_record_goes_into_a_file_that_is_gone(tmp_path: Path) -> None:
    """Calls go on, readiness says why it is degraded, and every record is in the file once it is back."""
    file, elsewhere = tmp_path / "callscope.db", tmp_path / "away.db"
    async with running_harness(tmp_path) as harness:
        before = await harness.call(TALK)
        records = harness.container.records
        assert await records.flush(60)
        file.rename(elsewhere)
        during = await harness.call(TALK)
        await harness.until(lambda: records.health().state is RecordsState.SPILLING, "records to wait on disk")
        ready = await harness.get("/readyz")
        assert (ready["ok"], ready["status"]) == (True, "degraded")
        assert ready["checks"]["database"] == {"ok": False, "reason": GONE}
        assert not file.exists()
        elsewhere.rename(file)
        assert await records.flush(60)
        for report in (before, during):
            stored = await records.find(CallId(report.call_id))
            assert stored is not None
            assert stored.ended_ms is not None
        assert not harness.container.database.file_gone
