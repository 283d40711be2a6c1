"""The simulator's harness, for the command that runs one."""

from tests.service.simulator.conftest import caller_timeout, harness

__all__ = ["caller_timeout", "harness"]
