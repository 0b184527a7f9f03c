"""`make release` refuses a commit that isn't ready, and publishes nothing unless it is told to."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.release import ROOT, faults, publication, pythons_of, steps

READY = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-11-30\n\n* New.\n\n## [1.1.0] - 2026-01-31\n\n* Old.\n"

Commit = Callable[..., Path]


@pytest.fixture
def commit(tmp_path: Path) -> Commit:
    """`commit(changelog)`: a repository of version 1.2.0 with this changelog."""

    def git(*options: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *options], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    def make(changelog: str = READY, *, tag: str | None = None) -> Path:
        (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
        (tmp_path / "CHANGELOG.md").write_text(changelog)
        git("init", "--quiet")
        git("add", ".")
        git("commit", "--quiet", "--message", "All")
        if tag:
            git("tag", tag)
        return tmp_path

    return make


def test_a_clean_commit_with_a_dated_heading_can_be_released(commit: Commit) -> None:
    assert faults(commit(tag="v1.1.0")) == []


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        (READY.replace("[1.2.0] - 2026-11-30", "[1.2.0] - unreleased"), "has no date for 1.2.0"),
        (READY.replace("[1.2.0] - 2026-11-30", "[1.2.0]"), "has no date for 1.2.0"),
        (READY.replace("[1.2.0]", "[1.3.0]"), "has no heading for 1.2.0"),
        (READY.replace("## [Unreleased]\n", "## [Unreleased]\n\n* More.\n"), "Move them under [1.2.0]"),
    ],
)
def test_a_changelog_that_isnt_ready_is_refused(commit: Commit, changelog: str, said: str) -> None:
    (fault,) = faults(commit(changelog))
    assert said in fault


def test_a_working_tree_that_differs_is_refused(commit: Commit) -> None:
    repository = commit()
    (repository / "untracked").touch()
    (fault,) = faults(repository)
    assert "differs" in fault


def test_what_the_commit_does_not_have_is_named_and_nothing_is_built(commit: Commit) -> None:
    repository = commit()
    (repository / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "dist.sh", repository / "scripts")
    script = [repository / "scripts" / "dist.sh"]
    said = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 1
    assert "The working tree differs from the commit" in said.stdout
    assert "?? scripts/" in said.stdout
    assert not (repository / "dist").exists()


def test_a_version_that_is_tagged_is_refused(commit: Commit) -> None:
    (fault,) = faults(commit(tag="v1.2.0"))
    assert "The tag v1.2.0 exists" in fault


def test_ci_and_the_check_of_the_packages_come_before_the_tag_and_nothing_is_published_by_default() -> None:
    pythons = pythons_of(ROOT)
    assert pythons[0] == "3.11"
    private, public = (steps("1.2.0", pythons, publish=publish) for publish in (False, True))
    assert f"make check-dist PYTHONS='{' '.join(pythons)}'" in private
    assert [command.split()[0] for command in private[1:]] == [".ci/run", "make", "make", "git"]
    assert not any("publish" in command or "push" in command for command in private)
    assert public == [*private, *publication("1.2.0")]
