"""Wheel, npm package and changelog have one version; the protocol's page and both languages name the same ones."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import petiole
from petiole.protocol.events import VERSIONS

ROOT = Path(__file__).parents[2]


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_wheel_npm_package_and_changelog_have_one_version():
    lock = json.loads(text_of("browser/package-lock.json"))
    newest = re.findall(r"^## \[(\d[^\]]*)\]", text_of("CHANGELOG.md"), re.MULTILINE)[0]
    versions = {
        "pyproject.toml": tomllib.loads(text_of("pyproject.toml"))["project"]["version"],
        "src/petiole/__init__.py": petiole.__version__,
        "browser/package.json": json.loads(text_of("browser/package.json"))["version"],
        "browser/package-lock.json": lock["version"],
        "browser/package-lock.json, its package": lock["packages"][""]["version"],
        "CHANGELOG.md": newest,
        **{
            name: name.split("-")[1].removesuffix(".tgz")
            for name in re.findall(r"petiole-\d[\w.-]+", text_of("README.md"))
        },
    }
    assert len(versions) == 8
    assert set(versions.values()) == {petiole.__version__}, versions


def test_the_protocols_page_and_both_languages_name_the_same_versions():
    heading = text_of("protocol/README.md").splitlines()[0]
    assert tuple(int(number) for number in re.findall(r"\d+", heading)) == VERSIONS
    spoken = re.search(r"^export const VERSIONS\b.*\[(.*)\];", text_of("browser/src/protocol/events.ts"), re.MULTILINE)
    assert spoken is not None
    assert tuple(int(number) for number in spoken[1].split(",")) == VERSIONS
