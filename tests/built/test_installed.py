"""The wheel in empty environments: the README's example, one export from click to file, and its types."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import petiole
from tests.built.conftest import Environment, run
from tests.support.examples import running_example
from tests.support.system import ROOT

pytestmark = pytest.mark.timeout(300)
USER = Path(__file__).with_name("follow.py")


def test_the_readmes_example_runs_as_the_readme_says(environment: Environment) -> None:
    folder = environment.directory / "minimal"
    shutil.copytree(ROOT / "examples" / "minimal", folder, ignore=shutil.ignore_patterns("__pycache__"))
    with running_example(folder, environment.directory, settings=environment.variables, gunicorn_options="") as example:
        seen = json.loads(environment.run("python", USER, example.url, timeout=90))
    assert Path(seen.pop("module")).is_relative_to(environment.directory / "venv")
    assert seen == {
        "state": "succeeded",
        "completed": 1000,
        "complete": True,
        "version": petiole.__version__,
        "script": 200,
    }


def test_the_types_of_the_wheel_are_seen_by_a_users_mypy(environment: Environment) -> None:
    script = environment.directory / "typed.py"
    script.write_text(
        "from petiole import track\nfrom petiole.client import TaskClient\n"
        "reveal_type(TaskClient('').watch('1'))\nreveal_type(list(track([1, 2])))\n"
    )
    interpreter = ["--python-executable", environment.programs / "python"]
    options = ["--no-incremental", "--config-file", "/dev/null", "--strict"]
    said = run(
        sys.executable, "-m", "mypy", *options, *interpreter, script, directory=environment.directory, timeout=90
    )
    assert '"petiole.client.view.TaskView"' in said
    assert '"list[int]"' in said.replace("builtins.", "")


def test_an_export_goes_from_click_to_a_checked_file_on_the_redis_that_comes_along(environment: Environment) -> None:
    environment.install("demo")
    said = environment.run("petiole", "demo", "--once", timeout=120)
    assert "336,776" in said
