"""The proxy to a carrier, decided once for its REST requests and its sideband.

The HTTP client and the WebSocket client each read ``ALL_PROXY``, ``NO_PROXY`` and the like by rules of their own, and a
call whose accept takes another way than its sideband fails half-way.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from socket import socket
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import httpx2
from openai import DEFAULT_CONNECTION_LIMITS, DefaultAsyncHttpxClient
from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
from python_socks.async_.asyncio import Proxy

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_TUNNELS: Final = {"http": ProxyType.HTTP, "socks5h": ProxyType.SOCKS5}
_PROXY_PORTS: Final = {ProxyType.HTTP: 80, ProxyType.SOCKS5: 1080}


def proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    """Return the address of the proxy on the way to ``url``; None for the direct way.

    SOCKS proxies resolve names themselves, whether written ``socks5`` or ``socks5h``.

    Args:
        url: an ``http`` or ``https`` address.
        proxies: what :func:`urllib.request.getproxies` returns: addresses by scheme, ``all`` for any, and ``no`` for
            the hosts reached directly.

    """
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or any(_matches(entry, parts) for entry in re.split(r"[,\s]+", proxies.get("no", "")) if entry):
        return None
    if "://" not in proxy:
        return f"http://{proxy}"
    return re.sub(r"^socks5://", "socks5h://", proxy, flags=re.IGNORECASE)


def http_client(proxy: str | None) -> httpx2.AsyncClient:
    """Return a client that takes every request through the proxy, or directly, whatever the environment says."""
    if proxy is not None:
        return DefaultAsyncHttpxClient(proxy=proxy)
    # A client that is given its transport reads no proxies from the environment, and still reads SSL_CERT_FILE.
    return DefaultAsyncHttpxClient(transport=httpx2.AsyncHTTPTransport(limits=DEFAULT_CONNECTION_LIMITS))


async def connected_through(proxy: str, url: str, seconds: float) -> socket | None:
    """Return a socket to ``url`` through a proxy whose credentials are percent-encoded; None for any other proxy.

    The WebSocket client sends a user and a password as the address has them, where the HTTP client decodes them first
    (RFC 3986 §2.1): what needs encoding would open the way to one of the two alone.

    Raises:
        OSError: if the proxy cannot be reached, lets nobody in, or does not get through.
    """
    parts, target = urlsplit(proxy), urlsplit(url)
    kind = _TUNNELS.get(parts.scheme)
    user, password = parts.username, parts.password
    if kind is None or user is None or "%" not in f"{user}{password}":
        return None
    connecting = Proxy(
        kind, parts.hostname or "", parts.port or _PROXY_PORTS[kind], unquote(user), unquote(password or ""), rdns=True
    )
    try:
        port = target.port or _DEFAULT_PORTS[target.scheme]
        return await connecting.connect(target.hostname or "", port, timeout=seconds)
    except (ProxyConnectionError, ProxyError, ProxyTimeoutError) as error:
        raise OSError(str(error)) from error


def _matches(entry: str, url: SplitResult) -> bool:
    """Return true if an entry of ``NO_PROXY`` covers the address; an entry that makes no sense covers nothing.

    Forms: ``*``; a network, ``10.0.0.0/8``, for addresses and never for names, which are not resolved; an address; a
    name with its subdomains; ``.name`` or ``*.name`` for the subdomains alone; each of them with a port, too.
    """
    host = (url.hostname or "").rstrip(".")
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(host, entry)
    name, port = _without_port(entry.lower())
    if port is not None and port != str(url.port or _DEFAULT_PORTS.get(url.scheme)):
        return False
    if _is_address(host) or _is_address(name):
        return _is_address(host) and _is_address(name) and ip_address(host) == ip_address(name)
    suffix = name.removeprefix("*")
    if suffix.startswith("."):
        return host.endswith(suffix)
    return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))


def _without_port(entry: str) -> tuple[str, str | None]:
    """Return an entry's host, without the brackets of IPv6, and its port, if it has one."""
    if bracketed := re.fullmatch(r"\[([^]]*)\](?::(\d+))?", entry):
        return bracketed[1], bracketed[2]
    name, colon, port = entry.partition(":")
    return (name, port) if colon and port.isdigit() else (entry, None)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False
