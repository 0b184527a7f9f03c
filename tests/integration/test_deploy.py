"""`deploy/`: gunicorn's configurations serve sockets, and the units and the compose file match the code."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

import petiole.demo.gunicorn_conf as demo_configuration
from petiole.celery_urls import CeleryUrls
from petiole.client import TaskClient
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, Event, task_feed
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port
from petiole.settings import PREFIX, Settings
from tests.integration.test_servers import APPLICATION
from tests.support.system import READY, ROOT, start_redis
from tests.support.waiting import wait_until

DEPLOY = ROOT / "deploy"
GUNICORN = {"gevent": DEPLOY / "gunicorn_gevent.py", "gthread": DEPLOY / "gunicorn_gthread.py"}
PAGES = 12
# Read by other programs than Petiole.
FOREIGN = ("CELERY_BROKER_URL", "FLASK_SECRET_KEY", "COMPOSE_PROFILES")


@dataclass
class Server:
    url: str
    process: Process
    journal: RedisJournal

    def worker(self) -> int:
        """The id of gunicorn's only worker."""
        master = self.process.popen.pid
        (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return int(worker)

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.worker()}/task").iterdir()))

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/petiole/ready", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture(params=GUNICORN)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    port, redis_port = free_port(), free_port()
    url = f"redis://127.0.0.1:{redis_port}/0"
    environment = {
        "CELERY_BROKER_URL": url,
        "PYTHONPATH": str(ROOT),
        "RIGHTS_ENDED": str(tmp_path / "rights-ended"),
        "PETIOLE_RECONNECT_SPREAD": "0.5",
        # There is no worker; the tests append the tasks' events.
        "PETIOLE_UNHEARD_AFTER": "600",
        **({"ASYNC_MODE": "threading"} if request.param == "gthread" else {}),
    }
    try:
        start_redis(processes, redis_port, tmp_path)
        process = processes.start(
            "web",
            [
                *(sys.executable, "-m", "gunicorn", "--config", str(GUNICORN[request.param])),
                *("--bind", f"127.0.0.1:{port}", f"{APPLICATION}()"),
            ],
            environment=environment,
            directory=ROOT,
        )
        made = Server(f"http://127.0.0.1:{port}", process, RedisJournal(Settings(journal_url=url)))
        processes.wait_ready(process, timeout=READY, condition=made.answers)
        yield made
    finally:
        processes.stop()
        print("\n".join(log[-50:]))


def test_gunicorn_serves_pages_by_websocket_and_lets_them_go(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    feed = task_feed("deployed")
    server.journal.open(feed, owner="user:ann", draft=Draft("state", {"state": "queued", "title": "A task"}))
    threads = server.threads()
    clients: list[TaskClient] = []
    heard: list[list[Event]] = []
    told: list[object] = []
    try:
        for _ in range(PAGES):
            session = requests.Session()
            session.headers["X-Person"] = "ann"
            clients.append(TaskClient(server.url, session=session))
            heard.append([])
            view = clients[-1].watch(feed, on_event=heard[-1].append)
            view.wait_until(lambda document: document.get("state") == "queued", timeout=10)
            clients[-1]._connection.socket.on("reconnect", told.append, namespace="/petiole")
        assert {client._connection.socket.transport() for client in clients} == {"websocket"}
        server.journal.append(feed, Draft("log", data={"level": "info", "message": "hello"}))
        for events in heard:
            wait_until(
                lambda events=events: [event.kind for event in events][-1] == "log",
                timeout=10,
                what="all receive it",
            )  # type: ignore[misc]
        assert requests.get(f"{server.url}/petiole/alive", timeout=5).ok
        if "gthread" in request.node.name:
            # The file's number of threads per page. The first page adds a thread or two for the process itself.
            assert 2 * PAGES <= server.threads() - threads <= 3 * PAGES + 4
        os.kill(server.process.popen.pid, signal.SIGTERM)
        wait_until(lambda: len(told) == PAGES, timeout=10, what="each is told when to reconnect")
        # Open sockets don't delay it: graceful_timeout is for requests.
        assert server.process.popen.wait(5) == 0
    finally:
        for client in clients:
            client.close()


def test_the_demo_runs_with_what_the_gevent_file_says() -> None:
    documented = runpy.run_path(str(GUNICORN["gevent"]))
    for name in ("worker_class", "workers", "worker_connections", "control_socket_disable"):
        assert getattr(demo_configuration, name) == documented[name]


def test_threads_are_left_for_calls_and_connections_for_waiting() -> None:
    configuration = runpy.run_path(str(GUNICORN["gthread"]))
    assert configuration["worker_connections"] > configuration["threads"]


def test_a_unit_allows_what_gunicorn_and_nginx_are_told() -> None:
    gevent = runpy.run_path(str(GUNICORN["gevent"]))
    web = unit("petiole-web@.service")["Service"]
    assert int(web["LimitNOFILE"]) > gevent["worker_connections"]
    assert int(web["TimeoutStopSec"]) > gevent["graceful_timeout"]
    text = (DEPLOY / "nginx.conf").read_text()
    ports = re.findall(r"^\s*server 127\.0\.0\.1:(\d+) ", text, re.MULTILINE)
    documented = re.findall(r"petiole-web@(\d+)", (DEPLOY / "systemd" / "petiole-web@.service").read_text())
    assert ports == documented == ["8001", "8002", "8003"]


def test_a_rolling_restart_waits_as_long_as_pages_take_to_come_back() -> None:
    spread = Settings(journal_url="redis://127.0.0.1:1/0").reconnect_spread
    assert f"        sleep {spread:g}\n" in (DEPLOY / "README.md").read_text()
    assert compose()["x-application"]["environment"]["PETIOLE_RECONNECT_SPREAD"] == f"{spread:g}"


def unit(name: str) -> dict[str, dict[str, str]]:
    """A unit file's sections; each key occurs once."""
    sections: dict[str, dict[str, str]] = {}
    for line in (DEPLOY / "systemd" / name).read_text().splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            assert key not in current
            current[key] = value
    return sections


UNITS = ("petiole-web@.service", "petiole-worker.service")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_what_is_there(name: str) -> None:
    binary, *arguments = unit(name)["Service"]["ExecStart"].split()
    assert os.access(Path(sys.executable).parent / Path(binary).name, os.X_OK)
    for argument in arguments:
        if argument.startswith("/srv/app/"):
            assert (ROOT / argument.removeprefix("/srv/app/")).is_file()
    module = next(each for each in arguments if each in ("web:app", "tasks")).partition(":")[0]
    assert (ROOT / "examples" / "minimal" / f"{module}.py").is_file()


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        remedy = "There is no systemd-analyze here. Install it with: apt install systemd"
        if os.environ.get("CI"):
            pytest.fail(remedy)
        pytest.skip(remedy)
    text = (DEPLOY / "systemd" / name).read_text()
    # It checks the programs: those of this environment replace those of /srv/app.
    copy = tmp_path / name.replace("@.", "@8001.")
    copy.write_text(text.replace("/srv/app/.venv/bin", str(Path(sys.executable).parent)))

    def complaints(path: Path) -> str:
        run = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, timeout=60, check=False)
        return "\n".join(line for line in (run.stdout + run.stderr).splitlines() if str(path) in line)

    assert complaints(copy) == ""
    copy.write_text(copy.read_text().replace("KillMode=mixed", "KillMode=gently"))
    assert "gently" in complaints(copy)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def backbone(name: str) -> dict[str, str]:
    lines = (DEPLOY / f"{name}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_compose_sets_only_what_is_a_setting() -> None:
    keys = {key for service in compose()["services"].values() for key in service.get("environment", {})}
    ours = {key for key in keys if not key.startswith(("RABBITMQ_", "POSTGRES_"))}
    assert {key.removeprefix(PREFIX).lower() for key in ours - set(FOREIGN)} <= set(Settings.__dataclass_fields__)
    for name in ("redis", "rabbitmq"):
        environment = backbone(name)
        Settings.load(environ=environment, celery=CeleryUrls(broker_url=environment["CELERY_BROKER_URL"]))
        assert set(environment) - set(FOREIGN) <= keys
        assert environment["COMPOSE_PROFILES"] == name


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_a_backbone_of_compose_starts_the_servers_that_its_urls_name(name: str) -> None:
    services = compose()["services"]
    running = {each for each, service in services.items() if name in service.get("profiles", [name])}
    urls = [value for key, value in backbone(name).items() if key.endswith("_URL") and value]
    named = {re.sub(r"^\w+://(?:[^@/]*@)?(\w+):.*", r"\1", url) for url in urls}
    assert named <= running
    for service in running:
        for needed, how in _needed(services[service]).items():
            assert needed in services
            assert needed in running or how.get("required") is False
            if how.get("condition") == "service_healthy":
                assert "healthcheck" in services[needed]


def _needed(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    needed = service.get("depends_on", {})
    return {name: {} for name in needed} if isinstance(needed, list) else needed


def test_compose_has_three_web_processes_where_its_nginx_looks_for_them() -> None:
    services = compose()["services"]
    webs = {name: service for name, service in services.items() if name.startswith("web")}
    shell, flag, line = services["nginx"]["command"]
    assert (shell, flag) == ("sh", "-c")
    (source,) = re.findall(r"/etc/petiole/\S+\.conf", line)
    assert f"./{Path(source).name}:{source}:ro" in services["nginx"]["volumes"]
    # The command's own sed, applied to the file.
    sed = line.split(" > ")[0].replace(source, str(DEPLOY / "nginx.conf"))
    text = subprocess.run([shell, flag, sed], capture_output=True, text=True, check=True, timeout=10).stdout
    upstreams = re.findall(r"^\s*server (\w+):(\d+) ", text, re.MULTILINE)
    assert len(upstreams) == len(webs) == 3
    for name, port in upstreams:
        command = webs[name]["command"]
        assert command[command.index("--bind") + 1] == f"0.0.0.0:{port}"
        assert webs[name]["hostname"] == name == f"web{port}"
        assert (ROOT / command[command.index("--config") + 1]).is_file()
    assert re.search(r"^\s*listen 8000;", text, re.MULTILINE)
    assert services["nginx"]["ports"] == ["127.0.0.1:8000:8000"]


def test_compose_keeps_what_redis_is_told() -> None:
    command = " ".join(compose()["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_image_has_what_its_commands_run() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists()
    build = compose()["x-application"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert json.dumps(compose())  # every anchor is resolved
