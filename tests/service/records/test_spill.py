"""The files records go to while the database is away: bounded, readable after any crash, and never two processes'."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.records.record import Row, StoredCall
from service.records.spill import MAX_BYTES, Spill, SpillFolderError, from_line, to_line
from telemetry.semconv.attributes import CallId, TenantId
from tests.peers.waiting import until

HOLD_FOREVER = """
import sys, time
from pathlib import Path
from service.records.spill import Spill
spill = Spill(Path(sys.argv[1]), "other")
spill.open()
spill.append([{name: None for name in sys.argv[2].split(",")} | {"call_id": "rtc_other", "claim": 1, "version": 1}])
print("holding", flush=True)
time.sleep(600)
"""


def _row(call_id: str = "rtc_1", version: int = 1, **columns: object) -> Row:
    record = StoredCall(CallId(call_id), TenantId("acme"), 1, 1, 1, instance_id="mine", claim=1, version=version)
    return record.row() | columns


def _opened(folder: Path, *, max_bytes: int = MAX_BYTES) -> Spill:
    spill = Spill(folder, "mine", max_bytes=max_bytes)
    spill.open()
    return spill


def _replayed(spill: Spill, most: int = 2) -> list[Row]:
    rows: list[Row] = []
    while (chunk := spill.next_chunk(most)) is not None:
        rows += chunk.part.rows
        spill.done(chunk)
    return rows


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    """What was appended is read back whole and in order, and then nothing is left on the disk."""
    spill = _opened(tmp_path)
    rows = [_row(f"rtc_{number}", error_type="…\n☎") for number in range(5)]
    spill.append(rows[:3])
    spill.append(rows[3:])
    assert _replayed(spill) == rows
    assert spill.empty
    assert spill.size().bytes == 0
    spill.close()
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_comes_again_until_it_is_done(tmp_path: Path) -> None:
    """Rows whose writing failed are handed out once more."""
    spill = _opened(tmp_path)
    spill.append([_row()])
    first, second = spill.next_chunk(10), spill.next_chunk(10)
    assert first == second is not None
    spill.close()


@given(cut=st.integers(min_value=0, max_value=2000), data=st.data())
@settings(max_examples=200)
def test_a_file_torn_anywhere_gives_back_every_whole_row(
    tmp_path_factory: pytest.TempPathFactory, cut: int, data: st.DataObject
) -> None:
    """However many bytes of the file reached the disk, the rows wholly on it are read, and no other."""
    folder = tmp_path_factory.mktemp("torn")
    rows = [_row(f"rtc_{number}") for number in range(data.draw(st.integers(0, 4)))]
    lines = [to_line(row) for row in rows]
    whole = b"".join(lines)
    cut = min(cut, len(whole))
    (folder / "dead.lock").touch()
    (folder / "dead.000001.spill").write_bytes(whole[:cut])
    spill = _opened(folder)
    spill.adopt()
    fitting = [row for number, row in enumerate(rows) if sum(map(len, lines[: number + 1])) <= cut]
    assert _replayed(spill) == fitting
    assert spill.size().damaged_lines == (cut > sum(len(line) for line in lines[: len(fitting)]))
    spill.close()


@given(st.binary(max_size=200))
def test_no_foreign_bytes_pass_for_a_row(line: bytes) -> None:
    """A line that is not one of ours is never taken for a row, and never an error."""
    assert from_line(line) is None


def test_a_changed_byte_costs_one_row(tmp_path: Path) -> None:
    """A row whose bytes changed on the disk is left out and counted; those around it are read."""
    (tmp_path / "dead.lock").touch()
    lines = [to_line(_row(f"rtc_{number}")) for number in range(3)]
    lines[1] = lines[1].replace(b"acme", b"evil")
    (tmp_path / "dead.000001.spill").write_bytes(b"".join(lines))
    spill = _opened(tmp_path)
    spill.adopt()
    assert [row["call_id"] for row in _replayed(spill)] == ["rtc_0", "rtc_2"]
    assert spill.size().damaged_lines == 1
    spill.close()


def test_the_bound_holds_and_room_is_made_by_keeping_the_latest(tmp_path: Path) -> None:
    """A thousand states of one call fit where ten do, and the latest of them is what comes back."""
    bound = 10 * len(to_line(_row(version=1000)))
    spill = _opened(tmp_path, max_bytes=bound)
    for version in range(1, 1001):
        spill.append([_row(version=version)])
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= bound
    assert [row["version"] for row in _replayed(spill)][-1] == 1000
    spill.close()


def test_what_does_not_fit_is_refused_and_said(tmp_path: Path) -> None:
    """More calls than fit: the one too many is refused with `ENOSPC`, those before it stay, and the state says full."""
    spill = _opened(tmp_path, max_bytes=3 * len(to_line(_row())))
    spill.append([_row(f"rtc_{number}") for number in range(3)])
    assert not spill.size().full
    with pytest.raises(OSError, match="bound") as refused:
        spill.append([_row("rtc_9")])
    assert refused.value.errno == errno.ENOSPC
    assert spill.size().full
    assert [row["call_id"] for row in _replayed(spill)] == ["rtc_0", "rtc_1", "rtc_2"]
    spill.append([_row("rtc_9")])
    assert not spill.size().full
    spill.close()


def test_a_full_disk_is_an_error_that_passes(tmp_path: Path) -> None:
    """A write the operating system refuses for want of room leaves the spill usable once there is room."""
    spill = _opened(tmp_path)
    (tmp_path / "mine.000001.spill").symlink_to("/dev/full")
    with pytest.raises(OSError) as refused:  # noqa: PT011 -- the number says which
        spill.append([_row("rtc_1")])
    assert refused.value.errno == errno.ENOSPC
    assert spill.size().full
    spill.append([_row("rtc_2")])
    assert [row["call_id"] for row in _replayed(spill)] == ["rtc_2"]
    assert not spill.size().full
    spill.close()


def test_compacting_while_a_chunk_is_being_written_loses_nothing(tmp_path: Path) -> None:
    """Rows handed out before the files were compacted come again after it."""
    bound = 4 * len(to_line(_row(version=1)))
    spill = _opened(tmp_path, max_bytes=bound)
    spill.append([_row("rtc_1", version) for version in (1, 2, 3)])
    chunk = spill.next_chunk(1)
    assert chunk is not None
    spill.append([_row("rtc_2"), _row("rtc_3")])
    spill.done(chunk)
    assert [(row["call_id"], row["version"]) for row in _replayed(spill)] == [("rtc_1", 3), ("rtc_2", 1), ("rtc_3", 1)]
    spill.close()


def test_a_live_process_keeps_its_files_and_a_killed_one_does_not(tmp_path: Path) -> None:
    """Files are taken over the moment their process is killed, and not before."""
    columns = ",".join(_row())
    command = [sys.executable, "-c", HOLD_FOREVER, str(tmp_path), columns]
    spill = _opened(tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:  # noqa: S603 -- this interpreter
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        assert spill.adopt() == frozenset()
        assert spill.next_chunk(10) is None
        other.kill()
    until(lambda: spill.adopt() == {"other"}, "the killed process's files to be taken over")
    assert [row["call_id"] for row in _replayed(spill)] == ["rtc_other"]
    spill.forget("other")
    assert spill.adopt() == frozenset()
    spill.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_at_the_end_waits_for_the_next_process(tmp_path: Path) -> None:
    """A process that stops with rows in its spill leaves them where the next one finds them."""
    spill = _opened(tmp_path)
    spill.append([_row()])
    spill.close()
    next_one = Spill(tmp_path, "next")
    next_one.open()
    assert next_one.adopt() == {"mine"}
    assert [row["call_id"] for row in _replayed(next_one)] == ["rtc_1"]
    next_one.close()


def test_two_processes_cannot_have_one_instance_id(tmp_path: Path) -> None:
    """A second process under the same id is told so at its start."""
    spill = _opened(tmp_path)
    with pytest.raises(SpillFolderError, match="another process uses the instance id mine"):
        _opened(tmp_path)
    spill.close()


def test_an_unusable_folder_stops_the_start(tmp_path: Path) -> None:
    """A folder that is a file is named in the error."""
    (tmp_path / "file").touch()
    with pytest.raises(SpillFolderError, match="file: File exists"):
        _opened(tmp_path / "file")


@pytest.mark.parametrize("instance_id", ["", "../up", "a b", "x" * 65])
def test_an_instance_id_must_be_a_safe_file_name(tmp_path: Path, instance_id: str) -> None:
    """An id that could leave the folder is refused."""
    with pytest.raises(ValueError, match="an instance id is"):
        Spill(tmp_path, instance_id)
