"""Imports go one way, and a worker needs no Flask."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import petiole

SOURCE = Path(petiole.__file__).parent
# From the bottom up: a module imports its own level and those below. A part's module may be on a lower level than its part.
LAYERS = (
    ("errors", "protocol"),
    ("logs", "extras", "tls", "redis.url"),
    ("celery_urls", "settings", "loop"),
    ("redis",),
    ("bus",),
    ("journal",),
    ("dispatch",),
    ("worker", "web", "tqdm"),
    ("exports", "client", "servers", "testing"),
    ("cli", "demo"),
)
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}
STRANGERS = (("web", "worker"), ("worker", "web"), ("client", "exports"), ("exports", "client"))
PURE = ("errors", "protocol", "redis.url", "journal.answers", "journal.rules", "worker.estimate", "dispatch.outcome")
WITHOUT_IO = {"socket", "redis", "celery", "flask", "threading", "subprocess", "time", "requests", "urllib.request"}


def modules():
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ["petiole", *path.relative_to(SOURCE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def part_of(module):
    """Return the part of the package that a module belongs to: `worker` for `petiole.worker.run`."""
    names = module.split(".")[1:]
    return next((part for end in range(len(names), 0, -1) if (part := ".".join(names[:end])) in LEVELS), "")


def resolved(module, name):
    """Return the module that `from module import name` leads to; for a name that a package re-exports, its own module."""
    if f"{module}.{name}" in MODULES:
        return f"{module}.{name}"
    if module == "petiole" and name in petiole._HOMES:
        return petiole._HOMES[name]
    if module in MODULES and MODULES[module].name == "__init__.py":
        for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
                return resolved(node.module, name)
    return module


def imports(path, *, package=""):
    """Every module of Petiole that a file imports, at its top or within a function, for types or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; imports name their module in full"
            found |= {resolved(node.module, alias.name) for alias in node.names}
    return found


def test_every_module_has_a_level_and_every_level_a_module():
    assert {module for module in MODULES if not part_of(module)} == {"petiole"}
    assert {part_of(module) for module in MODULES} - {""} == set(LEVELS)


@pytest.mark.parametrize("module", [module for module in MODULES if module != "petiole"])
def test_imports_go_one_way(module):
    level = LEVELS[part_of(module)]
    own = [found for found in imports(MODULES[module]) if found.split(".")[0] == "petiole"]
    upward = [found for found in own if part_of(found) and LEVELS[part_of(found)] > level]
    assert upward == []


def loads(module):
    """Every module that importing `module` loads first. From outside a package that includes the package's `__init__`."""
    found = imports(MODULES[module]) & MODULES.keys()
    packages = {name[:at] for name in found for at, character in enumerate(name) if character == "."}
    return found | {package for package in packages if not f"{module}.".startswith(f"{package}.")}


def test_no_module_loads_itself_by_way_of_others():
    graph = {module: loads(module) for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_only_the_package_itself_imports_the_extension():
    line = re.compile(r"^\s*(from|import) petiole\.web\.extension\b", re.MULTILINE)
    assert {module for module, path in MODULES.items() if line.search(path.read_text(encoding="utf-8"))} == {"petiole"}


@pytest.mark.parametrize(("part", "stranger"), STRANGERS)
def test_web_and_worker_do_not_know_each_other(part, stranger):
    for module, path in MODULES.items():
        if part_of(module) == part:
            assert [found for found in imports(path) if part_of(found) == stranger] == [], module


@pytest.mark.parametrize("part", PURE)
def test_what_decides_does_no_input_or_output(part):
    modules = [module for module in MODULES if f"{module}.".startswith(f"petiole.{part}.")]
    assert modules != []
    for module in modules:
        assert imports(MODULES[module]) & WITHOUT_IO == set(), module


def test_the_package_itself_imports_only_its_errors_until_it_is_asked():
    eager = set()
    for node in ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            eager.add(node.module)
    assert {module for module in eager if module.startswith("petiole")} == {"petiole.errors"}


@pytest.mark.parametrize("name", petiole.__all__)
def test_what_the_package_offers_is_there(name):
    pytest.importorskip("flask_socketio")
    assert getattr(petiole, name) is not None


def test_a_name_that_the_package_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        petiole.nothing  # noqa: B018


@pytest.mark.parametrize(
    "module",
    [
        "petiole",
        "petiole.worker.lifecycle",
        "petiole.worker.progress",
        "petiole.dispatch.tracking",
        "petiole.exports.task",
        "petiole.demo.celery_app",
    ],
)
def test_a_worker_needs_no_flask(module, tmp_path):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {{'flask', 'flask_socketio', 'socketio', 'werkzeug'}}))"
    environ = {"PETIOLE_JOURNAL_URL": "redis://127.0.0.1:1/0", "CELERY_BROKER_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environ, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
