from __future__ import annotations

import base64
import hashlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from celery import Celery
from flask import Flask, request
from flask.testing import FlaskClient
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.dispatch.message import read_message
from petiole.errors import SetupError
from petiole.exports.files.storage import LocalStorage, Manifest
from petiole.exports.janitor import Janitor
from petiole.exports.selection import parse_selection
from petiole.exports.sources.sqlite import SqliteSource
from petiole.exports.task import export_selection
from petiole.exports.views import exports_blueprint, filename_of, title_of
from petiole.protocol.events import Draft, task_feed
from tests.support.waiting import wait_until


class Site:
    """A real application on a real journal; the test plays the worker."""

    def __init__(self, folder: Path, redis_url: str, key_prefix: str, *, tables=("t",), **config: object) -> None:
        self.database, self.directory = folder / "a.db", folder / "files"
        if not self.database.exists():
            with closing(sqlite3.connect(self.database)) as connection:
                connection.executescript(
                    "CREATE TABLE t (n INTEGER, x TEXT); CREATE TABLE secret (password TEXT);"
                    "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')"
                )
        app = Flask(__name__)
        app.secret_key = "for this test"
        app.testing = True
        app.config.update(config, PETIOLE_KEY_PREFIX=key_prefix)
        celery_app = Celery("test", broker=redis_url)
        self.petiole = Petiole(app, SocketIO(app, async_mode="threading"), celery_app=celery_app)
        app.register_blueprint(
            exports_blueprint(self.petiole, database=self.database, directory=self.directory, tables=tables)
        )
        self.app = app
        self.client = app.test_client()

    def files(self) -> list[str]:
        """Everything in the directory but its mark."""
        return sorted(name for name in os.listdir(self.directory) if name != ".petiole-storage")

    def start(self, table: str = "t") -> str:
        response = self.client.post("/exports", json={"table": table})
        assert response.status_code == 202, response.text
        return str(response.json["id"])

    def claim(self, task_id: str) -> int:
        with self.app.app_context():
            draft = Draft("state", {"state": "running"})
            claimed = self.petiole.journal.claim(
                task_feed(task_id), draft, worker="w", delivery=task_id, retries=0, lease=30
            )
        return claimed.run

    def say(self, task_id: str, run: int, fact: int, **patch: object) -> None:
        with self.app.app_context():
            self.petiole.journal.append(task_feed(task_id), Draft("state", patch), run=run, fact=fact)

    def finish(self, task_id: str, *, kept_for: float = 60.0) -> Manifest:
        run = self.claim(task_id)
        export_selection(
            {"table": "t"},
            database=self.database,
            directory=self.directory,
            key=task_id,
            filename="t.csv",
            batch_rows=100,
            rows_per_second=None,
            kept_for=kept_for,
        )
        self.say(task_id, run, 2, state="succeeded")
        return LocalStorage(self.directory, clock=lambda: 0.0).open(task_id)[0]


@pytest.fixture
def site(tmp_path: Path, redis_servers: Callable, key_prefix: str) -> Site:
    return Site(tmp_path, redis_servers("system").url, key_prefix)


@pytest.fixture
def another(tmp_path: Path, redis_servers: Callable, key_prefix: str) -> Callable[..., Site]:
    """Make the site's successor: the same journal, database and directory, and what has changed."""
    return lambda **changed: Site(tmp_path, redis_servers("system").url, key_prefix, **changed)


@pytest.fixture
def client(site: Site) -> FlaskClient:
    return site.client


CONTENT = b'"n","x"\n1,"one"\n2,"two"\n3,"three"\n'


def assert_problem(response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    assert response.json["status"] == status
    assert response.json["detail"].endswith(".")
    return response.json


def test_the_catalog_lists_tables_columns_kinds_and_operators(client):
    catalog = client.get("/exports/catalog").json
    assert catalog["tables"] == [
        {
            "name": "t",
            "rows_estimate": 3,
            "ordered_by": [],
            "columns": [{"name": "n", "kind": "integer"}, {"name": "x", "kind": "text"}],
        }
    ]
    assert set(catalog["operators"]) == {"integer", "real", "text"}
    assert "contains" in catalog["operators"]["text"]


def test_a_catalog_without_a_database_is_a_problem_that_names_no_path(site, client):
    site.database.unlink()
    problem = assert_problem(client.get("/exports/catalog"), 503)
    assert str(site.database) not in problem["detail"]


def test_an_export_is_accepted_with_its_links_and_title(client):
    response = client.post("/exports", json={"table": "t", "columns": ["x"]})
    assert response.status_code == 202
    assert response.headers["Location"] == response.json["links"]["self"]
    assert response.json["links"]["file"] == f"/exports/{response.json['id']}/file"
    assert response.json["document"]["title"] == "t, 1 column"
    assert response.json["document"]["task"] == "petiole.exports.export"


def test_an_invalid_selection_is_a_problem_that_says_where(client):
    problem = assert_problem(client.post("/exports", json={"table": "t", "columns": ["n", "y"]}), 422)
    assert problem["errors"][0]["field"] == "columns[1]"
    assert "x" in problem["errors"][0]["detail"]


def test_a_table_that_is_not_offered_is_not_there(client):
    problem = assert_problem(client.post("/exports", json={"table": "secret"}), 422)
    assert "secret" not in problem["detail"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"t"', b"{}"])
def test_json_that_is_no_selection_is_invalid(client, body):
    assert_problem(client.post("/exports", data=body, content_type="application/json"), 422)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"table": }', b"[" * 50_000])
def test_a_body_that_is_no_json_is_a_bad_request(client, body):
    assert_problem(client.post("/exports", data=body, content_type="application/json"), 400)


def test_a_body_of_another_type_is_refused(client):
    assert_problem(client.post("/exports", data={"table": "t"}), 415)
    assert_problem(client.post("/exports", data=b'{"table": "t"}', content_type="text/plain"), 415)


def test_a_body_that_is_too_large_is_refused(client):
    body = b'{"table": "' + b"x" * 600_000 + b'"}'
    assert_problem(client.post("/exports", data=body, content_type="application/json"), 413)


def test_a_page_of_another_site_cannot_start_an_export(client):
    response = client.post("/exports", json={"table": "t"}, headers={"Origin": "https://evil.example"})
    assert_problem(response, 403)


def test_a_file_is_downloaded_with_its_checksum_and_name(site, client):
    task_id = site.start()
    manifest = site.finish(task_id)
    response = client.get(f"/exports/{task_id}/file")
    assert response.status_code == 200
    assert response.data == CONTENT
    digest = hashlib.sha256(CONTENT)
    headers = response.headers
    assert headers["ETag"] == f'"{digest.hexdigest()}"'
    assert headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert headers["Content-Disposition"] == "attachment; filename=t.csv"
    assert headers["Content-Type"].startswith("text/csv")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Accept-Ranges"] == "bytes"
    assert "private" in headers["Cache-Control"]
    assert "public" not in headers["Cache-Control"]
    assert headers["Sunset"].endswith("GMT")
    assert manifest.expires_at > manifest.created_at
    assert int(headers["Content-Length"]) == len(CONTENT)


def test_a_part_of_a_file_is_downloaded(site, client):
    task_id = site.start()
    etag = f'"{site.finish(task_id).sha256}"'
    path = f"/exports/{task_id}/file"
    part = client.get(path, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.data) == (206, CONTENT[4:8])
    assert part.headers["Content-Range"] == f"bytes 4-7/{len(CONTENT)}"
    same = client.get(path, headers={"Range": "bytes=4-", "If-Range": etag})
    assert (same.status_code, same.data) == (206, CONTENT[4:])
    other = client.get(path, headers={"Range": "bytes=4-", "If-Range": '"another"'})
    assert (other.status_code, other.data) == (200, CONTENT)


def test_a_range_outside_the_file_is_a_problem(site, client):
    task_id = site.start()
    site.finish(task_id)
    response = client.get(f"/exports/{task_id}/file", headers={"Range": "bytes=1000-"})
    assert_problem(response, 416)
    assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_a_file_that_the_browser_has_is_not_sent_again(site, client):
    task_id = site.start()
    etag = f'"{site.finish(task_id).sha256}"'
    response = client.get(f"/exports/{task_id}/file", headers={"If-None-Match": etag})
    assert (response.status_code, response.data) == (304, b"")


def test_the_head_of_a_file_has_its_size_and_no_bytes(site, client):
    task_id = site.start()
    site.finish(task_id)
    response = client.head(f"/exports/{task_id}/file")
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))


def test_what_is_not_yours_is_not_there(site, client):
    task_id = site.start()
    site.finish(task_id)
    foreign = assert_problem(site.app.test_client().get(f"/exports/{task_id}/file"), 404)
    missing = assert_problem(client.get("/exports/00000000-0000-0000-0000-000000000000/file"), 404)
    assert foreign == missing
    stranger = site.app.test_client()
    stranger.post("/exports", json={"table": "t"})
    assert assert_problem(stranger.get(f"/exports/{task_id}/file"), 404) == missing


@pytest.mark.parametrize("task_id", ["..", "%2e%2e", "a b", "x" * 129, "a%00b", "..%2f..%2fetc"])
def test_what_is_no_id_is_not_there(client, task_id):
    assert client.get(f"/exports/{task_id}/file").status_code == 404


def test_a_task_of_another_kind_has_no_file_here(site, client):
    with client:
        client.post("/exports", json={"table": "t"})
        handle = site.petiole.start("another.task")
    assert_problem(client.get(f"/exports/{handle.id}/file"), 404)


def test_a_file_that_is_not_ready_is_a_conflict(site, client):
    task_id = site.start()
    assert_problem(client.get(f"/exports/{task_id}/file"), 409)
    site.claim(task_id)
    response = client.get(f"/exports/{task_id}/file")
    assert_problem(response, 409)
    assert response.headers["Retry-After"]


@pytest.mark.parametrize("state", ["failed", "cancelled", "lost"])
def test_an_export_that_ended_without_a_file_is_a_conflict(site, client, state):
    task_id = site.start()
    site.say(task_id, site.claim(task_id), 2, state=state)
    assert state in assert_problem(client.get(f"/exports/{task_id}/file"), 409)["detail"]


def test_a_file_can_be_had_from_the_moment_it_is_said(site, client):
    task_id = site.start()
    run = site.claim(task_id)
    site.say(task_id, run, 2, artifacts=[{"name": "t.csv"}])
    assert_problem(client.get(f"/exports/{task_id}/file"), 410)
    with LocalStorage(site.directory).create(task_id) as draft:
        draft.write(CONTENT)
        draft.publish(filename="t.csv", rows=3, media_type="text/csv", kept_for=60)
    assert client.get(f"/exports/{task_id}/file").data == CONTENT


def test_a_file_past_its_time_is_gone_before_and_after_the_sweep(site, client):
    task_id = site.start()
    site.finish(task_id, kept_for=0.0)
    before = assert_problem(client.get(f"/exports/{task_id}/file"), 410)
    LocalStorage(site.directory).sweep()
    assert site.files() == []
    assert assert_problem(client.get(f"/exports/{task_id}/file"), 410) == before


def test_bytes_that_vanish_at_the_moment_of_the_download_are_gone(site, client):
    task_id = site.start()
    (site.directory / site.finish(task_id).data_name).unlink()
    assert_problem(client.get(f"/exports/{task_id}/file"), 410)


def test_a_download_that_began_ends_whole_after_the_sweep(site, client):
    task_id = site.start()
    site.finish(task_id)
    response = client.get(f"/exports/{task_id}/file", buffered=False)
    LocalStorage(site.directory, clock=lambda: time.time() + 3600).sweep()
    assert site.files() == []
    assert response.data == CONTENT


@pytest.mark.parametrize(
    ("table", "filename"),
    [
        ("flights", "flights.csv"),
        ("Flüge 2013", "Flüge_2013.csv"),
        ("../../etc/passwd", "etc_passwd.csv"),
        ('a"b\r\nc: d', "a_b_c_d.csv"),
        ("...", "export.csv"),
        ("x" * 300, "x" * 80 + ".csv"),
    ],
)
def test_a_table_of_any_name_gives_a_name_for_a_file_and_a_title(tmp_path, table, filename):
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(f'CREATE TABLE "{table.replace(chr(34), chr(34) * 2)}" (a, b)')
    with SqliteSource(tmp_path / "a.db") as source:
        selection = parse_selection(source.catalog, {"table": table})
    assert filename_of(selection) == filename
    assert title_of(selection).endswith(", 2 columns")
    assert len(title_of(selection)) <= 200


def successor_of(before: Site, after: Site) -> FlaskClient:
    """Return the same browser at another site: with its cookie."""
    cookie = before.client.get_cookie("session")
    client = after.app.test_client()
    client.set_cookie("session", cookie.value)
    return client


def test_what_is_not_offered_any_more_is_not_exported_by_a_retry(site, another):
    wide = another(tables=["t", "secret"])
    task_id = wide.start("secret")
    run = wide.claim(task_id)
    wide.say(task_id, run, 2, state="cancelled")
    problem = assert_problem(successor_of(wide, site).post(f"/petiole/tasks/{task_id}/retry"), 409)
    assert "isn't offered any more" in problem["detail"]
    assert "Choose from" not in problem["detail"]
    # The setting narrows it, too.
    narrow = another(tables=None, PETIOLE_EXPORTS_TABLES="t")
    assert_problem(successor_of(wide, narrow).post(f"/petiole/tasks/{task_id}/retry"), 409)
    assert [table["name"] for table in narrow.client.get("/exports/catalog").json["tables"]] == ["t"]
    # The negative control: where it is offered it starts again.
    again = successor_of(wide, wide).post(f"/petiole/tasks/{task_id}/retry")
    assert (again.status_code, again.json["document"]["retry_of"]) == (202, task_id)


@pytest.mark.parametrize(
    ("config", "expected"),
    [({}, "/shop/exports/{}/file"), ({"PETIOLE_EXPORTS_URL_TEMPLATE": "https://files.x/{id}"}, "https://files.x/{}")],
)
def test_the_worker_is_told_where_this_site_is_mounted(another, config, expected):
    site = another(**config)
    answer = site.client.post("/exports", json={"table": "t"}, environ_overrides={"SCRIPT_NAME": "/shop"}).json
    assert answer["links"]["file"] == expected.format(answer["id"])
    with site.app.app_context():
        _, _, told, _ = read_message(site.petiole.journal.message(task_feed(answer["id"])))
    assert told == {"url": answer["links"]["file"], "mark": LocalStorage(site.directory).mark(make=False)}


def test_an_offer_that_the_worker_would_refuse_is_refused_at_start(another):
    with pytest.raises(SetupError, match="PETIOLE_EXPORTS_TABLES doesn't allow: secret"):
        another(tables=["t", "secret"], PETIOLE_EXPORTS_TABLES="t,other")


def test_an_offer_that_the_worker_does_not_know_is_said_at_start(another, caplog):
    another(tables=["t"], PETIOLE_EXPORTS_TABLES="t,other")
    assert "offer_not_checked" not in caplog.text
    another(tables=["t"])
    assert "offer_not_checked" in caplog.text


def test_a_deleted_export_is_gone_from_the_disk(site, client):
    task_id, other = site.start(), site.start()
    site.finish(task_id)
    site.finish(other)
    assert client.delete(f"/petiole/tasks/{task_id}").status_code == 204
    assert {name.partition(".")[0] for name in site.files()} == {other}
    assert_problem(client.get(f"/exports/{task_id}/file"), 404)


def test_the_janitor_removes_what_has_expired_or_was_deleted_and_nothing_else(site):
    expired, deleted, kept, forgotten = (site.start() for _ in range(4))
    for task_id in (deleted, kept, forgotten):
        site.finish(task_id)
    site.finish(expired, kept_for=0.0)
    with site.app.app_context():
        # As when the file was published in the moment of its deletion.
        site.petiole.journal.remove(task_feed(deleted))
        site.petiole.journal.forget(task_feed(forgotten))
        Janitor(LocalStorage(site.directory), site.petiole.journal).look()
    assert {name.partition(".")[0] for name in site.files()} == {kept, forgotten}


def test_the_janitor_runs_from_the_first_request_on_without_any_export(site, another):
    site.finish(site.start(), kept_for=0.0)
    assert site.files() != []
    idle = another()
    idle.app.testing = False
    state = idle.app.extensions["petiole"]
    try:
        idle.client.get("/petiole/alive")
        wait_until(lambda: site.files() == [], timeout=10, what="the janitor has looked")
    finally:
        for loop in state.readiness._loops:
            loop.close()
    assert "janitor of exported files" in {loop.name for loop in state.readiness._loops}


def test_a_file_that_was_truncated_is_not_given(site, client):
    task_id = site.start()
    path = site.directory / site.finish(task_id).data_name
    path.write_bytes(CONTENT[:-1])
    problem = assert_problem(client.get(f"/exports/{task_id}/file"), 410)
    assert "isn't whole" in problem["detail"]


def test_a_file_that_the_worker_has_put_elsewhere_is_said(site, client):
    task_id = site.start()
    artifact = {"name": "t.csv", "expires_at": int(time.time() * 1000) + 60_000}
    site.say(task_id, site.claim(task_id), 2, state="succeeded", artifacts=[artifact])
    problem = assert_problem(client.get(f"/exports/{task_id}/file"), 410)
    assert "PETIOLE_EXPORTS_DIRECTORY" in problem["detail"]


def test_every_column_may_be_named_however_long_its_name(site, client):
    names = [f"column {number} {'é' * 50}" for number in range(1600)]
    with closing(sqlite3.connect(site.database)) as connection:
        connection.execute("DROP TABLE t")
        connection.execute(f"CREATE TABLE t ({', '.join(f'{chr(34)}{name}{chr(34)} TEXT' for name in names)})")
    response = client.post("/exports", json={"table": "t", "columns": names})
    assert response.status_code == 202
    assert response.json["document"]["title"] == "t, 1,600 columns"


def test_a_person_may_have_so_many_exports_at_a_time_and_no_more(another):
    site = another(PETIOLE_EXPORTS_PER_OWNER=3)
    site.petiole.identify(lambda: request.headers.get("X-User"))

    def ask(**more):
        return site.app.test_client().post("/exports", json={"table": "t"}, headers={"X-User": "ada"}, **more)

    tasks = [ask().json["id"] for _ in range(3)]
    problem = assert_problem(ask(), 429)
    assert problem["retry_after"] == 10
    assert "3 of your exports" in problem["detail"]
    # Another person isn't concerned, and one that ends, or is deleted, makes room.
    assert site.client.post("/exports", json={"table": "t"}, headers={"X-User": "bob"}).status_code == 202
    site.say(tasks[0], site.claim(tasks[0]), 2, state="failed")
    again = site.client.post(f"/petiole/tasks/{tasks[0]}/retry", headers={"X-User": "ada"})
    assert again.status_code == 202
    assert_problem(site.client.post(f"/petiole/tasks/{tasks[0]}/retry", headers={"X-User": "ada"}), 429)
    site.client.delete(f"/petiole/tasks/{tasks[1]}", headers={"X-User": "ada"})
    assert ask().status_code == 202
    assert_problem(ask(), 429)


def test_people_without_a_login_are_counted_by_their_address(another):
    site = another(PETIOLE_EXPORTS_PER_OWNER=2)

    def ask(address):
        # Each time a new browser, without a cookie.
        return site.app.test_client().post("/exports", json={"table": "t"}, environ_overrides={"REMOTE_ADDR": address})

    assert [ask("10.0.0.1").status_code for _ in range(3)] == [202, 202, 429]
    assert [ask(f"2001:db8::{host}").status_code for host in (1, 2, 3)] == [202, 202, 429]
    assert ask("2001:db8:0:1::1").status_code == 202
    assert "network address" in ask("10.0.0.1").json["detail"]


def test_three_hundred_at_once_are_not_all_accepted(another):
    site = another(PETIOLE_EXPORTS_PER_OWNER=5)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(lambda: site.app.test_client().post("/exports", json={"table": "t"})) for _ in range(40)]
        statuses = Counter(answer.result().status_code for answer in asked)
    assert statuses == {202: 5, 429: 35}


def test_a_name_beyond_ascii_is_sent_in_both_forms(site, client):
    task_id = site.start()
    site.say(task_id, site.claim(task_id), 2, state="succeeded")
    with LocalStorage(site.directory).create(task_id) as draft:
        draft.write(CONTENT)
        draft.publish(filename="Flüge.csv", rows=3, media_type="text/csv", kept_for=60)
    disposition = client.get(f"/exports/{task_id}/file").headers["Content-Disposition"]
    assert disposition == "attachment; filename=Fluge.csv; filename*=UTF-8''Fl%C3%BCge.csv"
