from __future__ import annotations

import ssl

import pytest

from petiole.errors import SetupError
from petiole.redis.client import connect
from petiole.redis.url import Kind, RedisUrl, address
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
            ("redis+sentinel:///mymaster", "has no valid hosts"),
            ("redis+sentinel://one,/mymaster", "has no valid hosts"),
            ("redis+sentinel://one:70000/mymaster", "has no valid hosts"),
            ("redis+cluster://one:port", "has no valid hosts"),
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
    for scheme, rest in (("rediss", "one/0"), ("rediss+sentinel", "one/m")):
        with pytest.raises(SetupError, match=r"^PETIOLE_JOURNAL_URL isn't a Redis URL"):
            connect(Settings(journal_url=f"{scheme}://{rest}?ssl_min_version=x"))


class TestWordsOfOthers:
    """The options in such a URL in Celery's and redis-py's documentation."""

    @pytest.mark.parametrize("written", ["none", "NONE", "CERT_NONE", "cert_none", "0"])
    def test_each_spelling_of_what_a_certificate_needs(self, written):
        assert parsed(f"rediss://h/0?ssl_cert_reqs={written}").urls == ("rediss://h/0?ssl_cert_reqs=none",)
        client = connect(Settings(journal_url=f"rediss://h/0?ssl_cert_reqs={written}"))
        connection = client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
        assert (connection.cert_reqs, connection.check_hostname) == (ssl.CERT_NONE, False)

    @pytest.mark.parametrize("word", ["CERT_REQUIRED", "required", "CERT_OPTIONAL", "optional"])
    def test_the_other_ones(self, word):
        expected = word.lower().removeprefix("cert_")
        for form in ("rediss://h/0", "rediss+sentinel://h:26379/m/0", "valkeys+cluster://h:1/0"):
            assert parsed(f"{form}?ssl_cert_reqs={word}").urls[0].endswith(f"/0?ssl_cert_reqs={expected}")

    @pytest.mark.parametrize(
        "option",
        [
            *("health_check_interval=30", "socket_timeout=99", "socket_connect_timeout=99", "retry_on_timeout=True"),
            *("max_connections=1", "decode_responses=True", "protocol=3", "timeout=9", "client_name=mine"),
        ],
    )
    def test_what_petiole_decides_is_passed_over(self, option):
        settings = Settings(journal_url=f"redis://h/1?{option}&db=2")
        options = connect(settings).connection_pool.connection_kwargs
        assert (options["socket_timeout"], options["health_check_interval"], options["db"]) == (1.5, 0, 2)
        assert (options["decode_responses"], options["protocol"], options["client_name"]) == (False, 2, "petiole")

    def test_kombus_word_for_the_database(self):
        for given, options in (("unix:///run/redis.sock?virtual_host=3", "unix:///run/redis.sock?db=3"),):
            assert parsed(given).urls == (options,)

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("rediss://h/0?ssl_cert_reqs=maybe", "ssl_cert_reqs=maybe, which isn't known. Use required"),
            ("redis://h/0?ssl_cert_reqs=none", "has ssl_ options, and its scheme isn't of TLS. Begin it with rediss"),
            ("redis+sentinel://h/m?ssl_ca_certs=/x", "its scheme isn't of TLS"),
            ("redis://h/0?credential_provider=a.B", "credential_provider, which Petiole can't use"),
            ("redis://h/one", "'one' in the place of a database's number"),
            ("redis://h/0?db=one", "'one' in the place of a database's number"),
            ("unix:///s?virtual_host=one", "'one' in the place of a database's number"),
            ("redis://:pw@one/0;redis://:pw@two/0", "names several servers"),
        ],
    )
    def test_what_can_not_be_is_said(self, url, said):
        with pytest.raises(SetupError) as refused:
            connect(Settings(journal_url=url))
        assert str(refused.value).startswith(KEY)
        assert said in str(refused.value)
        assert "pw" not in str(refused.value)

    def test_a_file_is_looked_at_at_start(self, tmp_path):
        (tmp_path / "bad.pem").write_text("no certificate")
        for options, said in (
            ("ssl_ca_certs=/nowhere.pem", "A file of ssl_ca_certs in PETIOLE_JOURNAL_URL can't be read"),
            ("ssl_certfile=/nowhere.pem", "A file of ssl_certfile in PETIOLE_JOURNAL_URL can't be read"),
            (f"ssl_ca_certs={tmp_path}/bad.pem", "A file of ssl_ca_certs in PETIOLE_JOURNAL_URL can't be used"),
            (f"ssl_keyfile={tmp_path}/bad.pem", "has ssl_keyfile without ssl_certfile"),
        ):
            for form in ("rediss://h/0", "rediss+sentinel://h/m", "rediss+cluster://h"):
                with pytest.raises(SetupError, match=said):
                    connect(Settings(journal_url=f"{form}?{options}"))
