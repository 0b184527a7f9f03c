"""What the wheel, the sdist and the npm package contain, and what they don't."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import petiole
from tests.support.system import ROOT

STATIC = ("LICENSES.txt", "petiole-group.js", "petiole.js")


def sources(suffixes: tuple[str, ...]) -> set[str]:
    """The files of the Python package in the repository."""
    found = (ROOT / "src").rglob("*")
    return {path.relative_to(ROOT / "src").as_posix() for path in found if path.suffix in suffixes}


def members(archive: Path) -> tuple[set[str], str]:
    """The files of a tarball below its one top folder, and that folder."""
    with tarfile.open(archive) as opened:
        names = [member.name for member in opened.getmembers() if member.isfile()]
    top = names[0].partition("/")[0]
    assert all(name.startswith(f"{top}/") for name in names)
    return {name.removeprefix(f"{top}/") for name in names}, top


def test_the_wheel_has_the_whole_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        metadata = Parser().parsestr(opened.read(f"petiole-{petiole.__version__}.dist-info/METADATA").decode())
    information = {name for name in names if name.startswith(f"petiole-{petiole.__version__}.dist-info/")}
    assert names - information == sources((".py", ".lua", ".html", ".js", ".css", ".svg", ".txt", ".typed"))
    assert {f"petiole/web/static/{name}" for name in STATIC} <= names
    assert {
        "petiole/py.typed",
        "petiole/web/templates/petiole/task.html",
        "petiole/journal/redis/lua/append.lua",
    } <= names
    assert {name.partition("/")[2] for name in information} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"),
        "licenses/src/petiole/web/static/LICENSES.txt",
    }
    assert (metadata["Version"], metadata["License-Expression"]) == (petiole.__version__, "MIT")


def test_the_sdist_has_what_the_wheel_is_built_from_and_the_documentation(sdist: Path) -> None:
    names, top = members(sdist)
    assert top == f"petiole-{petiole.__version__}"
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO", "protocol/README.md"} <= names
    assert {"src/petiole/py.typed", "browser/package.json", "browser/src/index.ts", "docs/guarantee.md"} <= names
    allowed = re.compile(r"(src|docs|protocol|browser/src)/|browser/package\.json|[^/]+$")
    assert [name for name in names if not allowed.match(name)] == []


def test_the_npm_package_has_modules_types_and_licence(tarball: Path) -> None:
    names, _top = members(tarball)
    with tarfile.open(tarball) as opened:
        described = opened.extractfile("package/package.json")
        assert described is not None
        package = json.load(described)
    assert package["version"] == petiole.__version__
    assert re.fullmatch("[0-9a-f]{40}", package["gitHead"])
    assert (tarball.parent / "SHA256SUMS").read_text(encoding="utf-8").startswith(f"# commit {package['gitHead']}\n")
    assert list(package["dependencies"]) == ["socket.io-client"]
    assert {"package.json", "README.md", "LICENSE"} <= names
    entries = [entry for entry in package["exports"].values() if isinstance(entry, dict)]
    assert {path.removeprefix("./") for entry in entries for path in entry.values()} <= names
    modules = {name for name in names if name.startswith("dist/") and name.endswith(".js")}
    assert {f"{name.removesuffix('.js')}.d.ts" for name in modules} <= names
    allowed = re.compile(r"(dist|src)/|(package\.json|README\.md|LICENSE)$")
    assert [name for name in names if not allowed.match(name) or "test" in name.split("/")[1:]] == []
