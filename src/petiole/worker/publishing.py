"""Intercepts published messages: opens feeds of tasks that are to be tracked, and ends a run that hands its task over.

Each publish call mints a publication, which the message keeps through every redelivery: it distinguishes a redelivery from a
reuse of the id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from celery import Celery, current_task

from petiole.dispatch.message import NOBODY, Header, fields_in, title_of
from petiole.dispatch.outcome import going_on, retrying
from petiole.dispatch.part import Part
from petiole.dispatch.publisher import keeps_header
from petiole.dispatch.tracking import Tracking
from petiole.errors import Fenced
from petiole.logs import logger
from petiole.protocol.events import Document, feed_of, mint_epoch, mint_publication
from petiole.protocol.values import readable
from petiole.worker.deaths import cancelled
from petiole.worker.run import Run, current_run

log = logger(__name__)

CELERYS_OWN: Final = "celery."
UNFIT: Final = "Its id can't be part of a URL. Use 1 to 128 letters, digits and . _ ~ @ -"
NOT_HANDED_OVER: Final = "The task couldn't be published again."


class Publishing:
    """Replaces a Celery application's `send_task_message`. `is_ours`: whether a run belongs to this application."""

    def __init__(self, tracking: Tracking, *, is_ours: Callable[[Run], bool]) -> None:
        self._tracking = tracking
        self._settings = tracking.settings
        self._is_ours = is_ours
        self._amqp: Any = None
        self._send: Callable[..., Any] | None = None

    def connect(self, celery_app: Celery) -> None:
        """Replace the sender. Celery's signals don't say which of a process's applications publishes."""
        self._amqp = amqp = celery_app.amqp
        # What Celery has made already, or another library has put there. Otherwise it is made with the first message: it reads
        # the configuration, which isn't complete yet.
        self._send = vars(amqp).get("send_task_message")
        amqp.send_task_message = self._publish

    def _publish(self, producer: Any, name: str, message: Any, *args: Any, **options: Any) -> Any:
        if self._send is None:
            self._send = type(self._amqp).send_task_message.func(self._amqp)
        given = options.get("headers")
        if not isinstance(message.headers, dict) or not isinstance(given, Mapping | None):
            return self._send(producer, name, message, *args, **options)
        headers = {**fields_in(message.body), **message.headers, **(given or {})}
        part = self._part_of(headers)
        header, opens = self._header_of(name, headers, part)
        added = {**({} if header is None else header.to_message()), **({} if part is None else part.to_message())}
        if added:
            options["headers"] = {**(given or {}), **added}
        run = self._handing_over(headers)
        if run is not None and header is not None:
            self._hand_over(run, name, headers, header)
        opened = opens and header is not None and self._adopt(header, name, message, part)
        try:
            sent = self._send(producer, name, message, *args, **options)
        except BaseException as error:
            if opened and header is not None:
                self._tracking.take_back(header.feed, error)
            if run is not None:
                run.take_over(NOT_HANDED_OVER)
            raise
        if run is not None:
            self._tracking.confirm(run.feed, run=run.number)
        return sent

    def _adopt(self, header: Header, name: str, message: Any, part: Part | None) -> bool:
        return self._tracking.adopt(header, name, body=message.body, group=None if part is None else part.feed)

    def _part_of(self, headers: Mapping[str, Any]) -> Part | None:
        """Return a message's place in a group: what continues a task has that of the task."""
        task_id = headers.get("id")
        part = Part.from_message(headers, task_id)
        member = None if (run := self._run()) is None else run.member
        return member.part if part is None and member is not None and member.part.task_id == task_id else part

    def _header_of(self, name: str, headers: Mapping[str, Any], part: Part | None) -> tuple[Header | None, bool]:
        """Return the header for a message, if its task is to be tracked, and whether to open its feed."""
        task_id = headers.get("id")
        if task_id is None:
            return None, False
        header = Header.from_message(headers, task_id)
        if keeps_header():
            return header, False
        run = self._handing_over(headers)
        if run is not None:
            return run.header.anew() if run.header is not None else None, False
        if header is not None:
            return header.anew(), True
        if (run := self._run()) is not None and run.header is not None and f"task:{task_id}" == run.feed:
            return run.header.anew(), True
        # A light child of a group has no feed, whatever is declared for its task.
        if headers.get("retries") or part is not None:
            return None, False
        owner = self.follower(name)
        if owner is None:
            return None, False
        feed = feed_of(task_id)
        if feed is None:
            log.warning("task_not_followed", extra={"task": name, "id": str(task_id), "error": UNFIT})
            return None, False
        return Header(feed, mint_epoch(), owner, title_of(None, name), mint_publication()), True

    def follower(self, name: str) -> str | None:
        """Return the owner of a task that is published, if it is declared with `progress=True` or all tasks are adopted."""
        if name.startswith(CELERYS_OWN):
            return None
        declared = getattr(self._tracking.celery_app.tasks.get(name), "progress", None)
        if not declared and (not self._settings.adopt_update_state or declared is False):
            return None
        run = self._run()
        owner = run.owner if run is not None else self._tracking.asking()
        return owner or (NOBODY if declared else None)

    def _run(self) -> Run | None:
        run = current_run.get() or _returned_run()
        return run if run is not None and (run.disowned or self._is_ours(run)) else None

    def _handing_over(self, headers: Mapping[str, Any]) -> Run | None:
        """Return the run whose task this message continues: its own retry, or the task that replaces it."""
        run = self._run()
        if run is None or run.header is None or run.disowned or run.handed_over or keeps_header():
            return None
        # Any other message with the task's id is a further publication: it runs once this one has ended.
        goes_on = run.replacing or int(headers.get("retries") or 0) > run.retries
        return run if goes_on and f"task:{headers.get('id')}" == run.feed else None

    def _hand_over(self, run: Run, name: str, headers: Mapping[str, Any], header: Header) -> None:
        # Not only when the task has returned: the next run may begin before that.
        if int(headers.get("retries") or 0) > run.retries:
            patch = retrying(run.retry_cause, eta=headers.get("eta"))
        else:
            patch = going_on(readable(name))
        self._leave(run, patch, header.publication)

    def hand_over_to(self, run: Run, name: str) -> None:
        """End a run that is about to publish a canvas in which another task publishes the part with the run's id."""
        self._leave(run, going_on(name), mint_publication())
        self._tracking.confirm(run.feed, run=run.number)

    def _leave(self, run: Run, patch: Document, successor: str) -> None:
        run.hand_over(patch, successor=successor, otherwise=cancelled())
        if not run.outbox.flush(self._settings.flush_timeout):
            reason = "The journal hasn't accepted all events of the run, and the next run is published."
            log.warning("retry_before_events", extra={"feed": run.feed, "reason": reason})
        if run.outbox.signals.fenced:
            raise Fenced("Another run of this task has begun, or it has ended. This one publishes no other.")


def _returned_run() -> Run | None:
    """Return the run of a task that has returned, while Celery publishes its chain or callbacks."""
    run = getattr(current_task.request, "petiole_run", None) if current_task else None
    return run if isinstance(run, Run) else None
