from __future__ import annotations

import pytest

from petiole.connection import connect
from petiole.errors import SetupError
from petiole.redis_url import Kind, RedisUrl, address, of_broker
from petiole.settings import Settings

KEY = "PETIOLE_JOURNAL_URL"


def parsed(url):
    return RedisUrl.parse(url, key=KEY)


class TestForms:
    def test_a_server(self):
        assert parsed("valkeys://u:p@h:1/2?x=y") == RedisUrl(Kind.SERVER, ("rediss://u:p@h:1/2?x=y",), ("h:1/2",))

    @pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
    def test_sentinels_with_their_ports_and_the_master(self, scheme):
        base = scheme.replace("valkey", "redis")
        url = parsed(f"{scheme}+sentinel://ann:p%40ss@one,two:5000,[::1]:6000/my%20master/3?sentinel_password=s%26s")
        assert url.kind is Kind.SENTINEL
        assert url.urls == (
            f"{base}://ann:p%40ss@one:26379/3", f"{base}://ann:p%40ss@two:5000/3", f"{base}://ann:p%40ss@[::1]:6000/3",
        )  # fmt: skip
        assert (url.master, url.sentinel_username, url.sentinel_password) == ("my master", None, "s&s")

    def test_a_cluster_with_its_ports(self):
        url = parsed("redis+cluster://:secret@one,two:7001")
        assert (url.kind, url.master) == (Kind.CLUSTER, "")
        assert url.urls == ("redis://:secret@one:6379/0", "redis://:secret@two:7001/0")

    def test_options_of_connections_are_kept(self):
        assert parsed("rediss+cluster://one?ssl_ca_certs=/a%20b").urls == ("rediss://one:6379/0?ssl_ca_certs=%2Fa+b",)


class TestWrongUrls:
    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("redis+sentinel://one:26379", "doesn't name the master"),
            ("redis+sentinel://one:26379/?sentinel_password=x", "doesn't name the master"),
            ("redis+sentinel://one/mymaster/zero", "'zero' in the place of a database's number"),
            ("redis+sentinel://one/mymaster/0/1", "'0/1' in the place of a database's number"),
            ("redis+sentinel:///mymaster", "something else where its hosts stand"),
            ("redis+sentinel://one,/mymaster", "something else where its hosts stand"),
            ("redis+sentinel://one:70000/mymaster", "something else where its hosts stand"),
            ("redis+cluster://one:port", "something else where its hosts stand"),
            ("redis+cluster://one:7000/1", "a cluster has only one"),
            ("redis+cluster://one:7000?db=1", "a cluster has only one"),
            ("redis+ring://one", "begins with redis+ring://, which Petiole can't use"),
            ("sentinel://one", "begins with sentinel://, which Petiole can't use"),
        ],
    )
    def test_one_sentence_names_the_setting_and_no_password(self, url, said):
        with pytest.raises(SetupError) as refused:
            parsed(url.replace("://", "://ann:swordfish@", 1))
        assert str(refused.value).startswith(KEY)
        assert said in str(refused.value)
        assert "swordfish" not in str(refused.value)

    @pytest.mark.parametrize("kind", ["sentinel", "cluster"])
    @pytest.mark.parametrize("password", ["trout/fish", "trout@fish", "trout,fish", "trout:fish", "trout/fish@"])
    def test_a_password_that_was_not_encoded_is_not_shown(self, kind, password):
        url = f"redis+{kind}://ann:{password}@one:7000" + ("/mymaster" if kind == "sentinel" else "")
        said = [address(url)]
        try:
            said += parsed(url).names
        except SetupError as error:
            said.append(str(error))
        assert not [text for text in said if "trout" in text]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://u:p@h/0", "h:6379/0"),
        ("redis://h:1", "h:1"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
        ("redis+sentinel://u:p@a,b:1/mymaster/0?sentinel_password=x", "a:26379,b:1/mymaster/0"),
        ("redis+cluster://:p@a,b:1", "a:6379,b:1"),
        ("redis://:p%40@[::1]:7", "[::1]:7"),
    ],
)
def test_an_address_has_no_password(url, expected):
    assert address(url) == expected


@pytest.mark.parametrize(
    "url", ["redis://one/0?sockets=5", "redis+sentinel://one/m?sockets=5", "redis+cluster://one?sockets=5"]
)
def test_an_option_that_nobody_knows_is_refused_at_start(url):
    with pytest.raises(SetupError, match=r"^PETIOLE_JOURNAL_URL has an option .*'sockets'"):
        connect(Settings(journal_url=url))


def test_a_password_with_a_slash_is_not_shown_in_the_place_of_a_port():
    with pytest.raises(SetupError, match="its port isn't a number") as refused:
        connect(Settings(journal_url="redis://ann:trout/fish@one/0"))
    assert "trout" not in str(refused.value)


def test_an_option_of_another_type_is_refused_at_start():
    for url in ("redis://one/0?socket_keepalive=x&db=y", "redis+sentinel://one/m?max_connections=y"):
        with pytest.raises(SetupError, match=r"^PETIOLE_JOURNAL_URL isn't a Redis URL"):
            connect(Settings(journal_url=url))


class TestBroker:
    BROKER = "sentinel://:pw@one:26379/2;sentinel://two:26380/2"

    def test_a_sentinel_broker_with_its_master_is_the_journal(self):
        url = of_broker(self.BROKER, {"master_name": "a b", "sentinel_kwargs": {"password": "s@"}})
        assert url == "redis+sentinel://:pw@one:26379,two:26380/a%20b/2?sentinel_password=s%40"
        assert parsed(url).master == "a b"
        assert parsed(url).urls == ("redis://:pw@one:26379/2", "redis://:pw@two:26380/2")

    @pytest.mark.parametrize("url", ["redis://h/0", "amqp://h", "", None])
    def test_any_other_broker_stays_as_it_is(self, url):
        assert of_broker(url, {"master_name": "mymaster"}) == url

    def test_settings_take_it_and_ask_for_the_master_where_nobody_names_it(self):
        loaded = Settings.load(environ={}, broker_url=self.BROKER, broker_options={"master_name": "mymaster"})
        assert loaded.journal_url == "redis+sentinel://:pw@one:26379,two:26380/mymaster/2"
        with pytest.raises(SetupError, match=r"PETIOLE_JOURNAL_URL to redis.sentinel://.* or master_name") as refused:
            Settings.load(environ={}, broker_url=self.BROKER)
        assert "pw" not in str(refused.value)

    def test_it_is_the_bus_beside_a_database(self):
        settings = Settings.load(
            {"PETIOLE_JOURNAL_URL": "postgresql://h/d"},
            environ={},
            broker_url=self.BROKER,
            broker_options={"master_name": "mymaster"},
        )
        assert settings.bus_url.startswith("redis+sentinel://")
