"""The bus rings: a hint that carries the event. `contract.py` has the guarantees. Journal, web and demo may import it."""

from petiole.bus.contract import Bus, Ring
from petiole.bus.redis import RedisBus, redis_publisher
from petiole.bus.redis_cluster import ShardedBus, cluster_publisher
from petiole.bus.ringer import Ringer
from petiole.errors import SetupError, Unavailable
from petiole.logs import logger
from petiole.redis.client import look_at
from petiole.redis.url import Kind, kind_of
from petiole.settings import Settings, is_amqp, is_redis

log = logger(__name__)


def open_bus(settings: Settings) -> Bus:
    """Return the bus of these settings.

    Raises:
        SetupError: the URL is of no bus, or there is no URL.
    """
    url = _url(settings)
    if is_amqp(url):
        from petiole.bus.amqp.bus import AmqpBus

        _look_at_rabbitmq(settings, url, listens=True)
        return AmqpBus(settings, url=url)
    _look_at_redis(settings, url)
    return ShardedBus(settings, url=url) if kind_of(url) is Kind.CLUSTER else RedisBus(settings, url=url)


def open_ring(settings: Settings) -> Ring:
    """Return what a journal calls that doesn't ring by itself: it returns at once, and a ring that fails is lost.

    Raises:
        SetupError: the URL is of no bus, or there is no URL.
    """
    url = _url(settings)
    if is_amqp(url):
        from petiole.bus.amqp.publisher import RingPublisher

        _look_at_rabbitmq(settings, url, listens=False)
        return Ringer(RingPublisher(settings, url=url).publish).ring
    _look_at_redis(settings, url)
    make = cluster_publisher if kind_of(url) is Kind.CLUSTER else redis_publisher
    return Ringer(make(settings, url=url)).ring


def _url(settings: Settings) -> str:
    if is_redis(settings.journal_url):
        if settings.bus_url not in ("", settings.journal_url):
            raise SetupError(
                "A journal in Redis is its own bus, so PETIOLE_BUS_URL would never ring. Unset it, or set it to the same URL."
            )
        return settings.journal_url
    if not settings.bus_url:
        raise SetupError(
            "Petiole has no bus: neither the journal nor the Celery broker can ring. Set PETIOLE_BUS_URL to a redis:// or "
            "amqp:// URL."
        )
    if not is_redis(settings.bus_url) and not is_amqp(settings.bus_url):
        scheme = settings.bus_url.partition("://")[0] if "://" in settings.bus_url else ""
        begins = f"begins with {scheme}://, which can't ring" if scheme else "isn't a URL"
        raise SetupError(f"PETIOLE_BUS_URL {begins}. Set it to a redis:// or amqp:// URL.")
    return settings.bus_url


def _look_at_redis(settings: Settings, url: str) -> None:
    if url != settings.journal_url:  # that one was checked with the journal
        look_at(settings, url=url)


def _look_at_rabbitmq(settings: Settings, url: str, *, listens: bool) -> None:
    from petiole.bus.amqp import connection as amqp_connection

    try:
        amqp_connection.look_at(settings, url, listens=listens)
    except Unavailable as error:
        # As with the journal: it may start later. Until then events arrive by the head check.
        log.warning("bus_away", extra={"error": str(error)})


__all__ = ["Bus", "open_bus", "open_ring"]
