from __future__ import annotations

from pathlib import Path

import pytest

from petiole.errors import SetupError
from petiole.exports.database import Database
from petiole.exports.settings import ExportSettings


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("exports.sqlite", "exports.sqlite"),
        ("/var/lib/a b.db", "/var/lib/a b.db"),
        (Path("/var/lib/a.db"), "/var/lib/a.db"),
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////var/lib/a.db", "/var/lib/a.db"),
        ("SQLite:///a%20b.db", "a%20b.db"),
        (Database(path=Path("a.db")), "a.db"),
    ],
)
def test_a_path_and_a_url_of_sqlite_are_a_file(value, path):
    assert Database.parse(value) == Database(path=Path(path))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:hush@db:5433/shop?sslmode=require", "postgresql://ada@db:5433/shop"),
        ("postgresql://db/shop?password=hush", "postgresql://db/shop"),
        ("postgresql:///shop", "postgresql:///shop"),
        ("postgresql://ada:hush%40@one:1,two:2/shop", "postgresql://ada@one:1,two:2/shop"),
        ("postgresql://ada:hush@[::1]/shop", "postgresql://ada@[::1]/shop"),
    ],
)
def test_a_url_of_postgresql_is_kept_and_shown_without_its_password(url, shown):
    database = Database.parse(url)
    assert (database.url, str(database)) == (url, shown)
    assert "hush" not in repr(ExportSettings.load({"PETIOLE_EXPORTS_DATABASE": url}, environ={}))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ada:hush@db/shop",
        "postgres://ada:hush@db/shop",
        "postgresql+psycopg://ada:hush@db/shop",
        "postgresql://ada:hu@sh@db/shop",
        "postgresql://ada:/hush@db/shop",
        "postgresql://ada:#hush@db/shop",
        "postgresql://ada:hush?@db/shop",
        "postgresql://ada:hush@[db/shop",
        "sqlite://hush/a.db",
        "sqlite:///",
    ],
)
def test_any_other_url_is_refused_by_the_settings_name_and_without_its_password(url):
    with pytest.raises(SetupError, match=r"^PETIOLE_EXPORTS_DATABASE .* Set it to the path of a SQLite file") as caught:
        ExportSettings.load({"PETIOLE_EXPORTS_DATABASE": url}, environ={})
    assert "hu" not in str(caught.value).replace("this", "")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", ["", None, 5, True, "a\0b", ["a"]])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(SetupError, match=r"^PETIOLE_EXPORTS_DATABASE "):
        ExportSettings.load({"PETIOLE_EXPORTS_DATABASE": value}, environ={})
