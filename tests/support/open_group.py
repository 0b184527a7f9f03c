"""Groups that a test fills by hand: their children are contributed by the test itself, as a worker does."""

from __future__ import annotations

import uuid
from typing import Any

from petiole.journal import Journal
from petiole.journal.answers import Counted
from petiole.journal.groups import Child, Contribution, Group, first_counts, progress_of
from petiole.protocol import states
from petiole.protocol.events import Draft, group_feed, mint_epoch, task_feed

LEASE = 60.0
AT_ONCE = 100
MESSAGE = '{"task": "app.thumbnail", "args": [1], "kwargs": {}, "options": {}}'


class OpenGroup:
    """A group in a journal. `voids`: by a child's number, the range of those that can't run without it.

    `light=False`: each child has a feed of its own, too. `ids`: those of the children, whose feeds then aren't opened.
    """

    def __init__(
        self,
        journal: Journal,
        number: int,
        *,
        owner: str = "user:ann",
        light: bool = True,
        ids: list[str] | None = None,
        voids: dict[int, tuple[int, int]] | None = None,
        **fields: Any,
    ) -> None:
        self.journal = journal
        self.run = 0
        self.feed = group_feed(str(uuid.uuid4()))
        self.ids = ids or [str(uuid.uuid4()) for _ in range(number)]
        children = [Child(one, (voids or {}).get(place, (0, 0))) for place, one in enumerate(self.ids)]
        document = {"state": states.QUEUED, "title": "Thumbnails", "task": "celery.group", "light": light, **fields}
        progress = progress_of(Group(states.QUEUED, 0, 0, first_counts(number)))
        draft = Draft("state", document, progress)
        self.opened = journal.open_group(self.feed, children, owner=owner, draft=draft, epoch=mint_epoch(), lease=LEASE)
        self.tasks = [] if light or ids else [task_feed(one) for one in self.ids]
        for feed in self.tasks:
            task = {"state": states.QUEUED, "title": "A thumbnail", "task": "app.thumbnail", "group": self.feed}
            journal.open(feed, owner=owner, draft=Draft("state", task))

    def say(self, *said: Contribution) -> Counted:
        for at in range(0, max(len(said), 1), AT_ONCE):
            answer = self.journal.contribute(self.feed, said[at : at + AT_ONCE], run=self.run, lease=LEASE)
            assert isinstance(answer, Counted)
        return answer

    def begin(self, *children: int, done: int = 0) -> Counted:
        return self.say(*(Contribution(child, states.RUNNING, done=done) for child in children))

    def end(self, *children: int, state: str = states.SUCCEEDED) -> Counted:
        return self.say(*(Contribution(child, state) for child in children))

    def fail(self, *children: int, message: str = "The disk is full.", kept: str = MESSAGE) -> Counted:
        error = {"message": message, "reference": "r-1", "type": "OSError"}
        return self.say(*(Contribution(child, states.FAILED, error=error, message=kept) for child in children))

    def tell(self) -> Counted:
        """Ring what hasn't rung yet."""
        return self.say()
