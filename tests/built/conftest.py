"""What `make dist` has built, and empty environments outside the repository that it is installed into."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.system import ROOT

DIST = ROOT / "dist"
BUILD = "Run: make check-dist"
# Which versions of Python; those that are named have to be here.
NAMED = os.environ.get("CHECK_DIST_PYTHONS", "").split()
PYTHONS = NAMED or ["3.11", "3.12", "3.13", "3.14"]
# The lowest versions of compiled dependencies are older than Python 3.14 and have no wheels for it.
ENVIRONMENTS = [
    (python, versions)
    for python in PYTHONS
    for versions in ("newest", "oldest")
    if (python, versions) != ("3.14", "oldest")
]
INSTALL_TIMEOUT = 300.0


def run(*command: str | Path, directory: Path, timeout: float, environment: dict[str, str] | None = None) -> str:
    """Run a command in a directory; returns what it prints, and fails with all of it."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(str(word) for word in command)}\n{done.stdout}"
    return done.stdout


def built(pattern: str) -> Path:
    found = list(DIST.glob(pattern))
    if not found:
        pytest.fail(f"dist/{pattern} isn't built. {BUILD}")
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="session")
def wheel() -> Path:
    return built("*.whl")


@pytest.fixture(scope="session")
def sdist() -> Path:
    return built("petiole-*.tar.gz")


@pytest.fixture(scope="session")
def tarball() -> Path:
    return built("*.tgz")


@dataclass(frozen=True)
class Environment:
    """A virtual environment with nothing but what a user has installed into it."""

    directory: Path
    wheel: Path
    versions: str

    @property
    def programs(self) -> Path:
        return self.directory / "venv" / "bin"

    @property
    def variables(self) -> dict[str, str]:
        """What a user's shell has, without anything of the repository."""
        path = os.pathsep.join((str(self.programs), os.defpath))
        return {"HOME": str(self.directory), "PATH": path, "PYTHONNOUSERSITE": "1", "LANG": "C.UTF-8"}

    def install(self, extras: str, *others: str) -> None:
        """Install the wheel with extras, as README says, and other packages beside it."""
        oldest = ["--constraint", ROOT / "requirements-oldest.lock"] if self.versions == "oldest" else []
        wanted = [f"petiole[{extras}] @ {self.wheel.as_uri()}", *others]
        command = ["uv", "pip", "install", "--quiet", "--python", self.programs / "python", *oldest, *wanted]
        run(*command, directory=self.directory, timeout=INSTALL_TIMEOUT)

    def run(self, program: str, *options: str | Path, timeout: float) -> str:
        """Run a program of the environment."""
        return run(
            self.programs / program, *options, directory=self.directory, timeout=timeout, environment=self.variables
        )


@pytest.fixture(scope="module", params=ENVIRONMENTS, ids="-".join)
def environment(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    python, versions = request.param
    directory = tmp_path_factory.mktemp(f"python{python}-{versions}")
    assert ROOT not in directory.parents
    find = ["uv", "python", "find", "--system", "--no-python-downloads", python]
    found = subprocess.run(find, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    if found.returncode != 0:
        absent = (
            f"Python {python} isn't installed here. Install it, or name others: make check-dist PYTHONS='3.11 3.12'"
        )
        if NAMED:
            pytest.fail(absent)
        pytest.skip(absent)
    run("uv", "venv", "--quiet", "--python", found.stdout.strip(), "venv", directory=directory, timeout=60)
    made = Environment(directory, wheel, versions)
    made.install("web,client", "gunicorn[gevent]", "gevent-websocket")
    return made
