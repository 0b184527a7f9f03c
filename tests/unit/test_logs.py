"""A log line in formats that show only its text: its fields and its name are part of the text."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

import petiole
from petiole.logs import logger

SOURCE = Path(petiole.__file__).parent
log = logger("petiole.test")


def test_the_text_has_the_name_first_then_the_fields_and_the_reason_last(caplog):
    log.warning("claim_waits", extra={"error": "Redis doesn't answer (100%s). Start it.", "feed": "task:1", "run": 2})
    (record,) = caplog.records
    assert record.getMessage() == "claim_waits (feed=task:1, run=2): Redis doesn't answer (100%s). Start it."
    assert (record.msg, record.feed, record.run) == ("claim_waits", "task:1", 2)
    assert (record.filename, record.funcName) == ("test_logs.py", "test_the_text_has_the_name_first_then_the_fields_and_the_reason_last")  # fmt: skip # noqa: E501


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (None, "bus_back"),
        ({}, "bus_back"),
        ({"feeds": 3}, "bus_back (feeds=3)"),
        ({"reason": "Why.", "error": "Because."}, "bus_back: Why. Because."),
        ({"error": ""}, "bus_back"),
    ],
)
def test_what_is_not_there_leaves_no_trace(caplog, extra, text):
    log.error("bus_back", extra=extra)
    assert caplog.records[0].getMessage() == text
    assert caplog.records[0].msg == "bus_back"


def test_a_text_with_arguments_of_its_own_stays_as_it_is(caplog):
    log.warning("Petiole: the protection %s is off.", "of pings")
    assert caplog.messages == ["Petiole: the protection of pings is off."]


def test_a_traceback_goes_along(caplog):
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("event_lost", extra={"feed": "task:1"})
    (record,) = caplog.records
    assert record.getMessage() == "event_lost (feed=task:1)"
    assert record.exc_info[0] is ValueError


def test_celerys_and_gunicorns_formats_show_it(caplog):
    log.warning("claim_waits", extra={"feed": "task:1", "error": "Redis doesn't answer."})
    for form in (
        "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        "%(asctime)s [%(process)d] [%(levelname)s] %(message)s",
    ):
        line = logging.Formatter(form).format(caplog.records[0])
        assert line.endswith("claim_waits (feed=task:1): Redis doesn't answer.")


def lines_of_the_log():
    """Each call of a module's `log` in the source: place, level, name and fields."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[*args], keywords=keywords
                ):
                    extra = next((word.value for word in keywords if word.arg == "extra"), None)
                    fields = {key.value for key in extra.keys} if isinstance(extra, ast.Dict) else set()
                    if level in ("warning", "error", "exception") and isinstance(args[0], ast.Constant):
                        yield f"{path.relative_to(SOURCE)}:{node.lineno}", level, args[0].value, fields


LINES = list(lines_of_the_log())


@pytest.mark.parametrize(("where", "level", "name", "fields"), LINES, ids=[line[0] for line in LINES])
def test_each_warning_and_error_says_why(where, level, name, fields):
    if " " not in name and level != "exception":  # it has a traceback
        assert fields & {"error", "reason"}, f"{where}: {name} doesn't say why"


def test_each_module_logs_in_this_way():
    others = [
        str(path.relative_to(SOURCE))
        for path in sorted(SOURCE.rglob("*.py"))
        if "logging.getLogger(" in path.read_text(encoding="utf-8") and path.name != "logs.py"
    ]
    assert others == []
    assert len(LINES) > 40
