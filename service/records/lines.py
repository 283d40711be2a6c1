"""A row as one line of text that shows whether it is whole."""

import json
from collections.abc import Iterable
from zlib import crc32

from service.records.record import COLUMNS, Row

_CHECKED = 8
# Hexadecimal digits of the checksum at the head of a line.


def to_line(row: Row) -> bytes:
    """The row with its checksum before it, ended by a newline."""
    body = json.dumps(row, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(body), body)


def from_line(line: bytes) -> Row | None:
    """The row, or ``None`` if the line is torn or not one of ours."""
    check, body = line[:_CHECKED], line[_CHECKED + 1 :].removesuffix(b"\n")
    if not line.endswith(b"\n") or check != b"%08x" % crc32(body):
        return None
    row = json.loads(body)
    return row if row.keys() >= set(COLUMNS) else None


def latest(rows: Iterable[Row]) -> list[Row]:
    """Of each call under each claim only the newest state, in the order they were first seen."""
    newest: dict[tuple[str, int, str], Row] = {}
    for row in rows:
        key = (row["call_id"], row["claim"], row["instance_id"])
        known = newest.get(key)
        if known is None or known["version"] < row["version"]:
            newest[key] = row
    return list(newest.values())
