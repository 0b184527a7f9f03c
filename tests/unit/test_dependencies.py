"""`docs/dependencies.md` names every direct dependency, in its locked version, with a reason."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = json.loads((ROOT / "browser" / "package.json").read_text(encoding="utf-8"))

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROW = re.compile(r"^\| `([^`]+)` \| ([^ |]+) \| ([^|]+) \|", re.MULTILINE)


def name_of(requirement: str) -> str:
    match = _NAME.match(requirement)
    assert match is not None, f"{requirement!r} isn't a requirement"
    return match[0].lower()


def python_packages() -> list[str]:
    project = PROJECT["project"]
    requirements = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    return sorted({name_of(requirement) for requirement in requirements} - {project["name"]})


def browser_packages() -> list[str]:
    return sorted({**PACKAGE["dependencies"], **PACKAGE["devDependencies"]})


def locked_in_python(name: str) -> str:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock, re.MULTILINE))
    return versions[name]


def locked_in_the_browser(name: str) -> str:
    lock = json.loads((ROOT / "browser" / "package-lock.json").read_text(encoding="utf-8"))
    return lock["packages"][f"node_modules/{name}"]["version"]


def check_row(name: str, version: str) -> None:
    rows = [(told, why.strip()) for row, told, why in _ROW.findall(DOCUMENT) if row == name]
    assert rows, f"docs/dependencies.md doesn't say why {name} is needed. Add a row, or do without it."
    for told, why in rows:
        assert told == version, f"docs/dependencies.md says {name} {told}, the lock file {version}. Correct the row."
        assert why, f"docs/dependencies.md has a row for {name} without a reason."


@pytest.mark.parametrize("name", python_packages())
def test_a_python_dependency_has_its_reason_and_its_locked_version(name: str) -> None:
    check_row(name, locked_in_python(name))


@pytest.mark.parametrize("name", browser_packages())
def test_a_browser_dependency_has_its_reason_and_its_locked_version(name: str) -> None:
    check_row(name, locked_in_the_browser(name))


@pytest.mark.parametrize("requirement", PROJECT["build-system"]["requires"])
def test_a_build_requirement_is_named(requirement: str) -> None:
    assert f"`{name_of(requirement)}`" in DOCUMENT


def test_nothing_is_named_that_is_not_a_dependency_any_more() -> None:
    assert {row for row, _, _ in _ROW.findall(DOCUMENT)} == {*python_packages(), *browser_packages()}
