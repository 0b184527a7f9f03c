"""The Python client: follows a task over Socket.IO by the reader's rule, as a browser does; for scripts and tests."""

from __future__ import annotations

from petiole.extras import require

require("Petiole's Python client", "client", "requests", "socketio")

from petiole.client.children import Child  # noqa: E402
from petiole.client.chunks import TextVoided  # noqa: E402
from petiole.client.refused import Refused  # noqa: E402 (after the look at what it needs)
from petiole.client.task_client import TaskClient  # noqa: E402
from petiole.client.view import OnEvent, OnReset, Receipt, TaskView  # noqa: E402
from petiole.protocol.receipts import TextReceipt  # noqa: E402

__all__ = ["Child", "OnEvent", "OnReset", "Receipt", "Refused", "TaskClient", "TaskView", "TextReceipt", "TextVoided"]
