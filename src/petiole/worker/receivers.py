"""Receivers of Celery's signals, which are global to a process."""

from __future__ import annotations

from collections.abc import Callable

from celery.utils.dispatch import Signal


def connect(signal: Signal, receiver: Callable[..., None]) -> None:
    """Connect a method for good.

    Before 5.7 Celery takes the same method of two objects for one receiver, and would leave out the one of a process's second
    application: so each is connected under an id of its own.
    """
    owner = getattr(receiver, "__self__", None)
    signal.connect(receiver, weak=False, dispatch_uid=f"petiole.{receiver.__qualname__}.{id(owner)}")
