"""`progress`: what a task says, within its bounds, and how it ends."""

from __future__ import annotations

import contextvars
import json
import threading
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath

import pytest

from petiole.errors import Cancelled, Fenced, InvalidEvent
from petiole.protocol.events import MAX_EVENT_BYTES, Draft
from petiole.protocol.values import CUT_MARK, WORDS_LIMIT
from petiole.worker.progress import progress, track
from petiole.worker.run import LOG_LIMIT, current_run
from tests.support.waiting import wait_until
from tests.unit.progress.shared import cancel, kept, warnings
from tests.unit.runs import FEED, SOON, begin, document, facts, messages, running

CALLS = {
    "stage": lambda: progress.stage("Reading", total=10),
    "advance": progress.advance,
    "update": lambda: progress.update(completed=3, total=5, description="x"),
    "emit": lambda: progress.emit("name", {"a": 1}),
    "artifact": lambda: progress.artifact("file.csv", url="/file", size=3),
    "confirm": lambda: progress.confirm(timeout=0.0),
    "track": lambda: list(track([1, 2, 3])),
}


class TestOutsideATask:
    @pytest.mark.parametrize("name", CALLS)
    def test_a_call_does_nothing(self, name):
        assert current_run.get() is None
        CALLS[name]()
        progress.log("a line")

    def test_a_task_may_go_on(self):
        assert progress.confirm() is True
        assert progress.cancelled is False

    def test_track_yields_every_item_of_any_iterable(self):
        assert list(track([1, 2, 3])) == [1, 2, 3]
        assert list(track(iter("abc"), total=3, description="x", unit="letters")) == ["a", "b", "c"]
        assert list(track(x * x for x in range(4))) == [0, 1, 4, 9]
        assert list(track([])) == []

    def test_data_of_any_kind_is_taken_and_what_is_too_large_refused(self):
        progress.emit("name", object())
        with pytest.raises(InvalidEvent, match="Send less"):
            progress.emit("name", range(10**20))


class TestCounting:
    def test_the_progress_of_a_run_is_in_the_document(self, run, journal):
        progress.stage("Reading", total=200, unit="rows")
        progress.advance()
        progress.advance(49)
        progress.update(description="flights.csv")
        assert kept(run, journal)["progress"] == {
            "completed": 50, "total": 200, "rate": None, "time_left": None, "fraction": 0.25, "stage": "Reading",
            "description": "flights.csv", "unit": "rows",
        }  # fmt: skip

    def test_update_sets_what_is_given_and_leaves_the_rest(self, run):
        progress.stage("Reading", total=200)
        progress.update(completed=50)
        progress.update(total=100)
        assert (run.progress()["completed"], run.progress()["total"], run.progress()["fraction"]) == (50, 100, 0.5)

    def test_an_unknown_total_has_no_fraction(self, run):
        progress.stage("Reading")
        progress.advance(50)
        assert run.progress()["total"] is None
        assert run.progress()["fraction"] is None

    def test_more_than_the_total_is_a_whole_fraction(self, run):
        progress.stage("Reading", total=10)
        progress.advance(25)
        assert run.progress()["fraction"] == 1.0
        assert run.progress()["completed"] == 25

    def test_stages_share_the_whole_task_as_until_says(self, run):
        fractions = []
        for until in (0.25, 0.75, 1.0):
            progress.stage("a stage", total=4, until=until)
            fractions.append(run.progress()["fraction"])
            progress.advance(2)
            fractions.append(run.progress()["fraction"])
            progress.advance(2)
            fractions.append(run.progress()["fraction"])
        assert fractions == [0.0, 0.125, 0.25, 0.25, 0.5, 0.75, 0.75, 0.875, 1.0]

    def test_a_stage_without_a_total_stands_where_the_one_before_ended(self, run):
        progress.stage("Counting", until=0.1)
        assert run.progress()["fraction"] is None
        progress.stage("Sorting", until=0.2)
        progress.advance(7)
        assert run.progress()["fraction"] == 0.1

    def test_until_never_goes_back_and_never_past_the_end(self, run):
        progress.stage("a", total=2, until=0.5)
        progress.stage("b", total=2, until=0.3)
        progress.advance(2)
        assert run.progress()["fraction"] == 0.5
        progress.stage("c", total=2, until=7)
        progress.advance(2)
        assert run.progress()["fraction"] == 1.0

    def test_after_the_last_share_is_used_up_nobody_knows_the_whole(self, run):
        list(track(range(3), description="First"))
        assert run.progress()["fraction"] == 1.0
        for _ in track(range(3), description="Second"):
            assert run.progress()["fraction"] is None
        run.finish({"state": "succeeded"})
        assert run.progress()["fraction"] == 1.0

    def test_a_success_is_the_whole_task(self, run, journal):
        progress.stage("Reading", total=200, until=0.5)
        progress.advance(3)
        run.finish({"state": "succeeded"})
        assert run.outbox.flush(SOON)
        assert document(journal)["progress"]["fraction"] == 1.0
        assert document(journal)["progress"]["completed"] == 3

    def test_a_failure_leaves_the_progress_where_it_was(self, run, journal):
        progress.stage("Reading", total=200)
        progress.advance(50)
        run.finish({"state": "failed"})
        assert run.outbox.flush(SOON)
        assert document(journal)["progress"]["fraction"] == 0.25

    def test_a_new_stage_counts_from_zero(self, run):
        progress.stage("a", total=10)
        progress.advance(10)
        progress.stage("b")
        assert (run.progress()["completed"], run.progress()["total"]) == (0, None)

    def test_a_stage_is_a_fact(self, run, journal):
        progress.stage("Reading")
        kept(run, journal)
        assert facts(journal)[-1].kind == "stage"
        assert facts(journal)[-1].data == {"name": "Reading"}

    def test_rate_and_time_left_follow_the_clock(self, journal, make_settings, clock):
        with running(journal, make_settings(), clock=clock) as run:
            progress.stage("Reading", total=1000)
            for _ in range(10):
                clock.now += 1
                progress.advance(50)
                answer = run.progress()
        assert answer["rate"] == 50.0
        assert answer["time_left"] == 10.0

    def test_threads_that_share_the_run_count_together(self, run, journal):
        def work():
            for _ in range(5000):
                progress.advance()

        contexts = [contextvars.copy_context() for _ in range(4)]
        threads = [threading.Thread(target=context.run, args=(work,)) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
        assert kept(run, journal)["progress"]["completed"] == 20_000


class TestFacts:
    def test_an_event_of_the_applications_own_is_kept(self, run, journal):
        progress.emit("page", {"number": 3, "words": ["a", None]})
        kept(run, journal)
        event = facts(journal)[-1]
        assert (event.kind, event.data) == ("custom", {"name": "page", "data": {"number": 3, "words": ["a", None]}})

    def test_what_the_task_changes_later_does_not_change_what_it_said(self, run, journal):
        journal.away = True
        data = {"list": [1]}
        progress.emit("page", data)
        data["list"].append(2)
        data["more"] = object()
        journal.away = False
        kept(run, journal)
        assert facts(journal)[-1].data["data"] == {"list": [1]}

    def test_artifacts_are_listed_in_the_document_by_name(self, run, journal):
        progress.artifact("a.csv", url="/a", size=1)
        progress.artifact("b.csv", rows=2)
        progress.artifact("a.csv", url="/a2")
        assert kept(run, journal)["artifacts"] == [{"name": "b.csv", "rows": 2}, {"name": "a.csv", "url": "/a2"}]
        assert [event.kind for event in facts(journal)[-3:]] == ["artifact"] * 3
        assert facts(journal)[-1].data == {"name": "a.csv", "url": "/a2"}

    def test_artifacts_of_an_earlier_run_stay_in_the_list(self, journal, make_settings):
        with running(journal, make_settings()) as first:
            progress.artifact("a.csv")
            first.say("state", patch={"state": "retrying"})
            assert first.outbox.flush(SOON)
        start = begin(journal, delivery="delivery-2", retries=1)
        assert start.document["artifacts"] == [{"name": "a.csv"}]

    def test_an_artifact_takes_numbers_of_any_kind(self, run, journal):
        numpy = pytest.importorskip("numpy")
        progress.artifact(
            "a.csv",
            rows=numpy.int64(5),
            size=Decimal(7),
            expires_at=datetime(2030, 1, 1, tzinfo=UTC),
            url=PurePosixPath("/a"),
        )
        assert kept(run, journal)["artifacts"] == [
            {"name": "a.csv", "url": "/a", "size": 7, "rows": 5, "expires_at": 1_893_456_000_000}
        ]
        assert warnings(journal) == []

    @pytest.mark.parametrize("value", ["many", -5, float("nan"), 10**5000, [5]], ids=lambda value: repr(type(value)))
    def test_an_artifact_is_there_without_a_number_that_is_none_and_that_is_said(self, run, journal, value):
        progress.artifact("a.csv", url="/a", rows=value)
        assert kept(run, journal)["artifacts"] == [{"name": "a.csv", "url": "/a"}]
        [said] = warnings(journal)
        assert said.startswith("A value for rows was set aside:")

    def test_names_that_are_cut_alike_are_two_artifacts(self, run, journal):
        for end in "ab":
            progress.artifact("x" * 1000 + end, url=f"/{end}")
        progress.artifact("caf\udce9.csv")
        first, second, third = kept(run, journal)["artifacts"]
        assert first["name"] == second["name"] == "x" * 255 + CUT_MARK
        assert (first["url"], second["url"], third["name"]) == ("/a", "/b", "caf\ufffd.csv")

    def test_a_log_line_carries_its_level(self, run, journal):
        progress.log("watch out", level="warning")
        kept(run, journal)
        assert facts(journal)[-1].data == {"level": "warning", "message": "watch out"}

    def test_a_fact_carries_the_progress_as_of_then(self, run, journal):
        journal.away = True
        progress.stage("Reading", total=10)
        for number in range(3):
            progress.advance()
            progress.log(str(number))
        journal.away = False
        kept(run, journal)
        assert [event.progress["completed"] for event in facts(journal) if event.kind == "log"] == [1, 2, 3]


class TestLimits:
    def test_a_line_of_the_limit_is_whole_and_a_longer_one_is_cut_with_a_mark(self, run, journal):
        progress.log("x" * LOG_LIMIT)
        progress.log("y" * (LOG_LIMIT + 1))
        kept(run, journal)
        assert messages(journal) == ["x" * LOG_LIMIT, "y" * LOG_LIMIT + CUT_MARK]

    @pytest.mark.parametrize("character", ["é", "日", "🎉", "\x00", '"', "\\", "\n"])
    def test_a_line_of_any_characters_fits_after_the_cut(self, run, journal, character):
        progress.log(character * 100_000)
        kept(run, journal)
        [message] = messages(journal)
        assert message.endswith(CUT_MARK)
        assert set(message.removesuffix(CUT_MARK)) == {character}
        assert 4000 < len(json.dumps(message, ensure_ascii=False).encode()) < MAX_EVENT_BYTES

    def test_a_line_that_utf8_can_not_carry_is_kept_with_a_replacement(self, run, journal):
        progress.log("caf\udce9.csv")
        kept(run, journal)
        assert messages(journal) == ["caf\ufffd.csv"]

    @pytest.mark.parametrize("message", [None, 5, ValueError("broken"), b"bytes"])
    def test_a_line_of_another_type_becomes_text(self, run, journal, message):
        progress.log(message)
        kept(run, journal)
        assert messages(journal) == [str(message)]

    def test_long_words_are_cut_and_leave_room_for_every_event(self, run, journal):
        for text in ("🎉" * 5000, "\x00" * 5000, "caf\udce9" * 1000):
            progress.stage(text, total=10, unit=text)
            progress.update(description=text)
            progress.log(text)
        run.finish({"state": "failed", "reason": "r" * 1000})
        assert run.outbox.flush(SOON)
        assert document(journal)["state"] == "failed"
        assert document(journal)["progress"]["stage"].startswith("caf\ufffdcaf\ufffd")
        assert len(document(journal)["progress"]["description"]) <= WORDS_LIMIT + len(CUT_MARK)
        assert warnings(journal) == []

    def test_an_event_that_is_too_large_is_set_aside_and_said(self, run, journal):
        progress.emit("page", "x" * MAX_EVENT_BYTES)
        progress.emit("page", "small")
        kept(run, journal)
        [said] = warnings(journal)
        assert said.startswith("An event was set aside.")
        assert "over the limit of 8,192" in said
        assert facts(journal)[-1].data == {"name": "page", "data": "small"}

    def test_an_event_that_no_event_has_room_for_is_set_aside_and_said(self, run, journal):
        progress.emit("page", range(10**20))
        kept(run, journal)
        [said] = warnings(journal)
        assert "over the limit of 8,192" in said

    def test_data_that_json_can_not_carry_is_said_as_near_as_can_be(self, run, journal):
        progress.emit(5, {"id": 2**60, "share": float("nan"), "cursor": object(), "rows": Decimal("1.10")})
        kept(run, journal)
        said = {"id": str(2**60), "share": "NaN", "cursor": "<object>", "rows": "1.10"}
        assert facts(journal)[-1].data == {"name": "5", "data": said}
        assert warnings(journal) == []

    def test_an_artifact_that_is_too_large_does_not_spoil_the_next(self, run, journal):
        progress.artifact("small.csv")
        progress.artifact("large.csv", url="x" * MAX_EVENT_BYTES)
        progress.artifact("last.csv")
        assert [artifact["name"] for artifact in kept(run, journal)["artifacts"]] == ["small.csv", "last.csv"]
        assert len(warnings(journal)) == 1

    def test_the_last_state_is_never_set_aside(self, run, journal):
        reason = "r" * MAX_EVENT_BYTES
        run.finish({"state": "failed", "finished_at": 5, "reason": reason, "error": {"message": reason}})
        assert run.outbox.flush(SOON)
        final = document(journal)
        assert final["state"] == "failed"
        assert final["finished_at"] == 5
        assert final["reason"] == "r" * WORDS_LIMIT + CUT_MARK
        assert len(warnings(journal)) == 1

    def test_a_last_state_that_is_not_json_is_said_without_what_is_not(self, run, journal):
        run.finish({"state": "succeeded", "finished_at": 5, "reason": None, "result": object()})
        assert run.outbox.flush(SOON)
        assert document(journal)["state"] == "succeeded"
        assert "result" not in document(journal)

    def test_what_is_said_after_the_end_is_not_taken(self, run, journal):
        run.finish({"state": "succeeded"})
        progress.log("after")
        assert run.outbox.flush(SOON)
        assert messages(journal) == []


class TestBadValues:
    @pytest.mark.parametrize("value", ["5", None, [1], float("nan"), float("inf"), 10**400, 1j, object()])
    def test_a_bad_amount_is_set_aside_and_said_once(self, run, journal, value):
        progress.stage("Reading", total=10)
        progress.advance(2)
        for _ in range(3):
            progress.advance(value)
            run.outbox.touch()
            assert run.outbox.flush(SOON)
        progress.advance(1)
        assert kept(run, journal)["progress"]["completed"] == 3
        [said] = warnings(journal)
        assert said.startswith("A value for advance was set aside:")
        run.finish({"state": "succeeded"})
        assert run.outbox.flush(SOON)
        assert document(journal)["state"] == "succeeded"

    @pytest.mark.parametrize("value", ["5", [1], float("nan"), float("-inf"), -1, object()])
    @pytest.mark.parametrize("name", ["completed", "total"])
    def test_a_bad_number_is_set_aside_and_said_once(self, run, journal, name, value):
        progress.stage("Reading", total=10)
        progress.advance(4)
        run.progress()
        for _ in range(3):
            progress.update(**{name: value})
        answer = kept(run, journal)["progress"]
        assert (answer["completed"], answer["total"]) == (4, 10)
        [said] = warnings(journal)
        assert said.startswith(f"A value for {name} was set aside:")

    @pytest.mark.parametrize("value", ["ten", float("nan"), -5, object()])
    def test_a_bad_total_of_a_stage_is_an_unknown_total(self, run, journal, value):
        progress.stage("Reading", total=value)
        progress.advance(4)
        assert kept(run, journal)["progress"]["total"] is None
        assert len(warnings(journal)) == 1

    def test_a_bad_until_is_the_whole_task(self, run, journal):
        progress.stage("Reading", total=4, until=float("nan"))
        progress.advance(2)
        assert kept(run, journal)["progress"]["fraction"] == 0.5
        assert len(warnings(journal)) == 1

    @pytest.mark.parametrize("value", [Decimal("2"), Fraction(2), 2.0, True + True])
    def test_numbers_of_other_kinds_are_counted(self, run, journal, value):
        progress.stage("Reading", total=value * 2)
        progress.update(completed=value)
        answer = kept(run, journal)["progress"]
        assert (answer["completed"], answer["total"], answer["fraction"]) == (2, 4, 0.5)
        assert warnings(journal) == []

    def test_numbers_of_numpy_are_counted(self, run, journal):
        numpy = pytest.importorskip("numpy")
        progress.stage("Reading", total=numpy.int64(10))
        progress.advance(numpy.int32(3))
        progress.advance(numpy.float32(2))
        progress.advance(numpy.array(1))
        progress.update(total=numpy.array([12]))
        assert (kept(run, journal)["progress"]["completed"], run.progress()["total"]) == (6, 12)
        assert warnings(journal) == []

    def test_completed_never_goes_below_zero(self, run, journal):
        progress.stage("Reading", total=10)
        progress.advance(-5)
        assert kept(run, journal)["progress"]["completed"] == 0


class TestEndings:
    @pytest.mark.parametrize("name", CALLS)
    def test_a_call_of_a_cancelled_task_raises_cancelled(self, run, name):
        run.outbox.signals.cancel = True
        assert progress.cancelled is True
        with pytest.raises(Cancelled, match="The task was cancelled"):
            CALLS[name]()

    @pytest.mark.parametrize("name", CALLS)
    def test_a_call_of_a_fenced_run_raises_fenced(self, run, name):
        run.outbox.signals.fenced = True
        with pytest.raises(Fenced, match="This run ends and publishes nothing"):
            CALLS[name]()

    def test_a_log_line_of_a_cancelled_task_is_kept(self, run, journal):
        run.outbox.signals.cancel = True
        progress.log("cleaning up")
        assert run.outbox.flush(SOON)
        assert messages(journal) == ["cleaning up"]

    @pytest.mark.parametrize("ended", [Cancelled, Fenced])
    def test_an_except_exception_of_the_task_does_not_keep_it_alive(self, ended):
        assert not issubclass(ended, Exception)

    def test_a_cancel_reaches_a_running_task(self, run, journal):
        assert progress.cancelled is False
        cancel(journal)
        progress.log("x")
        wait_until(lambda: progress.cancelled, what="the task knows that it was cancelled")


class TestConfirm:
    def test_a_run_that_holds_its_task_may_publish(self, run):
        assert progress.confirm() is True

    def test_a_cancelled_task_may_not_publish(self, run, journal):
        cancel(journal)
        with pytest.raises(Cancelled):
            progress.confirm()

    def test_a_fenced_run_may_not_publish(self, run, journal):
        begin(journal, delivery="delivery-2", retries=1)
        with pytest.raises(Fenced):
            progress.confirm()

    def test_a_task_that_was_declared_lost_may_not_publish(self, run, journal):
        journal.append(FEED, Draft("state", {"state": "lost"}))
        with pytest.raises(Fenced):
            progress.confirm()

    def test_nobody_can_say_while_the_journal_is_away(self, run, journal):
        journal.away = True
        assert progress.confirm(timeout=0.15) is False
        journal.away = False
        assert progress.confirm() is True

    def test_a_journal_that_comes_back_in_time_is_waited_for(self, run, journal):
        journal.away = True
        asked = journal.checks
        answers = []
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: answers.append(context.run(progress.confirm)))
        thread.start()
        wait_until(lambda: journal.checks > asked, what="the journal was asked")
        journal.away = False
        thread.join(SOON)
        assert answers == [True]

    def test_a_run_that_the_journal_forgot_opens_its_feed_again_and_may_publish(self, run, journal):
        journal.forget(FEED)
        assert progress.confirm() is True
        assert document(journal)["state"] == "running"

    def test_a_forgotten_run_that_another_has_replaced_may_not_publish(self, run, journal):
        journal.forget(FEED)
        begin(journal, delivery="delivery-2")
        begin(journal, delivery="delivery-3", retries=1)
        with pytest.raises(Fenced):
            progress.confirm()

    def test_a_run_that_has_given_its_task_back_may_not_publish(self, run, journal):
        journal.append(FEED, Draft("state", {"state": "retrying"}))
        with pytest.raises(Fenced):
            progress.confirm()
