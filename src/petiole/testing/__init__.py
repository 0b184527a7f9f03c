"""What users test their tasks with: run one without any server, and look at what it has said."""

from __future__ import annotations

from petiole.testing.recording import Recording
from petiole.testing.rehearse import run_task

__all__ = ["Recording", "run_task"]
