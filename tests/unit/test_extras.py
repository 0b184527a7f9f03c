"""A missing package is named with the extra that brings it, wherever an application first needs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# The missing packages, the action, and the beginning and the end of the message.
MISSING = [
    ("flask", "from petiole import Petiole", "Petiole's web side needs flask", "petiole[web]"),
    ("flask_socketio", "from petiole import Petiole", "Petiole's web side needs flask_socketio", "petiole[web]"),
    ("itsdangerous", "import petiole.web.access.tokens", "Petiole's web side needs itsdangerous", "petiole[web]"),
    ("flask", "import petiole.web.extension", "Petiole's web side needs flask", "petiole[web]"),
    ("requests", "from petiole.client import TaskClient", "Petiole's Python client needs requests", "petiole[client]"),
    ("socketio", "from petiole.client.view import TaskView", "Petiole's Python client needs socketio", "petiole[client]"),
    ("aiohttp", "from petiole.client import AsyncTaskClient", "Petiole's async client needs aiohttp", "petiole[async]"),
    ("sqlalchemy", OPEN := "open_journal('sqlite:////tmp/x')", "A journal in a database needs sqlalchemy", "petiole[sql]"),
    ("psycopg", OPEN, "A journal in a database needs psycopg", "petiole[sql]"),
    ("sqlalchemy", "import petiole.journal.sql.server", "A journal in a database needs sqlalchemy", "petiole[sql]"),
    ("pyarrow", "from petiole.exports import exports_blueprint", "Petiole's data export needs pyarrow", "petiole[exports]"),
    ("pyarrow", "import petiole.exports.task", "Petiole's data export needs pyarrow", "petiole[exports]"),
    ("flask", "from petiole.exports import exports_blueprint", "Petiole's data export needs flask", "petiole[exports]"),
    ("tqdm", "import petiole.tqdm", "petiole.tqdm needs tqdm", "petiole[tqdm]"),
]  # fmt: skip

SCRIPT = """
import importlib, json, sys

class Away:
    names = ()

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

away = Away()
sys.meta_path.insert(0, away)

import importlib.util
found = importlib.util.find_spec

def find_spec(name, package=None):
    return None if name in away.names else found(name, package)

importlib.util.find_spec = find_spec

def open_journal(url):
    from petiole.journal import open_journal
    from petiole.settings import Settings
    open_journal(Settings(journal_url=url, bus_url="redis://127.0.0.1:1/0"))

said = []
for package, statement in json.load(sys.stdin):
    for name in list(sys.modules):
        if name.partition(".")[0] in ("petiole", package):
            del sys.modules[name]
    away.names = (package,)
    try:
        exec(statement)
        said.append(["", ""])
    except Exception as error:
        said.append([type(error).__name__, str(error)])
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[tuple[str, str], list[str]]:
    """The result of each of them, all in one separate process."""
    asked = [(package, statement) for package, statement, *_ in MISSING]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=True
    )
    return dict(zip(asked, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("package", "statement", "begins", "extra"), MISSING)
def test_it_is_one_sentence_with_the_extra(said, package, statement, begins, extra):
    kind, text = said[package, statement]
    assert kind in ("MissingExtra", "SetupError", "ImportError")
    assert text.startswith(begins)
    assert extra in text
