"""Celery's broker and result backend, in the forms of its documentation, become Petiole's URLs."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from celery import Celery

from petiole.bus.amqp.connection import read_url
from petiole.celery_urls import CeleryUrls, of_broker
from petiole.dispatch.tracking import track_app
from petiole.errors import SetupError
from petiole.redis.url import RedisUrl
from petiole.settings import Settings

SENTINELS = "sentinel://:pw@one:26379/2;sentinel://two:26380/2"


def settings_of(*sources, **conf):
    """The settings that web and worker derive from a Celery application's configuration."""
    celery_app = Celery("tasks", set_as_current=False)
    celery_app.conf.update(conf)
    return Settings.load(*sources, environ={}, celery=CeleryUrls.of(celery_app.conf))


class TestSentinels:
    def test_a_sentinel_broker_with_its_master_is_the_journal(self):
        url = of_broker(SENTINELS, {"master_name": "a b", "sentinel_kwargs": {"password": "s@"}})
        assert url == "redis+sentinel://:pw@one:26379,two:26380/a%20b/2?sentinel_password=s%40"
        parsed = RedisUrl.parse(url, key="PETIOLE_JOURNAL_URL")
        assert parsed.master == "a b"
        assert parsed.urls == ("redis://:pw@one:26379/2", "redis://:pw@two:26380/2")

    def test_settings_take_it_and_ask_for_the_master_where_nobody_names_it(self):
        named = settings_of(broker_url=SENTINELS, broker_transport_options={"master_name": "mymaster"})
        assert named.journal_url == "redis+sentinel://:pw@one:26379,two:26380/mymaster/2"
        with pytest.raises(SetupError, match=r"PETIOLE_JOURNAL_URL to redis.sentinel://.* or master_name") as refused:
            settings_of(broker_url=SENTINELS)
        assert "pw" not in str(refused.value)

    def test_it_is_the_bus_beside_a_database(self):
        settings = settings_of(
            {"PETIOLE_JOURNAL_URL": "postgresql://h/d"},
            broker_url=SENTINELS,
            broker_transport_options={"master_name": "mymaster"},
        )
        assert settings.bus_url.startswith("redis+sentinel://")

    def test_its_tls_goes_along(self):
        url = of_broker(SENTINELS, {"master_name": "m"}, {"ssl_cert_reqs": ssl.CERT_NONE})
        assert url == "rediss+sentinel://:pw@one:26379,two:26380/m/2?ssl_cert_reqs=none"


@pytest.mark.parametrize("url", ["redis://h/0", "amqp://h", "sqs://", "", None])
def test_any_other_broker_stays_as_it_is(url):
    assert of_broker(url, {"master_name": "mymaster"}) == url


@pytest.mark.parametrize(
    ("url", "use_ssl", "expected"),
    [
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", False, "rediss://h/0?ssl_cert_reqs=CERT_NONE"),
        ("rediss://:p@h:6380/1", {"ssl_cert_reqs": ssl.CERT_NONE}, "rediss://:p@h:6380/1?ssl_cert_reqs=none"),
        ("redis://h/1", {"ssl_cert_reqs": ssl.CERT_REQUIRED}, "rediss://h/1?ssl_cert_reqs=required"),
        ("redis://h/1", {"ssl_cert_reqs": "CERT_OPTIONAL"}, "rediss://h/1?ssl_cert_reqs=optional"),
        ("redis://h/1", {"ssl_cert_reqs": None}, "rediss://h/1?ssl_cert_reqs=none"),
        ("redis://h/1?ssl_cert_reqs=none", False, "rediss://h/1?ssl_cert_reqs=none"),
        (
            "rediss://h/1",
            {
                "ssl_keyfile": "/var/ssl/private/client-key.pem",
                "ssl_certfile": Path("/var/ssl/client-cert.pem"),
                "ssl_ca_certs": "/var/ssl/myca.pem",
                "ssl_cert_reqs": "required",
                "ssl_check_hostname": False,
            },
            "rediss://h/1?ssl_keyfile=%2Fvar%2Fssl%2Fprivate%2Fclient-key.pem&ssl_certfile=%2Fvar%2Fssl%2Fclient-cert.pem"
            "&ssl_ca_certs=%2Fvar%2Fssl%2Fmyca.pem&ssl_cert_reqs=required&ssl_check_hostname=false",
        ),
        # As with kombu: the URL takes precedence, and `True` alone adds nothing to a Redis URL.
        ("rediss://h/1?ssl_cert_reqs=required", {"ssl_cert_reqs": "none"}, "rediss://h/1?ssl_cert_reqs=required"),
        ("rediss://h/1", True, "rediss://h/1"),
        ("redis+socket:///run/redis.sock?virtual_host=3", False, "unix:///run/redis.sock?virtual_host=3"),
        ("redis+socket:///run/redis.sock", False, "unix:///run/redis.sock"),
        ("amqp://u:p@h//", True, "amqps://u:p@h//"),
        ("pyamqp://h//", {"cert_reqs": ssl.CERT_NONE}, "amqps://h//?ssl_cert_reqs=none"),
        ("amqps://h//", {"ca_certs": "/a b", "server_hostname": "x"}, "amqps://h//?ssl_ca_certs=%2Fa+b"),
        ("amqp://a//;amqp://b//", {"keyfile": "k", "certfile": "c"},
         "amqps://a//?ssl_keyfile=k&ssl_certfile=c;amqps://b//?ssl_keyfile=k&ssl_certfile=c"),
    ],
)  # fmt: skip
def test_tls_as_celerys_documentation_writes_it(url, use_ssl, expected):
    assert of_broker(url, None, use_ssl) == expected


def test_what_can_not_stand_in_a_url_is_refused():
    for url, use_ssl in (("amqp://h", {"context": {"purpose": 1}}), ("rediss://h", {"ssl_ca_data": b"x"})):
        with pytest.raises(SetupError, match=r"^broker_use_ssl has .* can't read from there. Set PETIOLE_JOURNAL_URL"):
            of_broker(url, None, use_ssl)
    with pytest.raises(SetupError, match=r"^broker_use_ssl has ssl_cert_reqs=maybe"):
        of_broker("rediss://h", None, {"ssl_cert_reqs": "maybe"})


class TestSettings:
    def test_the_journal_has_the_brokers_tls(self):
        settings = settings_of(broker_url="redis://h/1", broker_use_ssl={"ssl_cert_reqs": ssl.CERT_NONE})
        assert settings.journal_url == "rediss://h/1?ssl_cert_reqs=none"

    def test_the_bus_has_it(self):
        found = settings_of(
            {"PETIOLE_JOURNAL_URL": "postgresql://h/d"}, broker_url="amqp://h//", broker_use_ssl={"cert_reqs": 0}
        )
        (broker,) = read_url(found.bus_url)
        assert (broker.port, broker.tls) == (5671, {"cert_reqs": ssl.CERT_NONE})

    def test_several_brokers_are_a_list_or_one_text(self):
        urls = ["amqp://one//", "amqp://two//"]
        for given in (urls, ";".join(urls)):
            found = settings_of({"PETIOLE_JOURNAL_URL": "postgresql://h/d"}, broker_url=given, broker_use_ssl=True)
            assert [(broker.host, broker.port) for broker in read_url(found.bus_url)] == [("one", 5671), ("two", 5671)]

    def test_a_url_of_its_own_takes_the_tls_that_celery_speaks_to_the_same_server(self):
        conf = {
            "broker_url": "rediss://:p@h/0",
            "broker_use_ssl": {"ssl_cert_reqs": "none"},
            "result_backend": "rediss://other:7000/0",
            "redis_backend_use_ssl": {"ssl_cert_reqs": ssl.CERT_OPTIONAL},
        }
        for own, expected in (
            ("rediss://h:6379/5", "rediss://h:6379/5?ssl_cert_reqs=none"),
            ("rediss://other:7000/1", "rediss://other:7000/1?ssl_cert_reqs=optional"),
            ("rediss://h/5?ssl_cert_reqs=required", "rediss://h/5?ssl_cert_reqs=required"),
            ("rediss://third/0", "rediss://third/0"),
            ("redis://h/0", "redis://h/0"),
        ):
            assert settings_of({"PETIOLE_JOURNAL_URL": own}, **conf).journal_url == expected


@pytest.mark.parametrize("query", ["health_check_interval=30", "ssl_cert_reqs=maybe", "virtual_host=3"])
def test_what_kombu_can_not_read_is_said_at_start(query):
    celery_app = Celery("tasks", set_as_current=False, broker=f"rediss://:swordfish@h/0?{query}")
    with pytest.raises(SetupError, match=r"^Celery can't use its broker_url .*broker_transport_options") as refused:
        track_app(celery_app)
    assert "swordfish" not in str(refused.value)
