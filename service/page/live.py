"""Live pages: once a second each page that somebody looks at is made once, and each viewer is sent what changed.

No frame waits for anybody: a viewer that reads slowly is sent the difference between what it was sent last and what the
page is by then, and so skips frames.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from service.periodic import PeriodicWorker

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

TICK_SECONDS: Final = 1.0
MAX_VIEWERS: Final = 500
"""Streams at once; further ones are refused, and their pages reload."""
MAX_STREAMS: Final = 100
"""Streams of one session at once, so that no single one takes the room of all."""
MAX_PAGES: Final = 200
"""Different pages at once."""
GROUP: Final = 5
"""Viewers that are sent a frame at one go; …"""
PAUSE_SECONDS: Final = 0.005
"""… and seconds until the next ones are, in which requests are answered: a hundred at once would hold them up."""
QUIET_SECONDS: Final = 15.0
"""Seconds without a change after which a comment keeps proxies from closing the stream."""

Fragments = Mapping[str, str]
"""The parts of a page by the ids of their elements."""

V = TypeVar("V", bound="Hashable")

_logger = logging.getLogger(__name__)


class TooManyViewersError(Exception):
    """There is no room for another stream."""


@dataclass(slots=True, eq=False)
class _Group:
    """Some viewers of a page, who are woken together."""

    viewers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Wake those who wait for a change."""
        before, self.changed = self.changed, asyncio.Event()
        before.set()


@dataclass(slots=True)
class _Room(Generic[V]):
    """A page that is looked at."""

    view: V
    fragments: Fragments | None = None
    groups: list[_Group] = field(default_factory=list)
    _written: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    """The page's parts as frames have them, by their names: most viewers are sent the same."""

    @property
    def viewers(self) -> int:
        """Streams of the page."""
        return sum(group.viewers for group in self.groups)

    def join(self) -> _Group:
        """Return the group of a new viewer."""
        group = next((group for group in self.groups if group.viewers < GROUP), None)
        if group is None:
            group = _Group()
            self.groups.append(group)
        group.viewers += 1
        return group

    def leave(self, group: _Group) -> None:
        """Take a viewer out."""
        group.viewers -= 1
        if not group.viewers:
            self.groups.remove(group)

    async def show(self, fragments: Fragments) -> None:
        """Replace the page, and wake its viewers, group by group."""
        self.fragments = fragments
        self._written = {}
        for number, group in enumerate(list(self.groups)):
            if number:
                await asyncio.sleep(PAUSE_SECONDS)
            group.wake()

    def written(self, names: tuple[str, ...]) -> bytes:
        """Return these parts of the page as a frame has them."""
        found = self._written.get(names)
        if found is None:
            parts = {name: (self.fragments or {})[name] for name in names}
            found = self._written[names] = json.dumps(parts, ensure_ascii=False).encode()
        return found

    def wake(self) -> None:
        """Wake everybody at once."""
        for group in self.groups:
            group.wake()


class LivePages(Generic[V]):
    """The pages that are looked at.

    Args:
        render: Makes the parts of a page; a page that cannot be made keeps the parts it has.
    """

    def __init__(self, render: Callable[[V], Awaitable[Fragments]], *, every_seconds: float = TICK_SECONDS) -> None:
        self._render = render
        self._rooms: dict[V, _Room[V]] = {}
        self._streams: Counter[Hashable] = Counter()
        self._closed = False
        self._ending: asyncio.Task[None] | None = None
        self._renderings = 0
        self._failures = 0
        self._worker = PeriodicWorker(self._tick, interval=every_seconds, failed=self._note, name="callscope-live-page")

    @property
    def viewers(self) -> int:
        """Streams that are open."""
        return sum(room.viewers for room in self._rooms.values())

    @property
    def renderings(self) -> int:
        """Pages made for streams so far."""
        return self._renderings

    @property
    def failures(self) -> int:
        """Pages that could not be made."""
        return self._failures

    @property
    def closed(self) -> bool:
        """True once every stream has ended and none begins."""
        return self._closed

    def shows(self, view: V) -> bool:
        """Return True while somebody looks at this page."""
        return view in self._rooms

    def start(self) -> None:
        """Begin to tick; does nothing if that has begun. Needs the running loop."""
        if not self._closed:
            self._worker.start()

    async def stop(self) -> None:
        """End every stream and the ticking."""
        self.close()
        if self._ending is not None:
            self._ending.cancel()
        await self._worker.stop()

    def end_with(self, stopping: asyncio.Event | None) -> None:
        """End every stream once ``stopping`` is set, as a server does that waits for its responses to end."""
        if stopping is not None and self._ending is None:
            self._ending = asyncio.create_task(self._end_with(stopping), name="callscope-live-page-end")

    async def _end_with(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self.close()

    def close(self) -> None:
        """End every stream at once; none begins any more."""
        self._closed = True
        for room in self._rooms.values():
            room.wake()

    async def watch(
        self, view: V, holds: Callable[[], Awaitable[bool]], *, of: "Hashable" = None
    ) -> AsyncIterator[bytes]:
        """Yield the frames of one viewer, as server-sent events, while its session ``holds``.

        Streams ``of`` one session are counted together; None is counted with nobody's.

        The first frame is the whole page: after a reconnection nobody knows what the browser still has.

        Raises:
            TooManyViewersError: before the first frame, if there is no room.
        """
        with self._in_room(view, of) as (room, group):
            clock = asyncio.get_running_loop().time
            sent: dict[str, int] = {}
            number = 0
            yield b"retry: 1000\n\n"
            quiet_since = clock()
            while not self._closed and await holds():
                changed = group.changed
                fresh = _difference(sent, room.fragments)
                if fresh:
                    number += 1
                    yield b"event: patch\nid: %d\ndata: %s\n\n" % (number, room.written(fresh))
                    quiet_since = clock()
                # A page that is made anew each second and stays the same is as quiet as one that is not made.
                elif clock() - quiet_since >= QUIET_SECONDS:
                    yield b": nothing has changed\n\n"
                    quiet_since = clock()
                # Sending may have taken a while, in which the page has changed.
                if changed is group.changed:
                    await _within(changed, max(quiet_since + QUIET_SECONDS - clock(), 0))

    def admit(self, view: V, of: "Hashable" = None) -> None:
        """Raise :class:`TooManyViewersError` if a stream of this page could not begin for this session."""
        full = self.viewers >= MAX_VIEWERS or (view not in self._rooms and len(self._rooms) >= MAX_PAGES)
        if full or self._closed or self._streams[of] >= MAX_STREAMS:
            raise TooManyViewersError

    @contextmanager
    def _in_room(self, view: V, of: "Hashable") -> "Iterator[tuple[_Room[V], _Group]]":
        self.admit(view, of)
        self.start()
        room = self._rooms.get(view)
        if room is None:
            room = self._rooms[view] = _Room(view)
        group = room.join()
        if of is not None:
            self._streams[of] += 1
        if room.fragments is None:
            self._worker.wake()
        try:
            yield room, group
        finally:
            room.leave(group)
            if of is not None:
                self._streams[of] -= 1
                self._streams += Counter()  # forgets whoever has none left
            if not room.viewers and self._rooms.get(view) is room:
                del self._rooms[view]

    async def _tick(self) -> None:
        for room in list(self._rooms.values()):
            if not room.viewers or self._closed:
                continue
            try:
                fragments = await self._render(room.view)
            except Exception as error:  # noqa: BLE001 -- one page that cannot be made must not stop the others
                self._note(error)
            else:
                self._renderings += 1
                await room.show(fragments)

    def _note(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            _logger.error("a live page could not be made, further ones are only counted: %s", type(error).__name__)


def _difference(sent: dict[str, int], fragments: Fragments | None) -> tuple[str, ...]:
    """Return the names of the parts that differ from what was sent, and note them as sent."""
    fresh = []
    for name, html in (fragments or {}).items():
        mark = hash(html)
        if sent.get(name) != mark:
            sent[name] = mark
            fresh.append(name)
    return tuple(fresh)


async def _within(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
