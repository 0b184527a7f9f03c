"""Redis connections as Petiole needs them, shared by journal and bus.

redis-py retries a failed command with back-off by default, which turns a timeout of 2 s into 25 s; here a call fails
once, within its timeout, and the caller decides.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from petiole.errors import MissingRight, PetioleError, Refusal, SetupError, Unavailable
from petiole.protocol.events import partition
from petiole.redis.cluster import Cluster
from petiole.redis.sentinel import UnknownMaster, connect_by_sentinel
from petiole.redis.url import REDIS_PORT, Kind, RedisUrl, address, hosts, kind_of
from petiole.settings import Settings
from petiole.tls import check_files, distrust, reason_of

Client: TypeAlias = redis.Redis | Cluster

# What the journal's own scripts say of a feed in another layout (`_fact.lua`).
_OTHER_LAYOUT: Final = re.compile(r"\bLAYOUT (newer|older)\b")

_NO_TLS: Final = "doesn't speak TLS there. Set the port of its TLS, or redis://, in PETIOLE_JOURNAL_URL."


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
        # redis-py looks at the options when it first connects; whoever has misspelt one should hear it at start.
        pool.connection_class(**pool.connection_kwargs)
        if issubclass(pool.connection_class, redis.SSLConnection):
            if "ssl_min_version" in pool.connection_kwargs:
                # Up to version 7 redis-py leaves it a text.
                pool.connection_kwargs["ssl_min_version"] = ssl.TLSVersion(
                    int(pool.connection_kwargs["ssl_min_version"])
                )
            check_files(pool.connection_kwargs, key=key)
    except ValueError as error:
        # What stands in a port's place may be the rest of a password in which a / wasn't written %2F.
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
    """Connect once, where the URL is of TLS: what is wrong with that is said at start, for it doesn't pass by itself.

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
        # Anything else may pass, and whoever needs it until then is told.
        place, fault = f"Redis at {address(given)}", distrust(error)
        if fault is None and kind_of(given) is Kind.SERVER:
            fault = _alert(client)
        if fault is not None:
            raise SetupError(_tls_fault(fault, place)) from error
        if kind_of(given) is Kind.SERVER and _speaks_plainly(
            client.get_connection_kwargs(), timeout=settings.journal_timeout
        ):
            raise SetupError(f"{place} {_NO_TLS}") from error
    finally:
        client.close()
        client.connection_pool.disconnect()


def _alert(client: Client) -> ssl.SSLError | None:
    """Return what a server says when it ends TLS that has just begun, which is lost where something was sent meanwhile."""
    pool = client.connection_pool
    try:
        with pool.connection_class(**pool.connection_kwargs)._connect() as connected:
            connected.recv(1)
    except (RedisError, OSError) as error:
        return distrust(error)
    return None


def _speaks_plainly(options: Mapping[str, Any], *, timeout: float) -> bool:
    """Say whether a Redis answers without TLS, which waits in silence for the end of a line when it is spoken to in TLS."""
    try:
        where = (options.get("host", "localhost"), options.get("port", REDIS_PORT))
        with socket.create_connection(where, timeout=timeout) as connected:
            connected.sendall(b"PING\r\n")
            return connected.recv(1) in (b"+", b"-")
    except OSError:
        return False


@contextmanager
def speaking(url: str) -> Iterator[None]:
    """Turn what redis-py raises into what `explained` says of it."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise explained(error, url) from error


def explained(error: Exception, url: str) -> PetioleError:
    """Return what redis-py has raised as `Unavailable`, with what to do about it.

    A `Refusal` where the server has answered; another `PetioleError` only where the journal's own check has refused a feed.
    """
    place = f"Redis at {address(url)}"
    match error:
        case MovedError():
            return Refusal(f"{place} is a node of a cluster. Set PETIOLE_JOURNAL_URL to redis+cluster://{hosts(url)}.")
        case AuthenticationError():
            return Refusal(f"{place} refused us ({error}). Correct user and password in PETIOLE_JOURNAL_URL.")
        case UnknownMaster():
            return Refusal(str(error))
        case ResponseError():
            return _explained_reply(error, place)
        case _ if (fault := distrust(error)) is not None:
            return Refusal(_tls_fault(fault, place))
        case _:
            return Unavailable(f"{place} doesn't answer ({error}). Start it, or set PETIOLE_JOURNAL_URL.")


def _tls_fault(fault: ssl.SSLError, place: str) -> str:
    reason = reason_of(fault)
    if isinstance(fault, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {place} isn't trusted ({reason}). Set ssl_ca_certs in PETIOLE_JOURNAL_URL to the file of "
            "who has signed it; ssl_check_hostname=false or ssl_cert_reqs=none trust more than that."
        )
    if fault.reason in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        return f"{place} {_NO_TLS}"
    if "CERTIFICATE" in reason:
        return (
            f"{place} wants a certificate of ours ({reason}). Set ssl_certfile and ssl_keyfile in PETIOLE_JOURNAL_URL."
        )
    return f"{place} refuses TLS ({reason}). Correct the ssl_ options in PETIOLE_JOURNAL_URL."


# The user's rights by the categories that Petiole's commands are of; in a cluster it also asks for the layout.
RIGHTS: Final = "~petiole:* &petiole* +@read +@write +@scripting +@pubsub +@connection +time +info +cluster"
_COMMAND: Final = re.compile(r"(?:run|execute) the '([\w|]+)' command")
_OF_SCRIPTS: Final = ("user executing the script", "ACL failure in script")


def _missing_right(said: str) -> str:
    """Return in a sentence what a user may not, by what Redis or Valkey says; it holds no names of the server's."""
    command = _COMMAND.search(said)
    if command is not None:
        return f"Redis doesn't let Petiole's user run {command[1]}."
    if "channel" in said:
        return "Redis doesn't let Petiole's user use its channels."
    if "key" in said:
        return "Redis doesn't let Petiole's user touch its keys."
    return "Redis doesn't let Petiole's user run a command that its scripts need."


def _explained_reply(error: ResponseError, place: str) -> PetioleError:
    said = str(error)
    # Past redis-py's own reading the code stands in the text.
    if isinstance(error, NoPermissionError) or said.startswith("NOPERM") or any(words in said for words in _OF_SCRIPTS):
        return MissingRight(
            f"{place} doesn't let its user do what Petiole needs ({said}). Grant it: ACL SETUSER <user> {RIGHTS}; with "
            "PETIOLE_KEY_PREFIX in place of petiole, if that is set.",
            missing=_missing_right(said),
        )
    if "cluster support disabled" in said:
        return Refusal(f"{place} isn't a cluster. Set PETIOLE_JOURNAL_URL to redis://host:6379/0.")
    if layout := _OTHER_LAYOUT.search(said):
        remedy = "Upgrade this one" if layout[1] == "newer" else "Let its tasks end there"
        return PetioleError(
            f"A feed in {place} was written by a {layout[1]} Petiole. {remedy}, or set another PETIOLE_KEY_PREFIX."
        )
    return Refusal(f"{place} can't work just now: {error}")


# Of so many feeds a process keeps the names of their keys; it speaks of the same ones again and again.
NAMES_KEPT: Final = 8192
# A feed's own keys. The message that starts its task is apart from its numbers: Redis keeps a hash in the
# least memory while all of its values are short (`hash-max-listpack-value`).
FEED_KEYS: Final = ("meta", "document", "facts", "message")


class Names:
    """Keys and channels: the prefix, then the feed's partition as hash tag, then the feed."""

    def __init__(self, prefix: str, client: Client) -> None:
        self._prefix = prefix
        self.feed = lru_cache(NAMES_KEPT)(self._feed)
        self.channel = lru_cache(NAMES_KEPT)(self._channel)
        options = client.get_connection_kwargs()
        # Logical databases don't separate pub/sub: the channel has to name its own.
        self._channels = f"{prefix}/{options.get('db') or 0}"

    def _feed(self, feed: str) -> tuple[str, ...]:
        """Return the keys of a feed: meta, document, facts, message, and its partition's leases and pending, in that order."""
        tag = self._tag(feed)
        own = [f"{tag}:{feed}:{part}" for part in FEED_KEYS]
        return (*own, f"{tag}:leases", f"{tag}:pending")

    def inbox(self, feed: str) -> list[str]:
        """Return the keys of an inbox: those of its feed, then the keys that it has seen, and those that are unread."""
        tag = self._tag(feed)
        return [*self.feed(feed), f"{tag}:{feed}:seen", f"{tag}:{feed}:unread"]

    def pending(self, index: int) -> str:
        """Return the key of a partition's finished tasks whose notice isn't delivered yet."""
        return f"{self._prefix}:{{{index:02}}}:pending"

    def leases(self, index: int) -> str:
        """Return the key of a partition's leases."""
        return f"{self._prefix}:{{{index:02}}}:leases"

    def owner(self, owner: str) -> str:
        """Return the key of an owner's index."""
        return f"{self._tag(owner)}:owner:{owner}"

    def note(self, name: str) -> str:
        """Return the key of a note."""
        return f"{self._tag(name)}:note:{name}"

    def _channel(self, feed: str) -> str:
        """Return the channel on which a feed rings."""
        return f"{self._channels}:{{{partition(feed):02}}}:{feed}"

    def feed_of(self, channel: str) -> str:
        """Return the feed that rings on this channel."""
        return channel.partition("}:")[2]

    def _tag(self, name: str) -> str:
        return f"{self._prefix}:{{{partition(name):02}}}"
