"""CONTRIBUTING's map shows the tree as it is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Below these every folder with code has its own line; for the others, the top one is enough.
MAPPED_WHOLE = ("src/petiole", "browser", "tests", "chaos", "suites")
CODE = {".py", ".html", ".js", ".ts"}


def mapped() -> list[str]:
    """Return the paths of the map, a folder's with a trailing slash."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## Where a new line goes\n")[2].partition("\n## ")[0]
    found, above = [], {0: ""}
    for line in section.splitlines():
        if row := re.fullmatch(r"    ((?:  )*)([\w.]\S*)(?:  .*)?", line):
            depth = len(row[1]) // 2
            path = above[depth] + row[2]
            above[depth + 1] = path
            found.append(path)
    return found


def tracked() -> list[Path]:
    """Return the files of the repository that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    return [path for line in listed.splitlines() if (ROOT / (path := Path(line))).exists()]


def test_each_line_of_the_map_is_there():
    paths = mapped()
    assert len(paths) == len(set(paths))
    assert [path for path in paths if (ROOT / path).is_dir() != path.endswith("/")] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_each_folder_with_code_is_on_the_map():
    folders = {
        f"{path.parents[-2]}/" for path in tracked() if len(path.parents) > 1 and not path.parts[0].startswith(".")
    }
    for path in tracked():
        if path.suffix in CODE and str(path).startswith(tuple(f"{whole}/" for whole in MAPPED_WHOLE)):
            folders |= {f"{folder}/" for folder in path.parents if len(folder.parts) > 1}
    expected = {folder for folder in folders if folder not in ("src/",)}
    missing = {folder for folder in expected if folder not in mapped() and not folder.endswith("templates/petiole/")}
    assert missing == set()


def test_each_module_at_the_top_of_the_package_is_on_the_map():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "src/petiole").glob("*.py") if path.name not in text] == []


def test_each_file_that_make_tests_is_there():
    command = [
        "make",
        "--dry-run",
        "pytest",
        "pytest-everywhere",
        "pytest-chaos",
        "test-fast",
        "test-core",
        "test-oldest",
        "test-browser",
    ]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    named = set(re.findall(r"tests/[\w/.]+(?![\w/.*])", said))
    assert "tests/contract/test_feeds.py" in named
    assert [name for name in named if not (ROOT / name).exists()] == []
