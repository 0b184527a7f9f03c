"""The pytest fixtures. Load them in the topmost `conftest.py`: `pytest_plugins = ["petiole.testing.plugin"]`.

They aren't loaded by themselves, because Petiole is installed in production too, where pytest runs other tests; Celery's own
fixtures (`celery.contrib.pytest`) are loaded in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from petiole.testing.recording import Recording
from petiole.testing.rehearse import run_task


@pytest.fixture
def petiole_run(request: pytest.FixtureRequest) -> Callable[..., Recording]:
    """`petiole.testing.run_task`; if the test fails, its report has what each task has said."""

    def run(*args: Any, **kwargs: Any) -> Recording:
        recording = run_task(*args, **kwargs)
        request.node.add_report_section("call", "task", str(recording))
        return recording

    return run
