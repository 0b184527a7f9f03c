"""URLs of Redis: one server, a master that Sentinels know, or a cluster. The forms are those that Flask's extensions use.

    redis://[user:password@]host[:6379][/database]
    redis+sentinel://[user:password@]host[:26379][,host[:26379]…]/master[/database]
    redis+cluster://[user:password@]host[:6379][,host[:6379]…]

User and password are those of the Redis servers; a Sentinel's own are the options `sentinel_username` and
`sentinel_password`. Any other option is one of redis-py's connection, such as `ssl_ca_certs`, or Celery's name for one. Those
that Petiole decides itself (timeouts, retries, health checks, decoding) are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from petiole.errors import SetupError
from petiole.tls import cert_reqs_word, has_tls_options

SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys")
REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

# Options that Petiole decides; PETIOLE_JOURNAL_TIMEOUT is the timeout.
_DECIDED: Final = frozenset(
    (
        *("health_check_interval", "socket_timeout", "socket_connect_timeout", "timeout"),
        *("retry_on_timeout", "retry_on_error", "max_connections", "single_connection_client", "client_name"),
        *("decode_responses", "encoding", "encoding_errors", "protocol", "socket_read_size"),
    )
)

_HOST: Final = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+)(:(?P<port>\d{1,5}))?\Z")


class Kind(Enum):
    """What a URL of Redis leads to."""

    SERVER = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


REDIS_SCHEMES: Final = (*SCHEMES, "unix", *(f"{name}+{kind.value}" for name in SCHEMES for kind in Kind if kind.value))


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL of Redis. `urls` has one for each host, in redis-py's form; `names` has the hosts for messages."""

    kind: Kind
    urls: tuple[str, ...]
    names: tuple[str, ...]
    master: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    @classmethod
    def parse(cls, url: str, *, key: str) -> RedisUrl:
        """Parse a URL; `key` is the setting that it comes from.

        Raises:
            SetupError: it isn't a valid URL of Redis.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in REDIS_SCHEMES:
            raise SetupError(f"{key} begins with {scheme}://, which Petiole can't use. Set it to redis://host:6379/0.")
        base, _, kind = scheme.replace("valkey", "redis").partition("+")
        rest, _, query = rest.partition("?")
        options = _options(query, secure=base == "rediss", key=key)
        if not kind:
            return cls(Kind.SERVER, (_one_server(base, rest, options, key=key),), (address(url),))
        return _parse_many(cls, Kind(kind), base, rest, options, key=key)


def _options(query: str, *, secure: bool, key: str) -> dict[str, str]:
    """Return a URL's options in redis-py's form, without those that Petiole decides."""
    options = {name: value for name, value in parse_qsl(query) if name not in _DECIDED}
    if "credential_provider" in options:
        raise SetupError(f"{key} has credential_provider, which Petiole can't use. Set user and password in it.")
    if has_tls_options(options) and not secure:
        raise SetupError(
            f"{key} has ssl_ options, and its scheme isn't of TLS. Begin it with rediss, or leave them out."
        )
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = cert_reqs_word(options["ssl_cert_reqs"], key=key)
    if "virtual_host" in options:
        # kombu's and Celery's name for the database.
        options.setdefault("db", options.pop("virtual_host").strip("/") or "0")
    if not options.get("db", "0").isdecimal():
        raise SetupError(
            f"{key} has {options['db']!r} in the place of a database's number. Set it to redis://host:6379/0."
        )
    return options


def _one_server(base: str, rest: str, options: Mapping[str, str], *, key: str) -> str:
    if re.search(r";\w[\w+]*://", rest):
        raise SetupError(f"{key} names several servers, and a journal is one. Name it, its Sentinels or its cluster.")
    path = rest.partition("/")[2]
    # With an @ in it, it is part of a password; redis-py refuses that without repeating it.
    if base != "unix" and "@" not in path and not (path.strip("/") or "0").isdecimal():
        raise SetupError(f"{key} has {path!r} in the place of a database's number. Set it to redis://host:6379/0.")
    return f"{base}://{rest}" + (f"?{urlencode(options)}" if options else "")


def _parse_many(
    cls: type[RedisUrl], kind: Kind, base: str, rest: str, options: dict[str, str], *, key: str
) -> RedisUrl:
    form = {
        Kind.SENTINEL: f"{base}+sentinel://host:26379,host:26379/master",
        Kind.CLUSTER: f"{base}+cluster://host:6379,host:6379",
    }[kind]
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    names = []
    for text in hosts.split(","):
        found = _HOST.match(text.strip())
        if found is None or int(found["port"] or 1) > 65535 or "@" in path:
            # Not repeated here: it may be the rest of a password.
            raise SetupError(
                f"{key} has no valid hosts; in a password / @ and ? are written %2F %40 and %3F. Set it to {form}."
            )
        names.append(f"{found['host']}:{found['port'] or (SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT)}")
    parts = [unquote(part) for part in path.strip("/").split("/")] if path.strip("/") else []
    master = parts.pop(0) if kind is Kind.SENTINEL and parts else ""
    if kind is Kind.SENTINEL and not master:
        raise SetupError(f"{key} doesn't name the master that the Sentinels watch. Set it to {form}.")
    database = parts[0] if parts else "0"
    if len(parts) > 1 or not database.isdecimal():
        raise SetupError(f"{key} has {'/'.join(parts)!r} in the place of a database's number. Set it to {form}.")
    if kind is Kind.CLUSTER and (int(database) or options.get("db", "0") != "0"):
        raise SetupError(
            f"{key} names a database, and a cluster has only one. Leave it out: PETIOLE_KEY_PREFIX keeps environments apart."
        )
    username, password = options.pop("sentinel_username", None), options.pop("sentinel_password", None)
    tail = f"/{database}" + (f"?{urlencode(options)}" if options else "")
    urls = tuple(f"{base}://{user}{at}{name}{tail}" for name in names)
    return cls(kind, urls, tuple(names), master, username, password)


def kind_of(url: str) -> Kind:
    """Return what a URL of Redis leads to."""
    return Kind(urlsplit(url).scheme.partition("+")[2])


def address(url: str) -> str:
    """Return where a URL points, without its password, for messages."""
    authority, _, rest = url.partition("://")[2].partition("?")[0].rpartition("@")[2].partition("/")
    if not authority:
        return f"/{rest}"
    port = SENTINEL_PORT if "+sentinel:" in url else REDIS_PORT
    named = ",".join(name if re.search(r":\d+\Z", name) else f"{name}:{port}" for name in authority.split(","))
    return f"{named}/{rest}" if rest else named


def hosts(url: str) -> str:
    """Return a URL's hosts, for messages that suggest another URL."""
    return address(url).partition("/")[0]
