"""The npm package in empty projects: Node imports each entry, a user's TypeScript is checked, the React example is built."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.built.conftest import run
from tests.support.system import ROOT

pytestmark = pytest.mark.timeout(300)
USER = """\
import { type Document, TaskClient } from "petiole";

const client: TaskClient = new TaskClient({ url: "https://example.org" });
const view = client.watch("1");
view.on("change", (document: Document) => {
  const state: string | undefined = document.state;
  console.log(state, document.progress?.completed);
});
// @ts-expect-error: there is no such event
view.on("nothing", () => undefined);
"""


@pytest.fixture(scope="module")
def project(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("project")
    (directory / "package.json").write_text(json.dumps({"name": "user", "private": True, "type": "module"}))
    tools = json.loads((ROOT / "browser" / "package.json").read_text(encoding="utf-8"))
    # The optional peers come with their types.
    peers = [prefix + name for name in tools.get("peerDependencies", {}) for prefix in ("", "@types/")]
    wanted = [str(tarball), *(f"{name}@{tools['devDependencies'][name]}" for name in ("typescript", *peers))]
    run("npm", "install", "--silent", "--no-audit", "--no-fund", *wanted, directory=directory, timeout=240)
    return directory


def entries(project: Path) -> list[str]:
    package = json.loads((project / "node_modules" / "petiole" / "package.json").read_text(encoding="utf-8"))
    return [name.replace(".", "petiole", 1) for name in package["exports"] if not name.endswith(".json")]


def test_node_imports_each_entry(project: Path) -> None:
    for entry in entries(project):
        said = run(
            "node",
            "--eval",
            f"import('{entry}').then(m => console.log(Object.keys(m).length))",
            directory=project,
            timeout=30,
        )
        assert re.fullmatch(r"\d+\n", said), entry


@pytest.mark.parametrize("resolution", ["nodenext", "bundler"])
def test_a_users_typescript_is_checked_against_the_types(project: Path, resolution: str) -> None:
    imports = "".join(
        f'import * as entry{at} from "{entry}";\nvoid entry{at};\n' for at, entry in enumerate(entries(project))
    )
    (project / "user.ts").write_text(USER)
    (project / "entries.ts").write_text(imports)
    module = "nodenext" if resolution == "nodenext" else "esnext"
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", module, "--moduleResolution", resolution]
    tsc = project / "node_modules" / ".bin" / "tsc"
    run(tsc, *options, "user.ts", "entries.ts", directory=project, timeout=120, environment=dict(os.environ))


def test_the_react_example_is_built_with_it(tarball: Path, tmp_path: Path) -> None:
    example = tmp_path / "react"
    shutil.copytree(
        ROOT / "examples" / "react",
        example,
        ignore=shutil.ignore_patterns("node_modules", "dist", "package-lock.json", ".npmrc"),
    )
    package = json.loads((example / "package.json").read_text(encoding="utf-8"))
    package["dependencies"]["petiole"] = f"file:{tarball}"
    (example / "package.json").write_text(json.dumps(package))
    run("npm", "install", "--silent", "--no-audit", "--no-fund", directory=example, timeout=240)
    run("npm", "run", "build", "--silent", directory=example, timeout=120)
    assert list((example / "dist" / "assets").glob("*.js"))
