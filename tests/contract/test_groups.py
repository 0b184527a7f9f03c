"""Groups: one feed that counts many children, each once, on every store."""

from __future__ import annotations

from typing import Any

from petiole.journal import Journal
from petiole.journal.answers import Counted
from petiole.journal.groups import Child, Contribution
from petiole.protocol.events import Cursor, group_feed
from tests.contract.backends import LONG, OWNER, document, state

GROUP = group_feed("g")
EPOCH = "0000000a"


def ids(number: int) -> list[str]:
    return [f"00000000-0000-4000-8000-{at:012x}" for at in range(number)]


def opened(journal: Journal, children: int | list[Child] = 3, feed: str = GROUP, **more: Any) -> Cursor:
    made = [Child(one) for one in ids(children)] if isinstance(children, int) else children
    return journal.open_group(
        feed, made, **{"owner": OWNER, "draft": state("queued", title="Thumbnails"), "epoch": EPOCH, **more}
    )


def say(journal: Journal, *said: Contribution, feed: str = GROUP, **more: Any) -> Any:
    return journal.contribute(feed, said, **{"run": 0, "lease": LONG, **more})


def counted(answer: object) -> Counted:
    assert isinstance(answer, Counted), answer
    return answer


def counts(journal: Journal, feed: str = GROUP) -> dict[str, int]:
    return {name: number for name, number in document(journal, feed)["progress"]["children"].items() if number}


def test_smoke(journal):
    opened(journal)
    print(say(journal, Contribution(0, "running")))
    print(say(journal, Contribution(0, "succeeded")), counts(journal))
    print(say(journal, Contribution(1, "failed", error={"message": "x"}, message="m")))
    print(say(journal, Contribution(2, "succeeded")))
    print(document(journal, GROUP))
    print(journal.children(GROUP, limit=10))
    print(journal.children(GROUP, limit=10, state="failed"))
    print(journal.child_messages(GROUP))
    print(journal.repeat_children(GROUP, [1], draft=state("queued", finished_at=None), epoch="0000000b", lease=LONG))
    print(document(journal, GROUP))
    print(say(journal, Contribution(1, "running"), run=1))
    print(journal.cancel(GROUP, cancelling=state("cancelling"), cancelled=state("cancelled")))
    print(say(journal, Contribution(1, "cancelled"), run=1))
    assert document(journal, GROUP)["state"] == "cancelled"
