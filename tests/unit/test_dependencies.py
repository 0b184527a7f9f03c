"""`docs/dependencies.md` names every direct dependency, in its locked version and from its lowest one, with reasons."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from petiole.web.engineio.compat import KNOWN

ROOT = Path(__file__).parents[2]
_LOWEST = "## Lowest versions"
_START, _, _REST = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").partition(_LOWEST)
LOWEST, _, _END = _REST.partition("\n## ")
DOCUMENT = f"{_START}{_END}"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Where npm installs: the package, and the example that needs a build.
NPM_FOLDERS = ("browser", "examples/react")

# The extras that applications install; the others are for work on Petiole itself.
RUN = sorted(PROJECT["project"]["optional-dependencies"].keys() - {"dev", "test", "plots"})

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


def lower_bounds() -> dict[str, set[str]]:
    """Return the lower bound of each package that an application needs with Petiole, once for each place that has it."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    found: dict[str, set[str]] = {}
    for text in project["dependencies"] + [each for extra in RUN for each in extras[extra]]:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            found.setdefault(requirement.name, set()).update(
                clause.version for clause in requirement.specifier if clause.operator in (">=", "==")
            )
    return found


def suites_packages() -> list[str]:
    """The requirements of other projects' suites besides the lock: the versions are in the file itself."""
    lines = (ROOT / "suites" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return sorted(line for line in lines if "==" in line)


def npm_packages() -> list[tuple[str, str]]:
    """Return the name of each package that npm installs, and the folder that needs it."""
    found = []
    for folder in NPM_FOLDERS:
        package = json.loads((ROOT / folder / "package.json").read_text(encoding="utf-8"))
        names = {**package["dependencies"], **package["devDependencies"]}.keys() - {"petiole"}
        found += [(name, folder) for name in sorted(names)]
    return found


def locked_in_python(name: str, file: str = "requirements.lock") -> str:
    lock = (ROOT / file).read_text(encoding="utf-8")
    versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock, re.MULTILINE))
    return versions[name]


def locked_by_npm(name: str, folder: str) -> str:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text(encoding="utf-8"))
    return lock["packages"][f"node_modules/{name}"]["version"]


def check_row(name: str, version: str, document: str = DOCUMENT) -> None:
    rows = [(told, why.strip()) for row, told, why in _ROW.findall(document) if row == name]
    assert rows, f"docs/dependencies.md doesn't say why {name} is needed, or from where. Add a row, or do without it."
    for told, why in rows:
        assert told == version, f"docs/dependencies.md says {name} {told}; it is {version}. Correct the row."
        assert why, f"docs/dependencies.md has a row for {name} without a reason."


@pytest.mark.parametrize("name", python_packages())
def test_a_python_dependency_has_its_reason_and_its_locked_version(name: str) -> None:
    check_row(name, locked_in_python(name))


@pytest.mark.parametrize(("name", "folder"), npm_packages())
def test_a_browser_dependency_has_its_reason_and_its_locked_version(name: str, folder: str) -> None:
    check_row(name, locked_by_npm(name, folder))


@pytest.mark.parametrize("requirement", PROJECT["build-system"]["requires"])
def test_a_build_requirement_is_named(requirement: str) -> None:
    assert f"`{name_of(requirement)}`" in DOCUMENT


def test_nothing_is_named_that_is_not_a_dependency_any_more() -> None:
    of_suites = {name_of(requirement) for requirement in suites_packages()}
    of_npm = {name for name, _ in npm_packages()}
    assert {row for row, _, _ in _ROW.findall(DOCUMENT)} == {*python_packages(), *of_npm, *of_suites}


@pytest.mark.parametrize("requirement", suites_packages())
def test_what_other_projects_suites_need_has_its_reason_and_its_version(requirement: str) -> None:
    check_row(*requirement.split("=="))


@pytest.mark.parametrize(("name", "bounds"), lower_bounds().items())
def test_a_lowest_version_is_one_has_its_reason_and_is_what_make_test_oldest_installs(
    name: str, bounds: set[str]
) -> None:
    assert len(bounds) == 1, (
        f"pyproject.toml has {len(bounds)} lower bounds of {name}: {bounds}. Write one, everywhere."
    )
    [bound] = bounds
    check_row(name, bound, LOWEST)
    installed = locked_in_python(name, "requirements-oldest.lock")
    assert Version(installed) == Version(bound), f"requirements-oldest.lock has {name} {installed}. Run: make lock"


def test_no_lowest_version_is_told_of_what_is_not_needed_any_more() -> None:
    assert {row for row, _, _ in _ROW.findall(LOWEST)} == set(lower_bounds())


@pytest.mark.parametrize("name", KNOWN)
def test_the_versions_that_the_warning_calls_known_are_from_the_lowest_to_the_locked_one(name: str) -> None:
    assert KNOWN[name] == (*lower_bounds()[name], locked_in_python(name)), (
        f"Run tests/integration/test_hostile_clients.py with this {name}, then write it into petiole/web/engineio/compat.py."
    )


@pytest.mark.parametrize("name", KNOWN)
def test_the_versions_that_the_documentation_calls_known_are_those_of_the_warning(name: str) -> None:
    text = " ".join((ROOT / "docs" / "web.md").read_text(encoding="utf-8").split())
    assert f"{name} {' to '.join(dict.fromkeys(KNOWN[name]))}" in text
