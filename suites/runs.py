"""One run of a project's suite: pytest in separate processes, each with its own Redis, within a deadline."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from petiole.errors import SetupError
from petiole.servers.redis import find_redis_server
from suites.comparison import NOT_RUN, Ended
from suites.projects import Project, Variant
from suites.sources import BUILD, ROOT, python, unpacked
from tests.support.redis import RedisServer

# pytest: all passed, some failed.
_DONE: Final = (0, 1)


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of each test, the seconds, and the reasons why a process didn't finish its tests."""

    outcomes: dict[str, Ended]
    seconds: float
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Shard:
    process: subprocess.Popen[bytes]
    outcomes: Path
    log: Path


def run(project: Project, variant: Variant | None, *, only: Sequence[str] = (), left_out: Iterable[str] = ()) -> Run:
    """Run a project's tests, or `only` some, without Petiole or with an active variant.

    `left_out`: tests that don't run, by the beginning of their ids.

    Raises:
        SetupError: there is no Redis, a port isn't free, or pip can't download a package.
    """
    for port in project.ports:
        _check_free(port)
    command = [
        *(str(python()), "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "--timeout-method=signal"),
        *project.options,
        *(
            part
            for plugin in ("outcomes", *(variant.plugins if variant else ()))
            for part in ("-p", f"suites.plugins.{plugin}")
        ),
        *(part for test in left_out for part in ("--deselect", test)),
        *(only or project.tests),
    ]
    environment = {
        # Settings of this process for Petiole or pytest aren't meant for them.
        **{name: value for name, value in os.environ.items() if not name.startswith(("PETIOLE_", "PYTEST_"))},
        **project.environment,
        **(variant.environment if variant else {}),
        "PYTHONPATH": str(ROOT),
        "SUITES_TEST_TIMEOUT": str(project.test_timeout),
    }
    folder = unpacked(project)
    # The processes' output is kept until the next run of that name: it shows why a test failed.
    logs = BUILD / "logs" / f"{project.package}-{variant.name if variant else 'without'}{'-again' if only else ''}"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    shards = min(project.shards, len(only) or project.shards)
    started = time.monotonic()
    with ExitStack() as stack:
        running = []
        for number in range(shards):
            own = environment | {"SUITES_SHARE": f"{number}/{shards}"}
            running.append(stack.enter_context(_shard(command, own, folder, logs / f"{number}.log")))
        broken = [said for shard in running if (said := _wait(shard, started + project.run_timeout)) is not None]
    outcomes: dict[str, Ended] = {}
    for shard in running:
        outcomes |= _read(shard.outcomes)
    return Run(outcomes, time.monotonic() - started, tuple(broken))


def _check_free(port: int) -> None:
    """Refuse to begin if tests would fail on both sides and show no difference."""
    with socket.socket() as probe:
        # A port may stay in use for a moment after its process has ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except OSError as error:
            raise SetupError(f"The tests need port {port}, which is in use ({error}). Free it first.") from error


@contextmanager
def _shard(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Iterator[_Shard]:
    outcomes = log.with_suffix(".jsonl")
    outcomes.touch()
    with tempfile.TemporaryDirectory(prefix="petiole-suites-") as directory, log.open("wb") as said:
        redis = RedisServer(find_redis_server(), Path(directory), append_only=False)
        redis.start()
        process = None
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={name: value.replace("{port}", str(redis.port)) for name, value in environment.items()}
                | {"SUITES_OUTCOMES": str(outcomes)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            yield _Shard(process, outcomes, log)
        finally:
            if process is not None:
                _end(process)
            redis.kill()


def _wait(shard: _Shard, ends_at: float) -> str | None:
    """Wait for a process; return its failure as a whole, if any."""
    try:
        code = shard.process.wait(timeout=max(ends_at - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return f"A part of the suite didn't end in time. Its log is {shard.log}"
    if code not in _DONE:
        return f"pytest ended with {code}. Its log is {shard.log}"
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the rest of a process group: a pool's children outlive a pytest that was killed."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(path: Path) -> dict[str, Ended]:
    outcomes: dict[str, Ended] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        if "collected" in said:
            outcomes |= dict.fromkeys(said["collected"], Ended(NOT_RUN, "The run ended before it."))
        else:
            outcomes[said["test"]] = Ended(said["outcome"], said["why"])
    return outcomes
