"""Real Redis servers that stand in for each other: a cluster, and a primary that Sentinels watch."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import redis

from tests.peers.binaries import require
from tests.peers.network import HOST, free_port
from tests.peers.program import Program
from tests.peers.redis import Redis
from tests.peers.waiting import until

NODE_TIMEOUT_MS: Final = 1000
"""Milliseconds after which a node that does not answer is taken for dead."""
SERVICE: Final = "calls"
"""The name that Sentinels know the primary by."""
_AT_ONCE: Final = ("--repl-diskless-sync-delay", "0")
# A replica is not kept waiting for others that might come.


def _client(server: Redis) -> "redis.Redis":
    return redis.Redis(host=HOST, port=server.port, decode_responses=True, socket_timeout=5)


def _follows(server: Redis) -> bool:
    """Return true for a replica that has what its primary has."""
    with _client(server) as client:
        return bool(client.info("replication").get("master_link_status") == "up")


def replicated(primary: Redis) -> None:
    """Wait until a replica has acknowledged all that the primary has now.

    A replica whose link is up may still be sent nothing: taken for the next primary then, it begins empty.
    """
    with _client(primary) as client:
        wanted = int(client.info("replication")["master_repl_offset"])

        def acknowledged() -> bool:
            state = client.info("replication")
            replicas = [state[f"slave{number}"] for number in range(int(state["connected_slaves"]))]
            return any(each["state"] == "online" and int(each["offset"]) >= wanted > 0 for each in replicas)

        until(acknowledged, "a replica to have what the primary has")


@contextmanager
def behind(primary: Redis, replica: Redis) -> Iterator[None]:
    """While the context lasts a replica gets nothing of what its primary acknowledges, nor later if that is killed.

    One that merely stands still has it all the same: what was sent waits in its connection.
    """
    with replica.frozen():
        with _client(primary) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        yield


def _in(folder: Path, name: str) -> Path:
    own = folder / name
    own.mkdir(exist_ok=True)
    return own


class RedisCluster:
    """Six nodes: three primaries, each with a replica."""

    def __init__(self, folder: Path) -> None:
        self._nodes = [
            Redis(
                _in(folder, f"node-{number}"),
                (
                    *_AT_ONCE,
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    str(NODE_TIMEOUT_MS),
                    "--cluster-port",
                    str(free_port()),
                ),
            )
            for number in range(6)
        ]

    @property
    def url(self) -> str:
        """Its address, for `REDIS_URL`: two of its nodes."""
        return f"redis+cluster://{HOST}:{self._nodes[0].port},{HOST}:{self._nodes[3].port}"

    @property
    def log(self) -> str:
        """What the nodes have printed."""
        return "\n".join(node.log for node in self._nodes)

    def start(self) -> Self:
        """Start the nodes, and have them make a cluster."""
        for node in self._nodes:
            node.start()
        addresses = [f"{HOST}:{node.port}" for node in self._nodes]
        command: list[str | Path] = [require("redis-cli"), "--cluster", "create", *addresses]
        command += ["--cluster-replicas", "1", "--cluster-yes"]
        made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)  # noqa: S603 -- named here
        assert made.returncode == 0, made.stdout + made.stderr
        until(lambda: all(self._whole(node) for node in self._nodes), "the cluster to be whole")
        return self

    def _whole(self, node: Redis) -> bool:
        with _client(node) as client:
            primary = client.info("replication")["role"] == "master"
            state: dict[str, str] = client.execute_command("CLUSTER INFO")
            return (
                state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "6" and (primary or _follows(node))
            )

    def owner(self, key: str) -> Redis:
        """Return the primary that has this key."""
        for node in self._nodes:
            if self._has(node, key):
                return node
        raise AssertionError(f"no node has {key}")

    @property
    def ports(self) -> list[int]:
        """The nodes' ports."""
        return [node.port for node in self._nodes]

    def replica_of(self, primary: Redis) -> Redis:
        """Return the replica that follows a primary."""
        with _client(primary) as client:
            port = int(client.info("replication")["slave0"]["port"])
        return next(node for node in self._nodes if node.port == port)

    def owner_is(self, node: Redis, key: str) -> None:
        """Wait until this node has the key."""
        until(lambda: self._has(node, key), "the replica to take the primary's place")

    def bring_back(self, node: Redis) -> None:
        """Start a node again that was killed, and wait until the cluster is whole: it follows who took its place."""
        node.start()
        until(lambda: all(self._whole(each) for each in self._nodes), "the cluster to be whole again")

    def _has(self, node: Redis, key: str) -> bool:
        try:
            with _client(node) as client:
                primary = client.info("replication")["role"] == "master"
                return bool(primary and client.exists(key) >= 0)
        except redis.RedisError:
            return False

    def stop(self) -> int | None:
        """Let all nodes end."""
        return max((node.stop() or 0 for node in self._nodes), default=None)


class RedisSentinel:
    """A primary with two replicas, and three Sentinels that put one of these in its place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers = [Redis(_in(folder, f"server-{number}"), _AT_ONCE) for number in range(3)]
        self._ports = [free_port() for _ in range(3)]
        self._sentinels = [Program("sentinel", _in(folder, f"sentinel-{port}")) for port in self._ports]

    @property
    def url(self) -> str:
        """The address for `REDIS_URL`."""
        hosts = ",".join(f"{HOST}:{port}" for port in self._ports)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    @property
    def log(self) -> str:
        """What they have printed."""
        programs: list[Redis | Program] = [*self.servers, *self._sentinels]
        return "\n".join(program.log for program in programs)

    def start(self) -> Self:
        """Start all, and wait until the Sentinels know each other and the replicas."""
        for server in self.servers:
            server.start()
        for replica in self.servers[1:]:
            with _client(replica) as client:
                client.replicaof(HOST, str(self.servers[0].port))
        until(lambda: all(map(_follows, self.servers[1:])), "the replicas to follow")
        for port, program in zip(self._ports, self._sentinels, strict=True):
            file = program.folder / "sentinel.conf"
            file.write_text(
                f"port {port}\nbind {HOST}\n"
                f"sentinel monitor {SERVICE} {HOST} {self.servers[0].port} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} {NODE_TIMEOUT_MS}\n"
                f"sentinel failover-timeout {SERVICE} 3000\n"
            )
            program.start([require("redis-server"), file, "--sentinel"], lambda port=port: self._watches(port))  # type: ignore[misc]
        until(lambda: all(self._complete(port) for port in self._ports), "the Sentinels to know each other")
        return self

    def _watches(self, port: int) -> bool:
        try:
            with redis.Redis(host=HOST, port=port, socket_timeout=5) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _complete(self, port: int) -> bool:
        with redis.Redis(host=HOST, port=port, decode_responses=True, socket_timeout=5) as client:
            state = client.sentinel_master(SERVICE)
            return int(state["num-slaves"]) == 2 and int(state["num-other-sentinels"]) == 2

    def primary(self) -> Redis:
        """Return the server that takes writes, as a Sentinel has it."""
        with redis.Redis(host=HOST, port=self._ports[0], decode_responses=True, socket_timeout=5) as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def stop(self) -> int | None:
        """Let all end."""
        programs: list[Redis | Program] = [*self._sentinels, *self.servers]
        codes = [program.stop() for program in programs]
        return max((code or 0 for code in codes), default=None)
