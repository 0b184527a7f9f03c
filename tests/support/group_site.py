"""A served application for tests of groups over HTTP, and what those ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from click.testing import CliRunner, Result
from flask import Flask

from petiole import Petiole
from petiole.cli import cli
from petiole.journal.answers import Snapshot
from tests.support.nearby import Nearby, make_app, served
from tests.support.open_group import OpenGroup

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


class GroupSite(Nearby):
    petiole: Petiole
    deleted: list[Snapshot]


@contextmanager
def serving_groups(
    redis_url: str, add_routes: Callable[[Flask, Petiole], None] = lambda *_: None, **config: Any
) -> Iterator[GroupSite]:
    """Serve an application with these routes of its own; `deleted` has what it was told to delete."""
    petiole = Petiole()
    app = make_app(redis_url, petiole, PETIOLE_RIGHTS_CHECK=0.2, PETIOLE_LINGER=0.1, **config)
    deleted: list[Snapshot] = []
    petiole.on_delete(deleted.append)
    add_routes(app, petiole)
    with served(app) as nearby:
        nearby.__class__ = GroupSite
        assert isinstance(nearby, GroupSite)
        nearby.petiole, nearby.deleted = petiole, deleted
        yield nearby


def owner(session: requests.Session) -> str:
    return f"user:{session.headers['X-Person']}"


def problem(response: requests.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    return found


def get(site: GroupSite, session: requests.Session, group: OpenGroup | str, call: str = "", **headers: str) -> Any:
    feed = group if isinstance(group, str) else group.feed
    return session.get(site.tasks(feed, call), headers=headers, timeout=5, allow_redirects=False)


def children(site: GroupSite, session: requests.Session, group: OpenGroup, query: str = "") -> list[dict[str, Any]]:
    return children_of(site, session, group.feed, query)


def children_of(site: GroupSite, session: requests.Session, feed: str, query: str = "") -> list[dict[str, Any]]:
    """All children of a query, over its pages; each answer is checked on the way."""
    found: list[dict[str, Any]] = []
    url: str | None = site.tasks(feed, f"/children{query}")
    while url is not None:
        answer = session.get(url, timeout=5)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["children"]
        link = answer.links.get("next", {}).get("url")
        assert (link is None) == (page["next"] is None)
        url = None if link is None else site.url + link
    return found


def verify(site: GroupSite, feed: str) -> Result:
    """Run `petiole verify` on the site's journal."""
    settings = site.app.extensions["petiole"].settings
    arguments = ["verify", feed, "--journal-url", settings.journal_url]
    return CliRunner().invoke(cli, arguments, env={"PETIOLE_KEY_PREFIX": settings.key_prefix})
