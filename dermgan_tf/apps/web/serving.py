"""Binds an address and serves an application on it, until it is stopped."""

import dataclasses
import errno
import ipaddress
import logging
import os
import socket
import urllib.parse

from starlette.types import ASGIApp

from dermgan_tf.errors import InputError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
MAX_CONNECTIONS = 1000
_MAX_HEADERS = 16 << 10  # bytes


@dataclasses.dataclass(frozen=True)
class Address:
    """Where pages are reached.

    Args:
        url: what people open, without a path or a slash at its end.
        hosts: values of the Host header that are ours.
        token: what everyone has to send first; "" on this machine alone.
        secure: bool. Whether it is https (of a proxy in front).
    """

    url: str
    hosts: frozenset[str]
    token: str
    secure: bool


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: an address or name of this machine.
        port: int; 0 = any that is free.

    Raises:
        InputError: for a port that is in use or not allowed, or a host that is not of
            this machine.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(f"--host={host} is no address of this machine: {error}") from (
            None
        )
    bound = socket.socket(family, kind, protocol)
    # A server that was killed leaves connections behind, which would keep its port.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(where)
        # Now, not when serving begins: two servers can bind one port, one can listen.
        bound.listen(2048)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} of {host} is in use; stop the other program or choose "
                "another with --port (0 = any that is free)"
            ) from None
        raise InputError(
            f"cannot serve on {host}, port {port}: {os.strerror(error.errno)}"
        ) from None
    return bound


def address_of(bound: socket.socket, host: str, token: str, public_url: str) -> Address:
    """What people have to open.

    Args:
        bound: from `bind`.
        host: as given to `bind`.
        token: str. Empty only for this machine alone.
        public_url: what other machines open where `host` does not tell it, such as
            "https://study.example.org".

    Raises:
        InputError: for a wildcard host without `public_url`, or one that is no URL.
    """
    port = bound.getsockname()[1]
    hosts = set()
    if is_loopback(host):
        hosts |= {f"{name}:{port}" for name in LOOPBACK_NAMES}
        if port == 80:
            hosts |= set(LOOPBACK_NAMES)
    url = f"http://{_bracketed(host)}:{port}"
    if public_url:
        url = public_url.rstrip("/")
    elif host in ("0.0.0.0", "::", "[::]", ""):
        raise InputError(
            f"--host={host} is every address of this machine: say by --public_url what "
            "participants open, such as http://192.168.1.5:8000"
        )
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path:
        raise InputError(
            f"--public_url={public_url}: want http://NAME:PORT or https://NAME, "
            "without a path"
        )
    hosts.add(parts.netloc.lower())
    secure = parts.scheme == "https"
    return Address(url, frozenset(hosts), token, secure)


def server_config(application: ASGIApp):
    """How uvicorn serves: HTTP alone, bounded, and silent of itself."""
    import uvicorn

    return uvicorn.Config(
        application,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_MAX_HEADERS,
        timeout_graceful_shutdown=10,
    )


def serve(application: ASGIApp, bound: socket.socket) -> None:
    """Serves until Ctrl-C or SIGTERM; requests that are under way are finished."""
    import uvicorn

    # What a browser breaks off in the middle is no news.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    try:
        uvicorn.Server(server_config(application)).run(sockets=[bound])
    except KeyboardInterrupt:  # uvicorn has stopped already, and tells of it again
        pass
    finally:
        bound.close()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
