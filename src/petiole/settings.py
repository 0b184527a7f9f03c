"""The core's table of settings, and how a table is read. A test compares the tables with `docs/settings.md`."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from petiole.celery_urls import AMQP_SCHEMES, CeleryUrls, is_sentinel_broker
from petiole.errors import SetupError
from petiole.redis.url import REDIS_SCHEMES

PREFIX: Final = "PETIOLE_"
# Tables of their own, by what their keys begin with after the prefix: this one passes those keys over.
SECTIONS: Final = ("exports_",)
TRUTHS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
SQL_SCHEMES: Final = ("postgresql", "postgresql+psycopg", "sqlite")

NO_CELERY: Final = CeleryUrls()

# What Kubernetes and Docker put into the environment for a service that is named petiole.
_LINKS: Final = re.compile(r"(service_host|service_port|port)(_.*)?\Z")


def setting(
    default: Any,
    unit: str,
    meaning: str,
    *,
    zero: bool = False,
    parse: Callable[[str, Any], Any] | None = None,
) -> Any:
    """Return a row of a table of settings; `zero`: 0 is allowed; `parse(key, value)` reads it in place of its type."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "zero": zero, "parse": parse})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of Petiole; as `PETIOLE_<KEY>` in the environment, Flask's or Celery's configuration.

    The environment is read first, then the given mappings, then the defaults.
    """

    journal_url: str = setting("", "URL", "where the journal is; empty: Celery's broker, if that is Redis")
    bus_url: str = setting(
        "", "URL", "where the bus is; empty: the journal's Redis, else Celery's broker, if that is Redis or RabbitMQ"
    )
    key_prefix: str = setting("petiole", "text", "begins every key and channel; one per environment")
    facts_kept: int = setting(2000, "facts", "how many facts a feed keeps for readers that come back")
    bytes_kept: int = setting(1024 * 1024, "bytes", "how many bytes of facts a feed keeps, as its journal writes them")
    kept_for: float = setting(7 * 86400.0, "seconds", "how long a feed is kept after its last event")
    live_kept_for: float = setting(30 * 86400.0, "seconds", "how long a live feed is kept; prolonged by its worker")
    lease: float = setting(8.0, "seconds", "how long a run counts as alive after its worker's last sign of life")
    cancel_grace: float = setting(
        10.0, "seconds", "how long a cancelled task may go on before its process can be ended by force", zero=True
    )
    lost_after: float = setting(
        30.0, "seconds", "how long a stalled task waits for its worker before it is lost", zero=True
    )
    dispatch_lease: float = setting(30.0, "seconds", "how long a task may be queued before its publish is confirmed")
    unheard_after: float = setting(
        30.0,
        "seconds",
        "after how long in its queue a task's page says that a worker without Petiole may have taken it",
    )
    heartbeat: float = setting(2.5, "seconds", "how often a worker renews its leases and asks for cancel and fence")
    journal_timeout: float = setting(1.5, "seconds", "how long one call of the journal may take, connecting included")
    counters_per_second: float = setting(10.0, "per second", "how often a run's counters are sent at most", zero=True)
    texts_per_second: float = setting(25.0, "per second", "how often what a task writes is sent at most", zero=True)
    text_limit: int = setting(1024 * 1024, "bytes", "how much text a run keeps; what is past it is left out, visibly")
    outbox_limit: int = setting(10_000, "events", "how many events a run buffers while the journal is unavailable")
    flush_timeout: float = setting(
        1.0, "seconds", "how long a finished task waits for its last event to be kept", zero=True
    )
    light_above: int = setting(
        50, "tasks", "the tasks of a group of more than these have no feeds of their own, only the group has", zero=True
    )
    adopt_update_state: bool = setting(
        False, "truth value", "whether tasks started by `.delay()` are followed, and their `update_state` is progress"
    )
    url_prefix: str = setting("/petiole", "path", "where the HTTP routes and the browser file are mounted")
    read_limit: int = setting(500, "facts", "how many facts one read returns at most")
    head_check: float = setting(5.0, "seconds", "after how long a silence the relay compares a feed with the journal")
    follow_timeout: float = setting(
        2.0, "seconds", "how long a watch waits for the bus before it answers anyway", zero=True
    )
    linger: float = setting(10.0, "seconds", "how long a feed is followed after its last watcher left", zero=True)
    window: int = setting(256, "packets", "how many packets may wait for one slow browser")
    watches_per_connection: int = setting(100, "feeds", "how many feeds one connection may watch")
    connections_per_owner: int = setting(50, "connections", "how many open pages one user may have in one process")
    calls_burst: int = setting(100, "calls", "how many calls a connection may make at once")
    calls_per_second: float = setting(20.0, "per second", "how many calls a connection may make after that")
    rights_check: float = setting(4.0, "seconds", "how often the rights of each watching page are checked again")
    token_expires_in: float = setting(900.0, "seconds", "how long a token is valid, unless it is issued for longer")
    token_leeway: float = setting(
        30.0,
        "seconds",
        "how far the clocks of web servers may differ: a token stays valid this long after it expires",
        zero=True,
    )
    reconnect_spread: float = setting(
        5.0, "seconds", "the period over which a stopping process spreads its browsers' reconnects", zero=True
    )
    allow_any_origin: bool = setting(
        False, "truth value", "whether pages of any site may use the sockets, where `cors_allowed_origins` says so"
    )

    @property
    def longest_lease(self) -> float:
        """After how many seconds each lease that is given now has ended, with room for others' settings."""
        return 2 * max(self.lease, self.dispatch_lease, self.lost_after, self.unheard_after)

    @classmethod
    def load(
        cls,
        *sources: Mapping[str, Any],
        environ: Mapping[str, str] | None = None,
        celery: CeleryUrls = NO_CELERY,
    ) -> Settings:
        """Build the settings from the environment, then `sources` in their order, then the defaults.

        Keys are `PETIOLE_<KEY>`, in capitals or small letters; others are passed over. Celery's broker stands in: a Redis
        for `journal_url`, and a Redis or a RabbitMQ for `bus_url` where the journal isn't in Redis.

        Raises:
            SetupError: a key with the prefix is unknown, a value is of another type, or there is no journal.
        """
        values = read_table(cls, PREFIX, *sources, environ=environ, sections=SECTIONS)
        for name in ("journal_url", "bus_url"):
            if values.get(name):
                values[name] = celery.secured(values[name])
        journal_url = values.get("journal_url") or ""
        broker_url = celery.broker
        if broker_url and is_redis(broker_url):
            if not journal_url:
                values["journal_url"] = journal_url = broker_url
            elif not is_redis(journal_url) and not values.get("bus_url"):
                values["bus_url"] = broker_url
        if not journal_url and broker_url and is_sentinel_broker(broker_url):
            raise SetupError(
                "Petiole has no journal: the Celery broker is a Sentinel's, and its master isn't known here. Set "
                "PETIOLE_JOURNAL_URL to redis+sentinel://host:26379,host:26379/master, or master_name in Celery's "
                "broker_transport_options."
            )
        if broker_url and is_amqp(broker_url):
            if not journal_url:
                raise SetupError(
                    "Petiole has no journal: the Celery broker is RabbitMQ, which can ring, but keeps nothing to read again "
                    "again. Set PETIOLE_JOURNAL_URL to a postgresql:// URL, or on a single machine to a sqlite:/// URL."
                )
            if not is_redis(journal_url) and not values.get("bus_url"):
                values["bus_url"] = broker_url
        if not journal_url:
            raise SetupError(
                "Petiole has no journal: the Celery broker isn't Redis. Set PETIOLE_JOURNAL_URL to a redis://, "
                "postgresql:// or sqlite:/// URL."
            )
        return cls(**values)


def is_redis(url: str) -> bool:
    """Say whether a URL is of a Redis (or Valkey) server."""
    return urlsplit(url).scheme in REDIS_SCHEMES


def is_amqp(url: str) -> bool:
    """Say whether a URL is of RabbitMQ."""
    return urlsplit(url).scheme in AMQP_SCHEMES


def read_table(
    table: type[Any],
    prefix: str,
    *sources: Mapping[str, Any],
    environ: Mapping[str, str] | None,
    sections: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the values that are set for the fields of `table`, from the environment and then from `sources`.

    Keys are the prefix and a field's name, in capitals or small letters. Keys without the prefix, and those of
    `sections`, are passed over.

    Raises:
        SetupError: a key with the prefix is unknown, or a value is of another type.
    """
    known = {row.name: row for row in fields(table)}
    values: dict[str, Any] = {}
    environment = os.environ if environ is None else environ
    for source in (environment, *sources):
        for key in source:
            if not isinstance(key, str) or not key.upper().startswith(prefix):
                continue
            name = key[len(prefix) :].lower()
            if name.startswith(sections) or (source is environment and _LINKS.match(name)):
                continue
            if name not in known:
                near = _nearest(name, known, sections)
                hint = f"Did you mean {prefix}{near.upper()}?" if near else "docs/settings.md has them all."
                raise SetupError(f"{key} isn't a setting of Petiole. {hint}")
            if name not in values:
                values[name] = _convert(key, source[key], known[name])
    return values


def _nearest(name: str, known: Mapping[str, object], sections: tuple[str, ...]) -> str:
    first, _, rest = name.partition("_")
    section = difflib.get_close_matches(f"{first}_", sections, n=1, cutoff=0.8)
    near = [f"{section[0]}{rest}"] if section and rest else difflib.get_close_matches(name, known, n=1)
    return near[0] if near else ""


def _convert(key: str, value: Any, row: Field[Any]) -> Any:
    if row.metadata["parse"] is not None:
        return row.metadata["parse"](key, value)
    kind: type = Path if isinstance(row.default, Path) else type(row.default)
    wrong = SetupError(f"{key} is {value!r}. Set it to a value of type {kind.__name__}.")
    if kind is bool:
        if isinstance(value, (bool, int, str)) and (word := str(value).strip().lower()) in TRUTHS:
            return TRUTHS[word]
        raise SetupError(f"{key} is {value!r}. Set it to true or false.")
    # `str` takes everything, `int` cuts fractions off, and a truth value counts as a number.
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise wrong
    try:
        converted = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if isinstance(value, float) and kind is int and converted != value:
        raise wrong
    if isinstance(converted, float) and not math.isfinite(converted):
        raise wrong
    if isinstance(converted, (int, float)) and (converted < 0 or (converted == 0 and not row.metadata["zero"])):
        least = "0 or more" if row.metadata["zero"] else "more than 0"
        raise SetupError(f"{key} is {value!r}. Set it to {least}.")
    return converted
