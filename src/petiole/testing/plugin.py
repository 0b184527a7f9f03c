"""The pytest fixtures. Load them in the topmost `conftest.py`: `pytest_plugins = ["petiole.testing.plugin"]`.

They aren't loaded by themselves, because Petiole is installed in production too, where pytest runs other tests; Celery's own
fixtures (`celery.contrib.pytest`) are loaded in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from petiole.testing.recording import Recording
from petiole.testing.rehearse import run_task
from petiole.testing.tape import Tape

if TYPE_CHECKING:
    from petiole.testing.player import Player


@pytest.fixture
def petiole_run(request: pytest.FixtureRequest) -> Callable[..., Recording]:
    """`petiole.testing.run_task`; if the test fails, its report has what each task has said."""

    def run(*args: Any, **kwargs: Any) -> Recording:
        recording = run_task(*args, **kwargs)
        request.node.add_report_section("call", "task", str(recording))
        return recording

    return run


@pytest.fixture
def petiole_tape() -> Iterator[Callable[..., Player]]:
    """`petiole_tape("run.jsonl", cut={20})` plays a tape, of a file or of a recording, until the test ends."""
    from petiole.testing.player import play

    with ExitStack() as playing:

        def start(tape: Tape | Recording | Path | str, **options: Any) -> Player:
            if isinstance(tape, Recording):
                tape = Tape.of(tape)
            return playing.enter_context(play(tape if isinstance(tape, Tape) else Tape.load(tape), **options))

        yield start
