"""What users test their tasks with: run one without any server, and look at what it has said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from petiole.testing.recording import Recording
from petiole.testing.rehearse import run_task
from petiole.testing.tape import Tape

if TYPE_CHECKING:
    from petiole.testing.player import Player, play

__all__ = ["Player", "Recording", "Tape", "play", "run_task"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: a worker's tests need no Flask.
    if name not in ("Player", "play"):
        raise AttributeError(f"module 'petiole.testing' has no attribute {name!r}")
    from petiole.testing import player

    return getattr(player, name)
