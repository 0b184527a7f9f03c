"""`{{ petiole_assets() }}`: the script tag with version, integrity and nonce, and how long a browser keeps the files."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest
from flask import render_template_string

from petiole.web.http import assets
from tests.integration.test_extension import Site

TAG = re.compile(
    r'<script src="(/petiole/static/petiole\.js\?v=[0-9a-f]{16})" integrity="(sha384-[^"]+)"([^>]*)></script>'
)
KEPT = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def site(redis_url: str) -> Site:
    return Site(redis_url)


def tag_of(site: Site, template: str = "{{ petiole_assets() }}", **context: object) -> tuple[str, str, str]:
    with site.app.test_request_context():
        found = TAG.fullmatch(render_template_string(template, **context))
    assert found is not None
    return found[1], found[2], found[3]


def test_the_script_is_what_the_tag_says_and_is_kept_for_a_year_in_that_version_only(site: Site) -> None:
    address, integrity, rest = tag_of(site)
    assert rest == ""
    browser = site.browser()
    script = browser.get(address)
    assert script.headers["Cache-Control"] == KEPT
    assert integrity == f"sha384-{base64.b64encode(hashlib.sha384(script.data).digest()).decode()}"
    version = address.partition("?v=")[2]
    second = f"/petiole/static/petiole-group.js?v={version}"
    assert browser.get(second).headers["Cache-Control"] == KEPT
    asked_again = browser.get(address, headers={"If-None-Match": script.headers["ETag"]})
    assert (asked_again.status_code, asked_again.headers["Cache-Control"]) == (304, KEPT)
    # Of a page that an older or a newer process has made, and of one that names no version.
    for other in (address.replace(version, "0" * 16), address.partition("?")[0]):
        response = browser.get(other)
        assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-cache")
    assert "immutable" not in browser.get(f"/petiole/static/missing.js?v={version}").headers.get("Cache-Control", "")
    assert "immutable" not in browser.get(f"/petiole/alive?v={version}").headers.get("Cache-Control", "")


def test_the_nonce_is_the_pages_own(site: Site) -> None:
    assert tag_of(site, csp_nonce="abc")[2] == ' nonce="abc"'
    # As Flask-Talisman has it.
    assert tag_of(site, csp_nonce=lambda: "made now")[2] == ' nonce="made now"'
    assert tag_of(site, "{{ petiole_assets(nonce='own', defer=True) }}", csp_nonce="abc")[2] == ' nonce="own" defer'
    assert tag_of(site, "{{ petiole_assets(nonce=nonce) }}", nonce='"><x>')[2] == ' nonce="&#34;&gt;&lt;x&gt;"'
    assert tag_of(site, csp_nonce=None)[2] == ""


def test_a_file_that_has_changed_has_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(assets._FOLDER, tmp_path / "static"))
    monkeypatch.setattr(assets, "_FOLDER", folder)
    first = assets.assets()
    assert assets.assets() is first
    for name in ("petiole-group.js", "petiole.js"):
        path = folder / name
        path.write_text(f"{path.read_text()}\n")
        os.utime(path, ns=(1, 1))
    second = assets.assets()
    assert (second.version == first.version, second.integrity == first.integrity) == (False, False)
