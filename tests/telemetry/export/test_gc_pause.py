"""The search for cycles is put off while metrics are exported, and always comes back."""

import gc
from collections.abc import Iterator

import pytest
from opentelemetry.metrics import CallbackOptions, Observation

from telemetry.export.gc_pause import gc_pause
from tests.telemetry.export.running import running, to
from tests.telemetry.otlp_receiver import Receiver


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """Automatic collection is on before and after every test."""
    assert gc.isenabled()
    yield
    gc.enable()


def test_collection_is_off_within_and_on_after() -> None:
    """The pause ends, well or in an exception."""
    with gc_pause() as end_if_long:
        end_if_long()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(RuntimeError), gc_pause():
        raise RuntimeError
    assert gc.isenabled()


def test_a_pause_that_lasts_too_long_ends_early() -> None:
    """Others make garbage meanwhile, so there is a limit."""
    with gc_pause(longest=0) as end_if_long:
        assert not gc.isenabled()
        end_if_long()
        assert gc.isenabled()


def test_who_has_collection_off_keeps_it_off() -> None:
    """An application that collects by hand is not overruled."""
    gc.disable()
    with gc_pause(longest=0) as end_if_long:
        end_if_long()
        assert not gc.isenabled()
    assert not gc.isenabled()


@pytest.mark.parametrize("pause_gc", [False, True])
def test_an_export_pauses_collection_only_when_asked_to(receiver: Receiver, protocol: str, pause_gc: bool) -> None:
    """Observed from a callback, automatic collection goes on during an export unless a pause was asked for."""
    seen = list[bool]()

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        seen.append(gc.isenabled())
        yield Observation(1)

    with running(to(receiver.endpoint, protocol), pause_gc=pause_gc) as pipelines:
        pipelines.meter_provider.get_meter("test").create_observable_gauge("test.gauge", [observe])
        assert pipelines.flush()
        assert gc.isenabled()
    assert seen
    assert all(collecting is not pause_gc for collecting in seen)


def test_what_survives_a_pause_is_not_searched_at_once() -> None:
    """Objects made within count as old afterwards, so that the next young collection leaves them alone."""
    with gc_pause():
        made = [[number] for number in range(10)]
    old = {id(known) for known in gc.get_objects(generation=2)}
    assert all(id(inner) in old for inner in made)


def test_what_an_application_has_frozen_stays_frozen() -> None:
    """The pause does without its trick rather than thaw what somebody else froze."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        with gc_pause():
            pass
        assert gc.get_freeze_count() == pytest.approx(frozen, rel=0.01)
        assert gc.isenabled()
    finally:
        gc.unfreeze()
