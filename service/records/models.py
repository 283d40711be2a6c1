"""The tables calls and the processes that hold them are recorded in.

Moments are whole milliseconds since 1970 UTC and durations whole milliseconds: exact on every database, and what usage
computes with. ``to_timestamp(received_ms / 1000.0)`` (PostgreSQL) or ``datetime(received_ms / 1000, 'unixepoch')``
(SQLite) shows a moment to people.
"""

from sqlalchemy import BigInteger, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.database import Base
from service.tenants.models import TENANT_ID

CALL_ID = String(255).with_variant(String(255, collation="C"), "postgresql")
"""A carrier's id of a call; compared by its bytes."""

MAX_CALL_ID = 255
"""Characters of a call id that fit; a carrier's are far shorter."""

MAX_SOURCE = 64
"""Characters of a source's name that fit."""

INSTANCE_ID = String(64)
"""The ``service.instance.id`` of a process."""

OPEN = "ended_ms IS NULL"
CLOSED = "ended_ms IS NOT NULL"
OUTBOUND = "direction = 'outbound'"
NOT_DIRECT = "source <> 'direct'"
"""The condition for what few calls are, in the words of both an index and the question it answers."""


class CallRecordRow(Base):
    """One call, from its announcement to its end."""

    __tablename__ = "call_records"

    call_id: Mapped[str] = mapped_column(CALL_ID, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(TENANT_ID)
    state: Mapped[str] = mapped_column(String(16))
    """A :class:`telemetry.calls.lifecycle.CallState`."""
    outcome: Mapped[str | None] = mapped_column(String(16))
    """A :class:`telemetry.recent.record.CallOutcome`; null while the call is open."""
    reason: Mapped[str | None] = mapped_column(String(32))
    """The reason it was rejected, never answered, abandoned or ended for."""
    error_type: Mapped[str | None] = mapped_column(String(128))
    fault: Mapped[str | None] = mapped_column(String(16))
    """The party at fault for its end; null if nobody is, or it is not known."""
    # A process of the version before, which runs beside this one while versions change, leaves these two out.
    direction: Mapped[str] = mapped_column(String(16), server_default="inbound")
    source: Mapped[str] = mapped_column(String(MAX_SOURCE), server_default="direct")
    """The configured name of the gateway or carrier that reported it."""

    received_ms: Mapped[int] = mapped_column(BigInteger)
    decided_ms: Mapped[int | None] = mapped_column(BigInteger)
    """Accepted, rejected or given up by the other side."""
    started_ms: Mapped[int | None] = mapped_column(BigInteger)
    first_audio_ms: Mapped[int | None] = mapped_column(BigInteger)
    referred_ms: Mapped[int | None] = mapped_column(BigInteger)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)
    """Rejected, never answered, abandoned or ended; null while the call is open."""
    last_seen_ms: Mapped[int] = mapped_column(BigInteger)
    """The last activity."""
    usage_from_ms: Mapped[int] = mapped_column(BigInteger)
    """The moment its usage begins: started, or received for a call that has not started."""

    billed_ms: Mapped[int] = mapped_column(BigInteger)
    """Call time so far; grows with each heartbeat."""
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The final call time; null while open. Apart from ``billed_ms`` so that no heartbeat touches an index."""
    duration_basis: Mapped[str] = mapped_column(String(16))
    """Since when it counts: a :class:`telemetry.recent.record.DurationBasis`, the moment being ``usage_from_ms``."""
    duration_source: Mapped[str | None] = mapped_column(String(24))
    """A :class:`service.records.record.DurationSource`; null while the call is open, and where nothing was measured."""

    caller_masked: Mapped[str | None] = mapped_column(String(16))
    caller_hash: Mapped[str | None] = mapped_column(String(32))
    dialled_masked: Mapped[str | None] = mapped_column(String(16))
    dialled_hash: Mapped[str | None] = mapped_column(String(32))

    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cached_input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    input_text_tokens: Mapped[int | None] = mapped_column(BigInteger)
    input_audio_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_text_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_audio_tokens: Mapped[int | None] = mapped_column(BigInteger)

    trace_id: Mapped[str | None] = mapped_column(String(32))
    span_id: Mapped[str | None] = mapped_column(String(16))
    """The root span, so that a process that takes the call over continues its trace."""

    turns: Mapped[int | None] = mapped_column(BigInteger)
    """Times the caller took the word; null for a call from before this was kept."""
    interruptions: Mapped[int | None] = mapped_column(BigInteger)
    """Answers the caller cut short; null likewise."""
    longest_wait_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The caller's longest wait: for the decision, for the first audio, or for an answer; null likewise."""

    # Of a conversation in which nobody was reported to speak, all of these are null.
    conversation_ms: Mapped[int | None] = mapped_column(BigInteger)
    """From the first word to the end, as far as it was observed."""
    caller_talk_ms: Mapped[int | None] = mapped_column(BigInteger)
    agent_talk_ms: Mapped[int | None] = mapped_column(BigInteger)
    talk_over_ms: Mapped[int | None] = mapped_column(BigInteger)
    """Time in which both spoke."""
    dead_air_ms: Mapped[int | None] = mapped_column(BigInteger)
    """Time in which nobody spoke for three seconds and more."""
    dead_airs: Mapped[int | None] = mapped_column(BigInteger)
    agent_interruptions: Mapped[int | None] = mapped_column(BigInteger)
    """Times the agent began to speak while the caller spoke."""

    instance_id: Mapped[str] = mapped_column(INSTANCE_ID)
    """The process that holds the call, or held it last."""
    claim: Mapped[int] = mapped_column(BigInteger)
    """The moment that process took the call in hand, in microseconds; grows with each take-over, so that one that lost
    the call cannot write to it any more."""
    version: Mapped[int] = mapped_column(Integer)
    """Counts the changes under one claim: an older state never overwrites a newer one."""
    handed_over_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The moment a process that stopped left the call, running, to the next."""
    written_ms: Mapped[int] = mapped_column(BigInteger)
    """The moment of this row's last change."""

    __table_args__ = (
        Index("ix_call_records_received", "received_ms", "call_id"),
        Index("ix_call_records_tenant_received", "tenant_id", "received_ms", "call_id"),
        Index(
            "ix_call_records_instance",
            "instance_id",
            "received_ms",
            sqlite_where=text(CLOSED),
            postgresql_where=text(CLOSED),
        ),
        Index(
            "ix_call_records_outcome",
            "outcome",
            "received_ms",
            "call_id",
            sqlite_where=text(CLOSED),
            postgresql_where=text(CLOSED),
        ),
        Index(
            "ix_call_records_tenant_outcome",
            "tenant_id",
            "outcome",
            "received_ms",
            "call_id",
            sqlite_where=text(CLOSED),
            postgresql_where=text(CLOSED),
        ),
        Index(
            "ix_call_records_reason",
            "reason",
            "received_ms",
            "call_id",
            sqlite_where=text(CLOSED),
            postgresql_where=text(CLOSED),
        ),
        Index(
            "ix_call_records_fault",
            "fault",
            "received_ms",
            "call_id",
            sqlite_where=text("fault IS NOT NULL"),
            postgresql_where=text("fault IS NOT NULL"),
        ),
        Index(
            "ix_call_records_outbound",
            "received_ms",
            "call_id",
            sqlite_where=text(OUTBOUND),
            postgresql_where=text(OUTBOUND),
        ),
        Index(
            "ix_call_records_source",
            "source",
            "received_ms",
            "call_id",
            sqlite_where=text(NOT_DIRECT),
            postgresql_where=text(NOT_DIRECT),
        ),
        Index("ix_call_records_open", "instance_id", sqlite_where=text(OPEN), postgresql_where=text(OPEN)),
        Index(
            "ix_call_records_usage",
            "usage_from_ms",
            "tenant_id",
            "duration_ms",
            "outcome",
            "reason",
            # For SQLite, which would read the row for it: the index is to answer alone.
            "ended_ms",
            sqlite_where=text(CLOSED),
            postgresql_where=text(CLOSED),
        ),
        Index(
            "ix_call_records_tenant_usage",
            "tenant_id",
            "usage_from_ms",
            "duration_ms",
            "outcome",
            "reason",
            "ended_ms",
            sqlite_where=text(CLOSED),
            postgresql_where=text(CLOSED),
        ),
        Index("ix_call_records_duration", "duration_ms"),
        Index(
            "ix_call_records_caller",
            "caller_masked",
            "received_ms",
            "call_id",
            sqlite_where=text("caller_masked IS NOT NULL"),
            postgresql_where=text("caller_masked IS NOT NULL"),
        ),
        Index(
            "ix_call_records_caller_hash",
            "caller_hash",
            "received_ms",
            "call_id",
            sqlite_where=text("caller_hash IS NOT NULL"),
            postgresql_where=text("caller_hash IS NOT NULL"),
        ),
        Index(
            "ix_call_records_trace",
            "trace_id",
            sqlite_where=text("trace_id IS NOT NULL"),
            postgresql_where=text("trace_id IS NOT NULL"),
        ),
    )


class CallKeyRow(Base):
    """One call id that was ever claimed: whoever inserts it owns the call.

    It outlives the call's record, so that a delivery repeated after the record was erased starts no second call.
    """

    __tablename__ = "call_keys"

    call_id: Mapped[str] = mapped_column(CALL_ID, primary_key=True)
    received_ms: Mapped[int] = mapped_column(BigInteger)
    """The moment its owner was told of the call, under which its record is found."""


class InstanceRow(Base):
    """A process that holds calls."""

    __tablename__ = "instances"

    instance_id: Mapped[str] = mapped_column(INSTANCE_ID, primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(BigInteger)
    started_ms: Mapped[int] = mapped_column(BigInteger)
    last_beat_ms: Mapped[int] = mapped_column(BigInteger)
    beats: Mapped[int] = mapped_column(BigInteger)
    """Grows with each heartbeat: an observer needs no clock in common with the process observed."""
    stopped_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The moment it stopped in good order; null while it runs, and after a crash."""
