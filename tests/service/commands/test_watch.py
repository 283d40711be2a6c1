"""``callscope watch``: the first page in a terminal."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console
from typer.testing import CliRunner

from service.cli import app
from service.commands.client import RefusedError
from service.commands.watch import drawn, follow
from service.page.facts import Overview
from service.page.overview import EXAMPLE


def overview(**changed: object) -> Overview:
    """A reading."""
    return Overview.model_validate({**EXAMPLE, **changed})


def printed(found: Overview) -> str:
    """What it looks like, in a wide pipe."""
    written = io.StringIO()
    Console(file=written, width=200, highlight=False).print(drawn(found))
    return written.getvalue()


def test_a_reading_is_shown_whole() -> None:
    """Figures, verdicts with their signs, running calls, and calls that need attention with their reasons."""
    said = printed(overview())
    for text in (
        "12 of 100",
        "21.4",
        "0.3 %",
        "820 ms",
        "1 of 1",
        "rtc_1",
        "0.8 s ago",
        "rtc_2",
        "somebody waited 6.2 s",
    ):
        assert text in said, text
    assert " ✓ 14 of 100 slots are in use; at most 20 in the last hour." in said


def test_what_is_not_known_is_a_dash_and_what_is_empty_is_said() -> None:
    """Nothing is shown as 0 that is not."""
    strip = EXAMPLE["strip"] | {"failed_share": None, "turn_p95_seconds": None, "calls_per_minute": None}
    said = printed(overview(strip=strip, running=(), attention=()))
    assert said.count(" -  ") == 3
    assert "No call is running." in said
    assert "No call of the last hour needs attention." in said


def test_names_of_others_are_texts() -> None:
    """Neither marks of rich nor control characters of a terminal come through."""
    call = EXAMPLE["attention"][0] | {"call_id": "[bold]x[/bold]\x1b[2J", "reasons": ["tool [red]y failed"]}
    said = printed(overview(attention=[call]))
    assert "[bold]x[/bold]" in said
    assert "tool [red]y failed" in said
    assert "\x1b[2J" not in said


def test_a_service_that_is_away_leaves_the_last_reading() -> None:
    """It says so, goes on asking, and shows the next reading when there is one."""
    readings: Iterator[Overview | RefusedError] = iter(
        [overview(), RefusedError("cannot reach it"), overview(running_count=77)]
    )
    written = io.StringIO()
    screen = Console(file=written, force_terminal=True, width=200, height=60, highlight=False)

    def read() -> Overview:
        found = next(readings, None)
        if isinstance(found, RefusedError):
            raise found
        if found is None:
            raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        follow(screen, read, sleep=lambda _: None)
    said = written.getvalue()
    assert "Not connected: cannot reach it" in said
    assert "77 running" in said


def test_without_a_service_it_says_why() -> None:
    """One sentence, and code 1."""
    result = CliRunner().invoke(app, ["watch", "--url", "http://127.0.0.1:9", "--token", "x"])
    assert result.exit_code == 1
    assert "cannot reach http://127.0.0.1:9" in result.output
