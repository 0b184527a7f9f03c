"""A Chromium, the demo and a small site of hard cases, each as real processes, started once."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from petiole.demo.system import Options, System, running
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import find_redis_server, free_port, redis_command
from tests.browser.cable import Cable, cable_to
from tests.support.system import ROOT

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
REMEDY = "There is no Chromium on the PATH. Install it with: apt install chromium"
ROWS_PER_SECOND = 8000.0
# As short as a busy machine allows, so that a test doesn't wait long for a verdict.
QUICK = {
    "PETIOLE_HEARTBEAT": "0.7",
    "PETIOLE_LEASE": "3",
    "PETIOLE_LOST_AFTER": "3",
    "PETIOLE_CANCEL_GRACE": "1",
    "PETIOLE_HEAD_CHECK": "1",
}
READY = 60.0

# Before the page's own scripts: reports violations of the content security policy to the test.
LISTEN = """
globalThis.refusedByPolicy = [];
addEventListener("securitypolicyviolation", (event) =>
  refusedByPolicy.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""

expect.set_options(timeout=15_000)


def find_chromium() -> str:
    """Return the path of a Chromium; without one the test fails in CI and is skipped elsewhere."""
    for name in CHROMIUMS:
        found = shutil.which(name)
        if found:
            return found
    if os.environ.get("CI"):
        pytest.fail(REMEDY)
    pytest.skip(REMEDY)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    options = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=options)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """One user's browser, and the errors on its pages."""

    context: BrowserContext
    home: str
    wrong: list[str] = field(default_factory=list)
    # Texts of console errors that the test causes: a browser reports every refused connection.
    expected: tuple[str, ...] = ()

    def open(self, path: str = "/") -> Page:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.goto(self.home + path)
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and not any(expected in text for expected in self.expected):
            self.wrong.append(f"console error: {text}")

    def complaints(self) -> list[str]:
        """Violations of the policy, exceptions of a page, and errors in the console."""
        return [
            *self.wrong,
            *(each for page in self.context.pages for each in page.evaluate("globalThis.refusedByPolicy ?? []")),
        ]


Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def demo(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The Data Export application, slow enough to watch, and supervised as by `petiole demo`."""
    before = {name: os.environ.get(name) for name in QUICK}
    os.environ.update(QUICK)
    lines: list[str] = []
    stop = threading.Event()
    options = Options(
        host="127.0.0.1",
        port=0,
        workers=1,
        directory=tmp_path_factory.mktemp("demo"),
        backbone="redis",
        redis_url=None,
        database_url=None,
        rows_per_second=ROWS_PER_SECOND,
    )
    try:
        with running(options, lambda name, line: lines.append(f"{name}: {line}")) as system:

            def look_after() -> None:
                while not stop.wait(0.1):
                    system.workers.attend()

            keeper = threading.Thread(target=look_after)
            keeper.start()
            try:
                yield system
                system.processes.check()
            finally:
                stop.set()
                keeper.join()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        (options.directory / "demo.log").write_text("\n".join(lines))


@pytest.fixture(scope="session")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a site whose tasks are hard cases: `tests/browser/tasks.py`, shown by `tests/browser/site.py`."""
    directory = tmp_path_factory.mktemp("site")
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    redis_port, port = free_port(), free_port()
    environment = {"CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0", "PYTHONPATH": str(ROOT), **QUICK}

    def start(name: str, *command: str, ready_line: str | None = None) -> Process:
        python = [sys.executable, "-m", *command]
        return processes.start(name, python, environment=environment, directory=ROOT, ready_line=ready_line)

    def answers() -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{port}/", timeout=2).ok
        except requests.RequestException:
            return False

    try:
        processes.start("redis", redis_command(find_redis_server(), port=redis_port, directory=directory / "redis"))
        worker = start(
            "worker",
            *("celery", "-A", "tests.browser.tasks", "worker", "--concurrency", "2", "--loglevel", "INFO"),
            *("--without-gossip", "--without-mingle"),
            ready_line=" ready.",
        )
        web = start(
            "web",
            *("gunicorn", "--config", "python:petiole.demo.gunicorn_conf"),
            *("--bind", f"127.0.0.1:{port}", "tests.browser.site:create_app()"),
        )
        processes.wait_ready(web, timeout=READY, condition=answers)
        processes.wait_ready(worker, timeout=READY)
        yield f"http://127.0.0.1:{port}"
    finally:
        processes.stop()
        (directory / "site.log").write_text("\n".join(log))


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """`visit(url, **options)`: a new user; at the end there must be no errors."""
    visitors: list[Visitor] = []
    with ExitStack() as stack:

        def visit(url: str, *, expected: tuple[str, ...] = (), **options: Any) -> Visitor:
            context = browser.new_context(locale="en-GB", **options)
            stack.callback(context.close)
            context.add_init_script(LISTEN)
            visitors.append(Visitor(context, url, expected=expected))
            return visitors[-1]

        yield visit
        for visitor in visitors:
            assert visitor.complaints() == []


@pytest.fixture
def cable(demo: System) -> Iterator[Cable]:
    """A cable to the demo."""
    with cable_to(demo.url) as cable:
        yield cable
