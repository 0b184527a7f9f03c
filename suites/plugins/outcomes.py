"""A pytest plugin: writes how each test ended, one JSON line a test, to the file that `SUITES_OUTCOMES` names.

The first line lists all tests that will run, so that a run which is killed shows which it left out. `SUITES_TEST_TIMEOUT`,
in seconds, applies to every test, even if it asks for more time. With `SUITES_SHARE` = `2/6` every sixth test runs, from
the third one on.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

# An outcome in any phase of a test outweighs those before it in this list.
WEIGHT = ("passed", "skipped", "xfailed", "xpassed", "failed", "error")


class Outcomes:
    """Collects the phases of each test."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._phases: dict[str, tuple[str, str]] = {}
        self._began: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._began[nodeid] = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome, why = self._phases.get(report.nodeid, ("passed", ""))
        this = _outcome_of(report)
        if WEIGHT.index(this) > WEIGHT.index(outcome):
            outcome, why = this, _reason_of(report) if report.failed else ""
        self._phases[report.nodeid] = (outcome, why)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        outcome, why = self._phases.pop(nodeid, ("error", "no report"))
        seconds = time.monotonic() - self._began.pop(nodeid)
        self._write({"test": nodeid, "outcome": outcome, "why": why, "seconds": round(seconds, 1)})

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._write({"collected": [item.nodeid for item in session.items]})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write({"test": report.nodeid, "outcome": "error", "why": _reason_of(report)})

    def _write(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _outcome_of(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xpassed" if report.passed else "xfailed"
    if report.failed and report.when != "call":
        return "error"
    return str(report.outcome)


def _reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(Path(os.environ["SUITES_OUTCOMES"])), "suites-outcomes")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine, all_shares = (int(number) for number in os.environ["SUITES_SHARE"].split("/"))
    items[:] = items[mine::all_shares]
    timeout = pytest.mark.timeout(float(os.environ["SUITES_TEST_TIMEOUT"]))
    for item in items:
        item.add_marker(timeout, append=False)
