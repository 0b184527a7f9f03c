from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from petiole.celery_urls import CeleryUrls
from petiole.errors import SetupError
from petiole.exports.settings import ExportSettings
from petiole.settings import Settings

URL = "redis://127.0.0.1:6379/0"
TABLES = (("PETIOLE_", Settings), ("PETIOLE_EXPORTS_", ExportSettings))
DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def load(*sources, environ=None, broker_url=None):
    return Settings.load(*sources, environ=environ or {}, celery=CeleryUrls(broker_url=broker_url))


def load_exports(**values):
    return ExportSettings.load(values, environ={})


def load_all(**values):
    """Read both tables, like a process with exports."""
    load(with_url(**values))
    load_exports(**values)


def with_url(**values):
    return {"PETIOLE_JOURNAL_URL": URL, **values}


class TestPrecedence:
    def test_the_environment_wins_over_every_mapping(self):
        loaded = load(with_url(PETIOLE_READ_LIMIT=2), environ={"PETIOLE_READ_LIMIT": "1"})
        assert loaded.read_limit == 1

    def test_an_earlier_mapping_wins_over_a_later_one(self):
        loaded = load(with_url(PETIOLE_READ_LIMIT=1), {"PETIOLE_READ_LIMIT": 2, "PETIOLE_FACTS_KEPT": 3})
        assert (loaded.read_limit, loaded.facts_kept) == (1, 3)

    def test_what_nobody_sets_has_its_default(self):
        assert load(with_url()) == Settings(journal_url=URL)

    def test_the_environment_is_the_processes_unless_another_is_given(self, monkeypatch):
        monkeypatch.setenv("PETIOLE_JOURNAL_URL", URL)
        monkeypatch.setenv("PETIOLE_READ_LIMIT", "7")
        assert Settings.load() == Settings(journal_url=URL, read_limit=7)

    def test_keys_in_small_letters_are_read_too(self):
        assert load({"petiole_journal_url": URL, "petiole_read_limit": "7"}).read_limit == 7

    def test_keys_without_the_prefix_are_passed_over(self):
        assert load(with_url(READ_LIMIT=7, SECRET_KEY="x", PETIOL_READ_LIMIT=7)) == Settings(journal_url=URL)

    def test_keys_that_are_no_text_are_passed_over(self):
        assert load({**with_url(), 5: "x"}) == Settings(journal_url=URL)


class TestValues:
    def test_text_is_converted_to_the_type_of_the_default(self):
        loaded = load(with_url(PETIOLE_READ_LIMIT="7", PETIOLE_LEASE="2.5", PETIOLE_KEY_PREFIX="p"))
        assert (loaded.read_limit, loaded.lease, loaded.key_prefix) == (7, 2.5, "p")
        assert load_exports(PETIOLE_EXPORTS_DIRECTORY="files").directory == Path("files")

    def test_numbers_and_paths_are_taken_as_they_are(self):
        loaded = load(with_url(PETIOLE_READ_LIMIT=7, PETIOLE_LEASE=2))
        assert (loaded.read_limit, loaded.lease) == (7, 2.0)
        assert load_exports(PETIOLE_EXPORTS_DIRECTORY=Path("files")).directory == Path("files")

    @pytest.mark.parametrize(
        ("key", "value"),
        [("READ_LIMIT", "many"), ("READ_LIMIT", "2.5"), ("READ_LIMIT", 2.5), ("READ_LIMIT", None), ("READ_LIMIT", [1]),
         ("READ_LIMIT", True), ("LEASE", "soon"), ("LEASE", ""), ("LEASE", None), ("LEASE", "nan"), ("LEASE", "inf"),
         ("LEASE", float("nan")), ("LEASE", True), ("KEY_PREFIX", None), ("KEY_PREFIX", 5), ("KEY_PREFIX", b"x"),
         ("JOURNAL_URL", None), ("EXPORTS_DIRECTORY", 5), ("EXPORTS_DIRECTORY", None)],
    )  # fmt: skip
    def test_a_value_of_another_type_is_refused_by_key(self, key, value):
        with pytest.raises(SetupError, match=rf"^PETIOLE_{key} is .*\. Set it to "):
            load_all(**{f"PETIOLE_{key}": value})

    @pytest.mark.parametrize(
        ("key", "value", "least"),
        [("READ_LIMIT", -1, "more than 0"), ("LEASE", "-0.5", "more than 0"), ("OUTBOX_LIMIT", "0", "more than 0"),
         ("HEARTBEAT", 0, "more than 0"), ("LINGER", -1, "0 or more"), ("EXPORTS_ROWS_PER_SECOND", "-2", "0 or more")],
    )  # fmt: skip
    def test_a_number_that_is_too_low_is_refused(self, key, value, least):
        with pytest.raises(SetupError, match=rf"^PETIOLE_{key} is {value!r}\. Set it to {least}\.$"):
            load_all(**{f"PETIOLE_{key}": value})

    @pytest.mark.parametrize("key", ["LINGER", "COUNTERS_PER_SECOND", "FLUSH_TIMEOUT"])
    def test_zero_is_taken_where_it_means_something(self, key):
        assert getattr(load(with_url(**{f"PETIOLE_{key}": 0})), key.lower()) == 0
        assert load_exports(PETIOLE_EXPORTS_ROWS_PER_SECOND=0).rows_per_second == 0

    @pytest.mark.parametrize("value", [True, 1, "1", "true", "True", "YES", "on", " on "])
    def test_what_means_true_is_true(self, value):
        assert load(with_url(PETIOLE_ADOPT_UPDATE_STATE=value)).adopt_update_state is True

    @pytest.mark.parametrize("value", [False, 0, "0", "false", "No", "off"])
    def test_what_means_false_is_false(self, value):
        assert load(with_url(PETIOLE_ADOPT_UPDATE_STATE=value)).adopt_update_state is False

    @pytest.mark.parametrize("value", ["", "maybe", 2, -1, 1.0, None, [True]])
    def test_what_is_neither_true_nor_false_is_refused(self, value):
        with pytest.raises(SetupError, match=r"^PETIOLE_ADOPT_UPDATE_STATE is .*\. Set it to true or false\.$"):
            load(with_url(PETIOLE_ADOPT_UPDATE_STATE=value))

    def test_a_bad_value_in_the_environment_is_refused_although_a_mapping_has_a_good_one(self):
        with pytest.raises(SetupError, match="PETIOLE_READ_LIMIT"):
            load(with_url(PETIOLE_READ_LIMIT=7), environ={"PETIOLE_READ_LIMIT": "x"})

    def test_settings_do_not_change(self):
        loaded = load(with_url())
        with pytest.raises(FrozenInstanceError):
            loaded.read_limit = 5


class TestUnknownKeys:
    def test_what_an_orchestrator_says_of_a_service_named_petiole_is_passed_over(self):
        names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_5000_TCP_ADDR")
        environ = {f"PETIOLE_{name}": "tcp://10.0.0.1:5000" for name in names}
        assert load(with_url(), environ=environ).read_limit == 500
        with pytest.raises(SetupError, match="PETIOLE_PORT isn't a setting"):
            load({**with_url(), "PETIOLE_PORT": "5000"})

    @pytest.mark.parametrize(
        ("key", "meant"),
        [("PETIOLE_READLIMIT", "PETIOLE_READ_LIMIT"), ("PETIOLE_JOURNAL_URI", "PETIOLE_JOURNAL_URL"),
         ("petiole_heart_beat", "PETIOLE_HEARTBEAT"), ("PETIOLE_EXPORT_DATABASE", "PETIOLE_EXPORTS_DATABASE"),
         ("PETIOLE_EXPORTS_BATCH_ROW", "PETIOLE_EXPORTS_BATCH_ROWS"),
         ("petiole_exports_databse", "PETIOLE_EXPORTS_DATABASE")],
    )  # fmt: skip
    def test_an_unknown_key_is_refused_with_the_one_that_was_meant(self, key, meant):
        with pytest.raises(SetupError, match=rf"^{key} isn't a setting of Petiole\. Did you mean {meant}\?$"):
            load_all(**{key: "x"})

    @pytest.mark.parametrize("key", ["PETIOLE_EXPORTS_XYZZY", "PETIOLE_EXPORT", "PETIOLE_EXPORTS_"])
    def test_an_unknown_key_of_exports_that_is_like_none_is_refused_with_where_to_look(self, key):
        with pytest.raises(SetupError, match=rf"^{key} isn't a setting of Petiole\. docs/settings\.md has them all"):
            load_all(**{key: "x"})

    def test_the_keys_of_exports_are_passed_over_where_there_are_no_exports(self):
        assert load(with_url(PETIOLE_EXPORTS_BATCH_ROW=5, PETIOLE_EXPORTS_DATABASE="x")) == Settings(journal_url=URL)

    def test_an_unknown_key_that_is_like_none_is_refused_with_where_to_look(self):
        with pytest.raises(SetupError, match=r"docs/settings\.md has them all"):
            load(with_url(PETIOLE_XYZZY=1))

    def test_an_unknown_key_of_the_environment_is_refused(self):
        with pytest.raises(SetupError, match="PETIOLE_XYZZY"):
            load(with_url(), environ={"PETIOLE_XYZZY": "1"})


class TestJournalUrl:
    def test_the_broker_stands_in_where_it_is_redis(self):
        assert load(broker_url=URL).journal_url == URL

    @pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
    def test_every_scheme_of_redis_stands_in(self, scheme):
        assert load(broker_url=f"{scheme}://host/1").journal_url == f"{scheme}://host/1"

    def test_its_own_url_wins_over_the_broker(self):
        assert load(with_url(), broker_url="redis://broker/1").journal_url == URL
        assert load(with_url(), broker_url="amqp://broker").journal_url == URL

    def test_an_empty_url_is_the_brokers(self):
        assert load({"PETIOLE_JOURNAL_URL": ""}, broker_url=URL).journal_url == URL

    @pytest.mark.parametrize("broker_url", [None, "", "sqs://", "memory://"])
    def test_without_any_redis_there_is_no_journal_and_the_remedy_is_said(self, broker_url):
        with pytest.raises(
            SetupError, match=r"Set PETIOLE_JOURNAL_URL to a redis://, postgresql:// or sqlite:/// URL\.$"
        ):
            load(broker_url=broker_url)


class TestBusUrl:
    SQL = "postgresql://host/journal"

    @pytest.mark.parametrize("scheme", ["amqp", "amqps", "pyamqp"])
    def test_a_broker_of_rabbitmq_asks_for_a_journal_in_a_sentence(self, scheme):
        with pytest.raises(
            SetupError, match=r"is RabbitMQ, which can ring, but keeps nothing.* Set PETIOLE_JOURNAL_URL to"
        ):
            load(broker_url=f"{scheme}://guest@localhost//")

    @pytest.mark.parametrize("broker_url", ["amqp://host//", "amqps://host/v", "pyamqp://host", URL, "rediss://host/1"])
    def test_beside_a_database_the_broker_is_the_bus_where_it_can_ring(self, broker_url):
        loaded = load({"PETIOLE_JOURNAL_URL": self.SQL}, broker_url=broker_url)
        assert (loaded.journal_url, loaded.bus_url) == (self.SQL, broker_url)

    def test_its_own_url_wins_over_the_broker(self):
        loaded = load({"PETIOLE_JOURNAL_URL": self.SQL, "PETIOLE_BUS_URL": "amqp://bus"}, broker_url="amqp://broker")
        assert loaded.bus_url == "amqp://bus"

    def test_a_journal_in_redis_is_its_own_bus_whatever_the_broker_is(self):
        assert load(with_url(), broker_url="amqp://broker").bus_url == ""

    def test_a_broker_that_can_not_ring_is_no_bus(self):
        assert load({"PETIOLE_JOURNAL_URL": self.SQL}, broker_url="sqs://").bus_url == ""


def rows():
    """The table of docs/settings.md: key, default, unit, meaning."""
    table = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `PETIOLE_")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table]


def expected_rows():
    """The same table from `Settings` and `ExportSettings`."""

    def shown(value):
        if isinstance(value, float):
            value = f"{value:g}" if value < 1e6 else f"{value:.0f}"
        return f"`{value}`" if value not in ("", ()) else "empty"

    return [
        (
            f"`{prefix}{setting.name.upper()}`",
            shown(setting.default),
            setting.metadata["unit"],
            setting.metadata["meaning"],
        )
        for prefix, table in TABLES
        for setting in fields(table)
    ]


class TestDocumentation:
    def test_every_setting_is_documented_with_default_unit_and_meaning(self):
        assert rows() == expected_rows()

    def test_every_setting_has_a_unit_and_a_meaning(self):
        for setting in (setting for _, table in TABLES for setting in fields(table)):
            assert setting.metadata["unit"], setting.name
            assert setting.metadata["meaning"], setting.name
            assert "|" not in setting.metadata["meaning"], setting.name
