"""What users' values become when they are reported."""

from __future__ import annotations

import array
import collections
import enum
import ipaddress
import json
import types
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import engineio.json
import numpy
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from petiole.dispatch.outcome import failed, outcome, succeeded
from petiole.errors import InvalidEvent
from petiole.protocol.encoding import to_json
from petiole.protocol.events import MAX_NUMBER
from petiole.protocol.values import CUT_MARK, DEEPEST, address, milliseconds, plain, readable, shown, text_of, words
from tests.unit.values import Lazy


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Point:
    x: int
    children: list[Point]


class Mute:
    """Raises in every method."""

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __len__ = __iter__ = __bool__ = __str__


class Own:
    def __str__(self):
        return "own words"


class Proxy:
    """Claims the class of its target, like Django's and Werkzeug's proxies."""

    def __init__(self, value):
        self.value = value

    def __str__(self):
        return str(self.value)

    @property
    def __class__(self):
        return type(self.value)


class Model:
    def model_dump(self):
        return {"id": 2**60}


Pair = collections.namedtuple("Pair", "left right")


class TestPlain:
    @pytest.mark.parametrize(
        ("value", "data"),
        [
            (None, None),
            (True, True),
            ("text", "text"),
            (MAX_NUMBER, MAX_NUMBER),
            (-MAX_NUMBER, -MAX_NUMBER),
            (2**53, "9007199254740992"),
            (2**53 + 1, "9007199254740993"),
            (-(2**63), "-9223372036854775808"),
            (10**120, "1" + "0" * 120),
            (1.5, 1.5),
            (1e300, 1e300),
            (float("nan"), "NaN"),
            (float("inf"), "Infinity"),
            (float("-inf"), "-Infinity"),
            (Decimal("1.10"), "1.10"),
            (Decimal("NaN"), "NaN"),
            (Fraction(1, 3), "1/3"),
            (b"text", "text"),
            (bytearray(b"text"), "text"),
            (memoryview(b"text"), "text"),
            (b"\xff\xfe\x00", "<3 bytes>"),
            (datetime(2013, 1, 2, 3, tzinfo=UTC), "2013-01-02T03:00:00+00:00"),
            (date(2013, 1, 2), "2013-01-02"),
            (time(3, 4), "03:04:00"),
            (timedelta(minutes=2), 120.0),
            (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
            (Path("/a/b"), "/a/b"),
            (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
            (Colour.RED, "red"),
            (Level.HIGH, 3),
            ({3, 1, 2}, [1, 2, 3]),
            (frozenset("a"), ["a"]),
            ((1, 2), [1, 2]),
            (Pair(1, 2), [1, 2]),
            (collections.deque([1, 2]), [1, 2]),
            (range(3), [0, 1, 2]),
            ({"a": 1}.keys(), ["a"]),
            ({"a": 1}.values(), [1]),
            (collections.Counter("aab"), {"a": 2, "b": 1}),
            (array.array("i", [1, 2]), [1, 2]),
            (Point(1, [Point(2**60, [])]), {"x": 1, "children": [{"x": "1152921504606846976", "children": []}]}),
            (Model(), {"id": "1152921504606846976"}),
            (numpy.int64(5), 5),
            (numpy.int64(2**62), str(2**62)),
            (numpy.float32(0.5), 0.5),
            (numpy.float64("nan"), "NaN"),
            (numpy.bool_(True), True),
            (numpy.str_("text"), "text"),
            (numpy.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
            (numpy.array(7), 7),
            (numpy.array([1.0, float("nan")]), [1.0, "NaN"]),
            (numpy.datetime64("2013-01-02T03:04:05.000000001"), "2013-01-02T03:04:05.000000001"),
            (numpy.array(["2013-01-02", "NaT"], dtype="M8[ns]"), ["2013-01-02T00:00:00.000000000", "NaT"]),
            (numpy.timedelta64(5, "D"), "5 days"),
            (1 + 2j, "(1+2j)"),
            (numpy.complex64(2j), "2j"),
            (types.SimpleNamespace(a=1), {"a": 1}),
            (Proxy("text"), "text"),
            ("lone \ud800 surrogate", "lone \ufffd surrogate"),
            ({"\udce9": "\udce9"}, {"\ufffd": "\ufffd"}),
            ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
            ({2: "a", "2": "b"}, {"2": "a", "2…": "b"}),
            ({(1, 2): "a", Colour.RED: "b", date(2013, 1, 2): "c"}, {"[1,2]": "a", "red": "b", "2013-01-02": "c"}),
            (ValueError("broken"), "ValueError: broken"),
            (KeyError(), "KeyError"),
            (Lazy("Reading"), "Reading"),
            (Own(), "own words"),
            (object(), "<object>"),
            (Mute(), "<Mute>"),
            (Point, "<Point>"),
            (len, "<builtin_function_or_method>"),
            ((number for number in range(3)), "<generator>"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_a_value_becomes_what_every_reader_of_json_holds(self, value, data):
        assert plain(value) == data
        assert type(plain(value)) is type(data)
        # Engine.IO's decoder refuses more than 100 digits, and a browser rounds beyond 2^53.
        text = to_json({"value": plain(value)})
        assert engineio.json.loads(text) == json.loads(text) == {"value": data}

    def test_the_rest_of_a_value_is_there_when_a_part_of_it_can_not_be_said(self):
        assert plain({"rows": 5, "cursor": object(), "more": [Mute(), 1]}) == {
            "rows": 5, "cursor": "<object>", "more": ["<Mute>", 1],
        }  # fmt: skip

    def test_what_contains_itself_is_cut_there(self):
        ring: dict[str, object] = {"rows": 5}
        ring["ring"] = [ring]
        assert plain(ring) == {"rows": 5, "ring": [CUT_MARK]}
        point = Point(1, [])
        point.children.append(point)
        assert plain(point) == {"x": 1, "children": [CUT_MARK]}
        shared = [1]
        assert plain([shared, shared]) == [[1], [1]]

    def test_what_is_too_deep_is_cut_there(self):
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        assert to_json(plain(deep)) == "[" * DEEPEST + f'"{CUT_MARK}"' + "]" * DEEPEST

    @pytest.mark.parametrize(
        "value", [range(10**20), [0] * 10**6, numpy.zeros((10**4, 10**4), dtype="int8")], ids=["range", "list", "array"]
    )
    def test_what_no_event_has_room_for_is_refused_before_it_is_walked_through(self, value):
        with pytest.raises(InvalidEvent, match=r"over the limit of 8,192 bytes\. Send less"):
            plain(value)

    def test_what_an_event_has_room_for_is_taken(self):
        assert plain(numpy.zeros(4000, dtype="int8")) == [0] * 4000

    def test_an_integer_of_more_digits_than_python_writes_is_said_in_hexadecimal(self):
        assert plain(16**5000) == "0x1" + "0" * 5000


class TestWords:
    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (5, "5"),
            (None, "None"),
            (Lazy("Lesen"), "Lesen"),
            ("caf\udce9.csv", "caf\ufffd.csv"),
            (Mute(), "<Mute>"),
            ("x" * 200, "x" * 200),
            ("x" * 201, "x" * 200 + "…"),
            ("\x00" * 300, "\x00" * 99 + "…"),
        ],
        ids=["int", "none", "lazy", "surrogate", "mute", "limit", "long", "controls"],
    )
    def test_a_value_becomes_words(self, value, said):
        assert words(value) == said

    def test_an_integer_of_any_size_becomes_words(self):
        assert words(16**5000) == "0x1" + "0" * 197 + "…"
        assert shown(10**50).startswith("1000")
        assert text_of(Mute()) == shown(Mute()) == "<Mute>"

    @pytest.mark.parametrize(
        ("name", "title"),
        [
            ("app.tasks.sync_account", "Sync account"),
            ("sync", "Sync"),
            ("app.tasks.SyncAccount", "Sync account"),
            ("app.tasks.import_CSV", "Import CSV"),
            ("app.tasks.send-mail", "Send mail"),
            ("app.tasks._", "app.tasks._"),
            ("app.", "App."),
        ],
    )
    def test_a_tasks_name_becomes_a_title(self, name, title):
        assert readable(name) == title

    def test_an_address_is_whole_and_has_every_byte_of_a_name(self):
        assert address("/files/" + "x" * 500) == "/files/" + "x" * 500
        assert address("/files/caf\udce9.csv") == "/files/caf%E9.csv"
        assert address(Path("/a")) == "/a"
        assert address("/\ud800") == "/\ufffd"

    @pytest.mark.parametrize(
        "how", [words, text_of, shown, plain, lambda value: plain([{"a": value}]), lambda value: plain({value})]
    )
    def test_a_time_limit_that_breaks_in_ends_the_task(self, how):
        class Slow:
            def __str__(self):
                raise SoftTimeLimitExceeded

            __repr__ = __str__

        with pytest.raises(SoftTimeLimitExceeded):
            how(Slow())


class TestEnds:
    def test_a_result_of_any_kind_is_shown(self):
        patch = succeeded({"rows": numpy.int64(5), "id": 2**60, "at": date(2013, 1, 2)}, now=1)
        assert patch["result"] == {"rows": 5, "id": "1152921504606846976", "at": "2013-01-02"}
        assert "result" not in succeeded("x" * 3000, now=1)
        assert "result" not in succeeded(range(10**20), now=1)
        assert "result" not in succeeded(Mute(), now=1)
        assert succeeded([Mute()], now=1)["result"] == ["<Mute>"]

    def test_a_reason_of_any_length_fits(self):
        from petiole.errors import TaskFailure

        patch = failed(TaskFailure("caf\udce9 " + "x" * 10_000), task_id="a" * 36, now=1)
        assert patch["reason"].startswith("caf\ufffd x")
        assert patch["reason"].endswith("x…")
        assert len(to_json(patch)) < 8192

    def test_an_instant_without_a_time_zone_is_utc(self):
        assert (
            milliseconds(datetime(1970, 1, 1, 0, 0, 1))
            == milliseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
            == 1000
        )


def test_the_name_of_an_errors_class_is_cut_wherever_it_is_said() -> None:
    error = type("E" * 100_000, (Exception,), {})()
    patch = outcome("FAILURE", error, task_id="0123456789", now=0)
    assert patch is not None
    assert patch["error"]["type"] == "E" * 100 + CUT_MARK
    assert len(to_json(patch)) < 500
