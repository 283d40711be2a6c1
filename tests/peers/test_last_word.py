"""The last word of a process: told to stop it says so with its last export, killed it says nothing."""

import asyncio
from pathlib import Path

import pytest

from service.simulator.simulator import Simulator
from tests.peers.gateway import eventually
from tests.peers.service import Service
from tests.service.gateway.harness import on_the_air
from tests.telemetry.otlp_receiver import Receiver, http_receiver


@pytest.mark.parametrize(("end", "last"), [("stop", 1), ("kill", 0)])
async def test_a_process_tells_whether_it_was_told_to_stop(end: str, last: int, tmp_path: Path) -> None:
    """`callscope.process.stopping` is 1 in the last export of an orderly stop, 0 in that of a killed process."""
    with http_receiver() as receiver:
        async with on_the_air() as carrier:
            await _had(carrier, receiver, end, tmp_path)
        assert _said(receiver)[-1] == last


async def _had(carrier: Simulator, receiver: Receiver, end: str, folder: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    service = Service(folder, carrier.base_url, environment)
    await asyncio.to_thread(service.start)
    try:

        async def told() -> bool:
            return _said(receiver)[-1:] == [0]

        await eventually(told, "the first export")
    finally:
        await asyncio.to_thread(getattr(service, end))


def _said(receiver: Receiver) -> list[int]:
    """What each export said, in their order."""
    found = [metric for metric in receiver.metrics if metric.name == "callscope.process.stopping"]
    return [point.as_int for metric in found for point in metric.gauge.data_points]
