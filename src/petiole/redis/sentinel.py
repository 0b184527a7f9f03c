"""A client of the master that Sentinels name: every new connection of redis-py's asks them for it."""

from __future__ import annotations

from typing import Any, cast

import redis
from redis.connection import SSLConnection, parse_url
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from petiole.redis.url import RedisUrl
from petiole.tls import distrust


class UnknownMaster(MasterNotFoundError):
    """All Sentinels answered, and none knows the master; or a server that answered is no Sentinel. Both are permanent."""


class _Sentinels(Sentinel):
    """Says why there is no master, which redis-py doesn't."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        known: set[str] = set()
        troubles = []
        fault: Exception | None = None
        for sentinel in list(self.sentinels):
            try:
                masters: Any = sentinel.sentinel_masters()
            except AuthenticationError as error:
                raise AuthenticationError(f"a Sentinel requires sentinel_password in the URL: {error}") from error
            except ResponseError as error:
                if "unknown command" not in str(error):
                    raise
                raise UnknownMaster(
                    f"{_name(sentinel)} isn't a Sentinel. Set PETIOLE_JOURNAL_URL to the Sentinels' addresses, or to "
                    "redis://host:6379/0."
                ) from error
            except (RedisError, OSError) as error:
                troubles.append(f"{_name(sentinel)}: {error}")
                fault = error if distrust(error) is not None else fault
                continue
            state = masters.get(service_name)
            if state is None:
                known |= set(masters)
            elif self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                # First from here on: a dead Sentinel before it would cost each new connection its share of the time.
                self.sentinels = [sentinel, *(other for other in self.sentinels if other is not sentinel)]
                return state["ip"], state["port"]
            else:
                troubles.append(f"{_name(sentinel)} says that it is down")
        if troubles:
            raise MasterNotFoundError(
                f"no Sentinel names a master {service_name!r} that is up; {'; '.join(troubles)}"
            ) from fault
        raise UnknownMaster(
            f"No Sentinel knows a master {service_name!r}, but these: {', '.join(sorted(known)) or 'none'}. Correct the name "
            "in PETIOLE_JOURNAL_URL."
        )


def _name(sentinel: redis.Redis) -> str:
    options = sentinel.get_connection_kwargs()
    return f"{options['host']}:{options['port']}"


def connect_by_sentinel(url: RedisUrl, options: dict[str, Any], *, timeout: float) -> redis.Redis:
    """Return a client of the master; nothing is sent until its first command.

    Each Sentinel has a share of `timeout`, so that dead ones leave time for the master's answer.

    Raises:
        ValueError: an option of the URL isn't of its type.
    """
    parsed: list[dict[str, Any]] = [parse_url(text) for text in url.urls]  # type: ignore[no-untyped-call]
    hosts = [(each.pop("host"), each.pop("port")) for each in parsed]
    encrypted = parsed[0].pop("connection_class", None) is SSLConnection
    share = timeout / (len(hosts) + 1)
    own: dict[str, Any] = {name: value for name, value in parsed[0].items() if name.startswith("ssl_")}
    own |= {"username": url.sentinel_username, "password": url.sentinel_password, "ssl": encrypted}
    own |= options | {"socket_timeout": share, "socket_connect_timeout": share}
    make_sentinels, make_pool = cast(Any, _Sentinels), cast(Any, SentinelConnectionPool)
    pool = make_pool(url.master, make_sentinels(hosts, sentinel_kwargs=own), ssl=encrypted, **{**parsed[0], **options})
    return redis.Redis(connection_pool=pool)
