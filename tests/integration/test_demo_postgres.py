"""`petiole demo` on a PostgreSQL database."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import requests

from petiole.demo.redis_server import free_port
from tests.integration.system import wait_until
from tests.integration.test_demo import browser, command, environment, export, refused, running
from tests.postgres_server import PostgresServer

SECRET = "s3cret"


def test_one_export_from_postgresql_from_click_to_checked_file_and_a_cancelled_one(
    postgres_server: PostgresServer, postgres_database: str, tmp_path: Path
) -> None:
    url = postgres_server.url(postgres_database)
    result = subprocess.run(
        command("--once", "--directory", tmp_path, "--database-url", url),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "file: 336,776 rows" in result.stdout
    assert "equal to the database" in result.stdout
    assert not (tmp_path / "nycflights13.sqlite").exists()

    options = ("--port", 0, "--directory", tmp_path, "--database-url", url, "--rows-per-second", 20_000)
    with running(*options) as demo:
        session = browser(demo)
        flights = next(
            table
            for table in session.get(f"{demo.url}/exports/catalog", timeout=5).json()["tables"]
            if table["name"] == "flights"
        )
        assert flights["rows_estimate"] == pytest.approx(336_776, rel=0.05)
        accepted = export(demo, session, table="flights")
        wait_until(
            lambda: any(query.startswith("COPY") for _, query in postgres_server.queries(postgres_database)),
            what="the server sends the rows",
        )
        assert session.post(demo.url + accepted["links"]["cancel"], timeout=5).status_code == 202
        wait_until(
            lambda: monitor(session, demo.url, accepted)["document"]["state"] == "cancelled", what="it is cancelled"
        )
        wait_until(lambda: postgres_server.queries(postgres_database) == [], what="the server works for nobody")
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
        (f"postgresql://ada:s3cret@127.0.0.1:{free_port()}/shop", "can't be used"),
    ],
)
def test_a_database_url_that_cannot_be_used_is_one_sentence_without_its_password(
    tmp_path: Path, url: str, sentence: str
) -> None:
    said = refused("--directory", tmp_path / "demo", "--port", 0, "--database-url", url)
    assert sentence in said
    assert SECRET not in said
