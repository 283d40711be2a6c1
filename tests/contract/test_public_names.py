"""The public face of the library is small, sorted and real."""

import telemetry


def test_public_names_are_sorted_and_there() -> None:
    """Whoever adds a name puts it in its place; whoever removes one removes it from the list."""
    assert telemetry.__all__ == sorted(telemetry.__all__)
    missing = [name for name in telemetry.__all__ if not hasattr(telemetry, name)]
    assert not missing, f"in telemetry.__all__ but not imported there: {missing}"


def test_public_names_come_from_the_library() -> None:
    """Nothing of another package is offered as the library's own."""
    modules = {name: getattr(telemetry, name).__module__ for name in telemetry.__all__ if name not in _NEW_TYPES}
    foreign = {name: module for name, module in modules.items() if not module.startswith("telemetry.")}
    assert not foreign


def test_public_names_are_documented() -> None:
    """Each says what it means."""
    undocumented = [name for name in telemetry.__all__ if not getattr(telemetry, name).__doc__]
    assert not undocumented, f"write a docstring for {undocumented}"


_NEW_TYPES = ("CallId", "TenantId")
