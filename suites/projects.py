"""The projects whose suites are run, and how Petiole is activated in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to activate Petiole: pytest plugins of `suites/plugins`, and settings in the environment."""

    name: str
    what: str
    plugins: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Project:
    """A suite from a project's sdist, in the version from `requirements.lock`.

    `kept`: the parts of the sdist to unpack, without the package itself, so that the installed one runs. `environment`:
    `{port}` is the port of the run's own Redis. `shards`: the number of processes that share the tests, each with its own
    Redis and worker. `test_timeout` and `run_timeout` are in seconds. `ports`: fixed ports that its tests use.
    """

    package: str
    kept: tuple[str, ...]
    tests: tuple[str, ...]
    variants: tuple[Variant, ...]
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    shards: int = 1
    test_timeout: float = 30.0
    run_timeout: float = 180.0
    ports: tuple[int, ...] = ()


_FOLLOWED: Final = {"PETIOLE_ADOPT_UPDATE_STATE": "true"}

CELERY: Final = Project(
    package="celery",
    kept=("t", "pyproject.toml"),
    tests=("t/integration/test_tasks.py", "t/integration/test_canvas.py"),
    variants=(
        Variant("adopted", "every task that is published is adopted", ("followed",), _FOLLOWED),
        Variant("declared", "the same, and every task has progress=True", ("followed", "declared"), _FOLLOWED),
    ),
    # The suite's fixtures come from Celery's own plugin.
    options=("-p", "celery.contrib.pytest"),
    environment={
        "TEST_BROKER": "redis://127.0.0.1:{port}/0",
        "TEST_BACKEND": "redis://127.0.0.1:{port}/1",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": "{port}",
        # Some tests read the worker's log.
        "WORKER_LOGLEVEL": "INFO",
    },
    shards=12,
    test_timeout=60.0,
    run_timeout=900.0,
)

# Without `tests/async`: Petiole doesn't touch servers for asyncio.
ENGINEIO: Final = Project(
    package="python-engineio",
    kept=("tests", "pyproject.toml"),
    tests=("tests/common",),
    variants=(Variant("guarded", "every server and every socket has Petiole's guard", ("guarded_engineio",)),),
    test_timeout=5.0,
)

SOCKETIO: Final = Project(
    package="python-socketio",
    kept=("tests", "pyproject.toml"),
    tests=("tests/common",),
    variants=(Variant("guarded", "every server has Petiole's guard", ("guarded_socketio",)),),
    ports=(8900,),
)

FLASK_SOCKETIO: Final = Project(
    package="flask-socketio",
    kept=("test_socketio.py", "pyproject.toml"),
    tests=("test_socketio.py",),
    variants=(Variant("installed", "every application has Petiole", ("installed",)),),
    environment={"SUITES_REDIS": "redis://127.0.0.1:{port}/0"},
)

# By the argument on the command line.
GROUPS: Final[Mapping[str, tuple[Project, ...]]] = {
    "celery": (CELERY,),
    "socketio": (ENGINEIO, SOCKETIO, FLASK_SOCKETIO),
}
