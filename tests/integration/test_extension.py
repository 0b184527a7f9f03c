"""The Flask extension: misuse is refused with a remedy, applications are separate, and hooks decide."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from flask import Flask, Response
from flask.testing import FlaskClient
from flask_socketio import SocketIO
from socketio.packet import Packet

from petiole import Petiole, init_celery
from petiole.errors import PetioleError, SetupError
from petiole.journal.answers import Snapshot
from petiole.protocol.events import Draft
from petiole.web.access.policy import Authorize
from tests.unit.values import Lazy


class Site:
    """A Flask application with Petiole, its own Celery application, and one route that starts a task."""

    def __init__(self, redis_url: str, **config: Any) -> None:
        self.app = Flask("site")
        self.app.testing = True
        self.app.config.update(SECRET_KEY="a test", PETIOLE_KEY_PREFIX=f"site-{uuid.uuid4().hex[:8]}", **config)
        self.app.extensions["celery"] = Celery("site", broker=redis_url)
        self.petiole = set_up(self.app)

        @self.app.post("/start")
        def start() -> Response:
            return self.petiole.accepted(self.petiole.start("a.task", title="A task"))

    @property
    def journal(self) -> Any:
        return self.app.extensions["petiole"].tracking.journal

    def browser(self) -> FlaskClient:
        return self.app.test_client()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Within a request of a new browser."""
        with self.app.test_request_context():
            yield


def set_up(app: Flask, petiole: Petiole | None = None, *, celery_app: Celery | None = None) -> Petiole:
    petiole = petiole or Petiole()
    socketio = SocketIO(async_mode="threading")
    petiole.init_app(app, socketio, celery_app=celery_app)
    socketio.init_app(app)
    return petiole


@pytest.fixture
def site(redis_url: str) -> Site:
    return Site(redis_url)


def plain_app(**config: Any) -> Flask:
    app = Flask("plain")
    app.config.update(SECRET_KEY="a test", TESTING=True, **config)
    return app


def test_a_second_init_app_is_refused(site: Site) -> None:
    with pytest.raises(SetupError, match=r"has Petiole already\. Call init_app once\."):
        site.petiole.init_app(site.app, SocketIO(async_mode="threading"))
    with pytest.raises(SetupError, match=r"Call init_app once\."):
        Petiole(site.app, SocketIO(async_mode="threading"))


@pytest.mark.parametrize("extension", [None, "not a Celery application"])
def test_an_application_without_celery_is_refused(extension: object) -> None:
    app = plain_app()
    if extension is not None:
        app.extensions["celery"] = extension
    with pytest.raises(SetupError, match=r"Put it into app\.extensions\['celery'\], or pass celery_app= to init_app\."):
        Petiole(app, SocketIO(async_mode="threading"))
    assert "petiole" not in app.extensions


def test_an_application_without_a_secret_key_is_refused(redis_url: str) -> None:
    app = Flask("plain")
    with pytest.raises(SetupError, match=r"Set app\.secret_key to a random value\."):
        Petiole(app, SocketIO(async_mode="threading"), celery_app=Celery("plain", broker=redis_url))
    assert "petiole" not in app.extensions


def test_people_known_by_a_login_need_no_secret_key(redis_url: str) -> None:
    app, petiole = Flask("plain"), Petiole()
    petiole.identify(lambda: "ann")
    petiole.init_app(app, SocketIO(async_mode="threading"), celery_app=Celery("plain", broker=redis_url))
    with app.test_request_context():
        assert petiole.user() == "user:ann"


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("PETIOLE_HEARTBEET", 1, "Did you mean PETIOLE_HEARTBEAT?"),
        ("PETIOLE_KEPT_FR", 1, "Did you mean PETIOLE_KEPT_FOR?"),
        ("PETIOLE_ZZZ", 1, "docs/settings.md has them all."),
        ("PETIOLE_LEASE", "long", "Set it to a value of type float."),
        ("PETIOLE_LEASE", -1, "Set it to more than 0."),
    ],
)
@pytest.mark.parametrize("place", ["environment", "flask", "celery"])
def test_a_setting_that_is_wrong_is_refused_with_its_remedy(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, place: str, key: str, value: object, remedy: str
) -> None:
    celery_app = Celery("plain", broker=redis_url)
    app = plain_app()
    if place == "environment":
        monkeypatch.setenv(key, str(value))
    elif place == "flask":
        app.config[key] = value
    else:
        celery_app.conf[key] = value
    with pytest.raises(SetupError) as refused:
        Petiole(app, SocketIO(async_mode="threading"), celery_app=celery_app)
    assert str(refused.value).startswith(key)
    assert str(refused.value).endswith(remedy)
    assert "petiole" not in app.extensions


def test_a_broker_that_is_not_redis_needs_a_journal_of_its_own(redis_url: str) -> None:
    for broker, said in [
        ("sqs://", r"Set PETIOLE_JOURNAL_URL to a redis://, postgresql:// or sqlite:/// URL\."),
        (
            "amqp://guest@127.0.0.1:1//",
            r"is RabbitMQ, which .*keeps nothing.* Set PETIOLE_JOURNAL_URL to a postgresql:// URL",
        ),
    ]:
        with pytest.raises(SetupError, match=said):
            Petiole(plain_app(), SocketIO(async_mode="threading"), celery_app=Celery("plain", broker=broker))
    app = plain_app(PETIOLE_JOURNAL_URL=redis_url)
    Petiole(app, SocketIO(async_mode="threading"), celery_app=Celery("plain", broker="amqp://guest@127.0.0.1:1//"))
    assert app.extensions["petiole"].settings.journal_url == redis_url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://localhost/x", r"begins with mysql://.*Set it to a redis://, postgresql:// or sqlite:/// URL\."),
        ("postgresql://localhost/x", r"has no bus.*Set PETIOLE_BUS_URL to a redis:// or amqp:// URL\."),
    ],
)
def test_a_journal_that_nobody_knows_or_that_has_no_bus_is_refused(url: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        Petiole(
            plain_app(PETIOLE_JOURNAL_URL=url),
            SocketIO(async_mode="threading"),
            celery_app=Celery("plain", broker="filesystem://"),
        )


def test_a_broker_whose_package_is_not_installed_is_refused(redis_url: str) -> None:
    app = plain_app(PETIOLE_JOURNAL_URL=redis_url)
    with pytest.raises(SetupError, match=r"Celery can't use its broker_url .*Install what it needs"):
        Petiole(app, SocketIO(async_mode="threading"), celery_app=Celery("plain", broker="sqs://"))


def test_a_bus_that_flask_and_celery_name_differently_is_refused(tmp_path: Path) -> None:
    celery_app = Celery("plain", broker="amqp://guest@127.0.0.1:1//")
    celery_app.conf.update(
        PETIOLE_JOURNAL_URL=f"sqlite:///{tmp_path}/journal.sqlite", PETIOLE_BUS_URL="redis://127.0.0.1:1/0"
    )
    init_celery(celery_app)
    with pytest.raises(SetupError, match="PETIOLE_BUS_URL is set differently"):
        Petiole(
            plain_app(PETIOLE_BUS_URL="redis://127.0.0.1:1/1"), SocketIO(async_mode="threading"), celery_app=celery_app
        )


def test_adoption_that_celery_knows_nothing_of_is_refused(redis_url: str) -> None:
    celery_app = Celery("plain", broker=redis_url)
    init_celery(celery_app)
    with pytest.raises(SetupError, match="PETIOLE_ADOPT_UPDATE_STATE is set differently"):
        Petiole(plain_app(PETIOLE_ADOPT_UPDATE_STATE=True), SocketIO(async_mode="threading"), celery_app=celery_app)


@pytest.mark.parametrize("origins", ["*", ["*"], [], ["https://app.example", "*"]])
@pytest.mark.parametrize("when", ["before", "beforehand", "after"])
def test_sockets_for_pages_of_any_site_are_refused_wherever_that_is_said(
    redis_url: str, origins: object, when: str
) -> None:
    app, celery_app = plain_app(), Celery("plain", broker=redis_url)

    def set_up_site() -> None:
        if when == "after":
            socketio = SocketIO(async_mode="threading")
            Petiole(app, socketio, celery_app=celery_app)
            socketio.init_app(app, cors_allowed_origins=origins)
        else:
            given = {"app": app} if when == "before" else {}
            socketio = SocketIO(async_mode="threading", cors_allowed_origins=origins, **given)
            Petiole(app, socketio, celery_app=celery_app)

    with pytest.raises(SetupError, match=r"Name the origins, or set PETIOLE_ALLOW_ANY_ORIGIN to true"):
        set_up_site()


@pytest.mark.parametrize("config", [{"PETIOLE_ALLOW_ANY_ORIGIN": True}, {"PETIOLE_ALLOW_ANY_ORIGIN": "true"}])
def test_an_application_that_means_it_may_let_everybody_in(redis_url: str, config: dict[str, object]) -> None:
    app = plain_app(**config)
    socketio = SocketIO(app, async_mode="threading", cors_allowed_origins="*")
    Petiole(app, socketio, celery_app=Celery("plain", broker=redis_url))
    assert app.extensions["petiole"].settings.allow_any_origin is True


def test_a_server_whose_packets_no_page_of_ours_understands_is_refused(redis_url: str) -> None:
    class Packed(Packet):  # type: ignore[misc]
        uses_binary_events = False  # like socketio.msgpack_packet, which needs msgpack

    socketio = SocketIO(async_mode="threading", serializer=Packed)
    app = plain_app()
    Petiole(app, socketio, celery_app=Celery("plain", broker=redis_url))
    with pytest.raises(SetupError, match=r"Make the server without serializer=\."):
        socketio.init_app(app)


def test_named_origins_are_taken(redis_url: str) -> None:
    socketio = SocketIO(async_mode="threading", cors_allowed_origins=["https://app.example"])
    app = plain_app()
    Petiole(app, socketio, celery_app=Celery("plain", broker=redis_url))
    socketio.init_app(app)
    assert app.extensions["petiole"].settings.allow_any_origin is False


def test_an_application_that_was_not_set_up_says_what_to_call() -> None:
    with plain_app().app_context(), pytest.raises(SetupError, match=r"Call petiole\.init_app\(app, socketio\)\."):
        _ = Petiole().journal


def test_two_applications_in_one_process_keep_apart(redis_url: str) -> None:
    petiole = Petiole()
    petiole.identify(lambda: "ann")
    apps = []
    for name, prefix in (("first", "/petiole"), ("second", "/elsewhere")):
        app = plain_app(PETIOLE_KEY_PREFIX=f"{name}-{uuid.uuid4().hex[:8]}", PETIOLE_URL_PREFIX=prefix)
        set_up(app, petiole, celery_app=Celery(name, broker=redis_url))
        apps.append((app, prefix))
    (first, _), (second, _) = apps
    with first.test_request_context():
        handle = petiole.start("a.task")
        assert petiole.settings is first.extensions["petiole"].settings
    mine = first.test_client().get(f"/petiole/tasks/{handle.id}")
    assert mine.status_code == 200
    assert second.test_client().get(f"/elsewhere/tasks/{handle.id}").status_code == 404
    assert second.test_client().get(f"/petiole/tasks/{handle.id}").status_code == 404
    assert second.test_client().get("/elsewhere/tasks").json == {"tasks": []}


def test_arguments_that_cannot_be_sent_are_an_error_and_leave_no_feed(site: Site) -> None:
    with site.asking():
        with pytest.raises(PetioleError, match=r"The arguments of a\.task can't be sent .* Pass what"):
            site.petiole.start("a.task", [object()])
        assert site.journal.list(site.petiole.user(), limit=10) == ([], None)


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("x" * 201, "x" * 200 + "…"),
        ("😀" * 201, "😀" * 200 + "…"),
        (2013, "2013"),
        (Lazy("Flüge"), "Flüge"),
        ("caf\udce9.csv", "caf\ufffd.csv"),
        ("", "Task"),
        (None, "Task"),
    ],
    ids=["long", "long emoji", "number", "lazy", "undecodable", "empty", "none"],
)
def test_a_title_of_any_kind_is_said(site: Site, title: object, said: str) -> None:
    with site.asking():
        handle = site.petiole.start("a.task", title=title)
        assert handle.document["title"] == site.journal.snapshot(handle.feed).document["title"] == said
    with site.asking():
        assert site.petiole.accepted(handle).status_code == 202


def test_a_title_of_the_greatest_length_is_taken(site: Site) -> None:
    with site.asking():
        handle = site.petiole.start("a.task", title="😀" * 200)
        assert site.journal.snapshot(handle.feed).document["title"] == "😀" * 200


def test_a_login_is_the_same_person_in_every_browser(site: Site) -> None:
    who: list[str | None] = ["ann"]
    site.petiole.identify(lambda: who[0])
    url = site.browser().post("/start").json["links"]["self"]
    assert site.browser().get(url).status_code == 200
    who[0] = "bob"
    assert site.browser().get(url).status_code == 404
    who[0] = None
    assert site.browser().get(url).status_code == 404


def test_a_login_that_utf8_can_not_carry_is_a_person_too(site: Site) -> None:
    who: list[str | None] = ["caf\udce9"]
    site.petiole.identify(lambda: who[0])
    url = site.browser().post("/start").json["links"]["self"]
    assert site.browser().get(url).status_code == 200
    who[0] = "caf\ufffd"
    assert site.browser().get(url).status_code == 404


def test_without_a_login_a_person_is_one_browser(site: Site) -> None:
    browser = site.browser()
    url = browser.post("/start").json["links"]["self"]
    assert browser.get(url).status_code == 200
    assert site.browser().get(url).status_code == 404


@pytest.mark.parametrize(
    ("authorize", "watch", "cancel"),
    [
        (lambda action, feed, user, owner: True, 200, 202),
        (lambda action, feed, user, owner: action == "watch", 200, 404),
        (lambda action, feed, user, owner: False, 404, 404),
    ],
)
def test_an_authorizer_decides_instead(site: Site, authorize: Authorize, watch: int, cancel: int) -> None:
    url = site.browser().post("/start").json["links"]["self"]
    site.petiole.authorizer(authorize)
    other = site.browser()
    assert other.get("/petiole/tasks").json == {"tasks": []}
    assert other.get(url).status_code == watch
    assert other.post(f"{url}/cancel").status_code == cancel


def test_an_authorizer_is_asked_with_action_feed_user_and_owner(site: Site) -> None:
    asked: list[tuple[str, ...]] = []
    who = ["ann"]
    site.petiole.identify(lambda: who[0])

    @site.petiole.authorizer
    def authorize(*question: str) -> bool:
        asked.append(question)
        return True

    task = site.browser().post("/start").json
    who[0] = "bob"
    site.browser().get(task["links"]["events"])
    site.browser().post(task["links"]["cancel"])
    assert asked == [(action, task["feed"], "user:bob", "user:ann") for action in ("watch", "cancel")]


def test_added_links_are_in_every_snapshot(site: Site) -> None:
    @site.petiole.add_links
    def links(snapshot: Snapshot) -> dict[str, str]:
        return {"help": f"/help?state={snapshot.document['state']}"}

    browser = site.browser()
    accepted = browser.post("/start").json
    url = accepted["links"]["self"]
    cancelled = browser.post(accepted["links"]["cancel"]).json
    assert accepted["links"]["help"] == "/help?state=queued"
    assert cancelled["links"]["help"] == "/help?state=cancelled"
    assert browser.get(url).json["links"]["help"] == "/help?state=cancelled"
    assert browser.get("/petiole/tasks").json["tasks"][0]["links"]["help"] == "/help?state=cancelled"


def test_what_a_view_raises_is_a_problem_object(site: Site) -> None:
    @site.app.get("/mine/<task_id>")
    def mine(task_id: str) -> dict[str, Any]:
        return site.petiole.authorize("watch", f"task:{task_id}").document

    response = site.browser().get("/mine/nothing")
    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"


def test_a_feed_of_another_kind_is_no_task(site: Site) -> None:
    site.petiole.identify(lambda: "ann")
    site.journal.open("user:ann", owner="user:ann", draft=Draft("state", {"title": "not a task"}))
    assert site.browser().get("/petiole/tasks/ann").status_code == 404
