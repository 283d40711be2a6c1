"""The doctor's findings on the page: looked for once, waited for by nobody."""

import threading

import httpx2
import pytest

from service.page.examination import STANDS_SECONDS, Examination
from telemetry.doctor import ExportFinding, Verdict
from telemetry.export import InvalidVariableError
from telemetry.export.signals import Signal
from tests.peers.waiting import until
from tests.service.page.browsing import shown

FINDING = ExportFinding(Signal.METRICS, Verdict.ARRIVED, "Metrics arrived.", "http://127.0.0.1:4318/v1/metrics")


class Doctor:
    """Finds what a test says, once it may."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        self.error = error

    def __call__(self) -> list[ExportFinding]:
        self.asked += 1
        self.may_answer.wait(60)
        if self.error is not None:
            raise self.error
        return [FINDING]


def test_nobody_waits_for_the_findings() -> None:
    """However many look meanwhile, one examination is made; then its findings stand for a while."""
    now = [0.0]
    doctor = Doctor()
    examination = Examination(doctor, monotonic=lambda: now[0])
    for _ in range(3):
        assert examination.look().findings is None
    doctor.may_answer.set()
    until(lambda: examination.look().findings is not None, "the findings")
    now[0] = STANDS_SECONDS
    examined = examination.look()
    assert (examined.findings, examined.age_seconds, doctor.asked) == ([FINDING], STANDS_SECONDS, 1)
    now[0] = STANDS_SECONDS + 1
    assert examination.look().findings == [FINDING]
    until(lambda: doctor.asked == 2, "another examination")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InvalidVariableError("OTEL_EXPORTER_OTLP_PROTOCOL", "no such protocol"), "no such protocol"),
        (RuntimeError("secret"), "it broke off (RuntimeError)"),
    ],
)
def test_an_examination_that_fails_says_why(error: Exception, said: str) -> None:
    """In a sentence; of what nobody foresaw the kind alone."""
    doctor = Doctor(error)
    doctor.may_answer.set()
    examination = Examination(doctor)
    until(lambda: examination.look().error is not None, "the failure")
    assert said in (examination.look().error or "")
    assert "secret" not in (examination.look().error or "")


async def test_the_page_shows_the_findings(person: httpx2.AsyncClient) -> None:
    """What is exported nowhere is said to be, signal by signal, with the variable that would change it."""
    text = ""
    while "not exported" not in text:
        text = (await shown(person, "/system")).text(id="doctor")
    for name in ("Metrics", "Traces", "Logs"):
        assert f"{name} are not exported. Set OTEL_EXPORTER_OTLP_ENDPOINT" in text
