"""What a frozen period is sealed with.

SHA-256 over lines of text, each ended by a newline: first ``from_ms to_ms time_zone frozen_ms``, then for each tenant,
in the order of their ids' bytes, ``tenant_id calls answered_calls duration_ms rounded_ms``. Anyone with the figures can
compute it again.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FrozenPeriod:
    """What was frozen, and when."""

    from_ms: int
    to_ms: int
    time_zone: str
    frozen_ms: int


@dataclass(frozen=True, slots=True)
class FrozenLine:
    """One tenant's usage as it was billed."""

    tenant_id: str
    calls: int
    answered_calls: int
    duration_ms: int
    rounded_ms: int


def checksum(period: FrozenPeriod, lines: Iterable[FrozenLine]) -> str:
    """The seal in 64 hexadecimal digits."""
    digest = hashlib.sha256(f"{period.from_ms} {period.to_ms} {period.time_zone} {period.frozen_ms}\n".encode())
    for line in sorted(lines, key=lambda one: one.tenant_id.encode()):
        sums = f"{line.calls} {line.answered_calls} {line.duration_ms} {line.rounded_ms}"
        digest.update(f"{line.tenant_id} {sums}\n".encode())
    return digest.hexdigest()
