"""What can be done with tasks: start, list, cancel, start again, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from celery import Signature, Task
from flask import has_request_context, url_for

from petiole.dispatch.canvas import is_canvas
from petiole.dispatch.tracking import Handle
from petiole.errors import PetioleError
from petiole.journal import Journal
from petiole.journal.answers import Gone, ListedChild, Snapshot
from petiole.loop import Loop
from petiole.protocol import states
from petiole.protocol.events import GROUP, feed_id, is_group, mint_epoch
from petiole.settings import Settings
from petiole.web.problems import Problem, outages_as_problems
from petiole.web.service import actions
from petiole.web.service.authorization import Authorization
from petiole.web.service.beginning import Beginning
from petiole.web.service.canvas import Description
from petiole.web.service.children import PAGE_SIZE as CHILDREN
from petiole.web.service.children import ChildPage, followed_children, list_children, parent_of
from petiole.web.service.idempotency import (
    Idempotency,
    IdempotentRequest,
    idempotent_request,
    key_of,
    mint_group_id,
    mint_task_id,
)
from petiole.web.service.listing import PAGE_SIZE, Page, list_tasks
from petiole.web.state import current_state

Links = Callable[[Snapshot], Mapping[str, str]]
Deletion = Callable[[Snapshot], object]
BeforeStart = Callable[[Beginning], Beginning]


class Service(Authorization):
    """Acts in the application of the present request."""

    def __init__(self) -> None:
        super().__init__()
        self._links: list[Links] = []
        self._deletions: list[Deletion] = []
        self._before_start: list[BeforeStart] = []
        self._background: list[Callable[[], Loop | None]] = []

    def add_links(self, function: Links) -> Links:
        """Add what `function(snapshot)` returns to the `links` of every snapshot. Usable as decorator."""
        self._links.append(function)
        return function

    def on_delete(self, function: Deletion) -> Deletion:
        """Call `function(snapshot)` when a task is deleted, to remove what it has made. Usable as decorator."""
        self._deletions.append(function)
        return function

    def before_start(self, function: BeforeStart) -> BeforeStart:
        """Call `function(beginning)` before a single task is started or started again. Usable as decorator.

        What it returns is started; it raises a `Problem` to refuse. A canvas, and the tasks of one, start without it.
        """
        self._before_start.append(function)
        return function

    def add_background(self, make: Callable[[], Loop | None]) -> None:
        """Run the loop that `make()` returns in every web process, from its first request on; `/ready` tells of its trouble.

        It is called once for each application, in the context of that request; `None`: this application has no such work.
        """
        self._background.append(make)

    @property
    def settings(self) -> Settings:
        return current_state().settings

    @property
    def journal(self) -> Journal:
        return current_state().journal

    def depart(self) -> None:
        """Announce that this process ends: it isn't ready any more, and its browsers come back spread over some seconds.

        Called by itself at SIGTERM where a process's main thread serves requests or made the application.
        """
        current_state().shutdown.now()

    def start(
        self,
        task: Task | Signature | str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        title: object = None,
        queue: str | None = None,
        countdown: float | None = None,
        light: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Handle:
        """Start a tracked task for who is asking; by name, the task's code need not be here.

        A canvas (`group`, `chord`, `chain`, `chunks`, nested) starts as one group: one handle, one page and one bar for all of
        its tasks. `light`: they have no pages of their own, as is the default above `PETIOLE_LIGHT_ABOVE` tasks.

        `title` may be a lazy text, said in the language of this request; past 200 characters it is cut. Without one the
        title comes from the task's name.
        A request with the header `Idempotency-Key` (or `idempotency_key`) starts it once in 24 hours: asked again it gets the
        same handle.

        Raises:
            Problem: 503, journal or broker are away; nothing was started. Of a key: 400, it isn't valid; 422, it was used with
                another body; 409, its first request is still under way.
            PetioleError: the arguments can't be sent, or `task` is none.
        """
        owner = self.user(create=True) or ""

        def start(task_id: str) -> Handle:
            given_args, given_kwargs = args, kwargs
            if not isinstance(task, Signature):
                name = str(getattr(task, "name", task))
                begun = self._admitted(Beginning(name, tuple(args), dict(kwargs or {}), owner=owner, task_id=task_id))
                given_args, given_kwargs = begun.args, begun.kwargs
            return current_state().tracking.start(
                task,
                given_args,
                given_kwargs,
                owner=owner,
                title=title,
                queue=queue,
                countdown=countdown,
                task_id=task_id.removeprefix(GROUP),
                light=light,
            )

        what = Description(task) if isinstance(task, Signature) else getattr(task, "name", task)
        mint = mint_group_id if isinstance(task, Signature) and is_canvas(task) else mint_task_id
        return self._start(start, owner, idempotent_request((what, args, kwargs), key=idempotency_key), mint=mint)

    def cancel(self, snapshot: Snapshot, *, force: bool = False) -> tuple[int, Snapshot]:
        """Ask a task to stop; returns the status (202, or 200 if that was asked before) and the newest snapshot.

        `force`: end the process that runs it, once it has been cancelling for `PETIOLE_CANCEL_GRACE`.

        Raises:
            Problem: 409, the task has finished, or can't be stopped by force (yet); 404, it is gone; 503, the journal is away.
        """
        with outages_as_problems():
            return actions.cancel(self.journal, snapshot, force=force, grace=self.settings.cancel_grace)

    def retry(self, snapshot: Snapshot, *, idempotency_key: str | None = None) -> Handle:
        """Start a task that has ended without success again, for its owner, under a new id; `retry_of` is the old one.

        Of a group the failed tasks alone run again, in the same group: the handle has its id, and a cursor of before that.

        Raises:
            Problem: 409, it can't be; 503, journal or broker are away; nothing was started.
        """
        key = key_of(idempotency_key)
        asked = None if key is None else IdempotentRequest(key, f"retry {snapshot.feed}", "")
        tracking = current_state().tracking
        if is_group(snapshot.feed):
            begin = actions.repeat_group(tracking, snapshot)
            return self._start(begin, snapshot.owner, asked, mint=mint_epoch, group=snapshot.feed)
        with outages_as_problems():
            start = actions.repeat(tracking, snapshot, admitted=self._admitted)
        return self._start(start, snapshot.owner, asked)

    def delete(self, snapshot: Snapshot) -> None:
        """Remove a task: a run of it is stopped, `on_delete` removes what it has made, and nobody can see it any more.

        Pages of this process that watch it are told at once, those of others when heads are compared next.

        Raises:
            Problem: 503, the journal is away.
        """
        with outages_as_problems():
            if not states.is_terminal(snapshot.document.get("state")):
                with suppress(Problem):  # it was faster
                    self.cancel(snapshot)
            # Before their group: as long as that is there, a deletion that was interrupted can be repeated.
            for child in followed_children(self.journal, snapshot):
                self.delete(child)
            for function in self._deletions:
                function(snapshot)
            actions.remove(self.journal, snapshot)
        current_state().rights.end(snapshot.feed, Gone.REMOVED)

    def children(
        self, group: Snapshot, *, state: str | None = None, limit: int = CHILDREN, cursor: str | None = None
    ) -> ChildPage:
        """Return a page of the tasks of a group, in the order in which they may begin; `cursor` is that of the page before.

        Only those in `state`, such as `running` or `failed,lost`: then a page may have fewer though others follow. `limit` is 1
        to 500.

        Raises:
            Problem: 404, it isn't a group; 422 or 400, there is no such state, limit or cursor; 503, the journal is away.
        """
        with outages_as_problems():
            return list_children(self.journal, group, state=state, limit=limit, cursor=cursor)

    def child_to_wire(self, child: ListedChild, *, followed: bool) -> dict[str, Any]:
        """Return a child as browsers get it; one that has a page of its own with the link to it."""
        links = {"self": url_for("petiole.task", task_id=child.task_id)} if followed else {}
        return {
            "number": child.number,
            "id": child.task_id,
            "state": child.state,
            "attempt": child.attempt,
            "fraction": child.fraction,
            "since": child.since,
            "error": child.error,
            "links": links,
        }

    def tasks(
        self,
        owner: str | None = None,
        *,
        state: str | None = None,
        name: str | None = None,
        limit: int = PAGE_SIZE,
        cursor: str | None = None,
        children: bool = False,
    ) -> Page:
        """Return a page of the tasks of who is asking, or of `owner`, newest first; `cursor` is that of the page before.

        Only those in `state`, only those of the task `name`, as Celery knows it. A group is one entry; with `children` those of
        its tasks that have pages of their own are listed, too. `limit` is 1 to 100; a page may have fewer though older ones
        follow. An `owner` isn't authorized: the caller answers for it.

        Raises:
            Problem: 422 or 400, there is no such state, limit or cursor; 503, the journal is away; 401 or 403, a token isn't
                good for it.
            PetioleError: there is no request and no `owner`.
        """
        if owner is None and not has_request_context():
            raise PetioleError(
                "There is no request, so there is no user. Pass owner=, as in petiole.tasks('user:ann')."
            )
        whose = owner or self.owner_asking() or self.user(create=True) or ""
        with outages_as_problems():
            return list_tasks(
                self.journal, whose, state=state, name=name, limit=limit, cursor=cursor, children=children
            )

    def to_wire(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return a snapshot as browsers get it, with its links; needs a request or application context with URLs."""
        task_id = feed_id(snapshot.feed)
        links = {
            "self": url_for("petiole.task", task_id=task_id),
            "events": url_for("petiole.events", task_id=task_id),
            "cancel": url_for("petiole.cancel", task_id=task_id),
        }
        if is_group(snapshot.feed):
            links["children"] = url_for("petiole.children", task_id=task_id)
        group = parent_of(snapshot)
        if group is not None:
            links["group"] = url_for("petiole.task", task_id=group)
        if actions.can_be_repeated(snapshot):
            links["retry"] = url_for("petiole.retry", task_id=task_id)
        for name, _ in snapshot.cursor.texts.lengths:
            links[f"text:{name}"] = url_for("petiole.text", task_id=task_id, name=name)
        for function in self._links:
            links.update(function(snapshot))
        return {
            "id": task_id,
            "feed": snapshot.feed,
            # Who goes on from it has none of the texts.
            "cursor": str(snapshot.cursor.place),
            "document": snapshot.document,
            "links": links,
        }

    def wire_of(self, handle: Handle, *, owner: str = "") -> dict[str, Any]:
        """Return a task that was just started as browsers get it, with the cursor from before its dispatch."""
        return self.to_wire(Snapshot(handle.feed, owner, handle.cursor, handle.document))

    def _admitted(self, beginning: Beginning) -> Beginning:
        for function in self._before_start:
            beginning = function(beginning)
        return beginning

    def _start(
        self,
        start: Callable[[str], Handle],
        owner: str,
        asked: IdempotentRequest | None,
        *,
        mint: Callable[[], str] = mint_task_id,
        group: str | None = None,
    ) -> Handle:
        with outages_as_problems():
            if asked is None:
                return start(mint())
            return Idempotency(self.journal, self.settings).once(asked, owner, start, mint=mint, group=group)
