"""The simulator's harness, for the command that runs one."""

from tests.service.simulator.conftest import patience, stand

__all__ = ["patience", "stand"]
