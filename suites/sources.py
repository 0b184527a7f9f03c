"""The sdists of the locked versions, and the environment for their tests; both are kept in `build/suites`."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import Final

from petiole.errors import SetupError
from suites.projects import Project

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build" / "suites"
LOCK: Final = ROOT / "requirements.lock"
REQUIREMENTS: Final = Path(__file__).parent / "requirements.txt"
PIP_TIMEOUT: Final = 600.0

_QUIET: Final = ("--quiet", "--disable-pip-version-check", "--no-input")


def locked_version(package: str) -> str:
    """Return the version of a package in `requirements.lock`.

    Raises:
        SetupError: it isn't listed.
    """
    found = re.search(rf"^{re.escape(package)}==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SetupError(f"requirements.lock has no {package}. Update it with: make lock")
    return found[1]


def python() -> Path:
    """Return the interpreter of an environment with Petiole, the locked packages and the suites' requirements; creates it once.

    Raises:
        SetupError: pip couldn't install something.
    """
    made_from = (LOCK.read_bytes(), REQUIREMENTS.read_bytes(), (ROOT / "pyproject.toml").read_bytes())
    stamp = hashlib.sha256(b"\0".join((sys.version.encode(), *made_from))).hexdigest()
    environment, mark = BUILD / "venv", BUILD / "venv.made"
    interpreter = environment / "bin" / "python"
    if mark.is_file() and mark.read_text(encoding="utf-8") == stamp:
        return interpreter
    mark.unlink(missing_ok=True)
    print(f"Installing the suites' requirements into {environment.relative_to(ROOT)} …", flush=True)
    venv.create(environment, clear=True, with_pip=True)
    _pip(
        interpreter,
        *(
            "install",
            "--constraint",
            str(LOCK),
            "--editable",
            f"{ROOT}[web,client]",
            "--requirement",
            str(REQUIREMENTS),
        ),
    )
    mark.write_text(stamp, encoding="utf-8")
    return interpreter


def unpacked(project: Project) -> Path:
    """Return the folder with a project's tests; downloads its sdist once.

    Raises:
        SetupError: pip couldn't download it, or its contents aren't as expected.
    """
    version = locked_version(project.package)
    folder = BUILD / f"{project.package}-{version}"
    if folder.is_dir():
        return folder
    print(f"Fetching the sdist of {project.package} {version} …", flush=True)
    fetched = BUILD / "sdists" / f"{project.package}-{version}"
    shutil.rmtree(fetched, ignore_errors=True)
    wanted = (f"--no-binary={project.package}", "--no-deps", f"{project.package}=={version}")
    _pip(python(), "download", "--dest", str(fetched), *wanted)
    [archive] = fetched.glob("*.tar.gz")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as sdist:
        for member in sdist.getmembers():
            path = Path(*Path(member.name).parts[1:])
            # Only file contents: `extract` with a filter, which is safe too, came with Python 3.11.4.
            content = sdist.extractfile(member) if path.parts[:1] and path.parts[0] in project.kept else None
            if content is not None and ".." not in path.parts:
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).write_bytes(content.read())
    for kept in project.kept:
        if not (partial / kept).exists():
            raise SetupError(f"The sdist of {project.package} {version} has no {kept}. Correct suites/projects.py.")
    partial.rename(folder)
    return folder


def _pip(interpreter: Path, command: str, *arguments: str) -> None:
    done = subprocess.run(
        [interpreter, "-m", "pip", command, *_QUIET, *arguments],
        capture_output=True,
        text=True,
        timeout=PIP_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"pip {command} failed: {done.stderr.strip()[-2000:]} Check whether pip works here otherwise.")
