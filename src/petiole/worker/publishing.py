"""What a task or its caller publishes: messages that are to be followed, and a run that hands its task over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from celery import signals
from celery._state import get_current_task

from petiole import state as states
from petiole.dispatch.message import HEADER, NOBODY, Header
from petiole.dispatch.tracking import Tracking
from petiole.events import task_feed
from petiole.outcome import retrying
from petiole.worker.run import Run, current_run
from petiole.worker.verdicts import cancelled

log = logging.getLogger(__name__)

CELERYS_OWN: Final = "celery."


class Publishing:
    """Receives Celery's signal of each message before it is published. `is_ours`: whether a run is of this application."""

    def __init__(self, tracking: Tracking, *, is_ours: Callable[[Run], bool]) -> None:
        self._tracking = tracking
        self._settings = tracking.settings
        self._is_ours = is_ours

    def connect(self) -> None:
        """Receive the signal: it is the process's, so the receiver looks whose task it is."""
        signals.before_task_publish.connect(self._on_publish, weak=False)

    def _on_publish(self, sender: str, headers: dict[str, Any] | None = None, body: object = None, **_: Any) -> None:
        """Track what `.delay()` publishes if it is to be followed; and end a run that hands its task over."""
        if not headers or headers.get("id") is None:
            return
        run = current_run.get() or _returned_run()
        if run is not None and not self._is_ours(run):
            return  # a task of another application of this process
        if run is not None and task_feed(str(headers["id"])) == run.feed:
            self._hand_over(run, sender, headers)
        elif HEADER not in headers and not headers.get("retries"):
            self._follow(sender, headers, run, body)

    def _follow(self, name: str, headers: dict[str, Any], run: Run | None, body: object) -> None:
        """Track a message that is being published, if its task says so, or if all are adopted: then by who has an owner."""
        if name.startswith(CELERYS_OWN):
            return
        declared = getattr(self._tracking.celery_app.tasks.get(name), "progress", None)
        if declared or (self._settings.adopt_update_state and declared is not False):
            owner = run.owner if run is not None else self._tracking.asking()
            if declared or owner is not None:
                self._tracking.adopt(name, headers, owner=owner or NOBODY, body=body)

    def _hand_over(self, run: Run, name: str, headers: dict[str, Any]) -> None:
        """End a run that publishes what goes on under its task's id: its own retry, or the task that replaces it."""
        # Here, not when the task has returned: the next run may begin before that.
        if int(headers.get("retries") or 0) > run.retries:
            patch = retrying(run.retry_cause, eta=headers.get("eta"))
        elif HEADER not in headers:
            header = Header.from_message(get_current_task().request.headers)
            if header is None:
                return
            headers.update(header.to_message())
            patch = {"state": states.RETRYING, "reason": f"The task goes on as {name}.", "retry_at": None}
        else:
            return
        run.finish(patch, otherwise=cancelled())
        if not run.outbox.flush(self._settings.flush_timeout):
            log.warning("retry_before_events", extra={"feed": run.feed})


def _returned_run() -> Run | None:
    """Return the run of a task that has returned, and whose next link of a chain, or callback, Celery publishes."""
    task = get_current_task()
    run = getattr(task.request, "petiole_run", None) if task is not None else None
    return run if isinstance(run, Run) else None
