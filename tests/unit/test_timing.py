"""The rules in the docstring of `petiole/worker/estimate.py`."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petiole.worker.estimate import Estimate, Estimator


class Stage:
    """Feeds an estimator in steps of a clock."""

    def __init__(self, total=1000.0):
        self.total = total
        self.now = 100.0
        self.completed = 0.0
        self.estimator = Estimator(now=self.now)
        self.last = Estimate(None, None)

    def go(self, seconds, rate, step=0.5):
        """Work at `rate` for so long; returns every estimate."""
        estimates = []
        for _ in range(round(seconds / step)):
            self.now += step
            self.completed += rate * step
            self.last = self.estimator.sample(self.completed, total=self.total, now=self.now)
            estimates.append(self.last)
        return estimates

    def until(self):
        return self.now + self.last.time_left


def test_nothing_is_said_before_three_seconds():
    stage = Stage()
    early = stage.go(2.9, 50, step=0.1)
    assert all(estimate == Estimate(None, None) for estimate in early)
    stage.go(0.2, 50, step=0.1)
    assert stage.last.rate == pytest.approx(50)


def test_nothing_is_said_before_five_samples():
    stage = Stage()
    estimates = stage.go(20, 10, step=4)
    assert [estimate.rate is None for estimate in estimates] == [True, True, True, True, False]


def test_no_time_is_said_before_one_percent():
    stage = Stage(total=1000)
    stage.go(9.5, 1)
    assert stage.last.rate == pytest.approx(1)
    assert stage.last.time_left is None
    stage.go(0.5, 1)
    assert stage.last.time_left == pytest.approx(990)


def test_no_time_is_said_without_a_total():
    stage = Stage(total=None)
    stage.go(60, 10)
    assert stage.last.rate == pytest.approx(10)
    assert stage.last.time_left is None


def test_no_time_is_said_while_nothing_moves():
    stage = Stage()
    stage.go(60, 0)
    assert stage.last == Estimate(0.0, None)


def test_a_steady_rate_is_told_exactly():
    stage = Stage(total=1000)
    stage.go(50, 10)
    assert stage.last.rate == pytest.approx(10)
    assert stage.last.time_left == pytest.approx(50)


def test_the_time_runs_out_with_the_work():
    stage = Stage(total=1000)
    stage.go(100, 10)
    assert stage.last.time_left == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("elapsed", "constant"), [(20, 5), (100, 10), (200, 20), (1000, 30)])
def test_the_time_constant_is_a_tenth_of_the_elapsed_time_within_bounds(elapsed, constant):
    stage = Stage(total=None)
    stage.go(elapsed, 100)
    stage.now += constant
    stage.completed += 200 * constant
    estimate = stage.estimator.sample(stage.completed, total=None, now=stage.now)
    # One sample over `tau` seconds at twice the rate: the mean goes 1 - 1/e of the way.
    tau = min(max((stage.now - 100) / 10, 5), 30)
    assert estimate.rate == pytest.approx(100 + 100 * (1 - math.exp(-constant / tau)), rel=0.001)


def test_the_first_seconds_follow_the_plain_mean():
    stage = Stage(total=None)
    stage.go(1, 1000)
    stage.go(3, 0)
    assert stage.last.rate == pytest.approx(1000 / 4)


def test_the_estimate_falls_freely():
    stage = Stage(total=10_000)
    stage.go(30, 10)
    before = stage.until()
    stage.go(0.5, 1000)
    assert stage.until() < before - 60


def test_the_estimate_holds_while_it_would_rise_a_little():
    stage = Stage(total=1000)
    stage.go(30, 10)
    end = stage.until()
    for _ in range(20):
        stage.go(0.5, 9)
        assert stage.until() == pytest.approx(end)


def test_the_estimate_rises_only_after_three_seconds():
    stage = Stage(total=10_000)
    stage.go(100, 50)
    end = stage.until()
    held = 0.0
    while stage.until() <= end + 1e-6:
        stage.go(0.1, 5, step=0.1)
        held += 0.1
        assert held < 30, "the estimate never rises"
    assert held >= 3.0
    assert stage.last.time_left > 1.2 * (end - stage.now)


def test_a_short_stall_does_not_raise_the_estimate():
    stage = Stage(total=10_000)
    stage.go(100, 50)
    end = stage.until()
    stage.go(2.5, 0, step=0.1)
    assert stage.until() == pytest.approx(end)
    stage.go(1, 175, step=0.1)
    assert stage.until() <= end + 1e-6


def test_past_its_time_it_says_zero_and_not_less():
    stage = Stage(total=1000)
    stage.go(90, 10)
    estimates = stage.go(12, 0.001, step=0.5)
    assert min(estimate.time_left for estimate in estimates) >= 0.0


def test_a_sample_at_the_same_instant_changes_nothing():
    stage = Stage()
    stage.go(30, 10)
    again = stage.estimator.sample(stage.completed, total=stage.total, now=stage.now)
    assert again == stage.last


def test_a_counter_that_goes_back_is_no_negative_rate():
    stage = Stage()
    stage.go(30, 10)
    stage.now += 1
    assert stage.estimator.sample(0.0, total=1000, now=stage.now).rate > 0


def test_more_than_the_total_has_no_time_left():
    stage = Stage(total=100)
    stage.go(30, 10)
    assert stage.last.time_left == 0.0


@given(st.lists(st.tuples(st.floats(0.001, 60), st.floats(0, 1e6)), min_size=1, max_size=60), st.integers(1, 10**7))
def test_an_estimate_is_never_negative_and_always_finite(steps, total):
    now, completed = 0.0, 0.0
    estimator = Estimator(now=now)
    for interval, amount in steps:
        now += interval
        completed += amount
        estimate = estimator.sample(completed, total=total, now=now)
        for value in (estimate.rate, estimate.time_left):
            assert value is None or (math.isfinite(value) and value >= 0)
