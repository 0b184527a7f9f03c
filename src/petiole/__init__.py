"""Petiole makes any Celery task live in the browser, through Flask-SocketIO, losslessly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from petiole.errors import (
    Cancelled,
    Fenced,
    InvalidEvent,
    InvalidName,
    PetioleError,
    RunEnded,
    SetupError,
    TaskFailure,
    Unavailable,
)

if TYPE_CHECKING:
    from petiole.web.extension import Petiole
    from petiole.web.problems import Problem
    from petiole.worker.lifecycle import init_celery
    from petiole.worker.progress import progress, track

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "Fenced",
    "InvalidEvent",
    "InvalidName",
    "Petiole",
    "PetioleError",
    "Problem",
    "RunEnded",
    "SetupError",
    "TaskFailure",
    "Unavailable",
    "init_celery",
    "progress",
    "track",
]

# Loaded when asked for: a worker never imports Flask, and a web process that starts tasks by name needs no task code.
_HOMES = {
    "Petiole": "petiole.web.extension",
    "Problem": "petiole.web.problems",
    "init_celery": "petiole.worker.lifecycle",
    "progress": "petiole.worker.progress",
    "track": "petiole.worker.progress",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'petiole' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
