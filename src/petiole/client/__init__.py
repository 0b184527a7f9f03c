"""The Python client: follows a task over Socket.IO by the reader's rule, as a browser does; for scripts and tests."""

from __future__ import annotations

from petiole.client.refused import Refused
from petiole.client.task_client import TaskClient
from petiole.client.view import OnEvent, OnReset, Receipt, TaskView

__all__ = ["OnEvent", "OnReset", "Receipt", "Refused", "TaskClient", "TaskView"]
