"""The log lines of the code under test."""

from __future__ import annotations

import logging
import threading

import pytest


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return this thread's log lines: threads of other tests may still run in the same process."""
    return [record for record in caplog.records if record.thread == threading.get_ident()]
