"""AMQP connections as bus and ringer need them: bounded in time, with errors in sentences.

By default py-amqp waits for an answer for ever. Here every wait ends with the socket's timeout, and the caller decides.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import amqp
from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, NotFound, PreconditionFailed
from kombu.utils.url import url_to_parts

from petiole.celery_urls import AMQP_SCHEMES
from petiole.errors import PetioleError, SetupError, Unavailable
from petiole.settings import Settings
from petiole.tls import CERT_REQS, cert_reqs_word

KEY: Final = "PETIOLE_BUS_URL"
EXAMPLE: Final = "amqp://user:password@host:5672/vhost"

# What py-amqp raises where a connection is lost, or is shut down by another thread during a read.
LOST: Final = (AMQPError, OSError, AttributeError, KeyError, TypeError, ValueError, struct.error)
HEARTBEAT_FRAME: Final = 8
# How many rings the broker keeps for a web process that doesn't read them; past that it drops the oldest.
QUEUED: Final = 10_000

_TLS_OPTIONS: Final = ("ca_certs", "certfile", "keyfile", "cert_reqs", "check_hostname")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a RabbitMQ is, and how to log in. Its text has no password."""

    host: str
    port: int
    virtual_host: str
    user: str
    password: str = field(repr=False)
    # py-amqp's `ssl` argument; `None`: no TLS.
    tls: Mapping[str, Any] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.address}/{'' if self.virtual_host == '/' else self.virtual_host}"

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_url(url: str) -> tuple[Broker, ...]:
    """Return the brokers that a URL names; several nodes of one cluster are separated by `;`, as with Celery.

    Raises:
        SetupError: it isn't an AMQP URL. The message doesn't repeat it, for it may hold a password.
    """
    return tuple(_read_one(part) for part in url.split(";") if part) or (_read_one(url),)


def _read_one(url: str) -> Broker:
    try:
        parts = url_to_parts(url.partition("?")[0])
    except ValueError:
        raise SetupError(f"{KEY} isn't an AMQP URL. Set it to {EXAMPLE}.") from None
    if parts.scheme not in AMQP_SCHEMES:
        raise SetupError(f"{KEY} begins with {parts.scheme}://, which isn't RabbitMQ's. Set it to {EXAMPLE}.")
    secure = parts.scheme == "amqps"
    host = parts.hostname or "localhost"
    return Broker(
        host=host,
        port=parts.port or (5671 if secure else 5672),
        virtual_host=parts.path or "/",
        user=parts.username or "guest",
        password=parts.password or "guest",
        tls=_read_tls(host, url.partition("?")[2]) if secure else None,
    )


def _read_tls(host: str, query: str) -> dict[str, Any]:
    # The options of a rediss:// URL. Others are Celery's and are ignored here.
    options: dict[str, Any] = {"server_hostname": host, "cert_reqs": ssl.CERT_REQUIRED}
    for key, value in parse_qsl(query):
        name = key.removeprefix("ssl_")
        if name == key:
            continue
        if name not in _TLS_OPTIONS:
            known = ", ".join(f"ssl_{option}" for option in _TLS_OPTIONS)
            raise SetupError(f"{KEY} has {key}={value}, which isn't known. Use {known} (required, optional or none).")
        options[name] = CERT_REQS[cert_reqs_word(value, key=KEY)] if name == "cert_reqs" else value
    if options.pop("check_hostname", "true").lower() == "false" or options["cert_reqs"] == ssl.CERT_NONE:
        del options["server_hostname"]
    return options


@contextmanager
def translate_errors(broker: Broker) -> Iterator[None]:
    """Raise what py-amqp raises as `Unavailable` if it is temporary, and as a `SetupError` if it is permanent."""
    try:
        yield
    except PetioleError:
        raise
    except AccessRefused as error:
        raise SetupError(
            f"RabbitMQ at {broker} denies {broker.user} a permission that it needs ({error.reply_text}). Grant it configure, "
            f"write and read, or set another user in {KEY}."
        ) from error
    except PreconditionFailed as error:
        raise SetupError(
            f"RabbitMQ at {broker} has something else under Petiole's names ({error.reply_text}). Delete that, or set "
            "another PETIOLE_KEY_PREFIX."
        ) from error
    except LOST as error:
        raise _away(broker, error) from error


def connect(
    broker: Broker,
    *,
    timeout: float,
    wait: float | None = None,
    heartbeat: int = 0,
    on_blocked: Callable[[], None] = lambda: None,
    on_unblocked: Callable[[], None] = lambda: None,
) -> amqp.Connection:
    """Return a connection. Each step of connecting is bounded by `timeout` seconds.

    `wait`: the longest wait for an answer after that; `timeout` by default.

    Raises:
        SetupError: the broker refuses the login or the virtual host, or TLS fails.
        Unavailable: it doesn't answer.
    """
    connection = amqp.Connection(
        broker.address,
        userid=broker.user,
        password=broker.password,
        login_method="PLAIN",
        virtual_host=broker.virtual_host,
        ssl=broker.tls or False,
        connect_timeout=timeout,
        heartbeat=heartbeat,
        client_properties={"connection_name": "petiole"},
        on_blocked=lambda _reason: on_blocked(),
        on_unblocked=on_unblocked,
    )
    try:
        connection.connect()
        # Once: py-amqp would set and reset a timeout around each read, while other threads use the socket.
        connection.sock.settimeout(wait or timeout)
    except BaseException as error:
        connection.collect()
        raise _refused(broker, error) from error
    return connection


def _refused(broker: Broker, error: BaseException) -> BaseException:
    match error:
        case AccessRefused():
            return SetupError(f"RabbitMQ at {broker} refuses the login. Correct user and password in {KEY}.")
        case NotAllowed() | NotFound():
            return SetupError(
                f"RabbitMQ at {broker} has no such virtual host, or {broker.user} may not use it ({error.reply_text}). Create "
                f"it, or correct the path of {KEY}."
            )
        case ssl.SSLCertVerificationError():
            return SetupError(
                f"The certificate of RabbitMQ at {broker} isn't trusted ({error.verify_message}). Set ssl_ca_certs, or "
                f"another host, in {KEY}."
            )
        case ssl.SSLError() if error.reason in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL"):
            return SetupError(
                f"RabbitMQ at {broker} doesn't speak TLS there. Set the port of its TLS, or amqp://, in {KEY}."
            )
        case ssl.SSLError():
            return SetupError(
                f"RabbitMQ at {broker} refuses TLS ({error.reason or error}). Correct the ssl_ options in {KEY}."
            )
        case FileNotFoundError():
            return SetupError(f"A file of {KEY} isn't there. Correct its ssl_ options.")
        case _ if isinstance(error, LOST):
            return _away(broker, error)
    return error


def _away(broker: Broker, error: Exception) -> Unavailable:
    said = " ".join(str(error).split()) or type(error).__name__
    return Unavailable(f"RabbitMQ at {broker} doesn't answer ({said}). Start it, or set {KEY}.")


def exchange_of(settings: Settings) -> str:
    """Return the name of the exchange that rings."""
    return f"{settings.key_prefix}.rings"


def declare(channel: Any, exchange: str) -> None:
    """Declare the exchange. It is kept without bindings: publishing to a missing one would close the channel."""
    channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)


def make_queue(channel: Any) -> str:
    """Make a queue that ends with its connection, and return its name, which the broker has chosen.

    Exclusive: the one kind of transient queue that every RabbitMQ allows.
    """
    arguments = {"x-max-length": QUEUED}
    queue: str = channel.queue_declare("", exclusive=True, auto_delete=True, arguments=arguments).queue
    return queue


def read_once(connection: amqp.Connection) -> None:
    """Read one message or one heartbeat: after a heartbeat py-amqp's `drain_events` would go on waiting."""
    while True:
        frame = connection.transport.read_frame()
        if connection.on_inbound_frame(frame) or frame[0] == HEARTBEAT_FRAME:
            return


def has_read(connection: amqp.Connection) -> bool:
    """Say whether bytes are buffered in the TLS layer, where no selector sees them."""
    pending = getattr(connection.sock, "pending", None)
    return bool(pending and pending())


def look_at(settings: Settings, url: str, *, listens: bool) -> None:
    """Connect once and check that rings can be published; `listens`: and received.

    Raises:
        SetupError: they can't.
        Unavailable: no broker answers.
    """
    away: Unavailable | None = None
    for broker in read_url(url):
        try:
            connection = connect(broker, timeout=settings.journal_timeout)
        except Unavailable as error:
            away = error
            continue
        try:
            with translate_errors(broker):
                channel = connection.channel()
                exchange = exchange_of(settings)
                declare(channel, exchange)
                if listens:
                    channel.queue_bind(make_queue(channel), exchange, "probe")
                connection.close()
        finally:
            connection.collect()
        return
    if away is not None:
        raise away
