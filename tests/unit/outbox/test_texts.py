"""The outbox and what a task writes: merged, in order, whole wherever the journal has lost some, and before the run's end."""

from __future__ import annotations

import copy
import hashlib
import time

import pytest

from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft
from petiole.protocol.texts import MAX_CHUNK_BYTES, TEXT, size_of
from petiole.worker.dropped import stand_in
from petiole.worker.outbox import Outbox
from tests.conftest import VARIANTS
from tests.support.memory_journal import MemoryJournal
from tests.support.waiting import wait_until
from tests.unit.outbox.shared import RARELY, answered, cancel, supersede
from tests.unit.runs import (
    FEED,
    SOON,
    Counted,
    Faults,
    begin,
    document,
    facts,
    line,
    messages,
    started,
)

# Of one, two, three and four bytes.
PIECES = ["one ", "zwölf ", "三 ", "👋🏽 "]


def pieces(count):
    return [f"{number} {PIECES[number % len(PIECES)]}" for number in range(count)]


def sent(journal):
    """The chunks that were sent, each as often as it was."""
    return [draft.chunk for draft, _, _ in journal.sent if draft.kind == TEXT]


def ended():
    return Draft("state", {"state": "succeeded", "finished_at": 1})


def has(journal, text, name="output"):
    wait_until(lambda: journal.text(FEED, name) == text, what="the journal has the text")


class TestMerging:
    def test_the_tasks_own_thread_sends_the_first_piece(self, make_settings, redis_servers):
        journal = Faults(RedisJournal(make_settings(redis_servers(VARIANTS[0]).url)))
        outbox = Outbox(journal, begin(journal), make_settings(), newest=Counted())  # the thread isn't even started
        journal.target.append(FEED, line("before"))  # this loads the script into a new server
        outbox.write("output", "first ")
        has(journal, "first ")
        answered(outbox)
        outbox.start()
        outbox.write("output", "second")
        outbox.close()
        assert outbox.flush(SOON)
        assert journal.text(FEED, "output") == "first second"

    def test_the_first_piece_goes_out_at_once(self, journal, make_settings):
        with started(journal, make_settings(texts_per_second=RARELY)) as outbox:
            outbox.write("output", "first ")
            has(journal, "first ")

    def test_what_comes_in_between_is_merged_and_the_last_always_sent(self, journal, make_settings):
        written = pieces(1000)
        with started(journal, make_settings(texts_per_second=RARELY)) as outbox:
            outbox.write("output", written[0])
            has(journal, written[0])
            for piece in written[1:]:
                outbox.write("output", piece)
        assert journal.text(FEED, "output") == "".join(written)
        assert len(sent(journal)) == 2

    def test_chunks_go_out_at_most_so_often_a_second(self, memory, make_settings):
        written = ""
        with started(memory, make_settings(texts_per_second=20)) as outbox:
            began = time.monotonic()
            while len(sent(memory)) < 5:
                outbox.write("output", "x")
                written += "x"
            assert time.monotonic() - began >= 4 / 20
        assert memory.text(FEED, "output") == written

    def test_the_last_piece_is_sent_without_a_close(self, journal, make_settings):
        with started(journal, make_settings(texts_per_second=50)) as outbox:
            for piece in pieces(100):
                outbox.write("output", piece)
            has(journal, "".join(pieces(100)))

    def test_a_piece_after_a_pause_goes_out_at_once_again(self, journal, make_settings):
        with started(journal, make_settings(texts_per_second=50)) as outbox:
            for count in range(1, 6):
                outbox.write("output", f"{count} ")
                has(journal, "".join(f"{number} " for number in range(1, count + 1)))
                wait_until(lambda: not outbox._looks_for_text, what="the sending thread expects none")

    def test_a_fact_does_not_wait_for_text_that_is_not_due(self, journal, make_settings):
        with started(journal, make_settings(texts_per_second=RARELY)) as outbox:
            outbox.write("output", "first ")
            has(journal, "first ")
            outbox.write("output", "second ")
            outbox.put(line("a fact"))
            wait_until(lambda: messages(journal) == ["a fact"], what="the fact is kept")
            assert journal.text(FEED, "output") == "first "
        assert journal.text(FEED, "output") == "first second "

    def test_text_neither_delays_a_counter_nor_is_delayed_by_one(self, journal, make_settings):
        newest = Counted()
        with started(journal, make_settings(texts_per_second=RARELY, counters_per_second=RARELY), newest) as outbox:
            newest.completed = 3
            outbox.touch()
            wait_until(lambda: document(journal).get("progress") == {"completed": 3}, what="the counter is kept")
            newest.completed = 4
            outbox.touch()
            outbox.write("output", "first ")
            has(journal, "first ")
            assert document(journal)["progress"] == {"completed": 3}
        assert document(journal)["progress"] == {"completed": 4}

    def test_more_than_a_chunk_holds_goes_out_in_several(self, journal, make_settings):
        text = "".join(pieces(20_000))
        with started(journal, make_settings()) as outbox:
            outbox.write("output", text)
        assert journal.text(FEED, "output") == text
        chunks = sent(journal)
        assert [chunk.at for chunk in chunks[1:]] == [chunk.end for chunk in chunks[:-1]]
        assert max(size_of(chunk.text) for chunk in chunks) <= MAX_CHUNK_BYTES

    def test_texts_take_turns(self, memory, make_settings):
        long = "x" * 4 * MAX_CHUNK_BYTES
        with started(memory, make_settings(texts_per_second=0)) as outbox:
            memory.away = True
            for name in ("first", "second"):
                outbox.write(name, long)
            memory.away = False
        assert memory.text(FEED, "first") == memory.text(FEED, "second") == long
        assert "second" in [chunk.name for chunk in sent(memory)][:3]


class TestTheEnd:
    @pytest.mark.parametrize("state", ["succeeded", "retrying"])
    def test_the_fact_that_ends_the_run_comes_after_all_of_its_text(self, journal, make_settings, state):
        with started(journal, make_settings(texts_per_second=RARELY)) as outbox:
            for piece in pieces(10):
                outbox.write("output", piece)
                outbox.put(line(piece))
            outbox.write("more", "öäü")
            outbox.put(Draft("state", {"state": state}))
            wait_until(lambda: document(journal)["state"] == state, what="the run has ended")
            assert journal.text(FEED, "output") == "".join(pieces(10))
            assert journal.text(FEED, "more") == "öäü"
        assert journal.sent[-1][0].state == state
        assert dict(facts(journal)[-1].texts.lengths) == {"more": 6, "output": size_of("".join(pieces(10)))}

    def test_the_receipt_is_the_length_and_the_hash_of_all_that_was_written(self, journal, make_settings):
        text = "".join(pieces(100))
        with started(journal, make_settings()) as outbox:
            for piece in pieces(100):
                outbox.write("output", piece)
            receipt = outbox.close_texts()
            assert receipt == {
                "output": {"length": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
            }
            outbox.write("output", "too late")
            outbox.write("another", "too late")
        assert journal.text(FEED, "output") == text
        assert journal.text(FEED, "another") is None

    def test_a_last_fact_that_is_set_aside_leaves_its_receipt(self):
        texts = {"output": {"length": 1, "sha256": hashlib.sha256(b"x").hexdigest()}}
        draft = Draft("state", {"state": "failed", "texts": texts, "error": {"message": "too large"}})
        assert stand_in(draft, "The journal refused it.").patch == {"state": "failed", "texts": texts}

    def test_a_run_that_is_fenced_writes_no_more(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            outbox.write("output", "before ")
            has(journal, "before ")
            supersede(journal)
            outbox.write("output", "after")
            wait_until(lambda: outbox.signals.fenced, what="the run is fenced")
        assert journal.text(FEED, "output") is None

    def test_text_hears_of_a_cancel(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            cancel(journal)
            outbox.write("output", "a piece")
            wait_until(lambda: outbox.signals.cancel, what="the run hears of the cancel")
        assert journal.text(FEED, "output") == "a piece"


LOSSES = [[True], [False, True], [True, True, False, True], [False, False, True, False, True, True]]


class TestFaults:
    @pytest.mark.parametrize("losses", LOSSES, ids=str)
    @pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
    def test_what_was_not_answered_is_sent_again_and_is_there_once(self, journal, make_settings, lost, losses):
        with started(journal, make_settings(texts_per_second=1000)) as outbox:
            getattr(journal, lost).extend(losses)
            for number, piece in enumerate(pieces(50)):
                outbox.write("output", piece)
                if number % 10 == 5:
                    outbox.put(line(piece))
            outbox.put(ended())
        assert journal.text(FEED, "output") == "".join(pieces(50))
        assert document(journal)["state"] == "succeeded"
        assert len(messages(journal)) == 5

    def test_a_journal_that_is_away_gets_all_of_it_afterwards(self, journal, make_settings):
        with started(journal, make_settings(texts_per_second=1000)) as outbox:
            outbox.write("output", "before ")
            has(journal, "before ")
            journal.away = True
            for piece in pieces(200):
                outbox.write("output", piece)
            outbox.put(line("meanwhile"))
            wait_until(lambda: outbox.signals.away, what="the outbox has noticed")
            outbox.write("output", "late")
            journal.away = False
            has(journal, "before " + "".join(pieces(200)) + "late")
        assert messages(journal) == ["meanwhile"]

    def test_a_feed_that_was_forgotten_has_its_texts_again(self, journal, make_settings):
        with started(journal, make_settings(texts_per_second=1000)) as outbox:
            outbox.write("output", "before ")
            outbox.write("other", "öther")
            has(journal, "before ")
            has(journal, "öther", "other")
            journal.forget(FEED)
            outbox.write("output", "after")
            has(journal, "before after")
            has(journal, "öther", "other")
        assert journal.snapshot(FEED).cursor.epoch != "0123abcd"

    def test_a_feed_that_was_forgotten_has_its_texts_again_before_the_end(self, journal, make_settings):
        with started(journal, make_settings()) as outbox:
            outbox.write("output", "".join(pieces(100)))
            has(journal, "".join(pieces(100)))
            journal.forget(FEED)
            outbox.put(ended())
        assert journal.text(FEED, "output") == "".join(pieces(100))
        assert document(journal)["state"] == "succeeded"


def copied(journal, make_settings):
    """A copy of the memory journal's feeds as they are: a replica that lags from here on."""
    replica = MemoryJournal(make_settings())
    replica._feeds = copy.deepcopy(journal.target._feeds)
    return replica


class TestStaleCopies:
    @pytest.mark.parametrize("next_event", ["text", "fact", "counter and end", "end"])
    @pytest.mark.parametrize("facts_lost", [0, 3])
    def test_what_a_copy_lacks_is_sent_again(self, memory, make_settings, next_event, facts_lost):
        newest, written = Counted(), pieces(20)
        with started(memory, make_settings(texts_per_second=1000, counters_per_second=1000), newest) as outbox:
            for piece in written[:10]:
                outbox.write("output", piece)
            has(memory, "".join(written[:10]))
            replica = copied(memory, make_settings)
            for piece in written[10:]:
                outbox.write("output", piece)
            outbox.write("another", "new since")
            for number in range(facts_lost):
                outbox.put(line(str(number)))
            assert outbox.flush(SOON)
            memory.target = replica
            if next_event == "text":
                written.append("more")
                outbox.write("output", "more")
            elif next_event == "fact":
                outbox.put(line("a fact"))
            elif next_event == "counter and end":
                newest.completed = 3
                outbox.touch()
                assert outbox.flush(SOON)
            if next_event != "text":
                outbox.put(ended())
            assert outbox.flush(SOON)
            outbox.put(ended())
        assert memory.text(FEED, "output") == "".join(written)
        assert memory.text(FEED, "another") == "new since"
        assert [message for message in messages(memory) if message != "a fact"] == [str(n) for n in range(facts_lost)]
        assert document(memory)["state"] == "succeeded"

    def test_more_facts_than_are_held_for_sending_again_lose_no_text(self, memory, make_settings):
        with started(memory, make_settings(texts_per_second=1000)) as outbox:
            outbox.write("output", "before ")
            has(memory, "before ")
            replica = copied(memory, make_settings)
            for number in range(300):
                outbox.put(line(str(number)))
            outbox.write("output", "since ")
            assert outbox.flush(SOON)
            memory.target = replica
            outbox.put(line("after"))
            outbox.put(ended())
        assert memory.text(FEED, "output") == "before since "


class TestLossesInRedis:
    """Somebody, or a full server that evicts, changes what only the writer knows."""

    @pytest.fixture
    def journal(self, server, make_settings):
        return Faults(RedisJournal(make_settings(server.url, journal_timeout=1.0)))

    def key(self, journal):
        return journal.target._names.feed(FEED)[0].removesuffix("meta") + "text:output"

    @pytest.mark.parametrize("next_event", ["text", "fact"])
    @pytest.mark.parametrize("loss", ["deleted", "cut", "longer", "cut in a character"])
    def test_a_text_that_was_changed_is_written_anew(self, server, journal, make_settings, loss, next_event):
        with started(journal, make_settings(texts_per_second=1000)) as outbox, server.client() as client:
            outbox.write("output", "before ö ")
            has(journal, "before ö ")
            key = self.key(journal)
            assert client.get(key) == "before ö ".encode()
            match loss:
                case "deleted":
                    client.delete(key)
                case "cut":
                    client.set(key, "bef")
                case "longer":
                    client.append(key, "somebody else's")
                case _:
                    client.set(key, "before ö".encode()[:-1])
            if next_event == "text":
                outbox.write("output", "after")
                has(journal, "before ö after")
            outbox.put(ended())
        assert journal.text(FEED, "output") == "before ö " + ("after" if next_event == "text" else "")

    def test_an_emptied_server_has_the_texts_again(self, server, journal, make_settings):
        with started(journal, make_settings(texts_per_second=1000)) as outbox, server.client() as client:
            outbox.write("output", "before ")
            has(journal, "before ")
            client.flushall()
            outbox.put(line("after"))
            outbox.write("output", "after")
            has(journal, "before after")
            client.flushall()
            outbox.put(ended())
        assert journal.text(FEED, "output") == "before after"
        assert document(journal)["state"] == "succeeded"

    @pytest.mark.parametrize("since", ["text", "text and facts"])
    def test_a_server_that_restarts_with_older_data_gets_the_rest_again(
        self, server, journal, make_settings, tmp_path, since
    ):
        with started(journal, make_settings(texts_per_second=1000)) as outbox:
            for piece in pieces(20):
                outbox.write("output", piece)
            has(journal, "".join(pieces(20)))
            server.copy_data(tmp_path / "copy")
            outbox.write("output", "since ")
            if since == "text and facts":
                for number in range(3):
                    outbox.put(line(str(number)))
            assert outbox.flush(SOON)
            server.kill()
            server.put_data_back(tmp_path / "copy")
            server.start()
            assert journal.text(FEED, "output") == "".join(pieces(20))
            outbox.put(line("after"))
            outbox.put(ended())
        assert journal.text(FEED, "output") == "".join(pieces(20)) + "since "
        assert messages(journal) == [*("012" if since == "text and facts" else ""), "after"]

    def test_a_server_that_dies_and_comes_back_has_all_of_it(self, server, journal, make_settings):
        with started(journal, make_settings(texts_per_second=1000)) as outbox:
            for piece in pieces(20):
                outbox.write("output", piece)
            server.kill()
            for piece in pieces(200)[20:]:
                outbox.write("output", piece)
            server.start()
            outbox.put(ended())
        assert journal.text(FEED, "output") == "".join(pieces(200))
