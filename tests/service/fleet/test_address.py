"""The address of a store, and what is said about one that is none."""

from pathlib import Path

import pytest

from service.fleet.address import StoreAddress, StoreKind
from service.fleet.errors import StoreUnusableError


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "database"),
    [
        ("redis://cache", StoreKind.STANDALONE, (("cache", 6379),), 0),
        ("redis://cache:7000/3", StoreKind.STANDALONE, (("cache", 7000),), 3),
        ("redis://[::1]:7000", StoreKind.STANDALONE, (("::1", 7000),), 0),
        ("redis://[::1]", StoreKind.STANDALONE, (("::1", 6379),), 0),
        ("redis+cluster://a:7000,b", StoreKind.CLUSTER, (("a", 7000), ("b", 6379)), 0),
        ("redis+sentinel://a,b:1/calls/2", StoreKind.SENTINEL, (("a", 26379), ("b", 1)), 2),
    ],
)
def test_an_address_of_each_arrangement(
    url: str, kind: StoreKind, hosts: tuple[tuple[str, int], ...], database: int
) -> None:
    """One server, Sentinels and a cluster are told apart by the scheme."""
    address = StoreAddress.parse(url)
    assert (address.kind, address.hosts, address.database) == (kind, hosts, database)
    assert not address.tls


def test_users_passwords_and_certificates(tmp_path: Path) -> None:
    """An ACL user, a password with reserved characters and a file of issuers are read, and no message shows them."""
    issuers = tmp_path / "ca.pem"
    issuers.touch()
    address = StoreAddress.parse(f"rediss+sentinel://calls:p%40ss%2F@a:1/main?ssl_ca_certs={issuers}")
    assert (address.username, address.password, address.tls, address.service) == ("calls", "p@ss/", True, "main")
    assert dict(address.options) == {"ssl_ca_certs": str(issuers)}
    assert "p@ss" not in repr(address) + address.shown


def test_a_unix_socket() -> None:
    """A socket's path stands for host and port."""
    address = StoreAddress.parse("unix:///run/redis.sock?db=2")
    assert (address.socket, address.database, address.hosts) == ("/run/redis.sock", 2, ())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://cache", "must look like redis://"),
        ("redis+ring://cache", "must look like redis://"),
        ("redis://", "names no host"),
        ("redis://a,b", "redis+cluster://"),
        ("redis+cluster://a/3", "database 0 alone"),
        ("redis+sentinel://a", "names no service"),
        ("redis://a/calls", "must be a number"),
        ("redis://a:b:sec/0", "is not a port"),
        ("redis://a?timeout=3", "knows no option 'timeout'"),
        ("rediss://a?ssl_ca_certs=/missing.pem", "there is no file /missing.pem"),
        ("unix://", "names no socket"),
        ("redis://[::1", "is no address: Invalid IPv6 URL"),
        ("redis://a:99999", "99999 is not a port"),
    ],
)
def test_a_wrong_address_is_refused_in_one_sentence(url: str, says: str) -> None:
    """The sentence names the variable and what is wrong."""
    with pytest.raises(StoreUnusableError, match=r"^REDIS_URL: ") as refused:
        StoreAddress.parse(url)
    assert says in str(refused.value)
