"""`progress.write` and `progress.stream`: what a task writes, byte for byte, within its bounds, and how it ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from itertools import count

import pytest

from petiole.errors import Cancelled, Fenced
from petiole.protocol.events import MAX_EVENT_BYTES, Draft
from petiole.protocol.texts import MAX_TEXTS, TEXT
from petiole.worker.progress import progress
from petiole.worker.run import Run, current_run
from tests.support.waiting import wait_until
from tests.unit.progress.shared import cancel, warnings
from tests.unit.runs import FEED, SOON, begin, document, facts, messages, running

MIB = 1024 * 1024


def written(run, journal, name="output"):
    """The text once the journal has all of it."""
    assert run.outbox.flush(SOON)
    return journal.text(FEED, name)


def finished(run, journal, state="succeeded"):
    """The receipt of the texts, of a run that has ended."""
    run.finish({"state": state})
    assert run.outbox.flush(SOON)
    return document(journal).get("texts")


def receipt(text, **more):
    encoded = text.encode()
    return {"length": len(encoded), "sha256": hashlib.sha256(encoded).hexdigest(), **more}


HOSTILE = {
    "markup": "</script><b>&amp;",
    "right to left": "שלום \u202eabc\u202c",
    "joined": "👩\u200d👩\u200d👧\u200d👦 e\u0301",
    "NUL and controls": "a\x00b\x1b[31mred\x1b[0m\x7f\r\n\u2028",
    "quotes": "\"'\\ \\u0000 %s {} ~",
    "byte order mark": "\ufeffa",
    "not a character": "\uffff\U0010ffff",
    "one megabyte": "zwölf 👋🏽 " * (MIB // 16),
}


class TestOutsideATask:
    def test_nothing_is_printed_where_standard_output_is_no_terminal(self, capsys):
        assert current_run.get() is None
        progress.write("text")
        progress.write(None)
        progress.write("text", name="no name at all")
        assert list(progress.stream(["a", "b"])) == ["a", "b"]
        assert capsys.readouterr().out == ""

    def test_a_terminal_shows_it(self, capsys, monkeypatch):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        progress.write("a ")
        progress.write(None)
        assert list(progress.stream([b"b"], text=bytes.decode)) == [b"b"]
        assert capsys.readouterr().out == "a b"


class TestWriting:
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_every_character_is_kept_as_it_is(self, run, journal, kind):
        progress.write(HOSTILE[kind])
        assert written(run, journal) == HOSTILE[kind]
        assert finished(run, journal) == {"output": receipt(HOSTILE[kind])}
        assert warnings(journal) == []

    @pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind != "one megabyte"])
    def test_every_character_is_kept_as_it_is_though_each_is_written_by_itself(self, run, journal, kind):
        for character in HOSTILE[kind]:
            progress.write(character)
        assert written(run, journal) == HOSTILE[kind]

    def test_a_million_writes_of_one_character(self, run, journal):
        for _ in range(1_000_000):
            progress.write("x")
        assert finished(run, journal) == {"output": receipt("x" * 1_000_000)}
        assert journal.text(FEED, "output") == "x" * 1_000_000
        assert len([draft for draft, _, _ in journal.sent if draft.kind == TEXT]) < 10_000

    def test_nothing_adds_nothing(self, run, journal):
        for nothing in (None, ""):
            progress.write(nothing)
        assert finished(run, journal) is None
        assert journal.text(FEED, "output") is None
        assert journal.snapshot(FEED).cursor.texts.lengths == ()

    def test_a_few_texts_beside_each_other(self, run, journal):
        names = [f"text-{number}" for number in range(MAX_TEXTS)]
        for piece in "äbç":
            for name in names:
                progress.write(f"{name} {piece} ", name=name)
        assert {name: written(run, journal, name) for name in names} == {
            name: f"{name} ä {name} b {name} ç " for name in names
        }
        assert list(finished(run, journal)) == names

    def test_a_ninth_text_is_refused_in_a_sentence_and_the_others_go_on(self, run, journal):
        for number in range(MAX_TEXTS + 2):
            progress.write("a", name=f"text-{number}")
            progress.write("b", name=f"text-{number}")
        assert written(run, journal, "text-7") == "ab"
        assert journal.text(FEED, "text-8") is None
        assert warnings(journal) == [
            f"The text text-{number} is not shown: a task has at most 8 texts." for number in (8, 9)
        ]
        assert len(finished(run, journal)) == MAX_TEXTS

    def test_text_and_facts_and_counters_side_by_side(self, run, journal):
        progress.stage("Writing", total=100)
        for number in range(100):
            progress.write(f"{number} ")
            progress.advance()
            if number % 10 == 0:
                progress.log(str(number))
        assert written(run, journal) == "".join(f"{number} " for number in range(100))
        run.finish({"state": "succeeded"})
        assert run.outbox.flush(SOON)
        assert messages(journal) == [str(number) for number in range(0, 100, 10)]
        assert document(journal)["progress"]["completed"] == 100


class TestBadValues:
    @pytest.mark.parametrize("value", [b"bytes", bytearray(b"x"), 5, 0, 1.5, ["a"], object(), Counter(), False])
    def test_what_is_no_text_is_set_aside_and_said_once(self, run, journal, value):
        progress.write("before ")
        for _ in range(3):
            progress.write(value)
        progress.write("after")
        assert written(run, journal) == "before after"
        [said] = warnings(journal)
        assert said.endswith("was not written: it isn't text. Pass a str; decode bytes first.")

    def test_a_value_that_is_neither_true_nor_false_does_not_end_the_task(self, run, journal):
        class Unsure:
            def __bool__(self):
                raise ValueError("The truth value of an array is ambiguous")

        progress.write(Unsure())
        run.outbox.flush(SOON)
        assert len(warnings(journal)) == 1

    @pytest.mark.parametrize(
        ("name", "known"),
        [("a b/c", "a-b-c"), ("ünïcode", "-n-code"), ("x" * 40, "x" * 32), ("", "output"), (None, "None"), (5, "5")],
        ids=str,
    )
    def test_a_name_that_does_not_fit_is_made_to_and_that_is_said_once(self, run, journal, name, known):
        for _ in range(3):
            progress.write("a", name=name)
        assert written(run, journal, known) == "aaa"
        [said] = warnings(journal)
        assert said.startswith(f"A text is named {known}, not ")

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a\ud83db", "a\ufffdb"),
            ("\udc4b\ud83d", "\ufffd\ufffd"),
            ("\ud83d\ud83d\udc4b", "\ufffd👋"),
            ("a\ud83d", "a\ufffd"),
        ],
        ids=ascii,
    )
    def test_half_a_character_becomes_the_sign_for_what_can_not_be_shown(self, run, journal, text, shown):
        progress.write(text)
        assert finished(run, journal) == {"output": receipt(shown)}
        assert journal.text(FEED, "output") == shown

    def test_a_character_in_two_writes_is_one(self, run, journal):
        progress.write("a\ud83d")
        assert written(run, journal) == "a"
        progress.write("\udc4bb\ud83d")
        assert written(run, journal) == "a👋b"
        progress.write("\udc4b")
        assert finished(run, journal) == {"output": receipt("a👋b👋")}
        assert journal.text(FEED, "output") == "a👋b👋"

    def test_half_a_character_that_waits_for_the_other_keeps_nobody_awake(self, journal, make_settings):
        asked = count()

        def clock():
            next(asked)
            return time.monotonic()

        with running(journal, make_settings(heartbeat=0.1, counters_per_second=0), clock=clock) as run:
            progress.write("a\ud83d")
            assert written(run, journal) == "a"
            begun, checks = next(asked), journal.checks
            wait_until(lambda: journal.checks >= checks + 3, what="the run asks a few times whether it is valid")
            assert next(asked) - begun < 100


class TestLimits:
    def test_what_is_past_the_limit_is_left_out_and_said_in_log_and_receipt(self, journal, make_settings):
        with running(journal, make_settings(text_limit=10)) as run:
            progress.write("12345678")
            progress.write("ü90abc")
            progress.write("more")
            progress.log("goes on")
            assert finished(run, journal) == {"output": receipt("12345678ü", omitted=9)}
        assert journal.text(FEED, "output") == "12345678ü"
        said = [message for message in messages(journal) if message != "goes on"]
        assert said == [
            "The text output is cut: a task keeps 10 bytes of text. Raise PETIOLE_TEXT_LIMIT, or write it to a file and "
            "announce that by progress.artifact."
        ]

    @pytest.mark.parametrize(("limit", "kept"), [(8, "1234567"), (9, "1234567"), (10, "1234567三"), (12, "1234567三")])
    def test_the_cut_is_between_two_characters(self, journal, make_settings, limit, kept):
        with running(journal, make_settings(text_limit=limit)) as run:
            progress.write("1234567三👋")
            left_out = len("1234567三👋".encode()) - len(kept.encode())
            assert finished(run, journal) == {"output": receipt(kept, omitted=left_out)}

    def test_nothing_is_shown_after_a_gap_in_whichever_text(self, journal, make_settings):
        with running(journal, make_settings(text_limit=10)) as run:
            progress.write("1234", name="first")
            progress.write("👋👋", name="second")
            assert run.outbox.flush(SOON)
            progress.write("5", name="first")
            progress.write("6", name="third")
            assert finished(run, journal) == {
                "first": receipt("1234", omitted=1),
                "second": receipt("👋", omitted=4),
                "third": receipt("", omitted=1),
            }
        assert [journal.text(FEED, name) for name in ("first", "second", "third")] == ["1234", "👋", None]

    def test_exactly_the_limit_is_not_cut(self, journal, make_settings):
        with running(journal, make_settings(text_limit=10)) as run:
            progress.write("1234567三")
            assert finished(run, journal) == {"output": receipt("1234567三")}
        assert warnings(journal) == []


class TestOrder:
    def test_what_several_threads_write_is_each_in_its_order_and_no_piece_is_torn(self, run, journal):
        def write(number):
            for piece in range(300):
                progress.write(f"{number}:{piece}:zwölf👋\n")

        threads = [threading.Thread(target=progress.wrap(write), args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        lines = written(run, journal).splitlines()
        for number in range(4):
            mine = [line for line in lines if line.startswith(f"{number}:")]
            assert mine == [f"{number}:{piece}:zwölf👋" for piece in range(300)]
        assert len(lines) == 4 * 300

    def test_texts_that_several_threads_begin_do_not_disturb_who_sends(self, run, journal):
        def write(name):
            for _ in range(200):
                progress.write("ä", name=name)
                progress.log(name)

        threads = [threading.Thread(target=progress.wrap(write), args=(f"text-{n}",)) for n in range(MAX_TEXTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [written(run, journal, f"text-{n}") for n in range(MAX_TEXTS)] == ["ä" * 200] * MAX_TEXTS

    def test_what_coroutines_write_is_in_the_order_of_their_writes(self, run, journal):
        said = []

        async def write(number):
            for piece in range(100):
                text = f"{number}:{piece} "
                said.append(text)
                progress.write(text)
                await asyncio.sleep(0)

        async def write_all():
            await asyncio.gather(*(write(number) for number in range(4)))

        asyncio.run(write_all())
        assert written(run, journal) == "".join(said)

    def test_a_thread_without_the_tasks_context_writes_nothing(self, run, journal):
        thread = threading.Thread(target=progress.write, args=("nobody's",))
        thread.start()
        thread.join(SOON)
        assert finished(run, journal) is None


class TestStream:
    def test_what_is_yielded_is_written(self, run, journal):
        assert list(progress.stream(iter(["a", None, "b", ""]), name="answer")) == ["a", None, "b", ""]
        assert written(run, journal, "answer") == "ab"

    def test_text_says_what_to_write_of_a_chunk(self, run, journal):
        chunks = [{"delta": "ä"}, {"done": True}, {"delta": "b"}]
        assert list(progress.stream(chunks, text=lambda chunk: chunk.get("delta"))) == chunks
        assert written(run, journal) == "äb"

    def test_a_chunk_is_written_before_it_is_yielded(self, run, journal):
        for chunk in progress.stream(["a", "b", "c"]):
            assert written(run, journal).endswith(chunk)

    def test_nothing_is_taken_before_it_is_asked_for(self, run, journal):
        taken = []
        stream = progress.stream(taken.append(number) or str(number) for number in range(3))
        assert taken == []
        assert next(stream) == "0"
        assert taken == [0]
        assert written(run, journal) == "0"

    def test_an_error_of_the_source_is_the_callers(self, run, journal):
        def broken():
            yield "a"
            raise OSError("the model has hung up")

        with pytest.raises(OSError, match="hung up"):
            list(progress.stream(broken()))
        assert written(run, journal) == "a"

    def test_an_error_of_text_is_the_callers(self, run, journal):
        with pytest.raises(KeyError):
            list(progress.stream([{"a": "x"}, {}], text=lambda chunk: chunk["a"]))
        assert written(run, journal) == "x"

    def test_a_source_that_is_left_is_closed(self, run, journal):
        closed = []

        def source():
            try:
                yield from "abc"
            finally:
                closed.append(True)

        for _ in progress.stream(source()):
            break
        assert closed == [True]
        stream = progress.stream(source())
        next(stream)
        stream.close()
        assert closed == [True, True], "the source lives as long as its stream"
        assert written(run, journal) == "aa"

    def test_an_asynchronous_source(self, run, journal):
        async def source():
            for chunk in ("ä", None, "b"):
                await asyncio.sleep(0)
                yield chunk
            raise OSError("the model has hung up")

        async def consume():
            async for chunk in progress.stream(source()):
                got.append(chunk)  # noqa: PERF401 (what came before the error counts)

        got = []
        with pytest.raises(OSError, match="hung up"):
            asyncio.run(consume())
        assert got == ["ä", None, "b"]
        assert written(run, journal) == "äb"

    def test_an_asynchronous_source_that_is_left_is_closed_with_the_stream(self, run, journal):
        closed = []

        async def source():
            try:
                for chunk in "abc":
                    yield chunk
            finally:
                closed.append(True)

        async def consume():
            stream = progress.stream(source(), text=str.upper)
            assert await anext(stream) == "a"
            await stream.aclose()
            while not closed:
                await asyncio.sleep(0)

        asyncio.run(asyncio.wait_for(consume(), SOON))
        assert written(run, journal) == "A"


class TestTheEnd:
    def test_a_cancelled_task_ends_at_its_next_write_and_keeps_what_it_has_written(self, run, journal):
        progress.write("before ")
        assert written(run, journal) == "before "
        cancel(journal)
        run.outbox.touch()
        wait_until(lambda: run.cancelled, what="the run hears of the cancel")
        with pytest.raises(Cancelled):
            progress.write("after")
        with pytest.raises(Cancelled):
            next(progress.stream(["after"]))
        assert finished(run, journal, "cancelled") == {"output": receipt("before ")}
        assert journal.text(FEED, "output") == "before "

    def test_a_fenced_run_ends_at_its_next_write(self, run, journal):
        progress.write("before ")
        assert written(run, journal) == "before "
        begin(journal, delivery="delivery-2", retries=1)
        run.outbox.touch()
        wait_until(lambda: run.outbox.signals.fenced, what="the run hears of the later one")
        with pytest.raises(Fenced):
            progress.write("after")

    def test_what_is_written_after_the_end_is_not_taken(self, run, journal):
        progress.write("before")
        run.finish({"state": "succeeded"})
        progress.write(" after")
        progress.write("new", name="another")
        assert run.outbox.flush(SOON)
        assert journal.text(FEED, "output") == "before"
        assert journal.text(FEED, "another") is None
        assert messages(journal) == []

    def test_what_another_thread_writes_while_the_run_ends_is_in_the_receipt_or_not_taken(self, journal, make_settings):
        ended = threading.Event()

        def write():
            while not ended.is_set():
                progress.write("ä")

        with running(journal, make_settings()) as run:
            thread = threading.Thread(target=progress.wrap(write))
            thread.start()
            wait_until(lambda: journal.text(FEED, "output"), what="it has written")
            said = finished(run, journal)
            ended.set()
            thread.join(SOON)
        assert said == {"output": receipt(journal.text(FEED, "output"))}
        assert warnings(journal) == []

    def test_a_retry_comes_after_its_runs_text_and_the_next_run_writes_its_own(self, journal, make_settings):
        with running(journal, make_settings(texts_per_second=0.01)) as run:
            progress.write("first ")
            wait_until(lambda: journal.text(FEED, "output") == "first ", what="the first piece is kept")
            progress.write("run")
            run.hand_over({"state": "retrying"}, successor="0badcafe", otherwise=Draft("state", {"state": "cancelled"}))
            run.outbox.close()
            assert run.outbox.flush(SOON)
        assert journal.text(FEED, "output") == "first run"
        assert facts(journal)[-1].texts.lengths == (("output", len("first run")),)
        later = Run(journal, begin(journal, delivery="delivery-2", retries=1), make_settings())
        later.outbox.start()
        assert journal.text(FEED, "output") is None
        with later.current():
            progress.write("second")
        assert finished(later, journal) == {"output": receipt("second")}
        assert journal.text(FEED, "output") == "second"

    def test_the_receipt_stays_though_the_rest_of_the_last_fact_is_too_large(self, run, journal):
        progress.write("text")
        run.finish({"state": "failed", "finished_at": 5, "reason": "r" * MAX_EVENT_BYTES, "error": {"message": "e"}})
        assert run.outbox.flush(SOON)
        assert document(journal)["texts"] == {"output": receipt("text")}

    def test_the_receipt_goes_with_what_is_said_instead(self, run, journal):
        progress.write("text")
        cancel(journal)
        run.finish({"state": "succeeded"}, otherwise=Draft("state", {"state": "cancelled"}))
        assert run.outbox.flush(SOON)
        assert document(journal)["state"] in ("succeeded", "cancelled")
        assert document(journal)["texts"] == {"output": receipt("text")}

    def test_a_task_without_text_has_no_receipt_of_any(self, run, journal):
        progress.log("a line")
        assert finished(run, journal) is None
        assert not facts(journal)[-1].texts
        assert "texts" not in facts(journal)[-1].to_wire()


class TestForks:
    def test_a_process_that_the_task_forks_writes_nothing_and_says_so(self, run, journal, caplog):
        progress.write("parent ")
        assert written(run, journal) == "parent "
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            run.disown()
            with os.fdopen(writing, "w") as pipe:
                progress.write("child")
                progress.write("child", name="another")
                said = [record.getMessage() for record in caplog.records]
                pipe.write(str(sum("forked" in message for message in said)))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            assert pipe.read() == "1"
        os.waitpid(child, 0)
        progress.write("again")
        assert written(run, journal) == "parent again"


class TimeLimit(Exception):
    """Raised in the task's own thread wherever that is, as Celery's soft time limit is."""


@contextmanager
def interrupted_after(calls):
    """Raise a `TimeLimit` after so many calls from within the worker's code: Python looks for signals after each."""
    left = count(calls, -1)

    def look(frame, event, _argument):
        if event in ("call", "c_return") and "petiole/worker" in frame.f_code.co_filename and next(left) == 0:
            raise TimeLimit

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)


class TestInterruptions:
    def test_a_time_limit_that_breaks_in_anywhere_loses_and_doubles_nothing(self, journal, make_settings):
        with running(journal, make_settings(texts_per_second=1000)) as run:
            expected, interrupted = "", 0
            for number in range(400):
                piece = f"{number} ä" + ("x" * 20_000 if number % 7 == 0 else "")
                before = expected
                try:
                    with interrupted_after(number % 40):
                        progress.write(piece)
                    expected += piece
                except TimeLimit:
                    interrupted += 1
                    expected = text_so_far(run)
                is_whole = expected in (before, before + piece)
                assert is_whole, f"a limit after {number % 40} calls"
            assert interrupted > 100
            assert finished(run, journal) == {"output": receipt(expected)}
        assert journal.text(FEED, "output") == expected


def text_so_far(run):
    """What the run has taken, sent or not."""
    texts = run.outbox._texts
    with texts._lock:
        text = texts._texts.get("output")
        return "" if text is None else text.encoded().decode() + text.progress.half + "".join(text.progress.fresh)
