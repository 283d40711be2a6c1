"""The simulator's harness, for the command that runs one."""

from tests.service.simulator.conftest import harness, patience

__all__ = ["harness", "patience"]
