"""The exporters' own log lines are held back while anybody exports, and as before afterwards."""

import logging
from collections.abc import Iterator

import pytest

from telemetry.export.signals import Signal
from telemetry.export.thread import LogSuppression
from tests.telemetry.export.running import running, to

NAME = "test.noisy"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger(NAME)
    yield logger
    logger.setLevel(logging.NOTSET)


def test_loggers_below_are_silent_while_held(logger: logging.Logger) -> None:
    """Even an error of a logger further down is held back; afterwards it is heard again."""
    child = logger.getChild("exporter")
    with LogSuppression(NAME).held():
        assert not child.isEnabledFor(logging.CRITICAL)
    assert child.isEnabledFor(logging.ERROR)


def test_the_last_holder_restores_what_was(logger: logging.Logger) -> None:
    """Two pipelines at once, ending in any order, leave the level as it was."""
    suppression = LogSuppression(NAME)
    one, other = suppression.held(), suppression.held()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert not logger.isEnabledFor(logging.CRITICAL)
    other.__exit__(None, None, None)
    assert logger.level == logging.NOTSET


def test_a_level_somebody_set_is_respected(logger: logging.Logger) -> None:
    """Who asks for the exporters' debug output gets it."""
    logger.setLevel(logging.DEBUG)
    with LogSuppression(NAME).held():
        assert logger.level == logging.DEBUG
    assert logger.level == logging.DEBUG


def test_pipelines_without_export_touch_no_logger() -> None:
    """Only an export thread holds the suppression."""
    sdk = logging.getLogger("opentelemetry.exporter.otlp")
    with running({}):
        assert sdk.level == logging.NOTSET
    with running(to("http://localhost:1", "http/protobuf", OTEL_METRICS_EXPORTER="none")) as pipelines:
        thread = pipelines._pipelines[Signal.TRACES].source.thread
        thread.flush(0.01)
        assert sdk.level > logging.CRITICAL
