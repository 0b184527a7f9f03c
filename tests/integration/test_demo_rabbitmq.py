"""`petiole demo --backbone rabbitmq`: the whole demo on RabbitMQ and PostgreSQL."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole.errors import SetupError
from petiole.servers import rabbitmq as rabbitmq_server
from petiole.servers.postgres import find_postgres
from petiole.servers.rabbitmq import find_rabbitmq
from tests.conftest import postgres_binaries, rabbitmq_scripts
from tests.support.demo import browser, command, environment, export, finish, refused, running
from tests.support.waiting import wait_until

# Two servers and the demo itself start several times.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def programs() -> None:
    rabbitmq_scripts()
    postgres_binaries()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the user `postgres` can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="petiole-demo-") as made:
        Path(made).chmod(0o755)
        yield Path(made) / "demo"


def test_one_export_from_click_to_checked_file_then_the_page_on_the_same_data(directory: Path) -> None:
    result = subprocess.run(
        command("--once", "--backbone", "rabbitmq", "--directory", directory),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert re.search(r"^file: 336,776 rows, .* equal to the database$", lines[-2])
    assert re.fullmatch(r"receipt: ([\d,]+) of \1 facts, none missing", lines[-1])

    options = ("--backbone", "rabbitmq", "--port", 0, "--directory", directory, "--rows-per-second", 100_000)
    with running(*options) as demo:
        commands = " ".join(process.command for process in demo.family)
        assert "redis-server" not in commands
        assert "beam.smp" in commands
        assert "postgres" in commands
        assert "Celery's broker and the bus" in demo.text
        session = browser(demo)
        accepted = export(demo, session, table="flights")
        assert finish(demo, session, accepted)["state"] == "succeeded"
        assert (directory / "postgres-password").stat().st_mode & 0o077 == 0
        assert (directory / "postgres-password").read_text() not in demo.text
        demo.popen.send_signal(signal.SIGINT)
        assert demo.wait_ended() == 0
        demo.assert_no_child_is_left()
        wait_until(
            lambda: not list((directory / "postgres" / "data").glob("postmaster.pid")), what="PostgreSQL has ended"
        )
    # Two files in one directory, and one cluster that both demos have used.
    assert len([file for file in (directory / "exports").rglob("*") if file.suffix == ".data"]) == 2


def test_a_demo_that_is_killed_leaves_neither_of_its_servers_and_starts_again_on_their_data(directory: Path) -> None:
    options = ("--backbone", "rabbitmq", "--port", 0, "--directory", directory)
    with running(*options) as demo:
        session = browser(demo)
        task = export(demo, session, table="airlines")
        finish(demo, session, task)
        demo.popen.kill()
        demo.wait_ended()
        with running(*options) as again:
            demo.assert_no_child_is_left()
            assert session.get(again.url + task["links"]["self"], timeout=5).json()["document"]["state"] == "succeeded"


def test_a_redis_url_beside_it_is_refused() -> None:
    sentence = refused("--backbone", "rabbitmq", "--redis-url", "redis://127.0.0.1:1/0")
    assert sentence == "The backbone rabbitmq has no Redis. Leave --redis-url out, or choose --backbone redis."


def test_what_is_not_installed_is_said_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rabbitmq_server, "_OWN_SCRIPTS", tmp_path)
    monkeypatch.setattr(rabbitmq_server, "_OFF_THE_PATH", ())
    monkeypatch.setattr("petiole.servers.postgres._DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="apt install rabbitmq-server, brew install rabbitmq"):
        find_rabbitmq()
    with pytest.raises(SetupError, match="apt install postgresql, brew install postgresql"):
        find_postgres()
