"""`track`: what a loop says, and what its length is worth."""

from __future__ import annotations

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from petiole.errors import Cancelled
from petiole.worker.progress import progress, track
from tests.unit.progress.shared import cancel, kept, warnings
from tests.unit.runs import SOON, facts
from tests.unit.values import LENGTH_ERRORS, Lying, Raising


class TestTrack:
    def test_items_are_counted_when_the_next_is_asked_for(self, run):
        seen = [(item, run.progress()["completed"]) for item in track("abc", unit="letters")]
        assert seen == [("a", 0), ("b", 1), ("c", 2)]
        assert run.progress() | {"rate": None, "time_left": None} == {
            "completed": 3, "total": 3, "rate": None, "time_left": None, "fraction": 1.0, "stage": "Working",
            "description": None, "unit": "letters",
        }  # fmt: skip

    def test_an_iterator_has_no_total_unless_it_is_given(self, run):
        list(track(iter("abc")))
        assert run.progress()["total"] is None
        list(track(iter("abc"), total=3, description="again"))
        assert run.progress()["total"] == 3

    def test_a_loop_within_a_stage_counts_for_it(self, run, journal):
        progress.stage("Reading", unit="rows", until=0.5)
        list(track(range(4)))
        assert kept(run, journal)["progress"]["stage"] == "Reading"
        assert run.progress()["unit"] == "rows"
        assert run.progress()["fraction"] == 0.5
        assert [event.data["name"] for event in facts(journal) if event.kind == "stage"] == ["Reading"]

    def test_a_loop_with_a_description_is_a_stage_of_its_own(self, run, journal):
        progress.stage("Reading", until=0.5)
        list(track(range(4), description="Writing"))
        kept(run, journal)
        assert [event.data["name"] for event in facts(journal) if event.kind == "stage"] == ["Reading", "Writing"]
        assert run.progress()["fraction"] == 1.0

    def test_a_loop_that_is_left_early_counts_what_was_done(self, run):
        for item in track(range(10)):
            if item == 4:
                break
        assert run.progress()["completed"] == 4

    def test_loops_one_after_the_other_are_stages_of_their_own(self, run, journal):
        list(track(range(10)))
        seen = [
            (run.progress()["completed"], run.progress()["total"], run.progress()["fraction"]) for _ in track(range(4))
        ]
        assert seen == [(0, 4, None), (1, 4, None), (2, 4, None), (3, 4, None)]
        list(track(iter(range(60))))
        assert (run.progress()["completed"], run.progress()["total"], run.progress()["fraction"]) == (60, None, None)
        # A hundred unnamed loops aren't a hundred log lines.
        kept(run, journal)
        assert [event.data["name"] for event in facts(journal) if event.kind == "stage"] == ["Working"]

    def test_a_loop_after_one_with_a_description_is_a_stage_of_its_own(self, run, journal):
        list(track(range(10), description="Reading", unit="rows"))
        list(track(range(4)))
        assert (run.progress()["completed"], run.progress()["total"], run.progress()["unit"]) == (4, 4, None)
        kept(run, journal)
        assert [event.data["name"] for event in facts(journal) if event.kind == "stage"] == ["Reading", "Working"]

    @pytest.mark.parametrize("description", [None, "Inner"])
    def test_of_loops_within_each_other_the_outermost_counts(self, run, journal, description):
        for number in track(range(4)):
            for _ in track(range(5), description=description):
                list(track("abc"))
                assert (run.progress()["completed"], run.progress()["total"]) == (number, 4)
        assert (run.progress()["completed"], run.progress()["total"]) == (4, 4)
        kept(run, journal)
        assert [event.data["name"] for event in facts(journal) if event.kind == "stage"] == ["Working"]

    def test_loops_one_after_the_other_in_a_stage_are_counted_together(self, run):
        progress.stage("Importing", until=0.5)
        list(track(range(10), unit="rows"))
        assert (run.progress()["completed"], run.progress()["total"], run.progress()["fraction"]) == (10, 10, 0.5)
        assert {run.progress()["fraction"] for _ in track(range(30))} == {0.5}
        assert (run.progress()["completed"], run.progress()["total"], run.progress()["fraction"]) == (40, 40, 0.5)
        for number in track(iter("ab")):
            assert (run.progress()["completed"], run.progress()["total"]) == (40 + "ab".index(number), None)
        progress.stage("Writing", total=2)
        progress.advance()
        assert run.progress()["fraction"] == 0.75

    def test_a_loop_after_one_that_was_left_in_a_stage_has_what_is_left_of_it(self, run):
        progress.stage("Importing", until=0.5)
        for item in track(range(10)):
            if item == 4:
                break
        assert run.progress()["fraction"] == 0.2
        assert [run.progress()["fraction"] for _ in track(range(3))] == [0.2, 0.3, 0.4]
        assert (run.progress()["completed"], run.progress()["total"], run.progress()["fraction"]) == (7, 7, 0.5)

    def test_of_loops_in_a_stage_that_is_the_whole_task_nobody_knows_how_many_come(self, run):
        progress.stage("Importing")
        list(track(range(10)))
        assert run.progress()["fraction"] == 1.0
        assert {run.progress()["fraction"] for _ in track(range(30))} == {None}
        assert (run.progress()["completed"], run.progress()["total"]) == (40, 40)

    def test_the_total_of_a_stage_is_its_authors(self, run):
        progress.stage("Reading", total=100, unit="rows")
        for part in range(10):
            for _ in track(range(10)):
                assert part * 10 <= run.progress()["completed"] < part * 10 + 10
                assert run.progress()["total"] == 100
        assert run.progress()["completed"] == 100

    def test_a_stage_within_a_loop_counts_by_itself(self, run):
        for _ in track(range(3), description="Files"):
            progress.stage("Reading", total=10)
            list(track(range(4)))
            progress.advance(2)
            assert (run.progress()["stage"], run.progress()["completed"], run.progress()["total"]) == ("Reading", 6, 10)
        assert (run.progress()["completed"], run.progress()["total"]) == (6, 10)

    def test_what_is_counted_by_hand_beside_a_loop_is_added(self, run):
        for _ in track(range(3)):
            progress.advance(2)
        assert run.progress()["completed"] == 9
        progress.update(completed=5)
        assert run.progress()["completed"] == 5

    def test_a_loop_that_was_left_lets_the_next_speak(self, run):
        left = track(range(10))
        for item in left:
            if item == 3:
                break
        list(track(range(5)))
        assert (run.progress()["completed"], run.progress()["total"]) == (5, 5)
        with pytest.raises(ValueError, match="left"):
            self.fail_within(track(range(10)))
        list(track(range(6)))
        assert (run.progress()["completed"], run.progress()["total"]) == (6, 6)

    def fail_within(self, items):
        for item in items:
            raise ValueError(f"left at {item}")

    def test_a_loop_that_was_left_goes_on_where_it_was(self, run):
        progress.stage("Reading")
        rows = track(range(10))
        assert [item for item, _ in zip(rows, range(3), strict=False)] == [0, 1, 2]
        before = run.progress()["completed"]
        assert list(rows) == list(range(4, 10))
        # `zip` has fetched an item that it never yielded, and that was never processed.
        assert (before, run.progress()["completed"], run.progress()["total"]) == (3, 9, 9)
        assert list(rows) == []

    def test_items_may_be_taken_by_hand(self, run):
        rows = track(["head", 1, 2, 3])
        assert next(rows) == "head"
        assert list(rows) == [1, 2, 3]
        assert (run.progress()["completed"], run.progress()["total"]) == (4, 4)
        with pytest.raises(StopIteration):
            next(rows)

    def test_what_is_taken_by_hand_and_never_to_its_end_holds_back_one_loop_at_most(self, run):
        rows = track(range(10))
        next(rows)
        for count in (3, 4, 5):
            list(track(range(count)))
        assert (run.progress()["completed"], run.progress()["total"]) == (5, 5)
        assert next(rows) == 1

    def test_a_loop_of_a_cancelled_task_ends(self, run, journal):
        cancel(journal)
        progress.log("x")
        seen = []

        def loop():
            for item in track(range(1_000_000)):
                seen.append(item)
                assert run.outbox.flush(SOON)

        with pytest.raises(Cancelled):
            loop()
        assert len(seen) <= 1


class TestLengths:
    @pytest.mark.parametrize("error", LENGTH_ERRORS, ids=lambda error: type(error).__name__)
    def test_a_length_that_raises_is_unknown(self, run, journal, error):
        assert list(track(Raising(3, error))) == [0, 1, 2]
        assert (run.progress()["completed"], run.progress()["total"]) == (3, None)
        kept(run, journal)
        assert warnings(journal) == []

    @pytest.mark.parametrize("error", LENGTH_ERRORS, ids=lambda error: type(error).__name__)
    def test_outside_a_task_too(self, error):
        assert list(track(Raising(3, error))) == [0, 1, 2]

    @pytest.mark.parametrize("length", [-1, "7", 2.5, None, 10**30], ids=str)
    def test_a_length_that_is_none_is_unknown(self, run, length):
        assert list(track(Lying(3, length))) == [0, 1, 2]
        assert (run.progress()["completed"], run.progress()["total"]) == (3, None)

    def test_a_range_past_every_length_is_unknown(self, run):
        for number in track(range(10**20)):
            if number == 5:
                break
        assert (run.progress()["completed"], run.progress()["total"]) == (5, None)

    def test_a_time_limit_that_ends_the_task_is_not_taken_for_a_length_that_raises(self, run):
        with pytest.raises(SoftTimeLimitExceeded):
            list(track(Raising(3, SoftTimeLimitExceeded())))

    def test_a_length_that_is_too_short_is_exceeded_and_never_more_than_the_whole(self, run):
        fractions = [run.progress()["fraction"] for _ in track(Lying(10, 3))]
        assert max(fractions) == 1.0
        assert (run.progress()["completed"], run.progress()["total"]) == (10, 3)

    @pytest.mark.parametrize("stage", [False, True])
    def test_a_length_that_is_too_long_is_corrected_at_the_end(self, run, stage):
        if stage:
            progress.stage("Columns", until=0.5)
        list(track(Lying(3, 1000)))
        assert (run.progress()["completed"], run.progress()["total"]) == (3, 3)
        assert run.progress()["fraction"] == (0.5 if stage else 1.0)

    def test_a_time_without_end_is_unknown(self, run, journal):
        list(track(range(3), total=float("inf")))
        progress.update(total=float("inf"))
        progress.stage("Waiting", total=float("inf"))
        assert run.progress()["total"] is None
        kept(run, journal)
        assert warnings(journal) == []

    @pytest.mark.parametrize(
        "total", ["10", -5, float("nan"), [1], 10**400, object()], ids=lambda value: type(value).__name__
    )
    def test_a_total_that_is_none_is_unknown_and_said(self, run, journal, total):
        list(track(range(3), total=total))
        assert (run.progress()["completed"], run.progress()["total"]) == (3, None)
        kept(run, journal)
        [said] = warnings(journal)
        assert said.startswith("A value for total was set aside:")

    @pytest.mark.parametrize("total", ["10", float("nan"), object()], ids=lambda value: type(value).__name__)
    def test_outside_a_task_it_is_unknown_too(self, total):
        assert list(track(range(3), total=total)) == [0, 1, 2]
