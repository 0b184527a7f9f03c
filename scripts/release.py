"""Releases the commit (HEAD): checks it, runs CI, builds and checks the packages, and tags it. `make release` runs this.

With --check it only checks. Only with --publish does anything leave this machine.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
_SECTION: Final = re.compile(
    r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>.*))?\n(?P<text>(?:(?!^## ).*\n?)*)", re.MULTILINE
)


_PYTHON: Final = re.compile(r"Programming Language :: Python :: (3\.\d+)")


def version_of(root: Path) -> str:
    """Return the version that pyproject.toml names; tests/unit/test_versions.py holds the other places to it."""
    return str(_project(root)["version"])


def pythons_of(root: Path) -> list[str]:
    """Return the versions of Python that pyproject.toml promises."""
    return [found[1] for text in _project(root)["classifiers"] if (found := _PYTHON.fullmatch(text))]


def faults(root: Path) -> list[str]:
    """Return why the commit can't be released, each with its remedy; empty if it can."""
    version = version_of(root)
    found = changelog_faults((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if _git(root, "status", "--porcelain"):
        found.append("The working tree differs from the commit. Commit or stash the changes.")
    if _git(root, "tag", "--list", f"v{version}"):
        found.append(
            f"The tag v{version} exists. Raise the version in pyproject.toml, petiole/__init__.py and browser/."
        )
    return found


def changelog_faults(changelog: str, version: str) -> list[str]:
    """Return what the changelog lacks for this version."""
    sections = {section["name"]: section for section in _SECTION.finditer(changelog)}
    found = []
    if "Unreleased" in sections and sections["Unreleased"]["text"].strip():
        found.append(f"CHANGELOG.md has entries under [Unreleased]. Move them under [{version}].")
    try:
        datetime.date.fromisoformat(sections[version]["date"] or "")
    except KeyError:
        found.append(
            f"CHANGELOG.md has no heading for {version}. Add: ## [{version}] - {datetime.date.today().isoformat()}"
        )
    except ValueError:
        found.append(
            f"CHANGELOG.md has no date for {version}. Write: ## [{version}] - {datetime.date.today().isoformat()}"
        )
    return found


def steps(version: str, pythons: Sequence[str], *, publish: bool) -> list[str]:
    """Return the commands of a release, in order; the first that fails ends it."""
    release = [".venv/bin/python -m pytest -q tests/unit/test_versions.py", ".ci/run"]
    release.append("make test-celery")
    release.append(f"make check-dist PYTHONS='{' '.join(pythons)}'")
    release.append(f"git tag --annotate --message 'Petiole {version}' v{version}")
    return [*release, *publication(version)] if publish else release


def publication(version: str) -> list[str]:
    """Return the commands that publish what was built."""
    return [
        f"git push origin v{version}",
        f".venv/bin/uv publish dist/petiole-{version}-py3-none-any.whl dist/petiole-{version}.tar.gz",
        f".venv/bin/npm publish dist/petiole-{version}.tgz",
    ]


def _project(root: Path) -> Mapping[str, Any]:
    project: Mapping[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def _git(root: Path, *options: str) -> str:
    return subprocess.run(["git", *options], cwd=root, capture_output=True, text=True, check=True, timeout=60).stdout


def main() -> int:
    """Release HEAD; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only check whether HEAD can be released")
    parser.add_argument("--publish", action="store_true", help="push the tag, and upload to PyPI and npm")
    given = parser.parse_args()
    found = faults(ROOT)
    if found or given.check:
        print("\n".join(found) or f"{version_of(ROOT)} can be released.")
        return bool(found)
    version = version_of(ROOT)
    for command in steps(version, pythons_of(ROOT), publish=given.publish):
        print(f"+ {command}", flush=True)
        if subprocess.run(command, cwd=ROOT, shell=True, check=False).returncode != 0:
            print(f"{version} isn't released, because this failed: {command}")
            return 1
    if not given.publish:
        print(f"Petiole {version} is tagged, and its packages are in dist/. Nothing is published yet. To publish:")
        print("\n".join(publication(version)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
