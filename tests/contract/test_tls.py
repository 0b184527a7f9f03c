"""Sentinels and a cluster over TLS, with the test's own certificate."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from petiole.bus import open_bus
from petiole.dispatch.tracking import track_app
from petiole.errors import SetupError, Unavailable
from petiole.journal import open_journal
from petiole.journal.redis.journal import RedisJournal
from petiole.redis.client import tls_alert
from petiole.servers.redis import free_port
from tests.conftest import redis_binary
from tests.contract.test_bus import FEED, SOON, Setup
from tests.support.redis import RedisServer
from tests.support.redis_cluster import SLOTS, ask, port_with_bus
from tests.support.redis_sentinel import MASTER, SentinelProcess
from tests.support.waiting import wait_until

PASSWORD = "s@c/ret"
ENCODED = "s%40c%2Fret"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `ca.crt`, and the server's `server.crt` and `server.key` for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        remedy = "There is no openssl here. Install it with: apt install openssl"
        if os.environ.get("CI"):
            pytest.fail(remedy)
        pytest.skip(remedy)
    folder = tmp_path_factory.mktemp("certificates")
    # Python verifies strictly since 3.13: an authority needs a key usage, and a certificate the key identifier of its issuer.
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=petiole-test "
        "-addext keyUsage=critical,keyCertSign",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names",
    ):
        subprocess.run([openssl, *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


def tls_options(certificates: Path, port: int) -> dict[str, str]:
    return {
        "tls-port": str(port),
        "tls-cert-file": str(certificates / "server.crt"),
        "tls-key-file": str(certificates / "server.key"),
        "tls-ca-cert-file": str(certificates / "ca.crt"),
        "tls-auth-clients": "no",
    }


def server(certificates: Path, directory: Path, *, port: int, **options: str) -> RedisServer:
    """A server with TLS on `port`, where it requires a password, and without a password on its own port."""
    flags = [f"--{name.replace('_', '-')}" for name in options]
    secured = tls_options(certificates, port)
    return RedisServer(
        redis_binary("system"),
        directory,
        options=[
            *(part for pair in zip(flags, options.values(), strict=True) for part in pair),
            *(part for name, value in secured.items() for part in (f"--{name}", value)),
            *("--user", "ann", "on", f">{PASSWORD}", "~*", "&*", "+@all"),
        ],
    )


@pytest.fixture(params=["sentinel", "cluster"])
def url(request: pytest.FixtureRequest, certificates: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of a server over TLS, without the option that names the certificate authority."""
    port = port_with_bus()
    running: list[Any] = []
    try:
        if request.param == "cluster":
            made = server(certificates, tmp_path / "node", port=port, cluster_enabled="yes", tls_cluster="yes")
            # A node's two ports share one bus port, 10,000 above the announced one.
            made.options += ("--cluster-port", str(free_port()))
            made.start()
            running.append(made)
            with made.client() as client:
                ask(client, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
                wait_until(
                    lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok",
                    timeout=10,
                    what="the cluster works",
                )
            yield f"rediss+cluster://ann:{ENCODED}@127.0.0.1:{port}"
        else:
            master = server(certificates, tmp_path / "master", port=port)
            sentinel = SentinelProcess(master.binary, tmp_path / "sentinel", master_port=port, password=None, quorum=1)
            secured = tls_options(certificates, free_port())
            with (tmp_path / "sentinel" / "sentinel.conf").open("a") as conf:
                conf.writelines(f"{name} {value}\n" for name, value in secured.items())
                conf.write("tls-replication yes\n")
            for each in (master, sentinel):
                each.start()
                running.append(each)
            yield f"rediss+sentinel://ann:{ENCODED}@127.0.0.1:{secured['tls-port']}/{MASTER}"
    finally:
        for each in running:
            each.kill()


def test_journal_and_bus_work_in_tls(url, certificates, make_settings):
    settings = make_settings(f"{url}?ssl_ca_certs={certificates}/ca.crt")
    made = Setup(RedisJournal(settings), open_bus(settings))
    made.listener.start()
    assert made.bus.follow(FEED, timeout=SOON)
    made.open()
    made.listener.wait_for(FEED, 1)
    made.close()


def test_a_certificate_that_nobody_vouches_for_and_a_server_that_is_spoken_to_plainly(url, make_settings):
    for wrong, said in ((url, "isn't trusted"), (url.replace("rediss", "redis"), "doesn't answer")):
        with pytest.raises(Unavailable, match=said) as refused:
            RedisJournal(make_settings(wrong)).ping()
        if wrong == url:
            # A retry can't fix it, so web and worker don't start.
            with pytest.raises(SetupError, match=said):
                open_journal(make_settings(wrong))
        assert "PETIOLE_JOURNAL_URL" in str(refused.value)
        assert ENCODED not in str(refused.value)
        assert PASSWORD not in str(refused.value)


@pytest.fixture(scope="module")
def secured(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The ports of a server: with TLS and without."""
    port = free_port()
    made = server(certificates, tmp_path_factory.mktemp("secured"), port=port)
    made.start()
    yield port, made.port
    made.kill()


@pytest.mark.parametrize(
    ("query", "use_ssl"),
    [
        ("?ssl_cert_reqs=CERT_NONE", None),
        ("?ssl_cert_reqs=none", None),
        ("?ssl_cert_reqs=required&ssl_ca_certs={ca}", None),
        ("?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca}", None),
        ("", {"ssl_cert_reqs": ssl.CERT_NONE}),
        ("", {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "{ca}"}),
    ],
)
def test_a_broker_as_celerys_documentation_writes_it_is_journal_and_bus(
    secured, certificates, key_prefix, query, use_ssl
):
    ca = str(certificates / "ca.crt")
    if use_ssl and "ssl_ca_certs" in use_ssl:
        use_ssl = {**use_ssl, "ssl_ca_certs": ca}
    celery_app = Celery("tasks", set_as_current=False)
    celery_app.conf.update(
        broker_url=f"rediss://ann:{ENCODED}@127.0.0.1:{secured[0]}/0{query.format(ca=ca)}",
        broker_use_ssl=use_ssl,
        petiole_key_prefix=key_prefix,
    )
    tracking = track_app(celery_app)
    made = Setup(tracking.journal, open_bus(tracking.settings))
    made.listener.start()
    assert made.bus.follow(FEED, timeout=SOON)
    made.open()
    made.listener.wait_for(FEED, 1)
    made.close()
    with celery_app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)


def test_tls_that_can_not_be_is_said_at_start(secured, certificates, make_settings, tmp_path):
    tls, plain = secured
    strict_port = free_port()
    strict = server(certificates, tmp_path, port=strict_port)
    strict.options += ("--tls-auth-clients", "yes")
    strict.start()
    ca = f"ssl_ca_certs={certificates}/ca.crt"
    try:
        for url, said in (
            (f"127.0.0.1:{tls}/0", "certificate of Redis .* isn't trusted .*Set ssl_ca_certs in PETIOLE_JOURNAL_URL"),
            (f"localhost:{tls}/0?{ca}", "certificate of Redis .* isn't trusted .*ssl_check_hostname=false"),
            (f"127.0.0.1:{plain}/0", "doesn't speak TLS there. Set the port of its TLS, or redis://"),
            (f"127.0.0.1:{strict_port}/0?{ca}", "requires a client certificate .*Set ssl_certfile and ssl_keyfile"),
        ):
            with pytest.raises(SetupError, match=said) as refused:
                open_journal(make_settings(f"rediss://ann:{ENCODED}@{url}"))
            assert ENCODED not in str(refused.value)
        # Whether redis-py sees the alert depends on the moment at which it sends: this sends nothing.
        options = {"host": "127.0.0.1", "port": strict_port, "ssl_ca_certs": f"{certificates}/ca.crt"}
        alert = tls_alert(options, timeout=SOON)
        assert alert is not None
        assert "CERTIFICATE" in str(alert)
    finally:
        strict.kill()


def test_a_server_that_is_away_is_waited_for(make_settings):
    open_journal(make_settings(f"rediss://127.0.0.1:{free_port()}/0")).close()
