"""The browser files in the package match their sources, and are small."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.system import ROOT

BROWSER = ROOT / "browser"
SERVED = ROOT / "src" / "petiole" / "web" / "static"
# The files, the scripts that bundle them, and how large they may be on the way.
FILES = {
    # The client, the elements and Socket.IO's client, which is a third of the file.
    "petiole.js": ("bundle", 45_300),
    # What only a group's card needs: loaded with the first group.
    "petiole-group.js": ("bundle-group", 7_000),
}


def bundle_command(name: str, outfile: Path) -> list[str]:
    """The package's own bundle command, writing elsewhere."""
    script = json.loads((BROWSER / "package.json").read_text())["scripts"][FILES[name][0]]
    parts = [part for part in shlex.split(script) if not part.startswith("--outfile=")]
    assert parts[0] == "esbuild"
    return [str(BROWSER / "node_modules" / ".bin" / "esbuild"), *parts[1:], f"--outfile={outfile}"]


@pytest.mark.parametrize("name", FILES)
def test_a_browser_file_is_the_bundle_of_its_sources(name: str, tmp_path: Path) -> None:
    command = bundle_command(name, tmp_path / name)
    if not Path(command[0]).exists():
        remedy = "The browser's tools aren't installed. Run: make setup"
        if os.environ.get("CI"):
            pytest.fail(remedy)
        pytest.skip(remedy)
    subprocess.run(command, cwd=BROWSER, check=True, timeout=30)
    assert (tmp_path / name).read_text() == (SERVED / name).read_text(), (
        f"Run: npm --prefix browser run {FILES[name][0]}"
    )


@pytest.mark.parametrize("name", FILES)
def test_a_browser_file_is_small_on_the_way(name: str) -> None:
    assert len(gzip.compress((SERVED / name).read_bytes(), mtime=0)) < FILES[name][1]


def test_the_licence_of_each_package_in_the_browser_file_comes_with_it(tmp_path: Path) -> None:
    bundled = tmp_path / "bundled.json"
    command = [*bundle_command("petiole.js", tmp_path / "petiole.js"), f"--metafile={bundled}"]
    subprocess.run(command, cwd=BROWSER, check=True, timeout=30)
    inputs = [
        path.rpartition("node_modules/")[2]
        for path in json.loads(bundled.read_text())["inputs"]
        if "node_modules/" in path
    ]
    packages = {"/".join(path.split("/")[: 2 if path.startswith("@") else 1]) for path in inputs}
    assert "socket.io-client" in packages
    said = (SERVED / "LICENSES.txt").read_text()
    for package in packages:
        assert (BROWSER / "node_modules" / package / "LICENSE").read_text().strip() in said, package
