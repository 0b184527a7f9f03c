"""The browser file in the package matches its sources, and is small."""

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
SERVED = ROOT / "src" / "petiole" / "web" / "static" / "petiole.js"
# The client, the elements and Socket.IO's client, which is a third of the file.
LARGEST = 44_500


def bundle_command(outfile: Path) -> list[str]:
    """The package's own bundle command, writing elsewhere."""
    script = json.loads((BROWSER / "package.json").read_text())["scripts"]["bundle"]
    parts = [part for part in shlex.split(script) if not part.startswith("--outfile=")]
    assert parts[0] == "esbuild"
    return [str(BROWSER / "node_modules" / ".bin" / "esbuild"), *parts[1:], f"--outfile={outfile}"]


def test_the_browser_file_is_the_bundle_of_its_sources(tmp_path: Path) -> None:
    command = bundle_command(tmp_path / "petiole.js")
    if not Path(command[0]).exists():
        remedy = "The browser's tools aren't installed. Run: make setup"
        if os.environ.get("CI"):
            pytest.fail(remedy)
        pytest.skip(remedy)
    subprocess.run(command, cwd=BROWSER, check=True, timeout=30)
    assert (tmp_path / "petiole.js").read_text() == SERVED.read_text(), "Run: npm --prefix browser run bundle"


def test_the_browser_file_is_below_44_kb_on_the_way() -> None:
    assert len(gzip.compress(SERVED.read_bytes(), mtime=0)) < LARGEST
