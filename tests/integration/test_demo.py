"""`petiole demo` as a user starts it: a separate process, with everything that it starts and stops."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.demo import DATABASE, STATIC, Demo, browser, command, environment, export, finish, refused, running
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Once:
    result: subprocess.CompletedProcess[str]
    directory: Path


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`petiole demo --once` in a new directory."""
    directory = tmp_path_factory.mktemp("once") / "made by the demo"
    result = subprocess.run(
        # At a limited speed, so that every quarter of the rows lasts long enough to be shown.
        command("--once", "--directory", directory, "--rows-per-second", 200_000),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return Once(result, directory)


def with_database(once: Once, directory: Path) -> Path:
    directory.mkdir()
    os.link(once.directory / DATABASE, directory / DATABASE)
    return directory


@pytest.fixture(scope="module")
def demo(once: Once, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = with_database(once, tmp_path_factory.mktemp("running") / "demo")
    with running("--port", 0, "--directory", directory, "--rows-per-second", 20_000) as demo:
        yield demo


def test_one_export_from_click_to_checked_file(once: Once) -> None:
    assert once.result.returncode == 0, once.result.stdout + once.result.stderr
    lines = once.result.stdout.splitlines()
    marks = {line[:18].strip(): float(line[18:].removesuffix("ms")) for line in lines if line.endswith(" ms")}
    quarters = [f"{quarter} % of the rows" for quarter in (25, 50, 75)]
    assert set(marks) >= {"asked", "202", "queued", "running", "first rows", *quarters, "finished", "downloaded"}
    assert list(marks.values()) == sorted(marks.values())
    assert re.search(r"^file: 336,776 rows, [\d,]+ bytes, sha256 [0-9a-f]{64}, equal to the database$", lines[-2])
    receipt = re.fullmatch(r"receipt: ([\d,]+) of ([\d,]+) facts, none missing", lines[-1])
    assert receipt is not None
    assert receipt[1] == receipt[2]


def test_the_page_answers_with_a_policy_that_lets_nothing_foreign_in(demo: Demo) -> None:
    response = requests.get(demo.url, timeout=5)
    assert response.status_code == 200
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert "*" not in response.headers["Content-Security-Policy"]
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", response.text)


@pytest.mark.parametrize("file", ["templates/page.html", "static/page.js", "static/page.css", "static/plain.css"])
def test_the_page_has_no_address_of_another_host(file: str) -> None:
    assert not re.search(r"(https?:)?//[\w.-]+\.\w", (STATIC / file).read_text())


def test_everything_that_the_page_loads_is_there(demo: Demo) -> None:
    page = requests.get(demo.url, timeout=5).text
    addresses = re.findall(r'(?:src|href|data-catalog|data-tasks)="([^"]+)"', page)
    assert len(addresses) == 7
    for address in addresses:
        assert requests.get(demo.url + address, timeout=5).status_code == 200, address


def test_a_click_is_accepted_within_100_ms(demo: Demo) -> None:
    session = browser(demo)
    took = []
    for _ in range(7):
        began = time.perf_counter()
        export(demo, session, table="airlines")
        took.append(time.perf_counter() - began)
    assert statistics.median(took[2:]) < 0.1


@pytest.mark.parametrize(
    ("selection", "field"),
    [
        ({}, "table"),
        ({"table": "sqlite_master"}, "table"),
        ({"table": "airlines", "columns": ["carrier", "nothing"]}, "columns[1]"),
        ({"table": "airlines", "columns": []}, "columns"),
        ({"table": "airlines", "order": "carrier"}, "order"),
        ({"table": "flights", "filters": [{"column": "nothing", "operator": "=", "value": 1}]}, "filters[0].column"),
        ({"table": "flights", "filters": [{"column": "month", "operator": "like", "value": 1}]}, "filters[0].operator"),
        ({"table": "flights", "filters": [{"column": "month", "operator": "=", "value": "1"}]}, "filters[0].value"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_the_field_that_is_wrong(
    demo: Demo, selection: dict[str, Any], field: str
) -> None:
    response = browser(demo).post(f"{demo.url}/exports", json=selection, timeout=5)
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert error["detail"] == response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"table": ', "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b'{"table": "airlines"}', "text/plain", 415),
        (b"table=airlines", "application/x-www-form-urlencoded", 415),
        (b'"' + b"x" * 600_000 + b'"', "application/json", 413),
    ],
)
def test_a_body_that_is_no_selection_is_refused(demo: Demo, body: bytes, media_type: str, status: int) -> None:
    response = browser(demo).post(f"{demo.url}/exports", data=body, headers={"Content-Type": media_type}, timeout=5)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("body", "status"), [(b"[" * 50_000, 400), (b'{"kill": ["worker"]}', 422), (b"null", 422), (b" " * 70_000, 413)]
)
def test_a_request_to_kill_that_is_none_kills_nothing(demo: Demo, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    response = browser(demo).post(f"{demo.url}/breakage", data=body, headers=headers, timeout=5)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_filtered_export_has_exactly_the_rows_of_the_database(demo: Demo, once: Once) -> None:
    session = browser(demo)
    columns = ["dest", "carrier", "dep_delay", "time_hour"]
    filters = [
        {"column": "carrier", "operator": "=", "value": "HA"},
        {"column": "month", "operator": "<=", "value": 2},
        {"column": "dep_delay", "operator": "is_not_empty"},
    ]
    accepted = export(demo, session, table="flights", columns=columns, filters=filters)
    assert accepted["document"]["title"] == "flights, 4 columns, 3 filters"
    document = finish(demo, session, accepted)
    response = session.get(demo.url + accepted["links"]["file"], timeout=5)
    lines = list(csv.reader(io.StringIO(response.content.decode())))
    with closing(sqlite3.connect(once.directory / DATABASE)) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(columns)} FROM flights"
            " WHERE carrier = 'HA' AND month <= 2 AND dep_delay IS NOT NULL ORDER BY rowid"
        ).fetchall()
    assert len(rows) > 50
    assert lines == [columns, *[[str(value) for value in row] for row in rows]]
    assert document["artifacts"][0]["rows"] == len(rows)
    assert document["artifacts"][0]["url"] == accepted["links"]["file"]


@pytest.fixture(scope="module")
def airlines(demo: Demo) -> tuple[requests.Session, str]:
    """A finished export: its owner, and the address of its file."""
    session = browser(demo)
    accepted = export(demo, session, table="airlines")
    finish(demo, session, accepted)
    return session, demo.url + accepted["links"]["file"]


def test_a_download_says_what_it_is(airlines: tuple[requests.Session, str]) -> None:
    session, url = airlines
    response = session.get(url, timeout=5)
    digest = hashlib.sha256(response.content)
    assert response.status_code == 200
    assert response.headers["ETag"] == f'"{digest.hexdigest()}"'
    assert response.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert response.headers["Content-Disposition"] == "attachment; filename=airlines.csv"
    assert response.headers["Content-Type"].startswith("text/csv")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Sunset"].endswith("GMT")
    assert "private" in response.headers["Cache-Control"]


def test_a_download_goes_on_where_it_broke_off(airlines: tuple[requests.Session, str]) -> None:
    session, url = airlines
    whole = session.get(url, timeout=5)
    etag = whole.headers["ETag"]
    first = session.get(url, headers={"Range": "bytes=0-99"}, timeout=5)
    rest = session.get(url, headers={"Range": "bytes=100-", "If-Range": etag}, timeout=5)
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.headers["Content-Range"] == f"bytes 0-99/{len(whole.content)}"
    assert first.content + rest.content == whole.content
    assert first.headers["ETag"] == rest.headers["ETag"] == etag
    changed = session.get(url, headers={"Range": "bytes=100-", "If-Range": f'"{"0" * 64}"'}, timeout=5)
    assert changed.status_code == 200
    assert changed.content == whole.content
    beyond = session.get(url, headers={"Range": "bytes=999999-"}, timeout=5)
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(whole.content)}"


def test_a_download_is_not_sent_again_or_not_at_all_when_that_is_asked(airlines: tuple[requests.Session, str]) -> None:
    session, url = airlines
    whole = session.get(url, timeout=5)
    kept = session.get(url, headers={"If-None-Match": whole.headers["ETag"]}, timeout=5)
    assert (kept.status_code, kept.content) == (304, b"")
    head = session.head(url, timeout=5)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    for name in ("ETag", "Repr-Digest", "Content-Disposition", "Content-Type"):
        assert head.headers[name] == whole.headers[name]


def test_somebody_elses_file_is_as_missing_as_one_that_never_was(
    demo: Demo, airlines: tuple[requests.Session, str]
) -> None:
    _, url = airlines
    for stranger in (browser(demo), requests.Session()):
        foreign = stranger.get(url, timeout=5)
        missing = stranger.get(re.sub(r"[0-9a-f-]{36}", "00000000-0000-4000-8000-000000000000", url), timeout=5)
        assert foreign.status_code == missing.status_code == 404
        assert foreign.content == missing.content
        assert {**foreign.headers, "Date": ""} == {**missing.headers, "Date": ""}


def test_a_file_that_is_not_ready_is_a_409_and_a_cancelled_one_never_will_be(demo: Demo) -> None:
    session = browser(demo)
    accepted = export(demo, session, table="flights")
    early = session.get(demo.url + accepted["links"]["file"], timeout=5)
    assert early.status_code == 409
    assert int(early.headers["Retry-After"]) > 0
    assert early.json()["detail"] == "This export is still under way. Try again later."
    assert session.post(demo.url + accepted["links"]["cancel"], timeout=5).status_code == 202

    def cancelled() -> bool:
        monitor = session.get(demo.url + accepted["links"]["self"], timeout=5).json()
        return monitor["document"]["state"] == "cancelled"

    wait_until(cancelled, what="the export is cancelled", timeout=20)
    late = session.get(demo.url + accepted["links"]["file"], timeout=5)
    assert late.status_code == 409
    assert "Retry-After" not in late.headers


def test_a_page_that_is_loaded_again_lists_its_exports(demo: Demo) -> None:
    session = browser(demo)
    accepted = [export(demo, session, table=table) for table in ("airlines", "airports")]
    session.get(demo.url, timeout=5).raise_for_status()
    listed = session.get(f"{demo.url}/petiole/tasks", timeout=5).json()["tasks"]
    assert [task["id"] for task in listed] == [task["id"] for task in accepted[::-1]]
    assert all(task["links"]["file"] == f"/exports/{task['id']}/file" for task in listed)


def test_a_second_demo_in_the_same_directory_is_refused(demo: Demo) -> None:
    [directory] = re.findall(rf"database: (\S+)/{DATABASE}", demo.text)
    assert refused("--port", 0, "--directory", directory) == (
        f"Another petiole demo runs in {directory}. Stop it, or choose another directory with --directory."
    )
