"""The report on other projects' suites: which tests differ with Petiole, and which of those were expected."""

from __future__ import annotations

import tomllib

import pytest

from suites.__main__ import EXPECTED
from suites.comparison import Ended, differences, judge
from suites.projects import GROUPS
from suites.sources import locked_version

PROJECTS = [project for group in GROUPS.values() for project in group]


def ended(**outcomes):
    return {test: Ended(outcome, f"{test} {outcome}") for test, outcome in outcomes.items()}


def test_a_test_that_fails_on_both_sides_is_no_difference():
    assert differences(ended(a="failed", b="passed"), ended(a="failed", b="passed")) == []


@pytest.mark.parametrize("within", ["failed", "error", "skipped", "not run"])
def test_a_test_that_only_passes_without_petiole_is_worse(within):
    found = differences(ended(a="passed"), ended(a=within))
    verdict = judge(found, ())
    assert [each.test for each in verdict.worse] == ["a"]
    assert not verdict.holds


def test_a_test_that_is_missing_on_one_side_is_a_difference():
    [gone, new] = differences(ended(a="passed"), ended(b="passed"))
    assert (gone.without, gone.within) == (("passed",), ("not run",))
    assert (new.without, new.within) == (("not run",), ("passed",))


def test_a_test_that_only_fails_without_petiole_has_to_be_explained_too():
    verdict = judge(differences(ended(a="failed"), ended(a="passed")), ())
    assert [each.test for each in verdict.better] == ["a"]
    assert not verdict.holds


def test_a_test_that_passes_and_fails_on_one_side_is_flaky_and_not_counted():
    [found] = differences(ended(a="passed"), ended(a="failed"))
    assert not found.flaky
    assert not found.again(ended(a="passed"), ended(a="failed")).flaky
    flaky = found.again(ended(a="failed"), ended(a="failed"))
    verdict = judge([flaky], ())
    assert verdict.flaky == [flaky]
    assert verdict.holds


def test_an_expected_difference_holds_and_one_that_does_not_differ_is_an_error():
    found = differences(ended(a="passed", b="passed"), ended(a="failed", b="passed"))
    assert judge(found, {"a"}).holds
    verdict = judge(found, {"a", "b"})
    assert verdict.stale == ["b"]
    assert not verdict.holds


def test_a_difference_says_what_the_test_said_with_petiole():
    [found] = differences(ended(a="passed"), ended(a="failed"))
    assert found.why == "a failed"


@pytest.mark.parametrize("path", sorted(EXPECTED.glob("*.toml")), ids=lambda path: path.stem)
def test_a_list_of_differences_belongs_to_a_project_and_its_variants_and_has_reasons(path):
    [project] = [project for project in PROJECTS if project.package == path.stem]
    for table, listed in tomllib.loads(path.read_text(encoding="utf-8")).items():
        assert table in {"left-out", *(variant.name for variant in project.variants)}
        assert all("::" in test and reason for test, reason in listed.items())


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.package)
def test_a_suite_is_that_of_the_locked_version(project):
    assert locked_version(project.package)
