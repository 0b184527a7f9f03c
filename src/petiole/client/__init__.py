"""The Python client: follows a task over Socket.IO by the reader's rule, as a browser does; for scripts and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from petiole.extras import require

require("Petiole's Python client", "client", "requests", "socketio")

from petiole.client.children import Child  # noqa: E402
from petiole.client.chunks import TextVoided  # noqa: E402
from petiole.client.refused import Refused  # noqa: E402 (after the look at what it needs)
from petiole.client.task_client import TaskClient  # noqa: E402
from petiole.client.view import OnEvent, OnReset, Receipt, TaskView  # noqa: E402
from petiole.protocol.receipts import TextReceipt  # noqa: E402

if TYPE_CHECKING:
    from petiole.client.async_task_client import AsyncTaskClient
    from petiole.client.async_view import AsyncTaskView

__all__ = [
    "AsyncTaskClient",
    "AsyncTaskView",
    "Child",
    "OnEvent",
    "OnReset",
    "Receipt",
    "Refused",
    "TaskClient",
    "TaskView",
    "TextReceipt",
    "TextVoided",
]

# Loaded when asked for: they need another extra.
_HOMES = {
    "AsyncTaskClient": "petiole.client.async_task_client",
    "AsyncTaskView": "petiole.client.async_view",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'petiole.client' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
