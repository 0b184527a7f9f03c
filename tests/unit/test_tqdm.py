"""`petiole.tqdm` inside a task speaks for it; outside it is tqdm's own."""

from __future__ import annotations

import functools
import io

import pytest
import tqdm as plain

from petiole.errors import Cancelled, Fenced
from petiole.journal.memory import MemoryJournal
from petiole.tqdm import tqdm, trange
from tests.unit.runs import SOON, Faults, document, facts, messages, running


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
        assert run.bar is None

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
        assert run.bar is None

    @pytest.mark.parametrize("nested", [False, True])
    def test_a_fence_ends_a_loop_of_updates(self, run, nested):
        def loop():
            with tqdm(total=1, disable=not nested), tqdm(total=1_000_000) as bar:
                for number in range(1_000_000):
                    bar.update(1)
                    if number == 3:
                        run.outbox._stop()

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
        import numpy

        with tqdm(total=10) as bar:
            bar.update(numpy.int64(3))
            bar.update(0.5)
        assert type(run.progress()["completed"]) is float
        assert run.progress()["completed"] == 3.5


class TestOutside:
    def test_it_is_tqdms_own_bar(self):
        file = io.StringIO()
        assert list(tqdm(range(3), file=file, desc="Here")) == [0, 1, 2]
        assert "Here: 100%" in file.getvalue()
        assert type(tqdm(disable=True)).update is plain.tqdm.update
        assert isinstance(trange(2, disable=True), plain.tqdm)

    def test_write_prints(self, capsys):
        tqdm.write("printed")
        assert capsys.readouterr().out == "printed\n"
