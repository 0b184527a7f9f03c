from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petiole.errors import InvalidEvent, InvalidName
from petiole.protocol.encoding import to_json
from petiole.protocol.events import (
    MAX_EVENT_BYTES,
    MAX_NUMBER,
    PARTITIONS,
    ZERO_CHAIN,
    Cursor,
    Draft,
    Event,
    EventHeader,
    advance_chain,
    check_feed,
    feed_id,
    fold,
    fold_draft,
    mint_epoch,
    mint_id,
    partition,
    task_feed,
)

WIRE = {
    "v": 1,
    "id": "00000000000000aa",
    "feed": "task:a",
    "epoch": "9f3a1c2e",
    "seq": 12,
    "run": 1,
    "facts": 4,
    "chain": "0a1b2c3d4e5f6071",
    "at": 1764000000000,
    "kind": "log",
    "patch": {"state": "running", "reason": None},
    "progress": {"completed": 5},
    "data": {"level": "info", "message": "x"},
}
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_NUMBER, MAX_NUMBER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


class Color(Enum):
    RED = "red"


class TestNames:
    @pytest.mark.parametrize("name", ["task:a", "user:alice@example.org", "group:A-Z.a_z~9", "task:" + "x" * 128])
    def test_a_feeds_name_is_returned_as_it_is(self, name):
        assert check_feed(name) == name

    @pytest.mark.parametrize(
        "name",
        ["", "task:", "task", "job:a", "task:a b", "task:a/b", "task:ä", "task:a\n", "task:a:b", "Task:a", "task:{a}",
         "task:" + "x" * 129, " task:a", None, 5, b"task:a", ["task:a"]],
    )  # fmt: skip
    def test_another_name_is_refused_with_a_remedy(self, name):
        with pytest.raises(InvalidName, match="Use task:<id>"):
            check_feed(name)

    def test_a_tasks_feed_is_named_after_its_id(self):
        assert task_feed("1f2e") == "task:1f2e"
        assert feed_id("task:1f2e") == "1f2e"
        with pytest.raises(InvalidName):
            task_feed("a b")

    def test_partitions_are_stable_and_all_used(self):
        assert partition("task:a") == partition("task:a")
        assert {partition(f"task:{number}") for number in range(2000)} == set(range(PARTITIONS))

    def test_ids_and_epochs_have_the_digits_of_the_protocol(self):
        assert len({mint_id() for _ in range(100)}) == 100
        assert len(mint_id()) == 16
        assert len(mint_epoch()) == 8
        assert int(mint_id(), 16) >= 0
        assert int(mint_epoch(), 16) >= 0


class TestChain:
    def test_the_chain_is_the_hash_that_the_protocol_gives(self):
        first = "00000000000000aa"
        expected = hashlib.sha1((ZERO_CHAIN + first).encode()).hexdigest()[:16]
        assert advance_chain(ZERO_CHAIN, first) == expected == "8365dae98c0821c1"

    def test_the_order_of_facts_matters(self):
        a, b = mint_id(), mint_id()
        assert advance_chain(advance_chain(ZERO_CHAIN, a), b) != advance_chain(advance_chain(ZERO_CHAIN, b), a)


class TestCursor:
    def test_the_wire_form_reads_back(self):
        text = "9f3a1c2e.12.4.0a1b2c3d4e5f6071"
        assert str(Cursor.parse(text)) == text
        assert Cursor.parse(text) == Cursor("9f3a1c2e", 12, 4, "0a1b2c3d4e5f6071")

    @given(st.integers(0, MAX_NUMBER), st.integers(0, MAX_NUMBER))
    def test_every_cursor_reads_back(self, seq, facts):
        cursor = Cursor(mint_epoch(), seq, facts, mint_id())
        assert Cursor.parse(str(cursor)) == cursor

    @pytest.mark.parametrize(
        "text",
        ["", "x", "9f3a1c2e.12.4", "9f3a1c2e.12.4.0a1b2c3d4e5f6071.1", "9F3A1C2E.12.4.0a1b2c3d4e5f6071",
         "9f3a1c2.12.4.0a1b2c3d4e5f6071", "9f3a1c2e.-1.4.0a1b2c3d4e5f6071", "9f3a1c2e.1e3.4.0a1b2c3d4e5f6071",
         "9f3a1c2e.١٢.4.0a1b2c3d4e5f6071", "9f3a1c2e.12.4.0a1b2c3d4e5f607", "9f3a1c2e.12.4.0a1b2c3d4e5f6071\n",
         " 9f3a1c2e.12.4.0a1b2c3d4e5f6071", "9f3a1c2e..4.0a1b2c3d4e5f6071", None, 5, b"9f3a1c2e.12.4.0a1b2c3d4e5f6071",
         "9f3a1c2e." + "9" * 17 + ".4.0a1b2c3d4e5f6071", "9f3a1c2e." + "9" * 5000 + ".4.0a1b2c3d4e5f6071"],
    )  # fmt: skip
    def test_another_text_is_refused_with_a_remedy(self, text):
        with pytest.raises(InvalidName, match="Send the cursor of an earlier answer unchanged"):
            Cursor.parse(text)

    @pytest.mark.parametrize("numbers", [f"{MAX_NUMBER + 1}.1", f"1.{MAX_NUMBER + 1}", "9999999999999999.1"])
    def test_numbers_past_what_javascript_holds_are_refused(self, numbers):
        with pytest.raises(InvalidName, match="too large"):
            Cursor.parse(f"9f3a1c2e.{numbers}.0a1b2c3d4e5f6071")

    def test_a_place_is_behind_another_by_epoch_seq_facts_or_chain(self):
        held = Cursor("aaaaaaaa", 5, 3, "1" * 16)
        assert not held.is_behind(held)
        assert not replace(held, seq=6).is_behind(held)
        assert not replace(held, seq=6, facts=4, chain="2" * 16).is_behind(held)
        assert replace(held, epoch="bbbbbbbb").is_behind(held)
        assert replace(held, seq=4).is_behind(held)
        assert replace(held, seq=9, facts=2).is_behind(held)
        assert replace(held, seq=9, chain="2" * 16).is_behind(held)


class TestEvent:
    def test_an_event_reads_back_from_its_wire_form(self):
        event = Event.from_wire(WIRE)
        assert event.to_wire() == WIRE
        assert Event.from_text(json.dumps(WIRE)) == event
        assert Event.from_text(json.dumps(WIRE).encode()) == event
        assert event.cursor == Cursor("9f3a1c2e", 12, 4, "0a1b2c3d4e5f6071")

    def test_an_event_without_data_has_no_such_field(self):
        wire = {name: value for name, value in WIRE.items() if name != "data"}
        assert Event.from_wire(wire).to_wire() == wire

    def test_fields_of_a_later_version_are_passed_over(self):
        assert Event.from_wire({**WIRE, "later": 1}) == Event.from_wire(WIRE)

    def test_everything_but_a_counter_is_a_fact(self):
        assert not Event.from_wire({**WIRE, "kind": "counter"}).is_fact
        assert Event.from_wire({**WIRE, "kind": "something new"}).is_fact

    @pytest.mark.parametrize("name", [name for name in WIRE if name != "data"])
    def test_a_missing_field_is_refused_by_name(self, name):
        wire = {field: value for field, value in WIRE.items() if field != name}
        with pytest.raises(InvalidEvent, match=f"lacks the field '{name}'"):
            Event.from_wire(wire)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("v", "1"), ("v", True), ("seq", 1.0), ("seq", None), ("run", "0"), ("facts", [1]), ("at", 1.5), ("id", 5),
         ("feed", None), ("epoch", 1), ("chain", {}), ("kind", None), ("patch", []), ("patch", None),
         ("progress", []), ("progress", "x")],
    )  # fmt: skip
    def test_a_field_of_another_type_is_refused(self, name, value):
        with pytest.raises(InvalidEvent, match="wrong type"):
            Event.from_wire({**WIRE, name: value})

    @pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"x"', "[" * 100_000, b"\xff\xfe"])
    def test_text_that_is_no_event_is_refused(self, text):
        with pytest.raises(InvalidEvent, match="It is set aside"):
            Event.from_text(text)

    @pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
    def test_what_only_python_takes_for_json_is_refused(self, constant):
        text = json.dumps(WIRE | {"data": 12345})
        Event.from_text(text)
        with pytest.raises(InvalidEvent, match="It is set aside"):
            Event.from_text(text.replace("12345", constant))


class TestRung:
    TEXT = json.dumps(WIRE, separators=(",", ":"))

    def test_it_has_the_numbers_of_the_event(self):
        rung, event = EventHeader.from_text(self.TEXT), Event.from_wire(WIRE)
        for name in ("v", "id", "feed", "epoch", "seq", "facts", "chain", "kind", "is_fact", "cursor"):
            assert getattr(rung, name) == getattr(event, name)

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", '{"v":1}', TEXT[:-2], TEXT.replace(",", ", "), TEXT.replace('"seq":12', '"seq":"12"'),
         TEXT.replace('"chain":"0a', '"chain":"zz'), TEXT.replace('"id":"', '"id":"\\"'), TEXT + " "],
    )  # fmt: skip
    def test_what_begins_otherwise_is_to_be_read_whole(self, text):
        assert text != self.TEXT
        assert EventHeader.from_text(text) is None


class TestFold:
    def event(self, **fields):
        return Event.from_wire({**WIRE, "patch": {}, "progress": None, "run": 0, **fields})

    def test_the_patch_sets_and_null_deletes(self):
        folded = fold({"a": 1, "b": 2, "c": 3}, self.event(patch={"a": 9, "b": None, "d": None, "e": 0}))
        assert folded == {"a": 9, "c": 3, "e": 0}

    def test_progress_is_folded_after_the_patch(self):
        assert fold({}, self.event(patch={"progress": 1}, progress={"completed": 2})) == {"progress": {"completed": 2}}
        assert fold({"progress": 1}, self.event()) == {"progress": 1}

    def test_a_run_above_zero_is_folded_last(self):
        assert fold({"run": 1}, self.event(patch={"run": 7}, run=2)) == {"run": 2}
        assert fold({"run": 1}, self.event()) == {"run": 1}

    def test_the_document_that_was_given_stays_as_it_was(self):
        document = {"a": 1}
        fold(document, self.event(patch={"a": None, "b": 2}, progress={}, run=3))
        assert document == {"a": 1}

    def test_a_draft_folds_as_its_event_does(self):
        draft = Draft("state", {"a": 1, "b": None}, {"completed": 1})
        event = self.event(patch=draft.patch, progress=draft.progress, run=4)
        assert fold_draft({"b": 2}, draft, run=4) == fold({"b": 2}, event)


class TestDraft:
    @given(
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), JSON_VALUES, max_size=5),
        JSON_VALUES,
    )
    def test_the_text_that_a_journal_stores_is_what_was_given(self, patch, data):
        encoded = Draft("custom", patch, {"completed": 1}, data).encode()
        stored = json.loads("{" + encoded.body + "}")
        assert stored.pop("kind") == "custom"
        assert stored.pop("patch") == patch
        assert stored.pop("data", None) == data
        assert stored == {}
        assert {name: json.loads(text) for name, text in encoded.patch.items()} == patch

    def test_a_draft_keeps_its_id(self):
        draft = Draft("log")
        assert draft.encode().id == draft.settled().id == draft.id
        assert Draft("log").id != draft.id

    def test_a_settled_draft_does_not_change_with_what_it_was_made_of(self):
        data, patch = {"list": [1]}, {"deep": {"list": [1]}}
        settled = Draft("custom", patch, None, data).settled()
        data["list"].append(2)
        patch["deep"]["list"].append(2)
        assert json.loads(settled.encode().data) == {"list": [1]}
        assert settled.patch == {"deep": {"list": [1]}}

    @pytest.mark.parametrize(
        ("patch", "state"), [({}, None), ({"state": "queued"}, "queued"), ({"state": 5}, None), ({"state": None}, None)]
    )
    def test_a_drafts_state_is_the_one_that_it_sets(self, patch, state):
        assert Draft("state", patch).state == state

    def test_the_limit_counts_bytes_of_patch_data_and_progress(self):
        for draft in (
            Draft("log", {"a": "x" * MAX_EVENT_BYTES}),
            Draft("log", {}, None, "é" * (MAX_EVENT_BYTES // 2)),
            Draft("log", {}, {"a": "x" * MAX_EVENT_BYTES}),
            Draft("log", {"a": "x" * 3000}, {"a": "x" * 3000}, "x" * 3000),
        ):
            with pytest.raises(InvalidEvent, match=r"An event of [\d,]+ bytes is over the limit of 8,192"):
                draft.encode()
        Draft("log", {}, None, "x" * (MAX_EVENT_BYTES - 100)).encode()


class TestJson:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), '"2026-01-02T03:04:05+00:00"'),
            (date(2026, 1, 2), '"2026-01-02"'),
            (time(3, 4), '"03:04:00"'),
            (timedelta(minutes=2), "120.0"),
            (Decimal("1.10"), '"1.10"'),
            (UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
            (Path("a/b"), '"a/b"'),
            (Color.RED, '"red"'),
            ({"b"}, '["b"]'),
            (frozenset({2, 1}), "[1,2]"),
            ((1, 2), "[1,2]"),
            ({"é": None}, '{"é":null}'),
        ],
    )
    def test_what_people_put_into_progress_calls_becomes_json(self, value, text):
        assert to_json(value) == text

    @pytest.mark.parametrize("value", [float("nan"), float("-inf"), object(), b"x", "\udce9", {(1, 2): 3}, {1j}])
    def test_what_is_not_json_is_refused_with_a_remedy(self, value):
        with pytest.raises(InvalidEvent, match="Pass text, finite numbers"):
            to_json(value)

    def test_a_value_that_holds_itself_is_refused(self):
        value = []
        value.append(value)
        with pytest.raises(InvalidEvent, match="can't become JSON"):
            to_json(value)

    @given(JSON_VALUES)
    def test_json_reads_back(self, value):
        assert json.loads(to_json(value)) == value
