"""`petiole demo` on a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from petiole.demo.data import TABLES
from petiole.demo.once import export_once
from petiole.exports.database import Database
from tests.support.demo import browser, export, refused, running
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until

SECRET = "s3cret"


def test_the_flights_are_put_into_postgresql_and_an_export_is_checked_cancelled_and_cut_off(
    postgres_server: PostgresServer, postgres_database: str, tmp_path: Path
) -> None:
    url = postgres_server.url(postgres_database)
    # Slow enough for a cancel, which a worker notices within its heartbeat.
    options = ("--port", 0, "--directory", tmp_path, "--database-url", url, "--rows-per-second", 60_000)
    with running(*options) as demo:
        # As `petiole demo --once`: it compares every row of the file with the database.
        report = export_once(demo.url, Database.parse(url), check=lambda: None)
        assert report.rows == 336_776
        assert not (tmp_path / "nycflights13.sqlite").exists()

        session = browser(demo)
        tables = session.get(f"{demo.url}/exports/catalog", timeout=5).json()["tables"]
        estimates = {table["name"]: table["rows_estimate"] for table in tables}
        assert set(estimates) == set(TABLES)
        assert estimates["flights"] == pytest.approx(336_776, rel=0.05)

        accepted = export(demo, session, table="flights")
        wait_until(
            lambda: any(query.startswith("COPY") for _, query in postgres_server.queries(postgres_database)),
            what="the server sends the rows",
        )
        assert session.post(demo.url + accepted["links"]["cancel"], timeout=5).status_code == 202
        wait_until(
            lambda: monitor(session, demo.url, accepted)["document"]["state"] == "cancelled", what="it is cancelled"
        )
        wait_until(lambda: postgres_server.queries(postgres_database) == [], what="the server is idle")
        assert SECRET not in demo.text + str(monitor(session, demo.url, accepted))
        assert f"@127.0.0.1:{postgres_server.port}/{postgres_database}" in demo.text

        accepted = export(demo, session, table="flights")
        wait_until(
            lambda: any(query.startswith("COPY") for _, query in postgres_server.queries(postgres_database)),
            what="the server sends the rows again",
        )
        with postgres_server.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'petiole exports'"
            )
        wait_until(lambda: monitor(session, demo.url, accepted)["document"]["state"] == "failed", what="it has failed")
        assert monitor(session, demo.url, accepted)["document"]["reason"] == (
            "The connection to the database was lost. Export it again in a moment."
        )
        assert list((tmp_path / "exports").glob(f"*{accepted['id']}*")) == []
        assert SECRET not in demo.text


def monitor(session: requests.Session, url: str, accepted: dict) -> dict:
    return session.get(url + accepted["links"]["self"], timeout=5).json()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://ada:s3cret@host/shop", "--database-url isn't a URL of PostgreSQL."),
        ("flights.sqlite", "--database-url isn't a URL of PostgreSQL."),
        ("postgresql://ada:s3cret@127.0.0.1:1/shop", "can't be used"),
    ],
)
def test_a_database_url_that_cannot_be_used_is_one_sentence_without_its_password(
    tmp_path: Path, url: str, sentence: str
) -> None:
    said = refused("--directory", tmp_path / "demo", "--port", 0, "--database-url", url)
    assert sentence in said
    assert SECRET not in said
