"""SECURITY.md names tests and pages that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_each_test_that_it_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))
    }
    assert len(named) > 10
    assert named - there == set()


def test_each_page_and_heading_that_it_links_to_is_there():
    for path, heading in re.findall(r"\]\(([\w/.]+)#([\w-]+)\)", TEXT):
        headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", said).lower().replace(" ", "-") for said in headings}, (
            f"{path}#{heading}"
        )
