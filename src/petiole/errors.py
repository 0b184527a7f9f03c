"""The errors of Petiole: a small tree, each message saying what happened and what to do."""


class PetioleError(Exception):
    """Base of every error that Petiole raises."""


class SetupError(PetioleError):
    """Something about the installation or its settings is wrong and is refused at start."""


class Unavailable(PetioleError):
    """The journal, the bus or the broker did not answer in time; nothing was changed that matters."""


class Refusal(Unavailable):
    """The journal is there and refused this call. That may pass as an outage passes, so it is treated as one.

    What it says isn't looked at: providers answer with texts that are on no list. An event is refused for good only by what
    Petiole checks itself, which is an `InvalidEvent`.
    """


class MissingRight(Refusal):
    """A server's user may not do what Petiole needs. `missing` says so in a sentence that anybody may read."""

    def __init__(self, message: str, *, missing: str) -> None:
        super().__init__(message)
        self.missing = missing


class InvalidEvent(PetioleError):
    """A value cannot become an event: it isn't JSON, or it is too large."""


class InvalidName(PetioleError):
    """A feed's name or a cursor isn't of the form that the protocol gives it."""


class TaskFailure(PetioleError):
    """Raised by a task whose failure has a reason that the person watching may read.

    The message is shown in the page as it is. Every other exception is shown as a neutral sentence with a
    reference, because its text may hold what is not theirs to see.
    """


class RunEnded(BaseException):
    """Raised from a progress call to end a run that must not go on.

    It derives from `BaseException`, as `asyncio.CancelledError` does, so that a task's own `except Exception` does not
    keep a cancelled task alive.
    """


class Cancelled(RunEnded):
    """The task was cancelled."""


class Fenced(RunEnded):
    """A later run of this task has begun, so this one stops and publishes nothing."""
