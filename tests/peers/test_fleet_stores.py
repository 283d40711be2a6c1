"""A fleet on each arrangement of real Redis servers: what holds after the primary that has its slots was killed."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from service.fleet.address import StoreAddress
from service.fleet.checks import check_store
from service.fleet.connection import StoreConnection
from service.fleet.errors import StoreUnusableError
from service.fleet.scripts import keys_of
from service.fleet.sharing import OnOutage
from service.fleet.store import ANSWER_SECONDS
from service.gateway.capacity import Slot
from tests.peers.network import HOST
from tests.peers.peers import Peers
from tests.peers.redis import Redis
from tests.peers.redis_fleets import RedisCluster, RedisSentinel, replicated
from tests.service.fleet.harness import FleetMember, fleet_of, until
from tests.support.proxy import proxy_to

LIMIT = 12
BEAT_SECONDS = 0.5


PATIENT_SECONDS = 60.0
"""Seconds a store may take to answer on a busy machine where nothing depends on how soon it does."""


@asynccontextmanager
async def connected(url: str, answer_seconds: float = ANSWER_SECONDS) -> AsyncIterator[StoreConnection]:
    """A connection to a store on which a fleet can stand."""
    connection = StoreConnection(StoreAddress.parse(url), answer_seconds=answer_seconds)
    try:
        await check_store(connection)
        yield connection
    finally:
        await connection.close()


async def at_one(members: list[FleetMember], running: dict[str, str]) -> None:
    """Wait until store, members and the calls that run say the same."""
    async with asyncio.timeout(60):
        while True:
            if not any(member.member.away or member.member.asserting for member in members):
                held = {call.call_id: member.name for member in members for call in member.held}
                if held == running == await members[0].in_store():
                    return
            await asyncio.sleep(0.05)


class Traffic:
    """Calls that come and go in all members until it is over."""

    def __init__(self, members: list[FleetMember]) -> None:
        self._members = members
        self._over = asyncio.Event()
        self.running: dict[str, str] = {}
        self.let_in = 0

    async def line(self, member: FleetMember, line: int) -> None:
        """Have calls come one after the other."""
        number = 0
        while not self._over.is_set():
            number += 1
            call = f"{member.name}-{line}-{number}"
            slot = await member.admit(call, total=LIMIT)
            if isinstance(slot, Slot):
                self.let_in += 1
                self.running[call] = member.name
                await asyncio.sleep(0.002 * (number % 7))
                del self.running[call]
                slot.release()
            await asyncio.sleep(0.002)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator["Traffic"]:
        """Let calls come while the context lasts, and end."""
        lines = [asyncio.create_task(self.line(member, line)) for member in self._members for line in range(6)]
        try:
            yield self
        finally:
            self._over.set()
            await asyncio.gather(*lines)


async def lives_on(connection: StoreConnection, kill_primary: Redis) -> None:
    """Kill the primary under traffic; every slot is told of again, none is left over, and the limit holds as before."""
    async with fleet_of(connection, "one", "two", "three", on_outage=OnOutage.CLOSED) as members:
        for member in members:
            member.member._beat_seconds = BEAT_SECONDS
        stays = {f"{member.name}-{n}": member.name for member in members for n in range(2)}
        slots = [slot for member in members for slot in await member.let_in(f"{member.name}-0", f"{member.name}-1")]
        async with Traffic(members).flowing() as traffic:
            await until(lambda: traffic.let_in > 50)
            await asyncio.to_thread(replicated, kill_primary)
            await asyncio.to_thread(kill_primary.kill)
            before = traffic.let_in
            # With the store away nobody is let in: these are by the one that has taken over.
            await until(lambda: traffic.let_in > before + 50)
        await at_one(members, stays)
        more = [await members[n % 3].admit(f"more-{n}", total=LIMIT) for n in range(LIMIT)]
        assert sum(isinstance(slot, Slot) for slot in more) == LIMIT - len(stays)
        for slot in (*slots, *more):
            if isinstance(slot, Slot):
                slot.release()
        await at_one(members, {})
        assert {member.member.returns for member in members} == {0}, "the fleet lost its epochs"


@pytest.fixture(scope="module")
def cluster(module_peers: Peers) -> RedisCluster:
    return module_peers.redis_cluster()


async def test_a_cluster_whose_primary_is_killed(cluster: RedisCluster) -> None:
    """The replica that takes its slots is told of what it missed."""
    async with connected(cluster.url) as connection:
        await lives_on(connection, cluster.owner(keys_of("test")[0]))


async def test_a_primary_that_sentinels_replace(peers: Peers) -> None:
    """The fleet follows the Sentinels to the new primary, and tells it of what it missed."""
    sentinel: RedisSentinel = peers.redis_sentinel()
    async with connected(sentinel.url) as connection:
        await lives_on(connection, sentinel.primary())


@pytest.fixture
def secured(peers: Peers, tmp_path: Path) -> tuple[Redis, Path]:
    """A Redis that speaks TLS alone and knows one user, with no more rights than docs/fleet.md lists."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    rights = "~{test:* +@read +@write +@scripting +info +time +ping"
    (tmp_path / "users.acl").write_text(f"user default off\nuser calls on >p@ss/word {rights}\n")
    files = ("--tls-cert-file", "server.pem", "--tls-key-file", "server.pem", "--tls-ca-cert-file", "ca.pem")
    named = [tmp_path / word if word.endswith(".pem") else word for word in files]
    server = peers.redis("--tls-auth-clients", "no", "--aclfile", tmp_path / "users.acl", *named, tls=True)
    return server, tmp_path / "ca.pem"


def address(server: Redis, authority: Path, login: str = "calls:p%40ss%2Fword") -> str:
    return f"rediss://{login}@{HOST}:{server.port}/0?ssl_ca_certs={authority}"


async def test_tls_and_a_user_with_the_documented_rights(secured: tuple[Redis, Path]) -> None:
    """They suffice for the checks at the start and all that a fleet does."""
    async with (
        connected(address(*secured), PATIENT_SECONDS) as connection,
        fleet_of(connection, "one", "two") as (one, two),
    ):
        (slot,) = await one.let_in("a")
        assert await two.in_store() == {"a": "one"}
        assert (await two.store.look()).in_use == 1
        slot.release()
        await one.released()
        assert await two.in_store() == {}


@pytest.mark.parametrize(
    ("login", "says"), [("calls:wrong", "does not take its user or password"), ("", "does not take its user")]
)
async def test_a_wrong_password_is_said(secured: tuple[Redis, Path], login: str, says: str) -> None:
    """One sentence names the variable, and shows no password."""
    with pytest.raises(StoreUnusableError, match=rf"^REDIS_URL: .*{says}") as refused:
        async with connected(address(*secured, login), PATIENT_SECONDS):
            pass
    assert "wrong" not in str(refused.value)


async def test_a_certificate_of_nobody_we_know(secured: tuple[Redis, Path], tmp_path: Path) -> None:
    """A server that cannot prove who it is is no store."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(StoreUnusableError, match=r"^REDIS_URL: no answer from"):
        async with connected(address(secured[0], tmp_path / "other.pem"), PATIENT_SECONDS):
            pass


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Fail if something that the context has opened, in an event loop that is over by its end, was left open."""
    gc.collect()  # what others have left is none of this
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(each.message) for each in left if issubclass(each.category, ResourceWarning)] == []


async def refused(connection: StoreConnection) -> None:
    with suppress(StoreUnusableError):
        await check_store(connection)


async def used_at_once(connection: StoreConnection) -> None:
    await asyncio.gather(*(check_store(connection) for _ in range(5)))


async def cut_short(connection: StoreConnection) -> None:
    waiting = asyncio.create_task(connection.receive("{test:mail}:in:one", 60))
    await check_store(connection)
    waiting.cancel()


@pytest.mark.parametrize(
    ("login", "use"),
    [("calls:wrong", refused), ("calls:p%40ss%2Fword", used_at_once), ("calls:p%40ss%2Fword", cut_short)],
    ids=["refused", "used at once", "cut short"],
)
async def test_a_closed_connection_leaves_nothing_open(
    secured: tuple[Redis, Path], login: str, use: Callable[[StoreConnection], Awaitable[None]]
) -> None:
    """Closing waits until the server has answered, however late, also for connections at which something failed."""
    server, authority = secured

    async def client(port: int) -> None:
        url = address(server, authority, login).replace(f":{server.port}/", f":{port}/")
        connection = StoreConnection(StoreAddress.parse(url), answer_seconds=PATIENT_SECONDS)
        await use(connection)
        await connection.close()

    async with proxy_to(f"redis://{HOST}:{server.port}/0") as proxy:
        proxy.request_delay_seconds = 0.05
        with nothing_left_open():
            await asyncio.to_thread(asyncio.run, client(proxy.port))


async def test_a_store_that_stands_still_is_let_go_of(secured: tuple[Redis, Path]) -> None:
    """What it does not close in good order is broken off."""
    server, authority = secured

    async def client() -> None:
        connection = StoreConnection(StoreAddress.parse(address(server, authority)), answer_seconds=PATIENT_SECONDS)
        await used_at_once(connection)
        with server.frozen():
            await connection.close()

    with nothing_left_open():
        await asyncio.to_thread(asyncio.run, client())
