"""`petiole.tqdm` reports for the task inside one; outside it is tqdm's own."""

from __future__ import annotations

import asyncio
import functools
import io

import numpy
import pytest
import tqdm as plain
from tqdm.contrib import tenumerate, tzip
from tqdm.contrib.concurrent import thread_map

from petiole.errors import Cancelled, Fenced
from petiole.tqdm import tqdm, trange
from petiole.worker.progress import track
from tests.support.memory_journal import MemoryJournal
from tests.unit.runs import SOON, Faults, document, facts, messages, running
from tests.unit.values import LENGTH_ERRORS, Lazy, Raising


@pytest.fixture
def journal(make_settings):
    return Faults(MemoryJournal(make_settings()))


@pytest.fixture
def run(journal, make_settings):
    with running(journal, make_settings(counters_per_second=0)) as current:
        yield current


@pytest.fixture(autouse=True)
def nothing_is_drawn(request, capsys):
    yield
    if "run" in request.fixturenames:
        assert capsys.readouterr() == ("", "")


def stages(run, journal):
    assert run.outbox.flush(SOON)
    return [event.data["name"] for event in facts(journal) if event.kind == "stage"]


class TestInATask:
    def test_a_loop_is_counted(self, run, journal):
        assert list(tqdm(range(7), desc="Reading", unit="rows")) == list(range(7))
        told = run.progress()
        assert (told["completed"], told["total"], told["unit"], told["stage"]) == (7, 7, "rows", "Reading")
        run.outbox.touch()
        assert run.outbox.flush(SOON)
        assert document(journal)["progress"]["completed"] == 7

    def test_a_loop_without_words_is_a_stage_without_tqdms_own_unit(self, run, journal):
        assert sum(trange(2, 5)) == 9
        assert stages(run, journal) == ["Working"]
        assert (run.progress()["total"], run.progress()["unit"]) == (3, None)

    def test_items_are_counted_when_the_next_is_asked_for(self, run):
        seen = [run.progress()["completed"] for _ in tqdm(range(3))]
        assert seen == [0, 1, 2]

    def test_update_counts_on_from_the_initial_value(self, run):
        with tqdm(total=100, initial=20) as bar:
            assert run.progress()["completed"] == 20
            bar.update(5)
            bar.update()
            assert (bar.n, run.progress()["completed"]) == (26, 26)
        assert run.progress()["total"] == 100

    def test_a_total_that_is_corrected_is_told(self, run):
        bar = tqdm(total=10)
        bar.total = 20
        bar.n = 5
        bar.refresh()
        assert (run.progress()["completed"], run.progress()["total"]) == (5, 20)

    def test_words_before_and_behind_the_bar_are_its_description(self, run):
        bar = tqdm(range(3), desc="Training")
        assert run.progress()["description"] is None
        bar.set_postfix(loss=0.25)
        assert run.progress()["description"] == "Training, loss=0.25"
        bar.set_description("Testing")
        assert run.progress()["description"] == "Testing, loss=0.25"

    def test_reset_begins_again_with_another_total(self, run):
        bar = tqdm(total=10)
        bar.update(4)
        bar.reset(total=30)
        assert (run.progress()["completed"], run.progress()["total"]) == (0, 30)
        bar.update(2)
        assert run.progress()["completed"] == 2

    def test_of_nested_bars_the_outermost_speaks(self, run, journal):
        files, lines = tqdm(range(2), desc="Files"), functools.partial(tqdm, range(3), desc="Lines")
        seen = [run.progress()["completed"] for _ in files for _ in lines()]
        assert seen == [0, 0, 0, 1, 1, 1]
        assert stages(run, journal) == ["Files"]
        assert run.progress()["total"] == 2

    def test_after_a_bar_the_next_one_speaks(self, run, journal):
        list(tqdm(range(2), desc="Reading"))
        with tqdm(total=5, desc="Writing") as bar:
            bar.update(3)
            assert run.progress()["completed"] == 3
        assert stages(run, journal) == ["Reading", "Writing"]

    def test_a_bar_that_nobody_closed_does_not_hold_the_word(self, run, journal):
        tqdm(total=5, desc="Left").update(1)
        tqdm(total=7, desc="Next").update(2)
        assert stages(run, journal) == ["Left", "Next"]
        assert run.progress()["total"] == 7

    def test_a_loop_that_is_left_early_closes_its_bar(self, run):
        bar = tqdm(range(10))
        for number in bar:
            if number == 4:
                break
        bar.close()
        assert run.progress()["completed"] == 4
        assert list(tqdm(range(3))) == [0, 1, 2]
        assert (run.progress()["completed"], run.progress()["total"]) == (3, 3)

    def test_write_is_a_line_of_the_log(self, run, journal):
        tqdm.write("halfway")
        assert run.outbox.flush(SOON)
        assert messages(journal) == ["halfway"]

    def test_write_into_a_file_is_written_there(self, run):
        file = io.StringIO()
        tqdm.write("halfway", file=file)
        assert file.getvalue() == "halfway\n"

    def test_a_bar_that_is_switched_off_says_nothing_and_one_for_terminals_speaks(self, run, journal):
        assert list(tqdm(range(3), disable=True)) == [0, 1, 2]
        assert stages(run, journal) == []
        list(tqdm(range(3), disable=None))
        assert run.progress()["completed"] == 3

    @pytest.mark.parametrize("nested", [False, True])
    def test_a_cancel_ends_the_loop(self, run, nested):
        def loop():
            with tqdm(total=1, disable=not nested):
                for number in tqdm(range(1_000_000)):
                    run.outbox.signals.cancel = run.outbox.signals.cancel or number == 3

        with pytest.raises(Cancelled):
            loop()
        run.outbox.signals.cancel = False
        list(tqdm(range(3)))
        assert (run.progress()["completed"], run.progress()["total"]) == (3, 3)

    @pytest.mark.parametrize("nested", [False, True])
    def test_a_fence_ends_a_loop_of_updates(self, run, nested):
        def loop():
            with tqdm(total=1, disable=not nested), tqdm(total=1_000_000) as bar:
                for number in range(1_000_000):
                    bar.update(1)
                    if number == 3:
                        run.outbox._writer._fence()

        with pytest.raises(Fenced):
            loop()

    def test_a_class_of_the_applications_own_keeps_what_it_adds(self, run):
        class Mine(tqdm):
            def update(self, n=1):
                return super().update(10 * n)

        with Mine(total=100) as bar:
            bar.update(2)
        assert isinstance(bar, Mine)
        assert run.progress()["completed"] == 20

    def test_numbers_of_any_kind_are_counted(self, run):
        with tqdm(total=10) as bar:
            bar.update(numpy.int64(3))
            bar.update(0.5)
        assert type(run.progress()["completed"]) is float
        assert run.progress()["completed"] == 3.5


class TestSeveralBars:
    def test_a_bar_that_has_come_to_its_total_and_is_not_closed_lets_the_next_speak(self, run, journal):
        first = tqdm(total=3, desc="First")
        for _ in range(3):
            first.update()
        list(tqdm(range(5), desc="Second"))
        list(tqdm(range(7), desc="Third"))
        assert stages(run, journal) == ["First", "Second", "Third"]
        assert (run.progress()["completed"], run.progress()["total"]) == (7, 7)

    @pytest.mark.parametrize("total", [None, 100])
    def test_a_bar_that_nobody_moves_any_more_holds_back_one_other_at_most(self, run, journal, total):
        left = tqdm(total=total, desc="Left")
        left.update(2)
        for name in ("Second", "Third", "Fourth"):
            list(tqdm(range(5), desc=name))
        assert stages(run, journal) == ["Left", "Third", "Fourth"]
        assert (run.progress()["completed"], run.progress()["total"]) == (5, 5)
        assert left.n == 2

    def test_a_bar_that_moves_again_takes_the_word_back(self, run, journal):
        outer = tqdm(total=3, desc="Epochs")
        seen = []
        for _ in range(3):
            list(tqdm(range(5), desc="Training"))
            list(tqdm(range(5), desc="Validating"))
            outer.update()
            seen.append((run.progress()["stage"], run.progress()["completed"], run.progress()["total"]))
        assert seen == [("Epochs", 1, 3), ("Epochs", 2, 3), ("Epochs", 3, 3)]
        assert stages(run, journal) == ["Epochs", "Validating", "Epochs"]

    @pytest.mark.parametrize("leave", [True, False])
    def test_within_a_loop_any_number_of_bars_is_silent(self, run, journal, leave):
        for number in tqdm(range(4), desc="Files", leave=leave):
            for _ in range(3):
                list(trange(9, desc="Lines", leave=leave))
                hand = tqdm(total=50)
                hand.update(10)
            assert (run.progress()["completed"], run.progress()["total"]) == (number, 4)
        assert stages(run, journal) == ["Files"]

    def test_within_a_bar_entered_by_with_any_number_of_bars_is_silent(self, run, journal):
        with tqdm(total=4, desc="Files") as bar:
            for _ in range(3):
                list(tqdm(range(9), desc="Lines"))
            bar.update()
            assert (run.progress()["completed"], run.progress()["total"]) == (1, 4)
        assert stages(run, journal) == ["Files"]

    def test_bars_that_are_made_first_and_run_later_speak_each_in_its_turn(self, run, journal):
        bars = [tqdm(range(3), desc="a"), tqdm(range(4), desc="b")]
        seen = []
        for bar in bars:
            list(bar)
            seen.append((run.progress()["stage"], run.progress()["completed"], run.progress()["total"]))
        assert seen == [("a", 3, 3), ("b", 4, 4)]

    def test_a_loop_that_is_left_by_an_error_lets_the_next_speak(self, run):
        def fail_within(items):
            for item in items:
                raise ValueError(f"left at {item}")

        bar = tqdm(range(10))
        with pytest.raises(ValueError, match="left"):
            fail_within(bar)
        list(tqdm(range(3)))
        assert (run.progress()["completed"], run.progress()["total"]) == (3, 3)
        assert bar.n == 0

    def test_bars_and_tracked_loops_know_of_each_other(self, run):
        for number in track(range(4)):
            list(tqdm(range(9)))
            assert (run.progress()["completed"], run.progress()["total"]) == (number, 4)
        for number in tqdm(range(5)):
            list(track(range(9)))
            assert (run.progress()["completed"], run.progress()["total"]) == (number, 5)

    def test_a_bar_that_begins_again_for_each_part_is_one_stage(self, run, journal):
        bar = tqdm(total=10, desc="Part")
        for _ in range(3):
            bar.reset()
            for _ in range(10):
                bar.update()
            assert (run.progress()["completed"], run.progress()["total"]) == (10, 10)
        # The number of further loops is unknown.
        assert run.progress()["fraction"] is None
        assert stages(run, journal) == ["Part"]


class TestLengths:
    @pytest.mark.parametrize("error", LENGTH_ERRORS, ids=lambda error: type(error).__name__)
    def test_a_length_that_raises_is_unknown(self, run, error):
        assert list(tqdm(Raising(3, error))) == [0, 1, 2]
        assert (run.progress()["completed"], run.progress()["total"]) == (3, None)

    def test_a_range_past_every_length_is_unknown(self, run):
        for number in tqdm(range(10**20)):
            if number == 5:
                break
        assert (run.progress()["completed"], run.progress()["total"]) == (5, None)

    def test_an_infinite_total_is_unknown(self, run, journal):
        with tqdm(total=float("inf")) as bar:
            bar.update(3)
        assert run.progress()["total"] is None
        assert run.outbox.flush(SOON)
        assert messages(journal) == []

    @pytest.mark.parametrize("total", ["10", -5, float("nan"), [1], numpy.array([1, 2])])
    def test_a_total_that_is_none_is_set_aside_and_said(self, run, journal, total):
        with tqdm(total=total) as bar:
            bar.update(3)
        assert (run.progress()["completed"], run.progress()["total"]) == (3, None)
        assert run.outbox.flush(SOON)
        assert len(messages(journal)) == 1

    def test_a_query_is_run_once(self, run):
        class Query:
            times = 0

            def __iter__(self):
                self.times += 1
                return iter("abc")

        query = Query()
        assert list(tqdm(query)) == ["a", "b", "c"]
        assert query.times == 1


class TestWords:
    @pytest.mark.parametrize("words", [5, None, Lazy("Reading"), "caf\udce9"])
    def test_a_description_and_a_unit_may_be_of_any_kind(self, run, words):
        list(tqdm(range(3), desc=words, unit=words or "it"))
        assert run.progress()["completed"] == 3

    def test_bytes_are_said_as_bytes(self, run):
        with tqdm(total=10**6, unit="B", unit_scale=True) as bar:
            bar.update(1000)
        assert run.progress()["unit"] == "bytes"


class TestAsynchronous:
    def test_a_loop_is_counted(self, run):
        async def rows():
            for number in range(4):
                yield number

        async def work():
            return [number async for number in tqdm(rows(), desc="Rows", total=4)]

        assert asyncio.run(work()) == [0, 1, 2, 3]
        assert (run.progress()["completed"], run.progress()["stage"]) == (4, "Rows")
        assert asyncio.run(self.over(trange(6))) == 6
        assert (run.progress()["completed"], run.progress()["total"]) == (6, 6)

    async def over(self, bar):
        return len([number async for number in bar])

    def test_items_are_counted_when_the_next_is_asked_for_and_a_loop_that_is_left_lets_the_next_speak(self, run):
        async def rows():
            for number in range(9):
                yield number

        async def work(items):
            seen = []
            async for number in tqdm(items, desc="Rows"):
                seen.append(run.progress()["completed"])
                if number == 2:
                    break
            list(tqdm(range(3)))
            return seen, run.progress()["completed"], run.progress()["total"]

        for items in (rows(), range(9)):
            assert asyncio.run(work(items)) == ([0, 1, 2], 3, 3)

    def test_a_source_that_fails_ends_the_bar(self, run):
        async def rows():
            yield 1
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            asyncio.run(self.over(tqdm(rows())))
        list(tqdm(range(3)))
        assert (run.progress()["completed"], run.progress()["total"]) == (3, 3)

    def test_bars_of_tasks_beside_each_other_are_one_at_a_time(self, run, journal):
        async def work(name, count):
            async for _ in tqdm(range(count), desc=name):
                await asyncio.sleep(0)
                assert run.progress()["completed"] <= run.progress()["total"]

        async def both():
            await asyncio.gather(work("a", 3), work("b", 8))

        asyncio.run(both())
        assert stages(run, journal) == ["a", "b"]
        assert (run.progress()["completed"], run.progress()["total"]) == (8, 8)

    def test_what_is_gathered_is_counted(self, run):
        async def double(number):
            return 2 * number

        async def work():
            return await tqdm.gather(*[double(number) for number in range(5)], desc="Asking")

        assert asyncio.run(work()) == [0, 2, 4, 6, 8]
        assert (run.progress()["completed"], run.progress()["total"], run.progress()["stage"]) == (5, 5, "Asking")


class TestHelpersOfTqdm:
    def test_the_bars_that_tqdms_own_helpers_make_speak(self, run, tmp_path):
        assert list(tenumerate("abc", tqdm_class=tqdm)) == [(0, "a"), (1, "b"), (2, "c")]
        assert run.progress()["completed"] == 3
        assert list(tzip("ab", range(2), tqdm_class=tqdm)) == [("a", 0), ("b", 1)]
        assert run.progress()["completed"] == 2
        assert thread_map(abs, [-1, 2, -3, 4], tqdm_class=tqdm, max_workers=2) == [1, 2, 3, 4]
        assert (run.progress()["completed"], run.progress()["total"]) == (4, 4)
        (tmp_path / "file").write_bytes(b"x" * 1000)
        with (
            (tmp_path / "file").open("rb") as plain_file,
            tqdm.wrapattr(plain_file, "read", total=1000, desc="Reading", unit="B") as file,
        ):
            assert len(file.read()) == 1000
        assert (run.progress()["completed"], run.progress()["unit"]) == (1000, "bytes")


class TestOutside:
    async def over(self, bar):
        return [number async for number in bar]

    def test_an_asynchronous_loop_is_drawn(self):
        file = io.StringIO()
        assert asyncio.run(self.over(tqdm(range(3), file=file, desc="Here"))) == [0, 1, 2]
        assert "Here: 100%" in file.getvalue()

    def test_it_is_tqdms_own_bar(self):
        file = io.StringIO()
        assert list(tqdm(range(3), file=file, desc="Here")) == [0, 1, 2]
        assert "Here: 100%" in file.getvalue()
        assert type(tqdm(disable=True)).update is plain.tqdm.update
        assert isinstance(trange(2, disable=True), plain.tqdm)

    def test_write_prints(self, capsys):
        tqdm.write("printed")
        assert capsys.readouterr().out == "printed\n"
