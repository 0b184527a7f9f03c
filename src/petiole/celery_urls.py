"""Celery's broker and result backend as URLs of Petiole's, with their TLS options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from petiole.redis.url import REDIS_SCHEMES, Kind, kind_of
from petiole.tls import has_tls_options, options_of

AMQP_SCHEMES: Final = ("amqp", "amqps", "pyamqp")
SOCKET_SCHEMES: Final = ("redis+socket", "socket")


@dataclass(frozen=True, slots=True, kw_only=True)
class CeleryUrls:
    """A Celery application's broker and result backend, from its configuration."""

    broker_url: str | None = None
    broker_options: Mapping[str, Any] | None = None
    broker_use_ssl: object = None
    result_backend: str | None = field(default=None, repr=False)
    backend_use_ssl: object = None

    @classmethod
    def of(cls, conf: Any) -> CeleryUrls:
        """Read them from a Celery application's `conf`."""
        url = conf.broker_url
        backend = conf.result_backend
        return cls(
            broker_url=url if isinstance(url, str) or not isinstance(url, Sequence) else ";".join(map(str, url)),
            broker_options=conf.broker_transport_options,
            broker_use_ssl=conf.broker_use_ssl,
            result_backend=backend if isinstance(backend, str) else None,
            backend_use_ssl=conf.redis_backend_use_ssl,
        )

    @property
    def broker(self) -> str | None:
        """The broker as a URL of Petiole's, with the options of `broker_use_ssl`; an unknown broker is returned unchanged."""
        return of_broker(self.broker_url, self.broker_options, self.broker_use_ssl)

    def secured(self, url: str) -> str:
        """Return a setting's URL with Celery's TLS options for the same server, unless it has its own."""
        parts = urlsplit(url)
        if parts.scheme not in ("rediss", "valkeys") or has_tls_options(dict(parse_qsl(parts.query))):
            return url
        given = (
            (self.broker_url, self.broker_use_ssl, "broker_use_ssl"),
            (self.result_backend, self.backend_use_ssl, "redis_backend_use_ssl"),
        )
        for other, use_ssl, key in given:
            found = urlsplit(other or "")
            if found.scheme in ("redis", "rediss") and _server(found.netloc) == _server(parts.netloc):
                own = {name: value for name, value in parse_qsl(found.query) if name.startswith("ssl_")}
                options = own or options_of(use_ssl, key=key)
                if options:
                    return _with_options(url, options)
        return url


def is_sentinel_broker(broker_url: str) -> bool:
    """Say whether Celery's broker is a Sentinel, by kombu's scheme."""
    return broker_url.startswith("sentinel://")


def of_broker(broker_url: str | None, options: Mapping[str, Any] | None = None, use_ssl: object = None) -> str | None:
    """Return Celery's broker as a URL of Petiole's; `options`: `broker_transport_options`; `use_ssl`: `broker_use_ssl`.

    TLS options of the URL itself take precedence over `use_ssl`, as with kombu. An unknown broker is returned unchanged.

    Raises:
        SetupError: `use_ssl` has an option that no URL can carry.
    """
    if not broker_url:
        return broker_url
    scheme = broker_url.partition("://")[0]
    if is_sentinel_broker(broker_url):
        return _of_sentinels(broker_url, options or {}, use_ssl)
    if scheme in SOCKET_SCHEMES:
        return "unix" + broker_url.removeprefix(scheme)
    if scheme in AMQP_SCHEMES:
        return ";".join(_of_rabbitmq(part, use_ssl) for part in broker_url.split(";") if part)
    if scheme in REDIS_SCHEMES and kind_of(broker_url) is Kind.SERVER and scheme != "unix":
        # kombu uses TLS for a redis:// with TLS options, or with a `broker_use_ssl`.
        own = has_tls_options(dict(parse_qsl(urlsplit(broker_url).query)))
        more = {} if own else options_of(use_ssl, key="broker_use_ssl")
        secure = {"redis": "rediss", "valkey": "valkeys"}.get(scheme, scheme) if own or more else scheme
        return _with_options(secure + broker_url.removeprefix(scheme), more)
    return broker_url


def _of_rabbitmq(url: str, use_ssl: object) -> str:
    scheme, _, rest = url.partition("://")
    own = has_tls_options(dict(parse_qsl(urlsplit(url).query)))
    if not own and not use_ssl:
        return url
    more = {} if own else options_of(use_ssl, key="broker_use_ssl")
    return _with_options(f"amqps://{rest}" if scheme != "amqps" else url, more)


def _of_sentinels(broker_url: str, options: Mapping[str, Any], use_ssl: object) -> str:
    """Return `sentinel://host:26379;sentinel://host:26379` as one URL, where the transport options name the master.

    They may have a Sentinel's own password too.
    """
    master = options.get("master_name")
    if not master:
        return broker_url
    urls = [urlsplit(part) for part in broker_url.split(";")]
    user, at, _ = urls[0].netloc.rpartition("@")
    hosts = ",".join(url.netloc.rpartition("@")[2] for url in urls)
    path = urls[0].path.strip("/")
    own = options.get("sentinel_kwargs") or {}
    secrets = {f"sentinel_{name}": str(own[name]) for name in ("username", "password") if own.get(name)}
    tls = {name: value for name, value in parse_qsl(urls[0].query) if name.startswith("ssl_")}
    tls = tls or options_of(use_ssl, key="broker_use_ssl")
    scheme = "rediss+sentinel" if tls else "redis+sentinel"
    url = f"{scheme}://{user}{at}{hosts}/{quote(str(master), safe='')}" + (f"/{path}" if path else "")
    return _with_options(url, secrets | tls)


def _with_options(url: str, options: Mapping[str, str]) -> str:
    if not options:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(options)}"


def _server(authority: str) -> str:
    host = authority.rpartition("@")[2]
    return host if ":" in host.rpartition("]")[2] else f"{host}:6379"
