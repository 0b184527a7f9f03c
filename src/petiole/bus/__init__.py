"""The bus rings: a hint that carries the event. `contract.py` says what it promises."""

from petiole.bus.contract import Bus
from petiole.bus.redis import RedisBus
from petiole.settings import Settings


def open_bus(settings: Settings) -> Bus:
    """Return the bus that belongs to the journal of these settings.

    Raises:
        SetupError: no bus answers to such a URL.
    """
    return RedisBus(settings)


__all__ = ["Bus", "open_bus"]
