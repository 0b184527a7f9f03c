"""What the code under test has logged."""

from __future__ import annotations

import logging
import threading

import pytest


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what this thread has logged: threads of other tests may go on in the same process."""
    return [record for record in caplog.records if record.thread == threading.get_ident()]
