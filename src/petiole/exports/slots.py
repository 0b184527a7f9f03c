"""How many exports of one person may wait and run at a time."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from collections.abc import Callable, Sequence
from typing import Final

from petiole.journal import Journal
from petiole.protocol.encoding import to_json
from petiole.protocol.events import task_feed
from petiole.protocol.states import is_terminal
from petiole.web.problems import too_many

KEPT_FOR: Final = 31 * 86400.0
RETRY_AFTER: Final = 10
# Between taking a slot and opening the task's feed: a slot without a feed that is older was never used.
STARTS_WITHIN: Final = 5.0
# A network that one person gets: https://www.rfc-editor.org/rfc/rfc6177
IPV6_NETWORK: Final = 64


class Slots:
    """Counts the exports of an owner, and of an address for people without a login; atomic across processes.

    A slot is free again when its task has ended or is gone. `clock` gives seconds since 1970.
    """

    def __init__(self, journal: Journal, limit: int, *, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._limit = limit
        self._clock = clock

    def take(self, task_id: str, *, owner: str, address: str | None) -> None:
        """Take a slot of the owner, and one of the address if the owner is a browser without a login.

        Raises:
            Problem: 429, there is none left.
            Unavailable: the journal is away.
        """
        self._take(
            owner,
            task_id,
            f"{self._limit:,} of your exports wait or run, which is the most. Wait until one ends, or cancel one.",
        )
        if owner.startswith("session:"):
            self._take(
                f"address:{network_of(address)}",
                task_id,
                f"{self._limit:,} exports of people without a login wait or run for your network address, which is the "
                "most. Wait until one ends, cancel one, or log in.",
            )

    def _take(self, whose: str, task_id: str, sentence: str) -> None:
        name = f"exports of {hashlib.sha256(whose.encode()).hexdigest()}"
        before = self._journal.notes([name]).get(name, "")
        while True:
            held = self._held(json.loads(before or "[]"))
            if len(held) >= self._limit:
                raise too_many(sentence, RETRY_AFTER)
            text = to_json([*held, [task_id, self._clock()]])
            found = self._journal.note(name, text, instead_of=before, lasts=KEPT_FOR)
            if found in (before, text):
                return
            before = found

    def _held(self, slots: Sequence[Sequence[object]]) -> list[Sequence[object]]:
        heads = self._journal.heads([task_feed(str(task_id)) for task_id, _ in slots])
        held = []
        for slot in slots:
            task_id, since = slot
            head = heads.get(task_feed(str(task_id)))
            if head is None:
                is_held = self._clock() - float(str(since)) < STARTS_WITHIN
            else:
                # A deleted task's head has neither owner nor state.
                is_held = bool(head.owner) and not is_terminal(head.state)
            if is_held:
                held.append(slot)
        return held


def network_of(address: str | None) -> str:
    """Return what is counted of an address: all of IPv4, the network of IPv6; without one, all such clients together."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found.packed, IPV6_NETWORK), strict=False))
