"""URLs of Redis: one server, a master that Sentinels know, or a cluster. The forms are those that Flask's extensions use.

    redis://[user:password@]host[:6379][/database]
    redis+sentinel://[user:password@]host[:26379][,host[:26379]…]/master[/database]
    redis+cluster://[user:password@]host[:6379][,host[:6379]…]

User and password are those of the Redis servers; a Sentinel's own are the options `sentinel_username` and
`sentinel_password`. Any other option is one of redis-py's connection, as `ssl_ca_certs`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from petiole.errors import SetupError

SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys")
REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_HOST: Final = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+)(:(?P<port>\d{1,5}))?\Z")


class Kind(Enum):
    """What stands behind a URL."""

    SERVER = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


REDIS_SCHEMES: Final = (*SCHEMES, "unix", *(f"{name}+{kind.value}" for name in SCHEMES for kind in Kind if kind.value))


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A URL of Redis, taken apart. `urls` has one for each host, as redis-py takes them; `names` the hosts for messages."""

    kind: Kind
    urls: tuple[str, ...]
    names: tuple[str, ...]
    master: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    @classmethod
    def parse(cls, url: str, *, key: str) -> RedisUrl:
        """Take a URL apart; `key` is the setting that it comes from.

        Raises:
            SetupError: it isn't of Redis, or of a form that has no meaning.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in REDIS_SCHEMES:
            raise SetupError(f"{key} begins with {scheme}://, which Petiole can't use. Set it to redis://host:6379/0.")
        base, _, kind = scheme.replace("valkey", "redis").partition("+")
        if not kind:
            return cls(Kind.SERVER, (f"{base}://{rest}",), (address(url),))
        return _parse_many(cls, Kind(kind), base, rest, key=key)


def _parse_many(cls: type[RedisUrl], kind: Kind, base: str, rest: str, *, key: str) -> RedisUrl:
    form = {
        Kind.SENTINEL: f"{base}+sentinel://host:26379,host:26379/master",
        Kind.CLUSTER: f"{base}+cluster://host:6379,host:6379",
    }[kind]
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    names = []
    for text in hosts.split(","):
        found = _HOST.match(text.strip())
        if found is None or int(found["port"] or 1) > 65535 or "@" in path:
            # Not repeated here: what stands there may be the rest of a password.
            raise SetupError(
                f"{key} has something else where its hosts stand; in a password / @ and ? are written %2F %40 and %3F. "
                f"Set it to {form}."
            )
        names.append(f"{found['host']}:{found['port'] or (SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT)}")
    parts = [unquote(part) for part in path.strip("/").split("/")] if path.strip("/") else []
    master = parts.pop(0) if kind is Kind.SENTINEL and parts else ""
    if kind is Kind.SENTINEL and not master:
        raise SetupError(f"{key} doesn't name the master that the Sentinels watch. Set it to {form}.")
    database = parts[0] if parts else "0"
    if len(parts) > 1 or not database.isdecimal():
        raise SetupError(f"{key} has {'/'.join(parts)!r} in the place of a database's number. Set it to {form}.")
    options = dict(parse_qsl(query))
    if kind is Kind.CLUSTER and (int(database) or options.get("db", "0") != "0"):
        raise SetupError(
            f"{key} names a database, and a cluster has only one. Leave it out: PETIOLE_KEY_PREFIX keeps environments apart."
        )
    username, password = options.pop("sentinel_username", None), options.pop("sentinel_password", None)
    tail = f"/{database}" + (f"?{urlencode(options)}" if options else "")
    urls = tuple(f"{base}://{user}{at}{name}{tail}" for name in names)
    return cls(kind, urls, tuple(names), master, username, password)


def is_sentinel_broker(broker_url: str) -> bool:
    """Say whether Celery's broker is a Sentinel's, in kombu's words."""
    return broker_url.startswith("sentinel://")


def kind_of(url: str) -> Kind:
    """Return what stands behind a URL of Redis."""
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
    """Return the hosts that a URL names, for messages that say how it should read."""
    return address(url).partition("/")[0]


def of_broker(broker_url: str | None, options: Mapping[str, Any] | None) -> str | None:
    """Return Celery's broker as a URL of Petiole's, where it is a Sentinel's and its transport options name the master.

    kombu writes `sentinel://host:26379;sentinel://host:26379`, and has the master and a Sentinel's own password in
    `broker_transport_options`. Any other broker is returned as it is.
    """
    given = options or {}
    master = given.get("master_name")
    if not broker_url or not is_sentinel_broker(broker_url) or not master:
        return broker_url
    urls = [urlsplit(part) for part in broker_url.split(";")]
    user, at, _ = urls[0].netloc.rpartition("@")
    hosts = ",".join(url.netloc.rpartition("@")[2] for url in urls)
    path = urls[0].path.strip("/")
    own = given.get("sentinel_kwargs") or {}
    secrets = {f"sentinel_{name}": own[name] for name in ("username", "password") if own.get(name)}
    query = f"?{urlencode(secrets)}" if secrets else ""
    return f"redis+sentinel://{user}{at}{hosts}/{quote(str(master), safe='')}" + (f"/{path}" if path else "") + query
