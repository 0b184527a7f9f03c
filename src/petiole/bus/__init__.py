"""The bus rings: a hint that carries the event. `contract.py` says what it promises."""

from petiole.bus.contract import Bus, Ring
from petiole.bus.redis import RedisBus, publisher
from petiole.bus.ringer import Ringer
from petiole.bus.sharded import ShardedBus, shard_publisher
from petiole.errors import SetupError
from petiole.redis_url import Kind, kind_of
from petiole.settings import Settings, is_redis


def open_bus(settings: Settings) -> Bus:
    """Return the bus of these settings.

    Raises:
        SetupError: no bus answers to such a URL, or there is none.
    """
    url = _url(settings)
    return ShardedBus(settings, url=url) if kind_of(url) is Kind.CLUSTER else RedisBus(settings, url=url)


def open_ring(settings: Settings) -> Ring:
    """Return what a journal calls that doesn't ring by itself: it returns at once, and what fails is let go.

    Raises:
        SetupError: no bus answers to such a URL, or there is none.
    """
    url = _url(settings)
    make = shard_publisher if kind_of(url) is Kind.CLUSTER else publisher
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
            "Petiole has no bus: neither the journal nor the Celery broker is Redis. Set PETIOLE_BUS_URL to a redis:// URL."
        )
    return settings.bus_url


__all__ = ["Bus", "open_bus", "open_ring"]
