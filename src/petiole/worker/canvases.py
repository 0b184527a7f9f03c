"""Follows the canvases that a followed task publishes by itself: each is a group with a feed, of the task's owner.

As with single tasks, that holds for tasks that are declared with `progress=True`, or where all tasks are adopted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from celery import Signature
from celery.canvas import _chain, _chord, chunks, group

from petiole.dispatch.canvas import task_names
from petiole.dispatch.tracking import Tracking
from petiole.worker.run import Run, current_run

KINDS: Final = (group, _chain, _chord, chunks)

# Whether the canvas around it is being published: its parts are published as canvases, too.
_publishing: ContextVar[bool] = ContextVar("petiole_publishing_canvas", default=False)


class Canvases:
    """Replaces `apply_async` of Celery's canvases. `follower`: who is to own a task of this name, `None`: nobody."""

    def __init__(
        self, tracking: Tracking, *, is_ours: Callable[[Run], bool], follower: Callable[[str], str | None]
    ) -> None:
        self._tracking = tracking
        self._is_ours = is_ours
        self._follower = follower

    def connect(self) -> None:
        """Replace it. Celery's classes are those of all applications of a process, so each call checks whose it is."""
        for kind in KINDS:
            kind.apply_async = self._following(kind.apply_async)

    def _following(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def apply_async(signature: Signature, *args: Any, **options: Any) -> Any:
            def publish(canvas: Signature) -> Any:
                token = _publishing.set(True)
                try:
                    # Its copy may be of another kind: chunks become a group.
                    return canvas.apply_async(*args, **options)
                finally:
                    _publishing.reset(token)

            owner = self._owner(signature)
            if owner is None:
                return original(signature, *args, **options)
            return self._tracking.groups.follow(
                signature, owner=owner, group_id=options.get("task_id"), publish=publish
            )

        return apply_async

    def _owner(self, signature: Signature) -> str | None:
        """Return who is to own the group; `None`: it isn't the own canvas of a task that is followed."""
        run = current_run.get()
        if (
            run is None
            or not run.inside
            or run.replacing
            or run.disowned
            or _publishing.get()
            or not self._is_ours(run)
        ):
            return None
        if self._tracking.publisher.is_eager:
            return None
        return next((owner for name in task_names(signature) if (owner := self._follower(name)) is not None), None)
