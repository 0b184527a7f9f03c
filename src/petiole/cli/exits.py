"""The exit codes of commands that follow a task."""

from __future__ import annotations

from typing import Any, Final

import click

from petiole.protocol import states

# A task's end; 2 is click's own, for a wrong option.
OF_STATE: Final = {states.SUCCEEDED: 0, states.FAILED: 1, states.CANCELLED: 3, states.LOST: 4}
UNWATCHABLE: Final = 5
# As a shell has it for a program that Ctrl-C has ended.
INTERRUPTED: Final = 130


class CannotWatch(click.ClickException):
    """A task can't be followed: there is none, it isn't ours, or nobody answers."""

    exit_code = UNWATCHABLE


class Interrupted(click.exceptions.Exit):
    """Somebody has pressed Ctrl-C."""

    def __init__(self) -> None:
        super().__init__(INTERRUPTED)


def code_of(document: dict[str, Any]) -> int:
    """Return the exit code of a task that has ended."""
    return OF_STATE.get(str(document.get("state")), UNWATCHABLE)
