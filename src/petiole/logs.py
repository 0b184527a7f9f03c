"""Log lines: a constant name to search for, its fields in `extra=`, and the same fields in the text.

The formats of Celery and gunicorn show the text alone, so a line's subject and reason must be part of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

# The fields with the reason, in sentences. They come last, because they are long.
_REASONS = ("reason", "error")


class Event(str):
    """The name of a line. Formatted with fields, it includes them: `claim_waits (feed=task:1): Redis … doesn't answer.`

    A record's `msg` stays the name, by which lines are searched and grouped.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __mod__(self, fields: Any) -> str:
        if not isinstance(fields, Mapping):
            return super().__mod__(fields)
        about = ", ".join(f"{name}={value}" for name, value in fields.items() if name not in _REASONS)
        why = " ".join(str(fields[name]) for name in _REASONS if fields.get(name))
        return super().__str__() + (f" ({about})" if about else "") + (f": {why}" if why else "")


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger for lines with fields: `log.warning("claim_waits", extra={"feed": feed, "error": str(error)})`."""

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        if not self.isEnabledFor(level):
            return
        fields = options.get("extra")
        if fields and not args:
            msg, args = Event(msg), (fields,)
        # The caller is two frames above.
        self.logger.log(level, msg, *args, stacklevel=2, **options)


def logger(name: str) -> Log:
    """Return the logger of a module."""
    return Log(logging.getLogger(name))
