"""Middleware in front of an application's routes: proxies, Flask-WTF's CSRF protection, Flask-Limiter. All are real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_socketio import SocketIO
from flask_wtf.csrf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from petiole import Petiole
from petiole.exports import exports_blueprint
from tests.integration.test_flask_setups import plain


def made(
    redis_url: str, *, before: Callable[[Flask], object] = lambda app: None, origins: Any = None, **config: Any
) -> tuple[Petiole, Flask]:
    """An application; `before` is called with it before Petiole is."""
    app = plain(redis_url, **config)
    before(app)
    petiole = Petiole(app, SocketIO(app, async_mode="threading", cors_allowed_origins=origins))
    app.testing = True  # nothing in the background
    app.add_url_rule("/", "page", lambda: petiole.user() or "")
    app.add_url_rule("/start", "start", lambda: petiole.accepted(petiole.start("a.task")))
    return petiole, app


def started(browser: FlaskClient, base_url: str = "http://localhost") -> str:
    """The address of a task that this browser has started."""
    return str(browser.get("/start", base_url=base_url).json["links"]["self"])


def changes(browser: FlaskClient, **headers: str) -> list[int]:
    """The answers to all changing requests of a page."""
    task, sent = started(browser), {"headers": {name.replace("_", "-"): value for name, value in headers.items()}}
    return [
        browser.post(f"{task}/cancel", **sent).status_code,
        browser.post(f"{task}/retry", **sent).status_code,
        browser.post("/petiole/inbox/acknowledge", json={"all": True}, **sent).status_code,
        browser.delete(task, **sent).status_code,
    ]


DONE = [202, 202, 200, 204]


class TestOrigins:
    @pytest.mark.parametrize(
        ("host", "headers", "origins"),
        [
            ("site.example", {"Origin": "http://site.example"}, None),
            ("site.example", {"Origin": "http://site.example:80"}, None),
            ("site.example:80", {"Origin": "http://site.example"}, None),
            ("site.example:8080", {"Origin": "http://site.example:8080"}, None),
            ("[::1]:8080", {"Origin": "http://[::1]:8080"}, None),
            # A proxy that drops the port, or terminates TLS, and forwards that in headers or not at all.
            ("site.example", {"Origin": "http://site.example:8080"}, ["http://site.example:8080"]),
            ("site.example", {"Origin": "https://site.example"}, "https://site.example"),
            ("web:5000", {"Origin": "https://a.example", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "a.example"}, None),
            ("site.example", {"Origin": "https://site.example", "X_Forwarded_Proto": "https, http"}, None),
            ("site.example", {"Origin": "http://site.example:8080", "X_Forwarded_Port": "8080"}, None),
            # The browser itself says that the page is this site's, whatever the proxy does to the address.
            ("web:5000", {"Origin": "https://site.example", "Sec_Fetch_Site": "same-origin"}, None),
            ("web:5000", {"Origin": "null", "Sec_Fetch_Site": "same-origin"}, None),
            ("site.example", {}, None),
        ],
    )  # fmt: skip
    def test_a_page_of_this_site_may_change_its_tasks(self, redis_url, host, headers, origins):
        _, app = made(redis_url, origins=origins)
        browser = app.test_client()
        base = f"http://{host}"
        task, sent = started(browser, base), {name.replace("_", "-"): value for name, value in headers.items()}
        assert browser.post(f"{task}/cancel", headers=sent, base_url=base).status_code == 202

    @pytest.mark.parametrize(
        ("headers", "origins"),
        [
            ({"Origin": "http://evil.example"}, None),
            ({"Origin": "http://site.example:8080"}, None),
            ({"Origin": "https://site.example"}, None),  # another scheme is another site
            ({"Origin": "http://other.example"}, ["http://other.example"]),  # with a token only
            ({"Origin": "http://site.example.evil.example"}, None),
            ({"Origin": "null"}, None),
            ({"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"}, None),
            ({"Origin": "http://sub.site.example", "Sec_Fetch_Site": "same-site"}, None),
            ({"Sec_Fetch_Site": "cross-site"}, None),
            ({"Origin": "http://[site.example"}, None),
            ({"Origin": "http://site.example:port"}, None),
        ],
    )
    def test_a_page_of_another_site_may_not(self, redis_url, headers, origins):
        _, app = made(redis_url, origins=origins)
        browser = app.test_client()
        base = "http://site.example"
        task, sent = started(browser, base), {name.replace("_", "-"): value for name, value in headers.items()}
        refused = browser.post(f"{task}/cancel", headers=sent, base_url=base)
        assert refused.status_code == 403
        assert "than site.example" in refused.json["detail"]
        assert "cors_allowed_origins" in refused.json["detail"]

    def test_proxy_fix_is_enough(self, redis_url):
        def fix(app: Flask) -> None:
            app.wsgi_app = ProxyFix(app.wsgi_app, x_proto=1, x_host=1, x_port=1)  # type: ignore[method-assign]

        _, app = made(redis_url, before=fix)
        browser = app.test_client()
        proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "site.example", "X-Forwarded-Port": "8443"}
        task = started(browser)
        sent = {"Origin": "https://site.example:8443", **proxied}
        assert browser.post(f"{task}/cancel", headers=sent).status_code == 202


class TestCsrfProtection:
    @pytest.mark.parametrize("first", [True, False])
    def test_what_a_page_changes_needs_no_token_whichever_is_set_up_first(self, redis_url, first):
        protect = CSRFProtect()
        _, app = made(redis_url, before=protect.init_app if first else lambda app: None)
        if not first:
            protect.init_app(app)
        app.add_url_rule("/own", "own", lambda: "changed", methods=["POST"])
        browser = app.test_client()
        assert changes(browser, Origin="http://localhost") == DONE
        # The page without JavaScript has its own forms.
        task = started(browser)
        form = browser.post(f"{task}/cancel", headers={"Accept": "text/html", "Origin": "http://localhost"})
        assert (form.status_code, form.headers["Location"]) == (303, task)
        # Another site's page is still refused, and the application's own routes are as protected as before.
        assert changes(browser, Origin="http://evil.example") == [403] * 4
        assert browser.post("/own", headers={"Origin": "http://localhost"}).status_code == 400

    def test_exports_need_no_token_either(self, redis_url, tmp_path: Path):
        petiole, app = made(redis_url, before=CSRFProtect)
        app.register_blueprint(exports_blueprint(petiole, database=tmp_path / "x.sqlite", directory=tmp_path))
        browser = app.test_client()
        assert browser.post("/exports", json={}, headers={"Origin": "http://localhost"}).status_code not in (400, 403)
        assert browser.post("/exports", json={}, headers={"Origin": "http://evil.example"}).status_code == 403


class TestLimiter:
    @pytest.mark.parametrize("first", [True, False])
    def test_its_default_does_not_count_for_readiness_and_pages(self, redis_url, first):
        limiter = Limiter(get_remote_address, default_limits=["2 per hour"], storage_uri="memory://")
        _, app = made(redis_url, before=limiter.init_app if first else lambda app: None)
        if not first:
            limiter.init_app(app)
        app.add_url_rule("/own", "own", lambda: "seen")
        browser = app.test_client()
        task = started(browser)
        for path in (
            "/petiole/ready",
            "/petiole/alive",
            task,
            f"{task}/events",
            "/petiole/inbox",
            "/petiole/static/petiole.js",
        ):
            assert [browser.get(path).status_code for _ in range(4)] == [200] * 4, path
        assert [browser.get("/own").status_code for _ in range(3)] == [200, 200, 429]

    def test_a_limit_of_its_own_holds(self, redis_url):
        limiter = Limiter(get_remote_address, default_limits=["2 per hour"], storage_uri="memory://")
        _, app = made(redis_url, before=limiter.init_app)
        limiter.limit("3 per hour")(app.blueprints["petiole"])
        browser = app.test_client()
        assert [browser.get("/petiole/alive").status_code for _ in range(4)] == [200, 200, 200, 429]
