"""While an export thread works, threads take turns sooner; the interval that was always comes back."""

import sys
from collections.abc import Iterator

import pytest
from opentelemetry.metrics import CallbackOptions, Observation

from telemetry.export.thread import THIN, Slices
from tests.telemetry.export.running import running, to
from tests.telemetry.otlp_receiver import Receiver

USUAL = 0.005


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """Python's own interval, whatever a test does to it."""
    sys.setswitchinterval(USUAL)
    yield
    sys.setswitchinterval(USUAL)


def interval() -> float:
    return sys.getswitchinterval()


def test_slices_are_thin_within_and_as_before_after() -> None:
    """Whether the work ends well or in an exception."""
    slices = Slices()
    with slices.held():
        assert interval() == pytest.approx(THIN)
    assert interval() == pytest.approx(USUAL)
    with pytest.raises(RuntimeError), slices.held():
        raise RuntimeError
    assert interval() == pytest.approx(USUAL)


def test_they_stay_thin_until_the_last_is_done() -> None:
    """The exports of several signals overlap, and end in any order."""
    slices = Slices()
    first, second = slices.held(), slices.held()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert interval() == pytest.approx(THIN)
    second.__exit__(None, None, None)
    assert interval() == pytest.approx(USUAL)


@pytest.mark.parametrize("chosen", [THIN / 2, 2 * USUAL])
def test_what_an_application_chooses_meanwhile_stays(chosen: float) -> None:
    """Its own interval, set while an export is under way, is not overruled by the export's end."""
    with Slices().held():
        sys.setswitchinterval(chosen)
    assert interval() == pytest.approx(chosen)


def test_thinner_slices_stay_as_they_are() -> None:
    """An application that has chosen shorter turns keeps them during and after an export."""
    sys.setswitchinterval(THIN / 2)
    with Slices().held():
        assert interval() == pytest.approx(THIN / 2)
    assert interval() == pytest.approx(THIN / 2)


def test_an_export_is_held_in_thin_slices(receiver: Receiver, protocol: str) -> None:
    """Observed from a callback, the interval is short during a collection, and the usual one after the export."""
    seen = list[float]()

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        seen.append(interval())
        yield Observation(1)

    with running(to(receiver.endpoint, protocol)) as pipelines:
        pipelines.meter_provider.get_meter("test").create_observable_gauge("test.gauge", [observe])
        assert pipelines.flush()
    assert interval() == pytest.approx(USUAL)
    assert seen == pytest.approx([THIN] * len(seen))
    assert seen
