"""Redis clients as Petiole needs them, shared by journal and bus.

By default redis-py retries a failed command with back-off, which turns a timeout of 2 s into 25 s. Here a call fails once,
within its timeout, and the caller decides.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from petiole.errors import SetupError
from petiole.redis.cluster import Cluster
from petiole.redis.errors import no_tls, tls_refused
from petiole.redis.sentinel import connect_by_sentinel
from petiole.redis.url import REDIS_PORT, Kind, RedisUrl, address, kind_of
from petiole.settings import Settings
from petiole.tls import distrust, read_files

Client: TypeAlias = redis.Redis | Cluster


def connect(settings: Settings, *, url: str | None = None) -> Client:
    """Return a client for the journal's server, or for the one at `url`. Nothing is sent until its first command.

    Raises:
        SetupError: the URL isn't one of Redis.
    """
    given = url or settings.journal_url
    key = "PETIOLE_JOURNAL_URL" if given == settings.journal_url else "PETIOLE_BUS_URL"
    parsed = RedisUrl.parse(given, key=key)
    timeout = settings.journal_timeout
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,
        "client_name": "petiole",
    }
    try:
        match parsed.kind:
            case Kind.SENTINEL:
                client: Client = connect_by_sentinel(parsed, options, timeout=timeout)
            case Kind.CLUSTER:
                client = Cluster(parsed, options, timeout=timeout)
            case Kind.SERVER:
                client = redis.Redis.from_url(parsed.urls[0], **options)
        pool = client.connection_pool
        # redis-py checks the options when it first connects; a misspelt one is refused at start.
        pool.connection_class(**pool.connection_kwargs)
        if issubclass(pool.connection_class, redis.SSLConnection):
            if "ssl_min_version" in pool.connection_kwargs:
                # Up to version 7 redis-py keeps it as text.
                pool.connection_kwargs["ssl_min_version"] = ssl.TLSVersion(
                    int(pool.connection_kwargs["ssl_min_version"])
                )
            read_files(pool.connection_kwargs, key=key)
    except ValueError as error:
        # The text in the port's place may be the rest of a password with an unescaped /.
        reason = "its port isn't a number" if "port" in str(error).lower() else error
        raise SetupError(f"{key} isn't a Redis URL ({reason}). Set it to redis://host:6379/0.") from None
    except TypeError as error:
        raise SetupError(
            f"{key} has an option that redis-py doesn't have ({error}). Correct it or leave it out."
        ) from None
    return client


def connect_one(settings: Settings, *, url: str) -> redis.Redis:
    """As `connect`, to one server, or the master that Sentinels name."""
    client = connect(settings, url=url)
    assert isinstance(client, redis.Redis)
    return client


def connect_cluster(settings: Settings, *, url: str) -> Cluster:
    """As `connect`, to a cluster."""
    client = connect(settings, url=url)
    assert isinstance(client, Cluster)
    return client


def look_at(settings: Settings, *, url: str | None = None) -> None:
    """Connect once if the URL uses TLS: a TLS fault is permanent, so it is refused at start.

    Raises:
        SetupError: the server's certificate isn't trusted, or TLS fails otherwise.
    """
    given = url or settings.journal_url
    if not given.startswith(("rediss", "valkeys")):
        return
    client = connect(settings, url=given)
    try:
        client.ping()
    except (RedisError, OSError) as error:
        # Any other error may be temporary; callers are told until then.
        place, fault = f"Redis at {address(given)}", distrust(error)
        is_server, options = kind_of(given) is Kind.SERVER, client.get_connection_kwargs()
        if fault is None and is_server:
            fault = tls_alert(options, timeout=settings.journal_timeout)
        if fault is not None:
            raise SetupError(tls_refused(fault, place)) from error
        if is_server and _speaks_plainly(options, timeout=settings.journal_timeout):
            raise SetupError(no_tls(place)) from error
    finally:
        client.close()
        client.connection_pool.disconnect()


def tls_alert(options: Mapping[str, Any], *, timeout: float) -> ssl.SSLError | None:
    """Return the TLS alert that a server sends right after the handshake; it would be lost if a command was sent."""
    context = read_files(options, key="the URL")
    # Only what the server says counts here; redis-py has checked the server.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    where = _place(options)
    try:
        with (
            socket.create_connection(where, timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=where[0]) as connected,
        ):
            connected.recv(1)
    except OSError as error:
        return distrust(error)
    return None


def _speaks_plainly(options: Mapping[str, Any], *, timeout: float) -> bool:
    """Say whether a Redis answers without TLS; spoken to in TLS, such a server waits silently for the end of a line."""
    try:
        with socket.create_connection(_place(options), timeout=timeout) as connected:
            connected.sendall(b"PING\r\n")
            return connected.recv(1) in (b"+", b"-")
    except OSError:
        return False


def _place(options: Mapping[str, Any]) -> tuple[str, int]:
    return options.get("host", "localhost"), options.get("port", REDIS_PORT)
