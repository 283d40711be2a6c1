"""Seals of billing documents: a checksum over a document, its lines, its calls, and the seal before it.

An edited row whose seal is computed anew leaves the next document's seal broken, and contradicts every seal that was
printed since. With a key the seal cannot be computed at all by those who only have the database.
"""

import hashlib
import hmac
import json
from collections.abc import AsyncIterable, Iterable
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class BilledSums:
    """One tenant's sums in a document; of an adjustment the differences."""

    tenant_id: str
    calls: int
    answered_calls: int
    duration_ms: int
    rounded_ms: int


@dataclass(frozen=True, slots=True)
class BilledCall:
    """A call's part in a period as it was billed."""

    call_id: str
    tenant_id: str
    calls: int
    """1 if it started in the period, else 0."""
    answered_calls: int
    duration_ms: int
    rounded_ms: int


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """A document without its lines."""

    document_id: int
    adjusts: int | None
    tenant_id: str | None
    from_ms: int
    to_ms: int
    time_zone: str
    made_ms: int
    made_by: str
    calls_digest: str | None


def seal(previous: str, facts: DocumentFacts, lines: Iterable[BilledSums], key: bytes | None) -> str:
    """Return the seal in 64 hexadecimal digits: SHA-256, or HMAC-SHA-256 with a key, over JSON lines.

    The first line is the previous seal, the second the document, then its lines by tenant.
    """
    content = [json.dumps(previous), json.dumps(astuple(facts))]
    content += [json.dumps(astuple(line)) for line in sorted(lines, key=lambda line: line.tenant_id.encode())]
    text = "\n".join(content).encode()
    return hashlib.sha256(text).hexdigest() if key is None else hmac.new(key, text, hashlib.sha256).hexdigest()


async def digest(calls: AsyncIterable[BilledCall]) -> str:
    """Return the SHA-256 over the calls of a document as JSON lines, in the order they come."""
    found = hashlib.sha256()
    async for call in calls:
        found.update(json.dumps(astuple(call)).encode() + b"\n")
    return found.hexdigest()


def seal_of_old(facts: DocumentFacts, lines: Iterable[BilledSums]) -> str:
    """Return the seal of a freeze from before calls were kept: over its period and lines alone."""
    text = f"{facts.from_ms} {facts.to_ms} {facts.time_zone} {facts.made_ms}\n"
    for line in sorted(lines, key=lambda line: line.tenant_id.encode()):
        text += f"{line.tenant_id} {line.calls} {line.answered_calls} {line.duration_ms} {line.rounded_ms}\n"
    return hashlib.sha256(text.encode()).hexdigest()
